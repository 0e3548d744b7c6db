"""One weight step: sample nothing, decide nothing, train the weights on one path (section 3.2, first half of the loop).

Only variables of the path are read or written: an unsampled candidate's weights, momentum and weight decay stay as they
are, to the bit. Knows nothing of alpha.
"""

from __future__ import annotations

import math

import tensorflow as tf

from pnas_tf.nn.block_step import Carried, WeightHalves, weight_halves
from pnas_tf.nn.mixed_op import BlockWeights
from pnas_tf.nn.supernet import Path, Supernet
from pnas_tf.space.ops import Zero
from pnas_tf.training.step import smoothed_cross_entropy


class Momentum:
    """SGD with Nesterov momentum, accum = m * accum + g; w -= lr * (g + m * accum), one slot for each variable it has met.

    The update itself is TensorFlow's fused kernel, inside a block's backward half.
    """

    def __init__(self, *, momentum: float, nesterov: bool):
        self.momentum, self.nesterov = tf.constant(momentum), nesterov
        self.slots: dict[str, tf.Variable] = {}
        self._handles: dict[str, list[tf.Tensor]] = {}

    def slot(self, variable: tf.Variable) -> tf.Variable:
        """The variable's momentum, zeros until its first step."""
        name = variable.name.removesuffix(":0")
        if name not in self.slots:
            self.slots[name] = tf.Variable(tf.zeros_like(variable), trainable=False, name=f"{name}/momentum")
        return self.slots[name]

    def handles(self, block: BlockWeights) -> list[tf.Tensor]:
        """The slots of a block's trained variables, as its halves take them."""
        if block.name not in self._handles:
            self._handles[block.name] = [self.slot(variable).handle for variable in block.trained]
        return self._handles[block.name]


@tf.function(reduce_retracing=True)
def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, smoothing: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(`training.step.smoothed_cross_entropy`, its gradient at the logits). smoothing: a scalar tensor."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, labels, smoothing=smoothing)
    return loss, tape.gradient(loss, logits)


@tf.function(reduce_retracing=True)
def top1(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Fraction of the batch whose largest logit is the label's."""
    return tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), tf.cast(labels, tf.int32)), tf.float32))


def weight_step(supernet: Supernet, path: Path, images: tf.Tensor, labels: tf.Tensor, *, optimizer: Momentum, learning_rate: float,
                label_smoothing: float) -> tuple[float, float]:
    """Trains the weights of `path` on one batch; returns (cross-entropy, top-1 on this batch).

    images: [batch, resolution, resolution, channels]; labels: integers [batch].
    """
    carried: dict[str, Carried] = {}
    wanted = range(1, len(supernet.topology))  # every value but the images
    rate = tf.constant(learning_rate, tf.float32)

    def halves(block: BlockWeights) -> WeightHalves:
        return weight_halves(block.block, supernet.arithmetic, nesterov=optimizer.nesterov,
                             input_gradient=supernet.source_of(block) in wanted)

    def forward(block: BlockWeights, x: tf.Tensor) -> tf.Tensor:
        if isinstance(block.block.op, Zero):
            return x
        y, carried[block.name] = halves(block).forward(x, block.handles)
        return y

    def backward(block: BlockWeights, upstream: tf.Tensor) -> tf.Tensor | None:
        if isinstance(block.block.op, Zero):
            return upstream
        return halves(block).backward(upstream, carried.pop(block.name), slots=optimizer.handles(block), rate=rate,
                                            momentum=optimizer.momentum)

    def candidate(index: int) -> BlockWeights:
        return supernet.mixed_ops[index].candidates[path[index]]

    logits, channels = supernet.forward(images, fixed=forward, choice=lambda index, x: forward(candidate(index), x))
    loss, upstream = cross_entropy(logits, labels, tf.constant(label_smoothing))
    value = float(loss)
    if math.isfinite(value):  # weights stay as they are in a step that is not finite; the loop stops the run and says so
        supernet.pull_back(upstream, channels, wanted=wanted, fixed=backward,
                           choice=lambda index, dy: backward(candidate(index), dy))
    return value, float(top1(logits, labels))

