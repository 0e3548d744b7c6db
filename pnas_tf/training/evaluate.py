"""Top-1 and loss of a network on a set of images, and batch-normalisation statistics anew. Trains
nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.training.distribution import Distribution, on_each_replica, share_out


@dataclass(frozen=True)
class Evaluation:
    """accuracy: top-1, a fraction. loss: mean cross-entropy without smoothing. Over `examples`
    images."""

    accuracy: float
    loss: float
    examples: int


def evaluate(model: keras.Model, batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> Evaluation:
    """Every image counts the same, whatever its batch. batches: images [batch, ...], int labels
    [batch]; at least one."""
    return Evaluator(model)(batches)


class Evaluator:
    """`evaluate` of one model many times over, compiled once; on several replicas each counts its
    share of a batch."""

    def __init__(self, model: keras.Model, distribution: Distribution = Distribution()):
        def count(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            logits = model(images, training=False)
            right = tf.equal(
                tf.argmax(logits, axis=1, output_type=tf.int32), tf.cast(labels, tf.int32)
            )
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
            counts = labels >= 0  # what fills a batch up has no label
            return tf.reduce_sum(tf.cast(right & counts, tf.int32)), tf.reduce_sum(
                tf.where(counts, loss, 0.0)
            )

        self._distribution = distribution
        self._count = tf.function(
            on_each_replica(distribution.strategy, count, tf.distribute.ReduceOp.SUM),
            reduce_retracing=True,
        )

    def __call__(self, batches: Iterable[tuple[tf.Tensor, tf.Tensor]]) -> Evaluation:
        right, loss, examples = 0, 0.0, 0
        replicas = self._distribution.replicas
        for images, labels in batches:
            missing = -images.shape[0] % replicas.total
            shares = [
                tf.pad(
                    batch,
                    [[0, missing], *[[0, 0]] * (len(batch.shape) - 1)],
                    constant_values=filler,
                )
                if missing
                else batch
                for batch, filler in ((images, 0), (labels, -1))
            ]
            batch_right, batch_loss = self._count(
                *(share_out(self._distribution, share) for share in shares)
            )
            right, loss, examples = (
                right + int(batch_right),
                loss + float(batch_loss),
                examples + int(tf.shape(labels)[0]),
            )
        if not examples:
            raise ValueError("no images to evaluate on")
        return Evaluation(right / examples, loss / examples, examples)


def reestimate_batch_norm(
    model: keras.Model, batches: Iterable[tuple[tf.Tensor, tf.Tensor]], *, max_batches: int = 100
) -> None:
    """Sets every moving mean and variance to the mean, over batches, of the batch's own statistics;
    weights stay.

    Needed wherever weights changed without the statistics following, as when a network inherits
    them from a supernet. The variance is the unbiased one, which is what Keras' fused layer
    averages in training. batches: (images, labels) of training images, at least one, equally large;
    at most max_batches are used.
    """
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    inputs = keras.Model(model.inputs, [layer.input for layer in layers])

    @tf.function(reduce_retracing=True)
    def statistics(images: tf.Tensor) -> list[tuple[tf.Tensor, tf.Tensor]]:
        # Layers normalise by the batch here (training=True), so no statistic depends on the stale
        # moving ones.
        found = []
        for x in tf.nest.flatten(inputs(images, training=True)):
            axes = list(range(len(x.shape) - 1))
            mean, variance = tf.nn.moments(tf.cast(x, tf.float32), axes)
            count = tf.cast(tf.size(x) / tf.shape(x)[-1], tf.float32)
            found.append((mean, variance * count / tf.maximum(count - 1.0, 1.0)))
        return found

    sums, used = [[0.0, 0.0] for _ in layers], 0
    for images, _ in batches:
        for total, (mean, variance) in zip(sums, statistics(images)):
            total[0], total[1] = (
                total[0] + mean.numpy().astype(np.float64),
                total[1] + variance.numpy().astype(np.float64),
            )
        used += 1
        if used == max_batches:
            break
    if not used:
        raise ValueError("no batches to estimate statistics from")
    for layer, (mean, variance) in zip(layers, sums):
        layer.moving_mean.assign(mean / used)
        layer.moving_variance.assign(variance / used)
