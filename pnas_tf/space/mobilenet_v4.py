"""MobileNetV4-Conv-S and -M (Qin et al. 2024, tables 11 and 12 of the appendix) and a space around
them.

Plain convolutions first, then universal inverted bottlenecks, ReLU throughout, and a head with a
convolution behind the pooling. Padding is TensorFlow's. Knows nothing of layers.
"""

from __future__ import annotations

from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import UIB, CandidateOp, Conv, FusedMBConv

_RELU = "relu"
_SEARCHED = tuple(
    UIB(start, middle, expansion, _RELU)
    for start, middle in ((3, 3), (3, 5), (5, 5), (0, 3), (0, 5), (3, 0), (5, 0), (0, 0))
    for expansion in (2, 4)
)


def _uibs(symbols: str) -> tuple[UIB, ...]:
    """Of "start kernel.middle kernel.expansion", separated by blanks."""
    found = []
    for symbol in symbols.split():
        start, middle, expansion = map(int, symbol.split("."))
        found.append(UIB(start, middle, expansion, _RELU))
    return tuple(found)


_SMALL = _uibs("5.5.3 0.3.2 0.3.2 0.3.2 0.3.2 3.0.4 3.3.6 5.5.4 0.5.4 0.5.3 0.3.4 0.3.4")
_MEDIUM = _uibs(
    "3.5.4 3.3.2 "
    "3.5.6 3.3.4 3.3.4 3.5.4 3.3.4 3.0.4 0.0.2 3.0.4 "
    "5.5.6 5.5.4 3.5.4 3.5.4 0.0.4 3.0.4 3.5.2 5.5.4 0.0.4 0.0.4 5.0.2"
)
_FUSED = FusedMBConv(3, 4, activation=_RELU)
_PLAIN = Conv(3, _RELU), Conv(1, _RELU)

# What stands in the choice blocks of the published networks, in order.
CONV_SMALL_OPS: tuple[CandidateOp, ...] = (*_PLAIN, *_PLAIN, *_SMALL)
CONV_MEDIUM_OPS: tuple[CandidateOp, ...] = (_FUSED, *_MEDIUM)


def mnv4(*, resolution: int = 224, classes: int = 1000, width: float = 1.0) -> MBConvSpace:
    """MobileNetV4-Conv-S with every inverted bottleneck searched: 12 choice blocks of 16 forms,
    kernels and expansions, those that the published network has there besides, and Zero."""
    stages = (*_first_convolutions(), _searched(96, _SMALL[:6]), _searched(128, _SMALL[6:]))
    return _space("mnv4", stages, resolution, classes).with_width(width)


def conv_small(name: str, *, resolution: int, classes: int) -> MBConvSpace:
    """A space that holds MobileNetV4-Conv-S: each stage offers the ops that it has there."""
    stages = (*_first_convolutions(), _stage(96, _SMALL[:6]), _stage(128, _SMALL[6:]))
    return _space(name, stages, resolution, classes)


def conv_medium(name: str, *, resolution: int, classes: int) -> MBConvSpace:
    """The same of MobileNetV4-Conv-M."""
    stages = (
        Stage(48, 1, 2, (_FUSED,)),
        _stage(80, _MEDIUM[:2]),
        _stage(160, _MEDIUM[2:10]),
        _stage(256, _MEDIUM[10:]),
    )
    return _space(name, stages, resolution, classes)


def _first_convolutions() -> tuple[Stage, ...]:
    """32, 32, 96 and 64 channels: 3x3 with stride 2, then 1x1, twice."""
    spatial, mixing = ((op,) for op in _PLAIN)
    return (
        Stage(32, 1, 2, spatial),
        Stage(32, 1, 1, mixing, shortcuts=False),
        Stage(96, 1, 2, spatial),
        Stage(64, 1, 1, mixing, shortcuts=False),
    )


def _searched(width: int, published: tuple[UIB, ...]) -> Stage:
    return Stage(width, len(published), 2, tuple(dict.fromkeys((*_SEARCHED, *published))))


def _stage(width: int, ops: tuple[CandidateOp, ...]) -> Stage:
    return Stage(width, len(ops), 2, tuple(dict.fromkeys(ops)))


def _space(name: str, stages: tuple[Stage, ...], resolution: int, classes: int) -> MBConvSpace:
    return MBConvSpace(
        name,
        resolution,
        classes,
        stem_width=32,
        first_width=0,
        stages=stages,
        head_width=960,
        candidates=(),
        head_hidden=1280,
        activation=_RELU,
    )
