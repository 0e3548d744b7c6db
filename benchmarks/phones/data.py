"""Chains of MBConv blocks and what they take on phones, from layer listings and a CSV table."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.latency.op_features import features_of
from pnas_tf.space.blocks import Block
from pnas_tf.space.complexity import macs
from pnas_tf.space.ops import Conv, Head, MBConv, Op, Stem


@dataclass(frozen=True)
class Layer:
    """A row of networks.json."""

    kind: str
    in_size: int
    out_size: int
    in_channels: int
    out_channels: int
    kernel: int
    stride: int


def blocks_of(layers: Sequence[Layer]) -> tuple[Block, ...] | None:
    """The chain as blocks; None where an expansion is no whole number, so that it is no chain of
    MBConvs. An expansion of 1 is a convolution of its own here."""
    rows = [layer for layer in layers if layer.kind != "act"]
    stem, rest, found = rows[0], rows[1:], []
    found.append(_block("stem", Stem(stem.kernel), stem, stem))
    while len(rest) > 3 and rest[1].kind == "dw":
        expand, depthwise, project = rest[:3]
        expansion, left = divmod(expand.out_channels, expand.in_channels)
        if left:
            return None
        shortcut = rest[3].kind == "add"
        rest = rest[3 + shortcut :]
        if expansion == 1:
            found.append(_block("expand", Conv(1, "relu6"), expand, expand))
        op = MBConv(depthwise.kernel, expansion)
        found.append(_block("block", op, expand, project, depthwise.stride, shortcut))
    mix, pool, *dense = rest
    if pool.kind != "pool" or not dense or any(layer.out_size > 1 for layer in dense):
        raise UserError(
            "network of networks.json",
            expected="stem, MBConvs, 1x1 convolution, pooling and 1x1 convolutions of one pixel",
            received=" ".join(layer.kind for layer in rest),
            fix="Leave the network out.",
        )
    found.append(_block("head", Head(mix.out_channels), mix, dense[0]))
    found += [_block("dense", Conv(1, None), layer, layer) for layer in dense[1:]]
    return tuple(found)


def _block(
    name: str, op: Op, first: Layer, last: Layer, stride: int | None = None, shortcut: bool = False
) -> Block:
    return Block(
        name,
        op,
        first.in_size,
        last.out_size,
        first.in_channels,
        last.out_channels,
        first.stride if stride is None else stride,
        shortcut,
        "same",
    )


@dataclass(frozen=True)
class Data:
    """features: [networks, features]. latency_ms: [phones, networks], NaN where not measured.
    networks: in words, by what they are made of."""

    phones: tuple[str, ...]
    features: np.ndarray
    macs: np.ndarray
    latency_ms: np.ndarray
    networks: str

    @property
    def models(self) -> np.ndarray:
        """[phones]: names without the number of the unit."""
        return np.array([re.sub(r"_\d+$", "", phone) for phone in self.phones])


def read(folder: Path) -> Data:
    """The networks that are chains of whole MBConvs, on all phones."""
    document = json.loads((folder / "networks.json").read_text())
    blocks = {
        entry["network"]: blocks_of([Layer(**layer) for layer in entry["layers"]])
        for entry in document["networks"]
    }
    header, *rows = list(csv.reader((folder / "latency_ms.csv").open()))
    whole = [name for name in header[1:] if blocks[name] is not None]
    columns = [header.index(name) for name in whole]
    latency_ms = [[float(row[column] or "nan") for column in columns] for row in rows]
    chains = [chain for name in whole if (chain := blocks[name]) is not None]
    return Data(
        tuple(row[0] for row in rows),
        np.array([features_of(chain) for chain in chains]),
        np.array([macs(chain) for chain in chains], float),
        np.array(latency_ms),
        _described(chains),
    )


def _described(chains: Sequence[tuple[Block, ...]]) -> str:
    ops = [block.op for chain in chains for block in chain if isinstance(block.op, MBConv)]
    kernels, expansions = ({getattr(op, name) for op in ops} for name in ("kernel", "expansion"))
    sides = {chain[0].in_size for chain in chains}
    return (
        f"chains of MBConv blocks with kernels {_listed(kernels)} and expansions "
        f"{_listed(expansions)}, at {_listed(sides)} px"
    )


def _listed(numbers: Iterable[int]) -> str:
    """ "3, 5 and 7"."""
    *most, last = map(str, sorted(numbers))
    return f"{', '.join(most)} and {last}" if most else last
