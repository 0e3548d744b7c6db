"""How gradients move variables: SGD with momentum, or AdamW. One fused kernel a variable does what
elementwise ops do in five to ten.

All by `raw_ops` on handles, so that each replica of a strategy moves its own copy: all see the same
gradients. Knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from pnas_tf.config import OptimizerConfig, TrainConfig

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Kingma and Ba 2015, algorithm 1


@dataclass(frozen=True)
class MovedVariable:
    """rate: what the learning rate is multiplied by. decays: whether weight decay acts on it."""

    variable: tf.Variable
    rate: float
    decays: bool


@dataclass(frozen=True)
class Now:
    """What an update depends on besides gradients.

    Attributes:
        learning_rate: of variables of rate 1.
        step: how many updates came before, int32.
        finite: of gradients in half precision, whether all are finite; nothing moves where they
            are not. None: they are not looked at.
    """

    learning_rate: tf.Tensor
    step: tf.Tensor
    finite: tf.Tensor | None = None


class Optimizer(Protocol):
    """slots: what it remembers, for checkpoints."""

    slots: list[tf.Variable]

    def move(self, gradients: Sequence[tf.Tensor], now: Now) -> None:
        """One update; gradients in the order of the variables."""


class Momentum:
    """SGD with momentum and L2.

    accum = momentum * accum + g; w -= learning_rate * (g + momentum * accum) with Nesterov,
    learning_rate * accum without: PyTorch's form, which is Keras' while the rate stays the same. g
    includes weight_decay * w.
    """

    def __init__(self, moved: Sequence[MovedVariable], config: OptimizerConfig):
        self._moved, self._config = moved, config
        self.slots = [_zeros_like(each.variable) for each in moved]

    def move(self, gradients: Sequence[tf.Tensor], now: Now) -> None:
        """As `Optimizer.move`."""
        # accum = 1 * accum + 0; w -= 0
        rate = _unless_infinite(now.learning_rate, now, otherwise=0.0)
        momentum = _unless_infinite(self._config.momentum, now, otherwise=1.0)
        for moved, slot, gradient in zip(self._moved, self.slots, gradients):
            if moved.decays:
                gradient += self._config.weight_decay * moved.variable
            if now.finite is not None:
                gradient = tf.where(now.finite, gradient, 0.0)
            tf.raw_ops.ResourceApplyMomentum(
                var=moved.variable.handle,
                accum=slot.handle,
                lr=rate if moved.rate == 1.0 else rate * moved.rate,
                grad=gradient,
                momentum=momentum,
                use_nesterov=self._config.nesterov,
            )


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2):
    w -= learning_rate * (m' / (sqrt(v') + epsilon) + decay * w), the decay scaled by the schedule.
    """

    def __init__(self, moved: Sequence[MovedVariable], config: TrainConfig):
        self._moved, self._decay = moved, config.adamw_weight_decay
        self.slots = [_zeros_like(each.variable) for each in (*moved, *moved)]

    def move(self, gradients: Sequence[tf.Tensor], now: Now) -> None:
        """As `Optimizer.move`."""
        count = tf.cast(now.step + 1, tf.float32)
        powers = tf.pow(BETA_1, count), tf.pow(BETA_2, count)
        learning_rate = _unless_infinite(now.learning_rate, now, otherwise=0.0)
        betas = [_unless_infinite(beta, now, otherwise=1.0) for beta in (BETA_1, BETA_2)]
        means, squares = self.slots[: len(self._moved)], self.slots[len(self._moved) :]
        for moved, mean, square, gradient in zip(self._moved, means, squares, gradients):
            rate, handle = learning_rate * moved.rate, moved.variable.handle
            if now.finite is not None:
                gradient = tf.where(now.finite, gradient, 0.0)
            if moved.decays:
                shrunk = rate * self._decay * moved.variable
                tf.raw_ops.AssignSubVariableOp(resource=handle, value=shrunk)
            tf.raw_ops.ResourceApplyAdam(
                var=handle,
                m=mean.handle,
                v=square.handle,
                beta1_power=powers[0],
                beta2_power=powers[1],
                lr=rate,
                beta1=betas[0],
                beta2=betas[1],
                epsilon=EPSILON,
                grad=gradient,
            )


def optimizer_of(
    variables: Sequence[tuple[tf.Variable, float]],
    decayed: Collection[tf.Variable],
    config: OptimizerConfig,
    train: TrainConfig,
) -> Optimizer:
    """The optimizer of `train`.

    Args:
        variables: each with what the learning rate is multiplied by.
        decayed: those that weight decay acts on.
        config: momentum and L2 of SGD.
        train: which optimizer.
    """
    is_adamw = train.train_optimizer == "adamw"
    decay = train.adamw_weight_decay if is_adamw else config.weight_decay
    shrinking = {variable.ref() for variable in decayed} if decay else set()
    moved = [
        MovedVariable(variable, rate, variable.ref() in shrinking) for variable, rate in variables
    ]
    return AdamW(moved, train) if is_adamw else Momentum(moved, config)


def _zeros_like(variable: tf.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros_like(variable), trainable=False)


def _unless_infinite(value: float | tf.Tensor, now: Now, *, otherwise: float) -> float | tf.Tensor:
    return value if now.finite is None else tf.where(now.finite, value, otherwise)
