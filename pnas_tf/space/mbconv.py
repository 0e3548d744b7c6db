"""Search spaces: a backbone of stages, and the candidate ops of each choice block (section 3.1 and
4.2).

`proxyless` is the ImageNet space of the paper, `lite` has the stages of EfficientNet-Lite0, for
which there are ImageNet weights, `tiny` is for images of 28 to 32 pixels, `mcu` for
microcontrollers. All are data: a space of the user's own is another value of the same class. Knows
nothing of layers, latency or TensorFlow.
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
from pnas_tf.space.base import SearchSpace, since
from pnas_tf.space.layout import Layout, PlacedValue
from pnas_tf.space.ops import (
    ACTIVATIONS,
    UIB,
    BasicBlock,
    CandidateOp,
    Conv,
    FusedMBConv,
    Head,
    MBConv,
    Stem,
    Zero,
    wrong_value,
)

# What a chain of blocks may hold; Zero is governed by `skips`.
CHAIN_OPS = (MBConv, FusedMBConv, BasicBlock, UIB, Conv)


@dataclass(frozen=True)
class Stage:
    """`blocks` choice blocks of `width` output channels, the first of them with `stride`.

    Attributes:
        candidates: of its blocks; none: those of the space. One alone is a fixed block.
        shortcuts: identity shortcuts where stride is 1 and widths agree.
    """

    width: int
    blocks: int
    stride: int
    candidates: tuple[CandidateOp, ...] = since(())
    shortcuts: bool = since(True)


@dataclass(frozen=True)
class MBConvSpace(SearchSpace):
    """A backbone of stages. Images are [resolution, resolution, channels]; the head gives [classes]
    logits.

    Attributes:
        stem_width: output channels of the first convolution.
        first_width: output channels of the fixed MBConv k3 e1 behind the stem; 0: there is none.
        head_width: channels of the feature-mix convolution.
        candidates: the ops of every choice block whose stage names none of its own.
        skips: Zero is a candidate too where stride is 1 and widths agree.
        padding: "same" is TensorFlow's; "symmetric" pads k // 2 on both sides, as PyTorch and the
            published networks do (they differ where stride is 2 and the size is even).
        head_hidden: channels of one more convolution behind the pooling; 0: there is none.
        activation: of stem and head.
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
    head_hidden: int = since(0)
    activation: str = since("relu6")

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            check_count(f"{name} of space '{self.name}'", getattr(self, name), least=least)
        for number, stage in enumerate(self.stages):
            for name in ("width", "blocks", "stride"):
                check_count(
                    f"{name} of stage {number} of space '{self.name}'", getattr(stage, name)
                )
        lists = [stage.candidates or self.candidates for stage in self.stages]
        check_size(
            self.name,
            choice_blocks=sum(stage.blocks for stage in self.stages),
            candidates=max(map(len, lists), default=0),
        )
        check_padding(self.name, self.padding)
        if self.activation not in ACTIVATIONS:
            what = f"activation of space '{self.name}'"
            raise wrong_value(what, f"one of {ACTIVATIONS}", self.activation)
        if not lists:
            self._refuse("at least one stage", "none", "Add stages.")
        for number, (stage, ops) in enumerate(zip(self.stages, lists)):
            self._check_candidates(f"stage {number}", ops, strided=stage.stride > 1)

    def _check_candidates(self, where: str, ops: tuple[CandidateOp, ...], *, strided: bool) -> None:
        keys = str([op.key for op in ops])
        if not ops or len(set(ops)) != len(ops) or not all(isinstance(op, CHAIN_OPS) for op in ops):
            names = ", ".join(kind.__name__ for kind in CHAIN_OPS)
            expected = f"distinct candidates of {where}, each of {names}"
            self._refuse(expected, keys, "Correct the candidates; Zero is governed by `skips`.")
        if strided and not any(map(_takes_stride, ops)):
            self._refuse(f"a candidate of {where} that takes its stride", keys, "Add a kernel.")

    def _refuse(self, expected: str, received: str, fix: str) -> None:
        what = f"space '{self.name}' cannot be searched"
        raise UserError(what, expected=expected, received=received, fix=fix)

    @property
    def stem(self) -> Stem:
        """The first convolution."""
        return Stem(activation=self.activation)

    @property
    def first_op(self) -> MBConv:
        """The fixed block behind the stem."""
        return MBConv(kernel=3, expansion=1)

    @property
    def head(self) -> Head:
        """What gives the logits."""
        return Head(self.head_width, self.head_hidden, self.activation)

    @functools.cached_property
    def layout(self) -> Layout:
        """A chain: stem, first block, the choice blocks, head."""
        layout = Layout(self.padding)
        images = PlacedValue(0, self.resolution, self.channels)
        x = layout.fixed("stem", self.stem, images, self.stem_width, stride=self.stem_stride)
        if self.first_width:
            same_width = self.stem_width == self.first_width
            x = layout.fixed("first", self.first_op, x, self.first_width, shortcut=same_width)
        for number, stage in enumerate(self.stages):
            for position in range(stage.blocks):
                stride = stage.stride if position == 0 else 1
                shortcut = stage.shortcuts and stride == 1 and x.channels == stage.width
                candidates = stage.candidates or self.candidates
                if stride > 1:
                    candidates = tuple(filter(_takes_stride, candidates))
                if shortcut and self.skips and len(stage.candidates) != 1:
                    candidates += (Zero(),)
                x = layout.choice(
                    x, stage.width, candidates, stage=number, stride=stride, shortcut=shortcut
                )
        layout.fixed("head", self.head, x, self.classes)
        return layout

    def with_width(self, multiplier: float) -> MBConvSpace:
        """The same space with every width multiplied and made divisible by 8; the head, with its
        hidden convolution, widens only above 1."""
        if multiplier == 1:
            return self
        check_width_multiplier(multiplier)

        def widened(channels: int) -> int:
            return make_divisible(channels * multiplier) if channels else 0

        head = (self.head_width, self.head_hidden)
        if multiplier > 1:
            head = (widened(self.head_width), widened(self.head_hidden))
        return replace(
            self,
            stem_width=widened(self.stem_width),
            first_width=widened(self.first_width),
            stages=tuple(replace(stage, width=widened(stage.width)) for stage in self.stages),
            head_width=head[0],
            head_hidden=head[1],
        )


# The fields that count something, and the least that each may be.
_LEAST = {
    **dict.fromkeys(("resolution", "classes", "stem_width", "head_width"), 1),
    **dict.fromkeys(("stem_stride", "channels"), 1),
    **dict.fromkeys(("first_width", "head_hidden"), 0),
}


def _takes_stride(op: CandidateOp) -> bool:
    """Whether a layer of the op has taps to leave out."""
    return not isinstance(op, UIB) or bool(op.start_kernel or op.middle_kernel)


MBCONV_3_5_7 = tuple(MBConv(kernel, expansion) for kernel in (3, 5, 7) for expansion in (3, 6))
# The backbone of MobileNetV2, without its stages.
_imagenet = functools.partial(
    MBConvSpace, stem_width=32, first_width=16, head_width=1280, candidates=MBCONV_3_5_7
)


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
    return _imagenet("proxyless", resolution, classes, stages=stages).with_width(width)


def lite(*, resolution: int = 224, classes: int = 1000, width: float = 1.0) -> MBConvSpace:
    """The stages of EfficientNet-Lite0: 15 choice blocks, 9 of them with Zero."""
    stages = (
        Stage(24, 2, 2),
        Stage(40, 2, 2),
        Stage(80, 3, 2),
        Stage(112, 3, 1),
        Stage(192, 4, 2),
        Stage(320, 1, 1),
    )
    return _imagenet("lite", resolution, classes, stages=stages).with_width(width)


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
