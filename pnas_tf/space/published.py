"""The published networks (Cai et al. 2019, tables 2 and 4 and the official configurations), as
architectures.

Their widths are not those of the `proxyless` space, so each comes with a backbone of its own;
padding is PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pnas_tf.errors import UserError
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBCONV_3_5_7, MBConvSpace, Stage
from pnas_tf.space.mobilenet_v4 import CONV_MEDIUM_OPS, CONV_SMALL_OPS, conv_medium, conv_small
from pnas_tf.space.ops import CandidateOp, MBConv, Zero

_STAGE_SHAPES = ((4, 2), (4, 2), (4, 2), (4, 1), (4, 2), (1, 1))  # (blocks, stride) of each stage

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Published:
    """A published network. ops: one "kernel x expansion" per choice block, "-" for a skipped one.
    top1_percent: ImageNet."""

    stem_width: int
    first_width: int
    stage_widths: tuple[int, ...]
    head_width: int
    ops: str
    dropout: float
    parameters: int
    macs: int
    top1_percent: float

    def architecture(self, name: str, *, resolution: int) -> Architecture:
        """The network as an architecture, at any resolution, with the classes of ImageNet."""
        shapes = zip(self.stage_widths, _STAGE_SHAPES, strict=True)
        stages = tuple(Stage(width, blocks, stride) for width, (blocks, stride) in shapes)
        space = MBConvSpace(
            name,
            resolution,
            IMAGENET_CLASSES,
            self.stem_width,
            self.first_width,
            stages,
            self.head_width,
            MBCONV_3_5_7,
            padding="symmetric",
        )
        return Architecture(space, tuple(_op(symbol) for symbol in self.ops.split()))


@dataclass(frozen=True)
class PublishedV4:
    """A published network of MobileNetV4 (Qin et al. 2024, tables 5, 11 and 12): a space that holds
    it, and its ops. macs: at 224 px."""

    space: Callable[..., MBConvSpace]
    ops: tuple[CandidateOp, ...]
    dropout: float
    parameters: int
    macs: int
    top1_percent: float

    def architecture(self, name: str, *, resolution: int) -> Architecture:
        """The network as an architecture, at any resolution, with the classes of ImageNet."""
        space = self.space(name, resolution=resolution, classes=IMAGENET_CLASSES)
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
        macs=827_649_984,
        top1_percent=79.9,
    ),
}


def published(name: str, *, resolution: int = 224) -> Architecture:
    """A published network by name, with 1,000 classes. Raises UserError on an unknown name."""
    if name not in PUBLISHED:
        raise UserError(
            "unknown published network",
            expected=f"one of {sorted(PUBLISHED)}",
            received=repr(name),
            fix="Choose one of these.",
        )
    return PUBLISHED[name].architecture(name, resolution=resolution)


def _op(symbol: str) -> CandidateOp:
    if symbol == "-":
        return Zero()
    kernel, expansion = symbol.split("x")
    return MBConv(int(kernel), int(expansion))
