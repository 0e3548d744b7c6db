"""Reads the upstream project's `net.config`, the JSON form of its networks.

Format: name, bn {momentum, eps}, first_conv, blocks [{mobile_inverted_conv, shortcut}],
feature_mix_layer, classifier. It holds no resolution and no search space, so both are made here.
Fields that we have no use for are passed over; anything that our networks cannot be is refused by
its place. Knows nothing of weights (interop/checkpoint.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from pnas_tf.errors import UserError, named
from pnas_tf.io import atomic
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBCONV_3_5_7, MBConvSpace, Stage
from pnas_tf.space.ops import CandidateOp, MBConv, Zero

ACTIVATIONS = {"relu6": "relu6", "h_swish": "hswish"}  # theirs: ours
_FED = ", which the layer before it gives"
BLOCK, IDENTITY = "MobileInvertedResidualBlock", "IdentityLayer"
# What the first convolution and the feature-mix layer have besides their sizes.
PLAIN_CONVOLUTION = {
    "dilation": 1,
    "groups": 1,
    "bias": False,
    "has_shuffle": False,
    "use_bn": True,
    "act_func": "relu6",
    "dropout_rate": 0,
    "ops_order": "weight_bn_act",
}


@dataclass(frozen=True)
class UpstreamNetwork:
    """What a net.config says. bn_momentum: in Keras terms, one minus PyTorch's."""

    architecture: Architecture
    bn_momentum: float
    bn_epsilon: float
    dropout: float


def load_upstream(
    path: str | os.PathLike, *, resolution: int, name: str | None = None
) -> UpstreamNetwork:
    """Reads a net.config file; padding is PyTorch's ("symmetric").

    Args:
        path: of the file.
        resolution: input size in pixels, which the file does not hold.
        name: of the space; the file's stem where None.

    Raises:
        UserError: something is missing, unknown or not a network of MBConv and Zero blocks; it
            names the block.
    """
    made_by = "the upstream project's training program"
    document = atomic.read_json(path, what="net.config", made_by=made_by)
    with named(str(path)):
        return from_upstream(
            document, where=str(path), name=name or Path(path).stem, resolution=resolution
        )


def from_upstream(document: object, *, where: str, name: str, resolution: int) -> UpstreamNetwork:
    """The network that a net.config document describes.

    Args:
        document: what the JSON text holds.
        where: the file's name in errors.
        name: of the space.
        resolution: input size in pixels.

    Raises:
        UserError: something is missing, unknown or not a network of MBConv and Zero blocks.
    """
    top = _Part.of(document, where)
    stem, mix = _convolution(top, "first_conv", 3), _convolution(top, "feature_mix_layer", 1)
    classifier, bn = top.part("classifier"), top.part("bn")
    mix.expect("stride", 1, 1)
    first, *choices = _rows(top, stem.count("out_channels"))
    mix.expect("in_channels", choices[-1].out_channels, because=_FED)
    classifier.expect("in_features", mix.count("out_channels"), because=_FED)
    classifier.expect("bias", True, True)
    classifier.expect("use_bn", False, False)
    classifier.expect("act_func", None)
    space = MBConvSpace(
        name,
        resolution,
        classifier.count("out_features"),
        first.in_channels,
        first.out_channels,
        _stages(choices),
        mix.count("out_channels"),
        _candidates(choices),
        stem_stride=stem.count("stride"),
        channels=stem.count("in_channels"),
        padding="symmetric",
    )
    for choice, row in zip(space.choice_blocks, choices, strict=True):
        if choice.shortcut != row.shortcut:
            raise row.part.error(
                "shortcut", "an IdentityLayer exactly where stride is 1 and the widths agree"
            )
    return UpstreamNetwork(
        Architecture(space, tuple(row.op for row in choices)),
        round(1.0 - bn.fraction("momentum", 0.1), 12),
        bn.fraction("eps", 1e-3),
        classifier.fraction("dropout_rate", 0.0),
    )


@dataclass(frozen=True)
class _Part:
    """One object of the document, with its place for errors."""

    fields: dict[str, object]
    where: str

    @classmethod
    def of(cls, document: object, where: str) -> _Part:
        """The object `document`. Raises UserError when it is none."""
        if not isinstance(document, dict):
            raise UserError(
                f"{where} is not part of a net.config",
                expected="an object",
                received=repr(document)[:200],
                fix="Use a net.config of the upstream project.",
            )
        return cls(document, where)

    def part(self, key: str) -> _Part:
        """The object under a key."""
        return _Part.of(self.fields.get(key), f"{self.where}, {key}")

    def count(self, key: str) -> int:
        """The positive integer under a key; 16.0 is one too."""
        value = self.fields.get(key)
        whole = type(value) is int or (isinstance(value, float) and value.is_integer())
        if not whole or not 1 <= value <= 1_000_000:  # type: ignore[operator]
            raise self.error(key, "a positive integer")
        return int(value)  # type: ignore[call-overload]

    def fraction(self, key: str, default: float) -> float:
        """The number from 0 to 1 under a key."""
        value = self.fields.get(key, default)
        if type(value) not in (int, float) or not 0 <= value < 1:  # type: ignore[operator]
            raise self.error(key, "a number from 0 to 1")
        return float(value)  # type: ignore[arg-type]

    def expect(
        self, key: str, wanted: object, default: object = None, *, because: str = ""
    ) -> None:
        """Raises UserError unless that value stands under a key."""
        value = self.fields.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not type(wanted) or value != wanted:
            raise self.error(key, repr(wanted) + because)

    def error(self, key: str, expected: str) -> UserError:
        """The refusal of what stands under a key."""
        return UserError(
            f'"{key}" of {self.where}',
            expected=expected,
            received=repr(self.fields.get(key))[:200],
            fix="Only networks of MBConv and Zero blocks, as the upstream search makes them, can "
            "be read.",
        )


@dataclass(frozen=True)
class _Row:
    """One block as the file has it; a Zero block has the widths of its input."""

    part: _Part
    op: CandidateOp
    stride: int
    shortcut: bool
    in_channels: int
    out_channels: int


def _convolution(top: _Part, key: str, kernel: int) -> _Part:
    part = top.part(key)
    part.expect("name", "ConvLayer", "ConvLayer")
    part.expect("kernel_size", kernel)
    for name, usual in PLAIN_CONVOLUTION.items():
        part.expect(name, usual, usual)
    return part


def _rows(top: _Part, channels: int) -> list[_Row]:
    """All blocks, each of which takes what the one before it gives. channels: what the stem
    gives."""
    blocks = top.fields.get("blocks")
    if not isinstance(blocks, list) or not 2 <= len(blocks) <= 10_000:
        raise top.error("blocks", "a list of at least two blocks")
    rows: list[_Row] = []
    for number, block in enumerate(blocks):
        rows.append(_row(_Part.of(block, f"{top.where}, block {number}"), channels))
        channels = rows[-1].out_channels
    first = rows[0]
    alike = first.in_channels == first.out_channels
    if (first.op, first.stride, first.shortcut) != (MBConv(3, 1), 1, alike):
        expected = "MBConv of kernel 3 and expansion 1 with stride 1; a shortcut between equals"
        raise first.part.error("mobile_inverted_conv", expected)
    return rows


def _row(part: _Part, channels: int) -> _Row:
    part.expect("name", BLOCK, BLOCK)
    conv, shortcut = part.part("mobile_inverted_conv"), part.fields.get("shortcut")
    if shortcut is not None:
        part.part("shortcut").expect("name", IDENTITY)
    if conv.fields.get("name") == "ZeroLayer":
        if shortcut is None:
            raise part.error("shortcut", "an IdentityLayer beside a ZeroLayer")
        conv.expect("stride", 1, 1)
        return _Row(part, Zero(), 1, True, channels, channels)
    conv.expect("name", "MBInvertedConvLayer")
    conv.expect("in_channels", channels, because=_FED)
    activation, has_excitation = (
        conv.fields.get("act_func", "relu6"),
        conv.fields.get("use_se", False),
    )
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise conv.error("act_func", f"one of {sorted(ACTIVATIONS)}")
    if not isinstance(has_excitation, bool):
        raise conv.error("use_se", "true or false")
    kernel, expansion = conv.count("kernel_size"), conv.count("expand_ratio")
    if conv.fields.get("mid_channels") is not None:
        conv.expect("mid_channels", channels * expansion)
    with named(conv.where):
        op = MBConv(kernel, expansion, has_excitation, ACTIVATIONS[activation])
    width = conv.count("out_channels")
    return _Row(part, op, conv.count("stride"), shortcut is not None, channels, width)


def _stages(rows: list[_Row]) -> tuple[Stage, ...]:
    """Runs of blocks of one width; a stride starts a new one."""
    stages: list[Stage] = []
    for row in rows:
        if stages and row.stride == 1 and row.out_channels == stages[-1].width:
            stages[-1] = replace(stages[-1], blocks=stages[-1].blocks + 1)
        else:
            stages.append(Stage(row.out_channels, 1, row.stride))
    return tuple(stages)


def _candidates(rows: list[_Row]) -> tuple[MBConv, ...]:
    """The paper's candidates, and after them what else the network holds."""
    return tuple(
        dict.fromkeys([*MBCONV_3_5_7, *(row.op for row in rows if isinstance(row.op, MBConv))])
    )
