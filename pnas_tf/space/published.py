"""Published networks as architectures: those of Cai et al. 2019 (tables 2 and 4 and the official
configurations), MobileNetV2 (Sandler et al. 2018, table 2), MobileNetV4 (Qin et al. 2024,
`mobilenet_v4`), and EfficientNet-Lite (the tensorflow/tpu project, 2020), for which there are
weights to start from.

Their widths are not those of the `proxyless` space, so each comes with a backbone of its own.
Padding is PyTorch's in those of Cai et al., TensorFlow's in the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pnas_tf.errors import UserError, closest
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBCONV_3_5_7, MBConvSpace, Stage
from pnas_tf.space.mobilenet_v4 import CONV_MEDIUM_OPS, CONV_SMALL_OPS, conv_medium, conv_small
from pnas_tf.space.ops import CandidateOp, MBConv, Zero

_STRIDES = (2, 2, 2, 1, 2, 1)  # of each stage of all of them
_PROXYLESS_BLOCKS = (4, 4, 4, 4, 4, 1)

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Published:
    """A published network.

    Attributes:
        ops: one "kernel x expansion" per choice block, "-" for a skipped one.
        macs: at its own resolution.
        top1_percent: ImageNet.
        blocks: of each stage.
        resolution: that it was published for.
    """

    stem_width: int
    first_width: int
    stage_widths: tuple[int, ...]
    head_width: int
    ops: str
    dropout: float
    parameters: int
    macs: int
    top1_percent: float
    blocks: tuple[int, ...] = _PROXYLESS_BLOCKS
    resolution: int = 224
    padding: str = "symmetric"

    def architecture(self, name: str, *, resolution: int | None = None) -> Architecture:
        """The network as an architecture, at any resolution, with the classes of ImageNet."""
        shapes = zip(self.stage_widths, self.blocks, _STRIDES, strict=True)
        stages = tuple(Stage(*shape) for shape in shapes)
        space = MBConvSpace(
            name,
            self.resolution if resolution is None else resolution,
            IMAGENET_CLASSES,
            self.stem_width,
            self.first_width,
            stages,
            self.head_width,
            MBCONV_3_5_7,
            padding=self.padding,
        )
        return Architecture(space, tuple(_op(symbol) for symbol in self.ops.split()))


@dataclass(frozen=True)
class PublishedV4:
    """A published network of MobileNetV4 (Qin et al. 2024, tables 5, 11 and 12): a space that holds
    it, and its ops. macs: at `resolution`, which it was published for."""

    space: Callable[..., MBConvSpace]
    ops: tuple[CandidateOp, ...]
    dropout: float
    parameters: int
    macs: int
    top1_percent: float
    resolution: int = 224

    def architecture(self, name: str, *, resolution: int | None = None) -> Architecture:
        """The network as an architecture, at any resolution, with the classes of ImageNet."""
        sized = self.resolution if resolution is None else resolution
        space = self.space(name, resolution=sized, classes=IMAGENET_CLASSES)
        return Architecture(space, self.ops)


PUBLISHED: dict[str, Published | PublishedV4] = {
    "proxyless_mobile": Published(
        32,
        16,
        (32, 40, 80, 96, 192, 320),
        1280,
        "5x3 3x3 - - 7x3 3x3 5x3 5x3 7x6 5x3 5x3 5x3 5x6 5x3 5x3 5x3 7x6 7x6 7x3 7x3 7x6",
        dropout=0.1,
        parameters=4_080_512,
        macs=320_427_584,
        top1_percent=74.594,
    ),
    "proxyless_cpu": Published(
        40,
        24,
        (32, 48, 88, 104, 216, 360),
        1432,
        "3x6 3x3 3x3 3x3 3x6 3x3 3x3 5x3 3x6 - - 3x3 5x6 3x3 3x3 3x3 5x6 5x3 5x3 3x3 5x6",
        dropout=0.2,
        parameters=4_361_648,
        macs=439_243_864,
        top1_percent=75.290,
    ),
    "proxyless_gpu": Published(
        40,
        24,
        (32, 56, 112, 128, 256, 432),
        1728,
        "5x3 - - - 7x3 - - 3x3 7x6 - - 5x3 5x6 - 3x3 5x3 7x6 7x6 7x6 5x6 7x6",
        dropout=0.3,
        parameters=7_119_848,
        macs=465_260_160,
        top1_percent=75.084,
    ),
    "proxyless_mobile_14": Published(
        48,
        24,
        (40, 56, 112, 136, 256, 448),
        1792,
        "5x3 3x3 - - 7x3 3x3 5x3 5x3 7x6 5x3 5x3 5x3 5x6 5x3 5x3 5x3 7x6 7x6 7x3 7x3 7x6",
        dropout=0.3,
        parameters=6_857_568,
        macs=580_883_408,
        top1_percent=76.7,
    ),
    "mobilenet_v4_conv_small": PublishedV4(
        conv_small,
        CONV_SMALL_OPS,
        dropout=0.3,
        parameters=3_774_024,
        macs=186_005_568,
        top1_percent=73.8,
    ),
    "mobilenet_v4_conv_medium": PublishedV4(
        conv_medium,
        CONV_MEDIUM_OPS,
        dropout=0.2,
        parameters=9_715_512,
        macs=1_080_244_224,
        top1_percent=79.9,
        resolution=256,
    ),
    "mobilenet_v2": Published(
        32,
        16,
        (24, 32, 64, 96, 160, 320),
        1280,
        " ".join(["3x6"] * 16),
        dropout=0.2,
        parameters=3_504_872,
        macs=300_774_272,
        top1_percent=72.0,
        blocks=(2, 3, 4, 3, 3, 1),
        padding="same",
    ),
    "efficientnet_lite0": Published(
        32,
        16,
        (24, 40, 80, 112, 192, 320),
        1280,
        "3x6 3x6 5x6 5x6 3x6 3x6 3x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 3x6",
        dropout=0.2,
        parameters=4_652_008,
        macs=385_187_552,
        top1_percent=75.1,
        blocks=(2, 2, 3, 3, 4, 1),
        padding="same",
    ),
    "efficientnet_lite1": Published(
        32,
        16,
        (24, 40, 80, 112, 192, 320),
        1280,
        "3x6 3x6 3x6 5x6 5x6 5x6 3x6 3x6 3x6 3x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 3x6",
        dropout=0.2,
        parameters=5_416_680,
        macs=600_185_232,
        top1_percent=76.7,
        blocks=(3, 3, 4, 4, 5, 1),
        resolution=240,
        padding="same",
    ),
    "efficientnet_lite2": Published(
        32,
        16,
        (24, 48, 88, 120, 208, 352),
        1280,
        "3x6 3x6 3x6 5x6 5x6 5x6 3x6 3x6 3x6 3x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 5x6 3x6",
        dropout=0.3,
        parameters=6_092_072,
        macs=859_736_272,
        top1_percent=77.6,
        blocks=(3, 3, 4, 4, 5, 1),
        resolution=260,
        padding="same",
    ),
}


def published(name: str, *, resolution: int | None = None) -> Architecture:
    """A published network by name, with 1,000 classes.

    Args:
        name: of `PUBLISHED`.
        resolution: in pixels; None for its own.

    Raises:
        UserError: an unknown name.
    """
    if name not in PUBLISHED:
        meant = closest(name, PUBLISHED)
        fix = f"Write {meant}." if meant else "Choose one of these."
        if name.endswith((".tflite", ".keras", ".h5")):
            fix = "It holds weights: name the architecture of its run, a FILE.json."
        raise UserError(
            "unknown published network",
            expected=f"one of {', '.join(sorted(PUBLISHED))}; or FILE.json, an architecture",
            received=repr(name),
            fix=fix,
        )
    return PUBLISHED[name].architecture(name, resolution=resolution)


def open_architecture(name: str, *, resolution: int | None = None) -> Architecture:
    """A published network, or the architecture of FILE.json.

    Args:
        name: of `PUBLISHED`, or a path that ends in .json.
        resolution: in pixels; None for its own.

    Raises:
        UserError: there is no such network, or the file holds none.
    """
    if not name.endswith(".json"):
        return published(name, resolution=resolution)
    own = Architecture.load(name)
    if resolution is None:
        return own
    return replace(own, space=replace(own.space, resolution=resolution))


def _op(symbol: str) -> CandidateOp:
    if symbol == "-":
        return Zero()
    kernel, expansion = symbol.split("x")
    return MBConv(int(kernel), int(expansion))
