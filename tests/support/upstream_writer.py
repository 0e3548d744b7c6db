"""Writes the upstream project's `net.config`, which the product reads."""

from pnas_tf.interop.net_config import ACTIVATIONS, BLOCK, IDENTITY, PLAIN_CONVOLUTION
from pnas_tf.io import atomic
from pnas_tf.space.ops import MBConv


def save_upstream(path, network):
    """Writes a net.config file atomically."""
    return atomic.write_json(path, to_upstream(network))


def to_upstream(network):
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


def _block_to_upstream(block):
    conv = {"name": "ZeroLayer", "stride": 1}
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
