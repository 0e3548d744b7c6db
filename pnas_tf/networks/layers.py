"""From a block's row to Keras layers, in a flat Functional graph.

Those of an exported network are Keras' own, without a Lambda, because the quantisation-aware
training of tensorflow-model-optimization and the TFLite converter take exactly that; the one custom
layer, `SyncBatchNormalization`, is of networks in training on several devices alone. Layer names
are "<block>/<layer>" so that weights are found by name and in the order of the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import OptimizerConfig
from pnas_tf.networks.synchronised import synchronised_batch_norm
from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.graph import Add, Concat, MergeOp, Slice
from pnas_tf.space.ops import Head, Identity, Pool, Zero


@dataclass(frozen=True)
class Normalisation:
    """Batch normalisation in Keras terms: momentum 0.9 is PyTorch's 0.1 (the original's default).

    synchronized: by the batches of all replicas; of networks that are trained so, never of exported
    ones.
    """

    momentum: float = OptimizerConfig.bn_momentum
    epsilon: float = OptimizerConfig.bn_epsilon
    synchronized: bool = False

    @classmethod
    def of(cls, config: OptimizerConfig, *, synchronized: bool = False) -> Normalisation:
        """Batch normalisation as `config` asks for it."""
        return cls(config.bn_momentum, config.bn_epsilon, synchronized)


def apply_block(
    x: tf.Tensor,
    block: Block,
    *,
    normalisation: Normalisation = Normalisation(),
    dropout: float = 0.0,
) -> tf.Tensor:
    """Adds `block` to a Functional graph.

    Args:
        x: [batch, in_size, in_size, in_channels].
        block: what to add.
        normalisation: of every layer that is normalised.
        dropout: rate before the classifier of a head.

    Returns:
        [batch, out_size, out_size, out_channels], logits [batch, classes] for the head. A Zero
        block is its shortcut: x itself; so is Identity.
    """
    if isinstance(block.op, (Zero, Identity)):
        return x
    if isinstance(block.op, Pool):
        pool = (
            keras.layers.AveragePooling2D
            if block.op.kind == "average"
            else keras.layers.MaxPooling2D
        )
        return pool(block.op.kernel, block.stride, "same", name=f"{block.name}/pool")(x)
    if isinstance(block.op, Head):
        return _head(x, block, normalisation, dropout)
    y = x
    for layer in block.layers:
        if layer.name == "squeeze":
            y = _squeeze_excite(y, block, normalisation)
        elif layer.name != "excite":
            y = apply_layer(y, block, layer, normalisation)
    if block.shortcut:
        y = keras.layers.Add(name=f"{block.name}/add")([x, y])
    return y


def _head(x: tf.Tensor, block: Block, normalisation: Normalisation, dropout: float) -> tf.Tensor:
    mix, *hidden, classifier = block.layers
    x = apply_layer(x, block, mix, normalisation)
    x = keras.layers.GlobalAveragePooling2D(
        keepdims=bool(hidden), dtype=_whole_precision(), name=f"{block.name}/pool"
    )(x)
    for layer in hidden:
        x = apply_layer(x, block, layer, normalisation)
    if hidden:
        x = keras.layers.Flatten(name=f"{block.name}/flatten")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name=f"{block.name}/dropout")(x)
    return apply_layer(x, block, classifier, normalisation)


def apply_merge(place: int, merge: MergeOp, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Adds a merge op of the topology to a Functional graph, as the supernet's
    `functional.merge_output` computes it; `place` makes its name unique."""
    name = f"joint_{place:03d}"
    if isinstance(merge, Add):
        return keras.layers.Add(name=name)(list(inputs))
    if isinstance(merge, Concat):
        return keras.layers.Concatenate(name=name)(list(inputs))
    # Read as [batch, channels, rows, columns], the last axis of our [batch, rows, columns,
    # channels] is cropped or padded: the plain layers that converter and quantiser know have no
    # other way to channels.
    if isinstance(merge, Slice):
        crop = ((0, 0), (merge.start, merge.channels - merge.stop))
        return keras.layers.Cropping2D(crop, data_format="channels_first", name=name)(inputs[0])
    return keras.layers.ZeroPadding2D(
        ((0, 0), (0, merge.zeros)), data_format="channels_first", name=name
    )(inputs[0])


def apply_layer(
    x: tf.Tensor, block: Block, layer: Layer, normalisation: Normalisation
) -> tf.Tensor:
    """One convolution or dense layer with its padding, batch normalisation and activation."""
    name = f"{block.name}/{layer.name}"
    if layer.kind == "dense":
        return keras.layers.Dense(
            layer.out_channels,
            use_bias=layer.bias,
            kernel_initializer=classifier_initializer(),
            dtype=_whole_precision(),
            name=name,
        )(x)
    padding = "same"
    if block.padding == "symmetric" and layer.stride > 1 and layer.kernel > 1:
        x = keras.layers.ZeroPadding2D(layer.kernel // 2, name=f"{name}_pad")(x)
        padding = "valid"
    if layer.kind == "depthwise":
        x = keras.layers.DepthwiseConv2D(
            layer.kernel,
            layer.stride,
            padding,
            use_bias=layer.bias,
            dilation_rate=layer.dilation,
            depthwise_initializer=kernel_initializer(),
            name=name,
        )(x)
    else:
        x = keras.layers.Conv2D(
            layer.out_channels,
            layer.kernel,
            layer.stride,
            padding,
            use_bias=layer.bias,
            kernel_initializer=kernel_initializer(),
            name=name,
        )(x)
    if layer.norm:
        kind = (
            SyncBatchNormalization
            if normalisation.synchronized
            else keras.layers.BatchNormalization
        )
        x = kind(momentum=normalisation.momentum, epsilon=normalisation.epsilon, name=f"{name}_bn")(
            x
        )
    return _activate(x, layer.activation, f"{name}_{layer.activation}")


def _whole_precision() -> str:
    """The precision of variables, where the others' arithmetic may be in half of it."""
    return keras.mixed_precision.global_policy().variable_dtype


class SyncBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation by the batches of all replicas.

    Keras' own (synchronized=True) moves the moving variance by the biased variance, where the layer
    of a single device takes the unbiased one: the same global batch would give other statistics on
    two devices than on one.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """As of the layer that this one is alone."""
        context = tf.distribute.get_replica_context()
        if not training or context is None or context.num_replicas_in_sync == 1:
            return super().call(inputs, training=training)
        y, mean, variance = synchronised_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, reducer=_StrategyMean(context)
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign_sub((1.0 - self.momentum) * (moving - batch))
        return y


class _StrategyMean:
    """Means over the replicas of a strategy, as `synchronised_batch_norm` wants them."""

    def __init__(self, context: tf.distribute.ReplicaContext) -> None:
        self.total = context.num_replicas_in_sync
        self._context = context

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The means over all replicas, in one message."""
        stacked = (
            self._context.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack(tensors)) / self.total
        )
        return tf.unstack(stacked)


def kernel_initializer() -> keras.initializers.Initializer:
    """A convolution's: He's normal over the fan-out, as in the original (`he_fout`).

    Of a depthwise kernel [k, k, channels, 1] Keras takes the channels for inputs: its fan-out is
    k * k, as it should be, since a depthwise filter feeds one channel.
    """
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")


def classifier_initializer() -> keras.initializers.Initializer:
    """Uniform within 1 / sqrt(inputs), as in the original."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def _activate(x: tf.Tensor, activation: str | None, name: str) -> tf.Tensor:
    if activation is None:
        return x
    if activation == "relu6":
        return keras.layers.ReLU(6.0, name=name)(x)
    if activation == "relu":
        return keras.layers.ReLU(name=name)(x)
    if activation == "hsigmoid":
        return _hard_sigmoid(x, name)
    if activation == "hswish":
        return keras.layers.Multiply(name=name)([x, _hard_sigmoid(x, f"{name}_gate")])
    raise ValueError(f"activation {activation!r}")


def _hard_sigmoid(x: tf.Tensor, name: str) -> tf.Tensor:
    """relu6(x + 3) / 6 as plain layers."""
    x = keras.layers.Rescaling(1.0, 3.0, name=f"{name}_shift")(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_clip")(x)
    return keras.layers.Rescaling(1.0 / 6.0, name=f"{name}_scale")(x)


def _squeeze_excite(x: tf.Tensor, block: Block, normalisation: Normalisation) -> tf.Tensor:
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{block.name}/squeeze_pool")(x)
    for layer in block.layers:
        if layer.name in ("squeeze", "excite"):
            gate = apply_layer(gate, block, layer, normalisation)
    return keras.layers.Multiply(name=f"{block.name}/gate")([x, gate])
