"""One weight step: sample nothing, decide nothing, train the weights on one path (section 3.2, first half of the loop).

Only variables of the path are read or written: an unsampled candidate's weights, momentum and weight decay stay as they
are, to the bit. Knows nothing of alpha.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from pnas_tf.nn.functional import Mode
from pnas_tf.nn.supernet import Path, Supernet
from pnas_tf.training.step import smoothed_cross_entropy


class Momentum:
    """SGD with Nesterov momentum, accum = m * accum + g; w -= lr * (g + m * accum), one slot for each variable it has met.

    The fused kernel that TensorFlow has for it is several times faster than the same in elementwise ops.
    """

    def __init__(self, *, momentum: float, nesterov: bool):
        self.momentum, self.nesterov = tf.constant(momentum), nesterov
        self.slots: dict[str, tf.Variable] = {}

    def slot(self, variable: tf.Variable) -> tf.Variable:
        """The variable's momentum, zeros until its first step."""
        name = variable.name.removesuffix(":0")
        if name not in self.slots:
            self.slots[name] = tf.Variable(tf.zeros_like(variable), trainable=False, name=f"{name}/momentum")
        return self.slots[name]

    def apply(self, variables: Sequence[tf.Variable], gradients: Sequence[tf.Tensor], *, learning_rate: float) -> None:
        """Moves `variables` in place."""
        rate = tf.constant(learning_rate, tf.float32)
        for variable, gradient in zip(variables, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(var=variable.handle, accum=self.slot(variable).handle, lr=rate, grad=gradient,
                                             momentum=self.momentum, use_nesterov=self.nesterov)


@tf.function(reduce_retracing=True)
def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: tf.Tensor) -> tf.Tensor:
    """`training.step.smoothed_cross_entropy`, compiled. smoothing: a scalar tensor."""
    return smoothed_cross_entropy(logits, labels, smoothing=smoothing)


@tf.function(reduce_retracing=True)
def top1(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Fraction of the batch whose largest logit is the label's."""
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), tf.cast(labels, tf.int32)), tf.float32))


def weight_step(supernet: Supernet, path: Path, images: tf.Tensor, labels: tf.Tensor, *, optimizer: Momentum, learning_rate: float,
                label_smoothing: float) -> tuple[float, float]:
    """Trains the weights of `path` on one batch; returns (cross-entropy, top-1 on this batch).

    images: [batch, resolution, resolution, channels]; labels: integers [batch].
    """
    variables = [variable for block in supernet.blocks_on(path) for variable in block.trained]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable)
        logits = supernet.call(images, path=path, mode=Mode.WEIGHTS)
        loss = cross_entropy(logits, labels, tf.constant(label_smoothing))
    gradients = tape.gradient(loss, variables)
    value = float(loss)
    if np.isfinite(value):  # a step that is not finite changes nothing; the loop stops the run and says so
        optimizer.apply(variables, gradients, learning_rate=learning_rate)
    return value, float(top1(logits, labels))
