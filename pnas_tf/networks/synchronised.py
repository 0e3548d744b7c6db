"""Batch normalisation by the batches of all replicas, as one computation.

What sums over the replicas is the caller's: collectives inside a compiled block of the supernet, a
strategy's in the training of a plain network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf


class Together(Protocol):
    """What synchronised batch normalisation needs: the number of replicas, and differentiable means
    over them."""

    total: int

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]: ...


def normalise_together(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *, epsilon: float, exchange: Together
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(y, mean, unbiased variance) as the fused op gives them, over the batches of all replicas,
    which are equally large.

    x: [batch, height, width, channels]; mean and variance: float32 [channels].
    """
    values = tf.cast(x, tf.float32)
    axes = list(range(len(x.shape) - 1))
    mean, mean_square = exchange.mean(
        [tf.reduce_mean(values, axes), tf.reduce_mean(tf.square(values), axes)]
    )
    variance = tf.maximum(mean_square - tf.square(mean), 0.0)
    y = tf.cast(tf.nn.batch_normalization(values, mean, variance, beta, gamma, epsilon), x.dtype)
    count = tf.cast(exchange.total * (tf.size(x) // x.shape[-1]), tf.float32)
    return y, mean, variance * count / tf.maximum(count - 1.0, 1.0)  # Bessel's correction
