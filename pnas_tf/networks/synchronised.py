"""Batch normalisation by the batches of all replicas, as one computation.

What sums over the replicas is the caller's: collectives inside a compiled block of the supernet, a
strategy's in the training of a plain network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf


class CrossReplicaMean(Protocol):
    """What synchronised batch normalisation needs.

    Attributes:
        total: the number of replicas.
    """

    total: int

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The means over all replicas; differentiable."""


def synchronised_batch_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *, epsilon: float, reducer: CrossReplicaMean
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Batch normalisation as the fused op computes it (Ioffe and Szegedy 2015), over the batches of
    all replicas, which are equally large.

    Args:
        x: [batch, height, width, channels].
        gamma: float32 [channels], as beta.
        beta: the offset.
        epsilon: added to the variance.
        reducer: means over all replicas.

    Returns:
        (y, mean, unbiased variance); mean and variance: float32 [channels].
    """
    values = tf.cast(x, tf.float32)
    axes = list(range(len(x.shape) - 1))
    mean, mean_square = reducer.mean(
        [tf.reduce_mean(values, axes), tf.reduce_mean(tf.square(values), axes)]
    )
    variance = tf.maximum(mean_square - tf.square(mean), 0.0)
    y = tf.cast(tf.nn.batch_normalization(values, mean, variance, beta, gamma, epsilon), x.dtype)
    count = tf.cast(reducer.total * (tf.size(x) // x.shape[-1]), tf.float32)
    return y, mean, variance * count / tf.maximum(count - 1.0, 1.0)  # Bessel's correction
