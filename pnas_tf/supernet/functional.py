"""A block as a pure function of its input and its variables.

Both engines compute by it: `tape` calls it eagerly, `compiled` traces it. Knows nothing of alpha,
paths or latency.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import tensorflow as tf

from pnas_tf.networks.synchronised import synchronised_batch_norm
from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.graph import Add, Concat, MergeOp, Slice
from pnas_tf.space.ops import Head, Identity, Pool, Zero
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import CrossReplicaReducer


class Mode(enum.Enum):
    """What a forward pass is for; both normalise by batch statistics.

    WEIGHTS: moving statistics updated, gradients for weights. ARCHITECTURE: nothing updated,
    weights are constants, so that no weight gradient is ever computed.
    """

    WEIGHTS = "weights"
    ARCHITECTURE = "architecture"


def forward(
    block: Block,
    x: tf.Tensor,
    variables: Sequence[tf.Variable | tf.Tensor],
    *,
    mode: Mode,
    numerics: Numerics,
    reducer: CrossReplicaReducer | None = None,
) -> tf.Tensor:
    """o(x) of one block, without the identity shortcut.

    Args:
        block: what is computed.
        x: [batch, in_size, in_size, in_channels].
        variables: as of `variables_of(block)`. Moving statistics need `value()` and
            `assign_sub(difference)` as of a `tf.Variable`.
        mode: whether statistics move and weights have gradients.
        numerics: normalisation; x is in its precision.
        reducer: for synchronised batch normalisation; None where there are no other replicas.

    Returns:
        [batch, out_size, out_size, out_channels] in the precision of x; logits [batch, classes] in
        float32 of a head; zeros of Zero.
    """
    if isinstance(block.op, Zero):
        return tf.zeros_like(x)
    if isinstance(block.op, Identity):
        return tf.identity(x)
    if isinstance(block.op, Pool):
        pool = tf.nn.avg_pool2d if block.op.kind == "average" else tf.nn.max_pool2d
        return pool(x, block.op.kernel, block.stride, "SAME")
    run = _LayerPass(iter(variables), block.padding, mode, numerics, reducer)
    if isinstance(block.op, Head):
        mix, *hidden, classifier = block.layers
        features = tf.cast(run(x, mix), tf.float32)  # so that logits and loss are
        features = tf.reduce_mean(features, axis=(1, 2), keepdims=True)
        for layer in hidden:
            features = run(features, layer)
        return run(tf.squeeze(features, axis=(1, 2)), classifier)
    gate = None
    for layer in block.layers:
        if layer.name == "squeeze":
            gate = run(tf.reduce_mean(x, axis=(1, 2), keepdims=True), layer)
        elif layer.name == "excite":
            x = x * run(gate, layer)
        else:
            x = run(x, layer)
    return x


def middle_output(
    block: Block,
    x: tf.Tensor,
    variables: Sequence[tf.Variable | tf.Tensor],
    *,
    numerics: Numerics,
) -> tf.Tensor:
    """What the projection of a block without squeeze and excitation reads, normalised by the batch:
    [batch, out_size, out_size, middle]. Arguments as of `forward`."""
    run = _LayerPass(iter(variables), block.padding, Mode.ARCHITECTURE, numerics, None)
    for layer in block.layers[:-1]:
        x = run(x, layer)
    return x


def inner_product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """<left, right>, float32: of dL/dm and o_j(x) it is the gate gradient dL/dg_j (eq. 4)."""
    return tf.reduce_sum(tf.cast(left, tf.float32) * tf.cast(right, tf.float32))


def merge_output(merge: MergeOp, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """The value of a merge op of the topology. inputs: [batch, height, width, channels] each."""
    if isinstance(merge, Add):
        return tf.add_n(inputs)
    if isinstance(merge, Concat):
        return tf.concat(inputs, axis=-1)
    if isinstance(merge, Slice):
        return inputs[0][..., merge.start : merge.stop]
    return tf.pad(inputs[0], [[0, 0], [0, 0], [0, 0], [0, merge.zeros]])


def merge_gradient(merge: MergeOp, upstream: tf.Tensor, channels: Sequence[int]) -> list[tf.Tensor]:
    """The gradient of each input of `merge_output`.

    Args:
        merge: the op.
        upstream: the gradient of its value.
        channels: of each input.
    """
    if isinstance(merge, Add):
        return [upstream] * len(channels)
    if isinstance(merge, Concat):
        return tf.split(upstream, list(channels), axis=-1)
    if isinstance(merge, Slice):
        return [tf.pad(upstream, [[0, 0], [0, 0], [0, 0], [merge.start, channels[0] - merge.stop]])]
    return [upstream[..., : channels[0]]]


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution of kernel 1 as a product of matrices: oneDNN keeps 0.3 MB of compiled code for
    each size of a convolution and of its gradients, and none for a product, which is also faster
    (benchmarks/pointwise.py).

    Args:
        x: [batch, height, width, in].
        kernel: [1, 1, in, out].

    Returns:
        [batch, height, width, out].
    """
    shape, kernel_shape = tf.shape(x), tf.shape(kernel)
    y = tf.linalg.matmul(tf.reshape(x, [-1, kernel_shape[2]]), tf.reshape(kernel, kernel_shape[2:]))
    y = tf.reshape(y, tf.concat([shape[:3], kernel_shape[3:]], axis=0))
    y.set_shape([*x.shape[:3], kernel.shape[3]])
    return y


@dataclass(frozen=True)
class _LayerPass:
    """Runs the layers of one block in order; takes from `variables` as it goes."""

    variables: Iterator[tf.Variable | tf.Tensor]
    padding: str
    mode: Mode
    numerics: Numerics
    reducer: CrossReplicaReducer | None

    def __call__(self, x: tf.Tensor, layer: Layer) -> tf.Tensor:
        kernel = tf.cast(self._weight(), x.dtype)
        # A supernet's variables hide their sizes, and some blocks have none.
        if layer.in_channels and layer.out_channels:
            kernel.set_shape(layer.kernel_shape)
        x = self._convolved(x, kernel, layer)
        if layer.bias:
            x = x + tf.cast(self._weight(), x.dtype)
        if layer.norm:
            x = self._normalised(x)
        return _activate(x, layer.activation)

    def _weight(self) -> tf.Tensor:
        value = tf.convert_to_tensor(next(self.variables))
        return value if self.mode is Mode.WEIGHTS else tf.stop_gradient(value)

    def _convolved(self, x: tf.Tensor, kernel: tf.Tensor, layer: Layer) -> tf.Tensor:
        if layer.kind == "dense":
            return tf.linalg.matmul(x, kernel)
        if layer.kind == "conv" and layer.kernel == layer.stride == 1:
            return pointwise(x, kernel)
        same = self.padding == "same" or layer.stride == 1 or layer.kernel == 1
        half = layer.kernel // 2
        pads = "SAME" if same else [[0, 0], [half, half], [half, half], [0, 0]]
        if layer.kind == "depthwise":
            strides = [1, layer.stride, layer.stride, 1]
            return tf.nn.depthwise_conv2d(x, kernel, strides, pads, dilations=[layer.dilation] * 2)
        return tf.nn.conv2d(x, kernel, layer.stride, pads)

    def _normalised(self, x: tf.Tensor) -> tf.Tensor:
        gamma, beta = self._weight(), self._weight()
        mean, variance = next(self.variables), next(self.variables)
        normalisation = self.numerics.normalisation
        epsilon = normalisation.epsilon
        if normalisation.synchronized and self.reducer is not None:
            y, batch_mean, batch_variance = synchronised_batch_norm(
                x, gamma, beta, epsilon=epsilon, reducer=self.reducer
            )
        else:
            # The fused op is a third faster on a CPU than the same in elementwise ops; its batch
            # variance is the unbiased one.
            y, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
                x, gamma, beta, epsilon=epsilon, is_training=True
            )
        if self.mode is Mode.WEIGHTS:
            # moving -= (1 - momentum) * (moving - batch)
            rate = 1.0 - normalisation.momentum
            mean.assign_sub(rate * (mean.value() - batch_mean))
            variance.assign_sub(rate * (variance.value() - batch_variance))
        return y


def _activate(x: tf.Tensor, activation: str | None) -> tf.Tensor:
    if activation is None:
        return x
    if activation == "relu6":
        return tf.nn.relu6(x)
    if activation == "relu":
        return tf.nn.relu(x)
    gate = tf.nn.relu6(x + 3.0) / 6.0
    return gate if activation == "hsigmoid" else x * gate
