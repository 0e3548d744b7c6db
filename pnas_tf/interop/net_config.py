"""Reads and writes the upstream project's `net.config`, the JSON form of its networks.

Format: name, bn {momentum, eps}, first_conv, blocks [{mobile_inverted_conv, shortcut}],
feature_mix_layer, classifier. It holds no resolution and no search space, so both are made here.
Fields that we have no use for are passed over. Knows nothing of weights (interop/checkpoint.py).
"""

from __future__ import annotations

import os
from pathlib import Path

from pnas_tf.errors import named
from pnas_tf.interop.net_config_reader import (
    ACTIVATIONS,
    BLOCK,
    IDENTITY,
    PLAIN_CONVOLUTION,
    UpstreamNetwork,
    from_upstream,
)
from pnas_tf.io import atomic
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import MBConv

_MADE_BY = "the upstream project's training program, or pnas_tf.interop.net_config.save_upstream"


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
    document = atomic.read_json(path, what="net.config", made_by=_MADE_BY)
    with named(str(path)):
        return from_upstream(
            document, where=str(path), name=name or Path(path).stem, resolution=resolution
        )


def save_upstream(path: str | os.PathLike, network: UpstreamNetwork) -> Path:
    """Writes a net.config file atomically."""
    return atomic.write_json(path, to_upstream(network))


def to_upstream(network: UpstreamNetwork) -> dict[str, object]:
    """The net.config document. Resolution, candidates and padding are not part of the format:
    PyTorch pads symmetrically."""
    stem, *blocks, head = network.architecture.blocks
    mix = head.layers[0]
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": round(1.0 - network.bn_momentum, 12), "eps": network.bn_epsilon},
        "first_conv": {
            "name": "ConvLayer",
            "kernel_size": stem.layers[0].kernel,
            "stride": stem.stride,
            "in_channels": stem.in_channels,
            "out_channels": stem.out_channels,
            **PLAIN_CONVOLUTION,
        },
        "blocks": [_block_to_upstream(block) for block in blocks],
        "feature_mix_layer": {
            "name": "ConvLayer",
            "kernel_size": 1,
            "stride": 1,
            "in_channels": mix.in_channels,
            "out_channels": mix.out_channels,
            **PLAIN_CONVOLUTION,
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


def _block_to_upstream(block: Block) -> dict[str, object]:
    conv: dict[str, object] = {"name": "ZeroLayer", "stride": 1}
    if isinstance(block.op, MBConv):
        activation = next(
            theirs for theirs, ours in ACTIVATIONS.items() if ours == block.op.activation
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
            "name": IDENTITY,
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
        "name": BLOCK,
        "mobile_inverted_conv": conv,
        "shortcut": shortcut,
    }
