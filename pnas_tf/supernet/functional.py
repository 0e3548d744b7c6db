"""A block's arithmetic as a pure function of its input and its variables.

Both engines compute by it: `tape` calls it eagerly, `compiled` traces it. Knows nothing of alpha,
paths or latency.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.synchronised import normalise_together
from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.graph import Add, Concat, Joint, Part
from pnas_tf.space.ops import Head, Identity, Pool, Zero
from pnas_tf.supernet.replicas import Exchange, Replicas


class Mode(enum.Enum):
    """What a forward pass is for; both normalise by batch statistics.

    WEIGHTS: moving statistics updated, gradients for weights. ARCHITECTURE: nothing updated,
    weights are constants, so that no weight gradient is ever computed.
    """

    WEIGHTS = "weights"
    ARCHITECTURE = "architecture"


@dataclass(frozen=True)
class Arithmetic:
    """The constants of the arithmetic. weight_decay: L2, added to the gradients by an update, on
    kernels and on what no_decay leaves:

    "bn_bias" nothing more, "bn" biases, "none" biases and batch normalisation's gamma and beta.
    precision: of activations and convolutions; variables, statistics, the classifier and sums are
    float32. jit_compile and replicas: of the compiled engine alone.
    """

    normalisation: Normalisation = Normalisation()
    weight_decay: float = 0.0
    no_decay: str = "bn_bias"
    precision: str = "float32"
    jit_compile: bool = False
    replicas: Replicas = Replicas()

    @property
    def dtype(self) -> tf.DType:
        """What `precision` names."""
        return tf.as_dtype(self.precision)

    @property
    def bias_decay(self) -> float:
        """Weight decay on biases."""
        return 0.0 if self.no_decay == "bn_bias" else self.weight_decay

    @property
    def norm_decay(self) -> float:
        """Weight decay on gamma and beta."""
        return self.weight_decay if self.no_decay == "none" else 0.0


def forward(
    block: Block,
    x: tf.Tensor,
    variables: Sequence[Any],
    *,
    mode: Mode,
    arithmetic: Arithmetic,
    exchange: Exchange | None = None,
) -> tf.Tensor:
    """o(x) of one block, without the identity shortcut; Zero gives zeros.

    Args:
        x: [batch, in_size, in_size, in_channels].
        variables: for each layer in order its kernel, bias where it has one, and gamma, beta,
            moving mean and moving variance where it is normalised.
        exchange: for synchronised batch normalisation.
    """
    if isinstance(block.op, Zero):
        return tf.zeros_like(x)
    if isinstance(block.op, Identity):
        return tf.identity(x)
    if isinstance(block.op, Pool):
        pool = tf.nn.avg_pool2d if block.op.kind == "average" else tf.nn.max_pool2d
        return pool(x, block.op.kernel, block.stride, "SAME")
    remaining = iter(variables)

    def run(value: tf.Tensor, layer: Layer) -> tf.Tensor:
        return _layer(value, layer, remaining, block.padding, mode, arithmetic, exchange)

    if isinstance(block.op, Head):
        mix, classifier = block.layers
        features = tf.cast(run(x, mix), tf.float32)  # so that logits and loss are
        return run(tf.reduce_mean(features, axis=(1, 2)), classifier)
    gate = None
    for layer in block.layers:
        if layer.name == "squeeze":
            gate = run(tf.reduce_mean(x, axis=(1, 2), keepdims=True), layer)
        elif layer.name == "excite":
            x = x * run(gate, layer)
        else:
            x = run(x, layer)
    return x


def join(joint: Joint, inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """The value of a joint of the topology. inputs: [batch, height, width, channels] each."""
    if isinstance(joint, Add):
        return tf.add_n(inputs)
    if isinstance(joint, Concat):
        return tf.concat(inputs, axis=-1)
    if isinstance(joint, Part):
        return inputs[0][..., joint.start : joint.stop]
    return tf.pad(inputs[0], [[0, 0], [0, 0], [0, 0], [0, joint.zeros]])


def join_gradient(joint: Joint, upstream: tf.Tensor, channels: Sequence[int]) -> list[tf.Tensor]:
    """The gradient of each input of `join` where that of its value is `upstream`. channels: of each
    input."""
    if isinstance(joint, Add):
        return [upstream] * len(channels)
    if isinstance(joint, Concat):
        return tf.split(upstream, list(channels), axis=-1)
    if isinstance(joint, Part):
        return [tf.pad(upstream, [[0, 0], [0, 0], [0, 0], [joint.start, channels[0] - joint.stop]])]
    return [upstream[..., : channels[0]]]


def _layer(
    x: tf.Tensor,
    layer: Layer,
    variables: Any,
    padding: str,
    mode: Mode,
    arithmetic: Arithmetic,
    exchange: Exchange | None,
) -> tf.Tensor:
    kernel = tf.cast(_weight(next(variables), mode), x.dtype)
    if (
        layer.in_channels and layer.out_channels
    ):  # a supernet's variables hide their sizes, and some blocks have none
        kernel.set_shape(layer.kernel_shape)
    if layer.kind == "dense":
        x = tf.linalg.matmul(x, kernel)
    elif layer.kind == "conv" and layer.kernel == layer.stride == 1:
        x = pointwise(x, kernel)
    else:
        same = padding == "same" or layer.stride == 1 or layer.kernel == 1
        half = layer.kernel // 2
        pads = "SAME" if same else [[0, 0], [half, half], [half, half], [0, 0]]
        if layer.kind == "depthwise":
            x = tf.nn.depthwise_conv2d(
                x, kernel, [1, layer.stride, layer.stride, 1], pads, dilations=[layer.dilation] * 2
            )
        else:
            x = tf.nn.conv2d(x, kernel, layer.stride, pads)
    if layer.bias:
        x = x + tf.cast(_weight(next(variables), mode), x.dtype)
    if layer.norm:
        x = _normalise(
            x,
            *(next(variables) for _ in range(4)),
            mode=mode,
            arithmetic=arithmetic,
            exchange=exchange,
        )
    return _activate(x, layer.activation)


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution of kernel 1 as a product of matrices: oneDNN keeps 0.3 MB of compiled code for
    each size of a convolution and of its gradients, and none for a product, which is also faster
    (benchmarks/pointwise.py)."""
    shape, kernel_shape = tf.shape(x), tf.shape(kernel)
    y = tf.linalg.matmul(tf.reshape(x, [-1, kernel_shape[2]]), tf.reshape(kernel, kernel_shape[2:]))
    y = tf.reshape(y, tf.concat([shape[:3], kernel_shape[3:]], axis=0))
    y.set_shape([*x.shape[:3], kernel.shape[3]])
    return y


def _weight(variable: Any, mode: Mode) -> tf.Tensor:
    value = tf.convert_to_tensor(variable)
    return value if mode is Mode.WEIGHTS else tf.stop_gradient(value)


def _normalise(
    x: tf.Tensor,
    gamma: Any,
    beta: Any,
    mean: Any,
    variance: Any,
    *,
    mode: Mode,
    arithmetic: Arithmetic,
    exchange: Exchange | None,
) -> tf.Tensor:
    gamma, beta = (_weight(variable, mode) for variable in (gamma, beta))
    normalisation = arithmetic.normalisation
    epsilon = normalisation.epsilon
    if normalisation.synchronized and exchange is not None:
        y, batch_mean, batch_variance = normalise_together(
            x, gamma, beta, epsilon=epsilon, exchange=exchange
        )
    else:
        # The fused op is a third faster on a CPU than the same in elementwise ops; its batch
        # variance is the unbiased one.
        y, batch_mean, batch_variance = tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, epsilon=epsilon, is_training=True
        )
    if mode is Mode.WEIGHTS:
        mean.assign_sub((1.0 - normalisation.momentum) * (mean.value() - batch_mean))
        variance.assign_sub((1.0 - normalisation.momentum) * (variance.value() - batch_variance))
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
