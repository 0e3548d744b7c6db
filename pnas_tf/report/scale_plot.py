"""Networks beside one another, to one scale: a strip each, as long as its multiply-accumulates, cut
into its blocks. Knows nothing of runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pnas_tf.report.figures import STYLE
from pnas_tf.report.op_style import kernel_and_expansion, kernel_color
from pnas_tf.report.summary_table import count
from pnas_tf.space import complexity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import Zero
from pnas_tf.space.published import PUBLISHED, published

SMALLEST = 32  # pixels; below, the published networks shrink an image to less than a point
SHOWN = {
    "mobilenet_v2": "MobileNetV2",
    "proxyless_mobile": "ProxylessNAS, mobile",
    "proxyless_cpu": "ProxylessNAS, CPU",
    "proxyless_gpu": "ProxylessNAS, GPU",
    "mobilenet_v4_conv_small": "MobileNetV4-Conv-S",
    "efficientnet_lite0": "EfficientNet-Lite0",
}
OWN = "this network"
_FIXED = "#7d8b96"


def networks_beside(architecture: Architecture) -> dict[str, Architecture]:
    """Name -> network: this one, and the published ones for the same images and classes; empty
    where those would not fit."""
    space = architecture.space
    if not isinstance(space, MBConvSpace) or space.resolution < SMALLEST:
        return {}
    found = {OWN: architecture}
    for name, words in SHOWN.items():
        other = published(name, resolution=space.resolution)
        own = replace(other.space, classes=space.classes, channels=space.channels)
        found[words] = replace(other, space=own)
    return found


def top1_percent(words: str) -> float | None:
    """Published ImageNet accuracy of a network of `SHOWN`."""
    names = {shown: name for name, shown in SHOWN.items()}
    return PUBLISHED[names[words]].top1_percent if words in names else None


def scale_figure(networks: Mapping[str, Architecture]) -> Figure:
    """The strips, the first one at the top."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(8.0, 0.9 + 0.52 * len(networks)), layout="constrained")
        axes = figure.subplots()
        kernels: set[int] = set()
        for row, (name, architecture) in enumerate(networks.items()):
            left = 0.0
            for block in architecture.blocks:
                if isinstance(block.op, Zero):
                    continue
                macs, shape = complexity.macs([block]) / 1e6, kernel_and_expansion(block.op)
                kernels |= {shape[0]} if shape else set()
                color = _FIXED if shape is None else kernel_color(shape[0])
                axes.barh(row, macs, 0.5, left, color=color, edgecolor="#1b273366", linewidth=0.4)
                left += macs
            size = f"{count(architecture.macs)} MACs, {count(architecture.parameters)} parameters"
            weight = "bold" if name == OWN else "normal"
            axes.text(0, row - 0.34, f"{name}: {size}", fontsize=8.5, fontweight=weight)
        axes.set(ylim=(len(networks) - 0.6, -0.75), yticks=[], xlabel="million MACs an image")
        axes.spines["left"].set_visible(False)
        colors = {kernel: kernel_color(kernel) for kernel in sorted(kernels)}
        pieces = [Patch(color=color, label=f"{k}×{k}") for k, color in colors.items()]
        pieces.append(Patch(color=_FIXED, label="stem, head"))
        figure.legend(handles=pieces, loc="outside lower center", ncols=len(pieces))
        return figure
