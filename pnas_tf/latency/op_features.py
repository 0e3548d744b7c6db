"""What a network asks of a device, as amounts of a few kinds of work: MACs of convolutions and of
depthwise ones by kernel and size, activations moved, weights read, ops called.

A network's features are the sum of its blocks', so a price for each feature prices every block of a
space. Iterates the rows of `Block.layers`. Knows no devices and no latency.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.complexity import layer_macs
from pnas_tf.space.ops import Head, Pool, Zero

# Depthwise work is priced by size: [40, inf), [20, 40), [10, 20) and [1, 10) pixels of a side.
_SIZES = (40, 20, 10, 1)
_KERNELS = (3, 5, 7)

FEATURES = (
    "convolution MACs",
    "convolution activations read",
    "convolution activations written",
    "merged activations",
    "weights",
    "ops",
    *(f"depthwise {kernel} MACs from {size} px" for kernel in _KERNELS for size in _SIZES),
    *(f"depthwise activations from {size} px" for size in _SIZES),
)

_KIND_OF = tuple(name.partition(" from ")[0] for name in FEATURES)
# [features, op kinds]: the same without regard to size, for a device of which little is measured.
OP_KINDS = np.array([[own == kind for kind in dict.fromkeys(_KIND_OF)] for own in _KIND_OF], float)


@dataclass(frozen=True)
class Work:
    """One op that a runtime executes for one image.

    Attributes:
        kind: "convolution" (1x1 mostly), "depthwise", "dense" (one pixel) or "merge" (add, pooling,
            scaling by a gate).
        kernel: pixels of a side.
        size: pixels of a side of the output.
        macs: multiply-accumulates.
        read: activations.
        written: activations.
        weights: of the kernel.
    """

    kind: str
    kernel: int
    size: int
    macs: int
    read: int
    written: int
    weights: int


def work_of(block: Block) -> Iterator[Work]:
    """The ops of a block in order of computation. None for Zero and for an identity."""
    if isinstance(block.op, Zero):
        return
    out = block.out_size**2 * block.out_channels
    for layer in block.layers:
        if layer.name == "squeeze":
            yield _merge(block.out_size**2 * layer.in_channels, layer.in_channels)
        yield _layer_work(layer)
        if layer.name == "excite":
            gated = block.out_size**2 * layer.out_channels
            yield _merge(gated, gated)
        if isinstance(block.op, Head) and layer.name == "mix":
            yield _merge(layer.out_size**2 * layer.out_channels, layer.out_channels)
    if isinstance(block.op, Pool):
        yield _merge(block.in_size**2 * block.in_channels, out)
    if block.shortcut:
        yield _merge(2 * out, out)


def features_of(blocks: Iterable[Block]) -> np.ndarray:
    """[features]: the amounts of each kind of work in `blocks`, in the order of `FEATURES`."""
    amounts = dict.fromkeys(FEATURES, 0.0)
    for block in blocks:
        for work in work_of(block):
            for name, amount in _amounts(work).items():
                amounts[name] += amount
    return np.array([amounts[name] for name in FEATURES])


def _amounts(work: Work) -> dict[str, int]:
    """Feature -> amount of one op. What reads and writes one pixel is priced by its weights."""
    if work.kind == "merge":
        return {"ops": 1, "merged activations": work.read + work.written}
    if work.kind == "dense":
        return {"ops": 1, "weights": work.weights}
    if work.kind == "convolution":
        return {
            "ops": 1,
            "convolution MACs": work.macs,
            "convolution activations read": work.read,
            "convolution activations written": work.written,
            "weights": work.weights,
        }
    size = next(size for size in _SIZES if work.size >= size)
    kernel = min(_KERNELS, key=lambda kernel: abs(kernel - work.kernel))
    return {
        "ops": 1,
        f"depthwise {kernel} MACs from {size} px": work.macs,
        f"depthwise activations from {size} px": work.read + work.written,
    }


def _merge(read: int, written: int) -> Work:
    return Work("merge", 0, 0, 0, read, written, 0)


def _layer_work(layer: Layer) -> Work:
    return Work(
        _kind(layer),
        layer.kernel,
        layer.out_size,
        layer_macs(layer),
        layer.in_size**2 * layer.in_channels,
        layer.out_size**2 * layer.out_channels,
        int(np.prod(layer.kernel_shape)),
    )


def _kind(layer: Layer) -> str:
    if layer.kind in ("depthwise", "dense"):
        return layer.kind
    return "dense" if layer.in_size == 1 else "convolution"
