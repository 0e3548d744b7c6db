"""A moving average of a network's weights, which is evaluated and kept in their place (Szegedy et
al. 2016, section 8). Knows nothing of how they are trained."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tf_keras as keras

from pnas_tf.training.distribution import Distribution, on_each_replica


@contextlib.contextmanager
def restored(model: keras.Model) -> Iterator[None]:
    """After it the model has the weights and statistics that it had before."""
    own = model.get_weights()
    try:
        yield
    finally:
        model.set_weights(own)


class WeightAverage:
    """average += (1 - d) * (weight - average) after each step, d = min(decay, (1 + n) / (10 + n))
    after n steps, so that initial weights are soon forgotten. Batch-normalisation statistics are
    weights too.

    Made in the scope of `distribution`, as the model. variables: the averages, in the order of
    `model.weights`.
    """

    def __init__(self, model: keras.Model, decay: float, distribution: Distribution):
        self._model, self._decay = model, decay
        # Statistics differ from replica to replica, and so must what follows them.
        self.variables = [
            tf.Variable(
                weight.numpy(),
                trainable=False,
                synchronization=weight.synchronization,
                aggregation=weight.aggregation,
            )
            for weight in model.weights
        ]
        self._compiled = tf.function(
            on_each_replica(distribution.strategy, self._follow, tf.distribute.ReduceOp.MEAN)
        )

    def update(self, steps: int) -> None:
        """Follows the weights. steps: that were taken before the last one."""
        self._compiled(tf.constant(min(self._decay, (1 + steps) / (10 + steps)), tf.float32))

    def _follow(self, decay: tf.Tensor) -> list[tf.Tensor]:
        for average, weight in zip(self.variables, self._model.weights):
            change = (1.0 - decay) * (average - weight)
            tf.raw_ops.AssignSubVariableOp(resource=average.handle, value=change)
        return [decay]

    def assign(self) -> None:
        """Gives the model the averages."""
        self._model.set_weights([average.numpy() for average in self.variables])
