"""Keeps comparisons of gradients away from kinks.

A ReLU6 has two gradients at 0 and at 6. Two orders of addition round an activation that lies there
to either side, and then their gradients differ by that activation's whole share: whoever compares
two implementations on inputs that were drawn once tests the processor's rounding. Here inputs are
drawn until every activation keeps a distance that rounding does not bridge; or, where too many
steps are compared for that, the activation itself is made smooth.
"""

import contextlib
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow.compat import v2 as seen_by_keras

LEAST = 1e-5  # 84 float32 eps of 1, the order of activations; a tree takes a quarter: 21


class Distance:
    """The smallest distance from a kink that was seen."""

    def __init__(self):
        self.least = np.inf

    def see(self, distances):
        self.least = min(self.least, float(tf.reduce_min(tf.cast(distances, tf.float64))))


@contextlib.contextmanager
def watched():
    """A Distance of everything that is computed eagerly within: ReLU, ReLU6 and maximum pooling."""
    seen, relu, relu6, max_pool2d = Distance(), tf.nn.relu, tf.nn.relu6, tf.nn.max_pool2d

    def watched_relu(x):
        seen.see(tf.abs(x))
        return relu(x)

    def watched_relu6(x):
        seen.see(tf.minimum(tf.abs(x), tf.abs(x - 6)))
        return relu6(x)

    def watched_pool(x, size, stride, padding):
        # Above 0, so that the zeros of the padding are never the largest.
        patches = tf.image.extract_patches(
            x - tf.reduce_min(x) + 1, [1, size, size, 1], [1, stride, stride, 1], [1] * 4, padding
        )
        by_channel = tf.reshape(patches, [-1, size * size, x.shape[-1]])
        first, second = tf.unstack(tf.math.top_k(tf.transpose(by_channel, [0, 2, 1]), 2)[0], axis=2)
        # Equal to the bit: zeros and sixes of a ReLU6, behind which no gradient goes on.
        seen.see(tf.where(first == second, np.inf, first - second))
        return max_pool2d(x, size, stride, padding)

    with (
        mock.patch.object(tf.nn, "relu", watched_relu),
        mock.patch.object(tf.nn, "relu6", watched_relu6),
        mock.patch.object(tf.nn, "max_pool2d", watched_pool),
    ):
        yield seen


@contextlib.contextmanager
def smoothed():
    """Every ReLU6 that is computed or traced within is 6 sigmoid(2 (x - 3) / 3), which goes from 0
    to 6 with slope 1 in the middle, and every ReLU is log(1 + e^x).

    Compiled graphs are shared by all blocks of one numerics in a process, so whoever uses this
    takes numerics that nobody else has.
    """

    def smooth(x, name=None):
        return tf.multiply(tf.sigmoid((x - 3) * (2 / 3)), 6, name=name)

    def softplus(x, name=None):
        return tf.math.softplus(x, name=name)

    with (
        mock.patch.object(tf.nn, "relu6", smooth),
        mock.patch.object(seen_by_keras.nn, "relu6", smooth),
        mock.patch.object(tf.nn, "relu", softplus),
        mock.patch.object(seen_by_keras.nn, "relu", softplus),
    ):
        yield


def first_away(compute, *, least=LEAST, tries=100):
    """(seed, compute(seed)) of the first seed for which everything that `compute` evaluates eagerly
    is at least `least` from every kink."""
    for seed in range(tries):
        with watched() as seen:
            result = compute(seed)
        if seen.least >= least:
            return seed, result
    raise AssertionError(f"of {tries} seeds none keeps a distance of {least}")
