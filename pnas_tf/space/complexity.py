"""Parameters and MACs of a block's layers. Everything else about a network's size is a sum of
these."""

from __future__ import annotations

from collections.abc import Iterable

from pnas_tf.space.blocks import Block, Layer


def layer_parameters(layer: Layer) -> int:
    """Trainable parameters: kernel, bias, and batch normalisation's gamma and beta (not its moving
    statistics)."""
    fan_in = 1 if layer.kind == "depthwise" else layer.in_channels
    return layer.kernel**2 * fan_in * layer.out_channels + layer.out_channels * (
        2 * layer.norm + layer.bias
    )


def layer_macs(layer: Layer) -> int:
    """Multiply-accumulates for one image; normalisation, activation and bias are not counted, as in
    the paper."""
    fan_in = 1 if layer.kind == "depthwise" else layer.in_channels
    return layer.out_size**2 * layer.kernel**2 * fan_in * layer.out_channels


def parameters(blocks: Iterable[Block]) -> int:
    """Trainable parameters of `blocks`."""
    return sum(layer_parameters(layer) for block in blocks for layer in block.layers)


def macs(blocks: Iterable[Block]) -> int:
    """Multiply-accumulates of `blocks` for one image."""
    return sum(layer_macs(layer) for block in blocks for layer in block.layers)
