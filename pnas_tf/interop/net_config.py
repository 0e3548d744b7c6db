"""Reads and writes the original project's `net.config`, the JSON form of its networks.

Format: name, bn {momentum, eps}, first_conv, blocks [{mobile_inverted_conv, shortcut}],
feature_mix_layer, classifier. It holds no resolution and no search space, so both are made here.
Knows nothing of weights (interop/checkpoint.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pnas_tf.errors import UserError, named
from pnas_tf.io import atomic
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import MBCONV_3_5_7, MBConvSpace, Stage
from pnas_tf.space.ops import CandidateOp, MBConv, Zero

_MADE_BY = "the original project's training program, or pnas_tf.interop.net_config.save_official"
_ACTIVATIONS = {"relu6": "relu6", "h_swish": "hswish"}  # theirs: ours


@dataclass(frozen=True)
class OfficialNetwork:
    """What a net.config says. bn_momentum: in Keras terms, one minus PyTorch's."""

    architecture: Architecture
    bn_momentum: float
    bn_epsilon: float
    dropout: float


def load_official(
    path: str | os.PathLike, *, name: str | None = None, resolution: int = 224
) -> OfficialNetwork:
    """Reads a net.config file; padding is PyTorch's ("symmetric").

    name: of the space, default the file's stem. resolution: input size in pixels, which the file
    does not hold. Raises UserError naming the block of anything that is missing, unknown or not a
    network of MBConv and Zero blocks.
    """
    document = atomic.read_json(path, what="net.config", made_by=_MADE_BY)
    with named(str(path)):
        return from_official(
            document, where=str(path), name=name or Path(path).stem, resolution=resolution
        )


def save_official(path: str | os.PathLike, network: OfficialNetwork) -> Path:
    """Writes a net.config file atomically."""
    return atomic.write_json(path, to_official(network))


def to_official(network: OfficialNetwork) -> dict[str, Any]:
    """The net.config document. Resolution, candidates and padding are not part of the format:
    PyTorch pads symmetrically."""
    architecture = network.architecture
    stem, *blocks, head = architecture.blocks
    mix = head.layers[0]
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": round(1.0 - network.bn_momentum, 12), "eps": network.bn_epsilon},
        "first_conv": {
            "name": "ConvLayer",
            "kernel_size": stem.layers[0].kernel,
            "stride": stem.stride,
            **_convolution(stem.in_channels, stem.out_channels),
        },
        "blocks": [_block_to_official(block) for block in blocks],
        "feature_mix_layer": {
            "name": "ConvLayer",
            "kernel_size": 1,
            "stride": 1,
            **_convolution(mix.in_channels, mix.out_channels),
        },
        "classifier": {
            "name": "LinearLayer",
            "in_features": mix.out_channels,
            "out_features": head.out_channels,
            "bias": True,
            "use_bn": False,
            "act_func": None,
            "dropout_rate": network.dropout,
            "ops_order": "weight_bn_act",
        },
    }


def from_official(
    document: Any, *, where: str, name: str, resolution: int = 224
) -> OfficialNetwork:
    """The inverse of `to_official`. Raises UserError naming the place in `where`."""
    top = _Part(document, where)
    stem, mix, classifier = (
        top.part(key) for key in ("first_conv", "feature_mix_layer", "classifier")
    )
    _require_convolution(stem, kernel=3)
    _require_convolution(mix, kernel=1)
    mix.require("stride", 1, default=1)
    blocks = top.value("blocks", None)
    if not isinstance(blocks, list) or not 2 <= len(blocks) <= 10_000:
        raise top.error('"blocks"', "a list of at least two blocks", blocks)
    rows = [_row(_Part(block, f"{where}, block {number}")) for number, block in enumerate(blocks)]
    _check_chain(stem, rows, mix, classifier)
    first, choices = rows[0], rows[1:]
    if (first.op, first.stride, first.shortcut) != (
        MBConv(3, 1),
        1,
        first.in_channels == first.out_channels,
    ):
        raise first.part.error(
            "the first block",
            "MBConv of kernel 3 and expansion 1 with stride 1",
            first.part.document,
        )
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
                '"shortcut"',
                "an IdentityLayer exactly where stride is 1 and the widths agree",
                row.part.value("shortcut", None),
            )
    bn = top.part("bn")
    return OfficialNetwork(
        Architecture(space, tuple(row.op for row in choices)),
        round(1.0 - bn.fraction("momentum", 0.1), 12),
        bn.fraction("eps", 1e-3),
        classifier.fraction("dropout_rate", 0.0),
    )


@dataclass(frozen=True)
class _Row:
    """One block as the file has it. A Zero block takes its widths from its shortcut; None where
    that does not tell them."""

    part: _Part
    op: CandidateOp
    stride: int
    shortcut: bool
    in_channels: Any
    out_channels: Any


@dataclass(frozen=True)
class _Part:
    """One object of the document, with its place for errors."""

    document: Any
    where: str

    def __post_init__(self) -> None:
        if not isinstance(self.document, dict):
            raise UserError(
                f"{self.where} is not part of a net.config",
                expected="an object",
                received=repr(self.document)[:200],
                fix="Use a net.config of the original project.",
            )

    def part(self, key: str) -> _Part:
        return _Part(self.document.get(key), f"{self.where}, {key}")

    def value(self, key: str, default: Any) -> Any:
        return self.document.get(key, default)

    def count(self, key: str, default: Any = None) -> int:
        value = self.document.get(key, default)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
            raise self.error(f'"{key}"', "a positive integer", value)
        return value

    def fraction(self, key: str, default: float) -> float:
        value = self.document.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
            raise self.error(f'"{key}"', "a number from 0 to 1", value)
        return float(value)

    def require(self, key: str, wanted: Any, *, default: Any = None) -> None:
        value = self.document.get(key, default)
        if type(value) is not type(wanted) or value != wanted:
            raise self.error(f'"{key}"', repr(wanted), value)

    def error(self, what: str, expected: str, received: Any) -> UserError:
        return UserError(
            f"{what} of {self.where}",
            expected=expected,
            received=repr(received)[:200],
            fix="Only networks of MBConv and Zero blocks, as the original search makes them, can "
            "be read.",
        )


def _require_convolution(part: _Part, *, kernel: int) -> None:
    part.require("kernel_size", kernel)
    for key, value in (
        ("act_func", "relu6"),
        ("use_bn", True),
        ("bias", False),
        ("has_shuffle", False),
        ("dilation", 1),
        ("groups", 1),
    ):
        part.require(key, value, default=value)


def _row(part: _Part) -> _Row:
    part.require("name", "MobileInvertedResidualBlock", default="MobileInvertedResidualBlock")
    conv, shortcut = part.part("mobile_inverted_conv"), part.value("shortcut", None)
    if shortcut is not None:
        _Part(shortcut, f"{part.where}, shortcut").require("name", "IdentityLayer")
    if conv.value("name", None) == "ZeroLayer":
        if shortcut is None:
            raise part.error('"shortcut"', "an IdentityLayer beside a ZeroLayer", None)
        conv.require("stride", 1, default=1)
        return _Row(part, Zero(), 1, True, None, None)
    conv.require("name", "MBInvertedConvLayer")
    activation, squeeze = conv.value("act_func", "relu6"), conv.value("use_se", False)
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise conv.error('"act_func"', f"one of {sorted(_ACTIVATIONS)}", activation)
    if not isinstance(squeeze, bool):
        raise conv.error('"use_se"', "true or false", squeeze)
    channels, expansion, kernel = (
        conv.count("in_channels"),
        conv.count("expand_ratio"),
        conv.count("kernel_size"),
    )
    middle = conv.value("mid_channels", None)
    if middle is not None and conv.count("mid_channels") != channels * expansion:
        raise conv.error(
            '"mid_channels"', f"null or in_channels * expand_ratio = {channels * expansion}", middle
        )
    try:
        op = MBConv(kernel, expansion, squeeze, _ACTIVATIONS[activation])
    except UserError as error:
        raise UserError(
            f"{error.what} of {conv.where}",
            expected=error.expected,
            received=error.received,
            fix=error.fix,
        ) from error
    return _Row(
        part, op, conv.count("stride"), shortcut is not None, channels, conv.count("out_channels")
    )


def _check_chain(stem: _Part, rows: list[_Row], mix: _Part, classifier: _Part) -> None:
    """Raises UserError where a layer does not take what the one before it gives; fills in the
    widths of Zero blocks."""
    channels = stem.count("out_channels")
    for index, row in enumerate(rows):
        if isinstance(row.op, Zero):
            rows[index] = replace(row, in_channels=channels, out_channels=channels)
        elif row.in_channels != channels:
            raise row.part.error(
                '"in_channels"', f"{channels}, which the layer before it gives", row.in_channels
            )
        channels = rows[index].out_channels
    for part, key, wanted in (
        (mix, "in_channels", channels),
        (classifier, "in_features", mix.count("out_channels")),
    ):
        if part.count(key) != wanted:
            raise part.error(
                f'"{key}"', f"{wanted}, which the layer before it gives", part.value(key, None)
            )


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


def _convolution(in_channels: int, out_channels: int) -> dict[str, Any]:
    return {
        "dilation": 1,
        "groups": 1,
        "bias": False,
        "has_shuffle": False,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "use_bn": True,
        "act_func": "relu6",
        "dropout_rate": 0,
        "ops_order": "weight_bn_act",
    }


def _block_to_official(block: Block) -> dict[str, Any]:
    conv: dict[str, Any] = {"name": "ZeroLayer", "stride": 1}
    if isinstance(block.op, MBConv):
        activation = next(
            theirs for theirs, ours in _ACTIVATIONS.items() if ours == block.op.activation
        )
        conv = {
            "name": "MBInvertedConvLayer",
            "in_channels": block.in_channels,
            "out_channels": block.out_channels,
            "kernel_size": block.op.kernel,
            "stride": block.stride,
            "expand_ratio": block.op.expansion,
            "mid_channels": None,
            "act_func": activation,
            "use_se": block.op.squeeze_excite,
        }
    shortcut = (
        {
            "name": "IdentityLayer",
            "in_channels": [block.in_channels],
            "out_channels": [block.out_channels],
            "use_bn": False,
            "act_func": None,
            "dropout_rate": 0,
            "ops_order": "weight_bn_act",
        }
        if block.shortcut
        else None
    )
    return {
        "name": "MobileInvertedResidualBlock",
        "mobile_inverted_conv": conv,
        "shortcut": shortcut,
    }
