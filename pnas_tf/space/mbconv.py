"""Search spaces: a backbone of stages, and the candidate ops of each choice block (section 3.1 and
4.2).

`proxyless` is the ImageNet space of the paper, `tiny` one for images of 28 to 32 pixels, `mcu` one
for microcontrollers. All are
data: a space of the user's own is another value of the same class. Knows nothing of layers, latency
or TensorFlow.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from pnas_tf.errors import UserError
from pnas_tf.space.backbone import (
    check_count,
    check_padding,
    check_size,
    check_width_multiplier,
    make_divisible,
)
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.layout import Layout, PlacedValue
from pnas_tf.space.ops import CandidateOp, Head, MBConv, Stem, Zero


@dataclass(frozen=True)
class Stage:
    """`blocks` choice blocks of `width` output channels, the first of them with `stride`."""

    width: int
    blocks: int
    stride: int


@dataclass(frozen=True)
class MBConvSpace(SearchSpace):
    """A backbone of stages. Images are [resolution, resolution, channels]; the head gives [classes]
    logits.

    Attributes:
        stem_width: output channels of the first convolution.
        first_width: output channels of the fixed MBConv k3 e1 behind the stem.
        head_width: channels that the classifier reads.
        candidates: the ops of every choice block.
        skips: Zero is a candidate too where stride is 1 and widths agree.
        padding: "same" is TensorFlow's; "symmetric" pads k // 2 on both sides, as PyTorch and the
            published networks do (they differ where stride is 2 and the size is even).
    """

    name: str
    resolution: int
    classes: int
    stem_width: int
    first_width: int
    stages: tuple[Stage, ...]
    head_width: int
    candidates: tuple[CandidateOp, ...]
    stem_stride: int = 2
    channels: int = 3
    skips: bool = True
    padding: str = "same"

    def __post_init__(self) -> None:
        for name in (
            "resolution",
            "classes",
            "stem_width",
            "first_width",
            "head_width",
            "stem_stride",
            "channels",
        ):
            check_count(f"{name} of space '{self.name}'", getattr(self, name))
        for number, stage in enumerate(self.stages):
            for name in ("width", "blocks", "stride"):
                check_count(
                    f"{name} of stage {number} of space '{self.name}'", getattr(stage, name)
                )
        check_size(
            self.name,
            choice_blocks=sum(stage.blocks for stage in self.stages),
            candidates=len(self.candidates),
        )
        check_padding(self.name, self.padding)
        if (
            not self.stages
            or not self.candidates
            or len(set(self.candidates)) != len(self.candidates)
            or any(not isinstance(op, MBConv) for op in self.candidates)
        ):
            raise UserError(
                f"space '{self.name}' cannot be searched",
                expected="at least one stage and distinct MBConv candidates",
                received=f"{len(self.stages)} stages, candidates "
                f"{[op.key for op in self.candidates]}",
                fix="Add stages or candidates; Zero is governed by `skips`.",
            )

    @property
    def stem(self) -> Stem:
        """The first convolution."""
        return Stem()

    @property
    def first_op(self) -> MBConv:
        """The fixed block behind the stem."""
        return MBConv(kernel=3, expansion=1)

    @property
    def head(self) -> Head:
        """What gives the logits."""
        return Head(width=self.head_width)

    @functools.cached_property
    def layout(self) -> Layout:
        """A chain: stem, first block, the choice blocks, head."""
        layout = Layout(self.padding)
        images = PlacedValue(0, self.resolution, self.channels)
        x = layout.fixed("stem", self.stem, images, self.stem_width, stride=self.stem_stride)
        same_width = self.stem_width == self.first_width
        x = layout.fixed("first", self.first_op, x, self.first_width, shortcut=same_width)
        for number, stage in enumerate(self.stages):
            for position in range(stage.blocks):
                stride = stage.stride if position == 0 else 1
                shortcut = stride == 1 and x.channels == stage.width
                candidates = self.candidates + ((Zero(),) if shortcut and self.skips else ())
                x = layout.choice(
                    x, stage.width, candidates, stage=number, stride=stride, shortcut=shortcut
                )
        layout.fixed("head", self.head, x, self.classes)
        return layout

    def with_width(self, multiplier: float) -> MBConvSpace:
        """The same space with every width multiplied and made divisible by 8; the head widens only
        above 1."""
        if multiplier == 1:
            return self
        check_width_multiplier(multiplier)
        return replace(
            self,
            stem_width=make_divisible(self.stem_width * multiplier),
            first_width=make_divisible(self.first_width * multiplier),
            stages=tuple(
                replace(stage, width=make_divisible(stage.width * multiplier))
                for stage in self.stages
            ),
            head_width=make_divisible(self.head_width * multiplier)
            if multiplier > 1
            else self.head_width,
        )


MBCONV_3_5_7 = tuple(MBConv(kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6))


def proxyless(*, resolution: int = 224, classes: int = 1000, width: float = 1.0) -> MBConvSpace:
    """The ImageNet space of the paper: 21 choice blocks, 15 of them with Zero."""
    stages = (
        Stage(24, 4, 2),
        Stage(40, 4, 2),
        Stage(80, 4, 2),
        Stage(96, 4, 1),
        Stage(192, 4, 2),
        Stage(320, 1, 1),
    )
    return MBConvSpace(
        "proxyless",
        resolution,
        classes,
        stem_width=32,
        first_width=16,
        stages=stages,
        head_width=1280,
        candidates=MBCONV_3_5_7,
    ).with_width(width)


def tiny(*, resolution: int = 32, classes: int = 10, width: float = 1.0) -> MBConvSpace:
    """Nine choice blocks for images of 28 to 32 pixels; 1 to 6 million MACs."""
    stages = (Stage(16, 3, 1), Stage(24, 3, 2), Stage(40, 3, 2))
    return MBConvSpace(
        "tiny",
        resolution,
        classes,
        stem_width=16,
        first_width=8,
        stages=stages,
        head_width=128,
        candidates=MBCONV_3_5_7,
    ).with_width(width)


MBCONV_MCU = tuple(MBConv(kernel, expansion) for kernel in (3, 5, 7) for expansion in (1, 2, 4, 6))


def mcu(*, resolution: int = 96, classes: int = 10, width: float = 1.0) -> MBConvSpace:
    """Eleven narrow choice blocks for microcontrollers: 3 to 20 million MACs at 96 pixels. Widths
    are those of MCUNet's like (Lin et al. 2020), expansions 1 to 6 and kernels 3 to 7."""
    stages = (Stage(16, 2, 2), Stage(24, 3, 2), Stage(40, 3, 2), Stage(64, 3, 2))
    return MBConvSpace(
        "mcu",
        resolution,
        classes,
        stem_width=16,
        first_width=8,
        stages=stages,
        head_width=160,
        candidates=MBCONV_MCU,
    ).with_width(width)
