"""The reference engine: a block's arithmetic under a `tf.GradientTape`, eagerly, by public
TensorFlow alone.

Slower than `compiled` by about a millisecond a block and pass, and without replicas or XLA; what
that one is held to, and what a search falls back on where it does not work. Knows nothing of alpha,
paths or latency.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from pnas_tf.errors import UserError
from pnas_tf.supernet.engine import (
    ArchitectureBackward,
    Momenta,
    Update,
    Values,
    WeightBackward,
)
from pnas_tf.supernet.functional import Mode, forward, inner_product
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.tape_limits import beyond_tape
from pnas_tf.supernet.variables import variables_of


def unsupported(numerics: Numerics) -> UserError | None:
    """Why `TapeEngine` cannot compute by `numerics`; None where it can."""
    return beyond_tape(replicas=numerics.replicas.total, jit_compile=numerics.jit_compile)


def output(block: BlockWeights, x: tf.Tensor, *, mode: Mode, shortcut: bool) -> tf.Tensor:
    """o(x) of a block with its own variables, with x added where `shortcut` and the block has one.

    Differentiable by any tape: in mode WEIGHTS for weights and x, in ARCHITECTURE for x alone. x:
    [batch, in_size, in_size, in_channels].
    """
    y = forward(block.block, x, block.ordered, mode=mode, numerics=block.numerics)
    return x + y if shortcut and block.block.shortcut else y


class TapeEngine:
    """`engine.Engine` on one device, in any precision."""

    name = "tape"

    def weight_pass(
        self, block: BlockWeights, x: Values, *, nesterov: bool, input_gradient: bool
    ) -> tuple[Values, WeightBackward]:
        """As of `Engine`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, block.trained])
            y = output(block, x[0], mode=Mode.WEIGHTS, shortcut=True)

        def backward(
            upstream: Values, *, momenta: Momenta, scalars: Sequence[tf.Tensor]
        ) -> tuple[Values | None, Update]:
            wanted = [*(x if input_gradient else []), *block.trained]
            gradients = (
                tape.gradient(
                    y,
                    wanted,
                    output_gradients=upstream[0],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                if wanted
                else []
            )
            own = gradients[input_gradient:]
            update = Update(lambda: _move(block, own, momenta, scalars, nesterov=nesterov))
            return gradients[:1] if input_gradient else None, update

        return [y], backward

    def architecture_pass(
        self, block: BlockWeights, x: Values, *, input_gradient: bool, gate: bool
    ) -> tuple[Values, ArchitectureBackward]:
        """As of `Engine`."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            own = output(block, x[0], mode=Mode.ARCHITECTURE, shortcut=False)
            y = x[0] + own if block.block.shortcut else own

        def backward(upstream: Values) -> tuple[Values | None, Values | None]:
            gradient = tape.gradient(y, x, output_gradients=upstream[0]) if input_gradient else None
            return gradient, [inner_product(upstream[0], own)] if gate else None

        return [y], backward

    def output(self, block: BlockWeights, x: Values, *, shortcut: bool) -> Values:
        """As of `Engine`."""
        return [output(block, x[0], mode=Mode.ARCHITECTURE, shortcut=shortcut)]

    def gate_products(self, block: BlockWeights, x: Values, upstream: Values) -> Values:
        """As of `Engine`."""
        return [inner_product(upstream[0], self.output(block, x, shortcut=False)[0])]


def _move(
    block: BlockWeights,
    gradients: Sequence[tf.Tensor],
    momenta: Momenta,
    scalars: Sequence[tf.Tensor],
    *,
    nesterov: bool,
) -> tf.Tensor | None:
    """SGD with momentum, PyTorch's form: accum = m * accum + g; w -= rate * (g + m * accum), and
    accum in place of the bracket without Nesterov. Returns whether all gradients were finite where
    they are scaled."""
    rate, momentum = scalars[:2]
    finite = None
    if len(scalars) > 2 and block.trained:
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(g)) for g in gradients])
        if not finite:
            return finite
        gradients = [gradient / scalars[2] for gradient in gradients]
    for variable, accumulated, decay, gradient in zip(
        block.trained, momenta.variables, _decays(block), gradients, strict=True
    ):
        gradient = gradient + decay * variable if decay else gradient
        accumulated.assign(momentum * accumulated + gradient)
        step = gradient + momentum * accumulated if nesterov else accumulated
        variable.assign_sub(rate * step)
    return finite


def _decays(block: BlockWeights) -> list[float]:
    """The weight decay of each trained variable."""
    specs = variables_of(block.block)
    return [block.numerics.decay(spec.kind) for spec in specs if spec.trainable]
