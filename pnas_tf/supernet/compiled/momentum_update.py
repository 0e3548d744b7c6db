"""The update of a block's weights as ops of a graph: SGD with momentum and weight decay.

`tape` has the same rule in plain TensorFlow. Knows nothing of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

_SCALAR = tf.TensorSpec([], tf.float32)


@dataclass(frozen=True)
class MomentumUpdate:
    """PyTorch's form: accum = m * accum + g; w -= rate * (g + m * accum), and accum in place of the
    bracket without Nesterov.

    Attributes:
        decays: L2 weight decay of each weight, added to its gradient.
        nesterov: whether momentum is Nesterov's.
        scaled: gradients come multiplied by a loss scale, and move nothing where one is not finite.
    """

    decays: tuple[float, ...]
    nesterov: bool
    scaled: bool

    @property
    def scalars(self) -> list[tf.TensorSpec]:
        """Learning rate, momentum and, where gradients are scaled, the loss scale."""
        return [_SCALAR] * (3 if self.scaled else 2)

    def ops(
        self,
        weights: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        *,
        handles: Sequence[tf.Tensor],
        slots: Sequence[tf.Tensor],
        scalars: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor | None, list[tf.Operation]]:
        """Adds the update to the graph.

        Args:
            weights: their values before.
            gradients: of the global loss, times the loss scale where they are scaled.
            handles: of the weights.
            slots: handles of their momenta.
            scalars: as of `scalars`.

        Returns:
            (whether all gradients are finite, where they are scaled; the updates of all weights).
        """
        rate, momentum, finite = scalars[0], scalars[1], None
        if self.scaled:
            finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
            # accum = 1 * accum + 0; w -= 0
            rate, momentum = tf.where(finite, rate, 0.0), tf.where(finite, momentum, 1.0)
            gradients = [tf.where(finite, gradient / scalars[2], 0.0) for gradient in gradients]
        gradients = [
            gradient + decay * weight if decay else gradient
            for gradient, decay, weight in zip(gradients, self.decays, weights, strict=True)
        ]
        if self.scaled:
            gradients = [tf.where(finite, gradient, 0.0) for gradient in gradients]
        # Every reader of a weight is done before it moves: the backward graph has run, and what it
        # did not need ends in these gradients. Identities, since to wait for an op of the backward
        # graph itself would be to run it again here.
        with tf.control_dependencies([tf.identity(gradient) for gradient in gradients]):
            return finite, [
                tf.raw_ops.ResourceApplyMomentum(
                    var=handle,
                    accum=slot,
                    lr=rate,
                    grad=gradient,
                    momentum=momentum,
                    use_nesterov=self.nesterov,
                )
                for handle, slot, gradient in zip(handles, slots, gradients, strict=True)
            ]
