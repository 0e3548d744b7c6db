"""The fast engine: every block through compiled pieces that it shares with its like.

Buys, against `tape`: about a millisecond a block and pass, and an update that runs beside the
backward pass of the blocks before; docs/DESIGN.md has the figures. Knows nothing of alpha, paths or
latency.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow as tf

from pnas_tf.supernet.compiled.block import (
    Carried,
    WeightParts,
    architecture_parts,
    gate_function,
    output_function,
    weight_parts,
)
from pnas_tf.supernet.engine import (
    ArchitectureBackward,
    Momenta,
    Update,
    Values,
    WeightBackward,
)
from pnas_tf.supernet.mixed_op import BlockWeights


class CompiledEngine:
    """`engine.Engine` on any replicas, in any precision."""

    name = "compiled"

    def weight_pass(
        self, block: BlockWeights, x: Values, *, nesterov: bool, input_gradient: bool
    ) -> tuple[Values, WeightBackward]:
        """As of `Engine`."""
        parts = weight_parts(
            block.block, block.arithmetic, nesterov=nesterov, input_gradient=input_gradient
        )
        y, carried = parts.forward(x, block.handles)
        return y, functools.partial(_weight_backward, parts, carried)

    def architecture_pass(
        self, block: BlockWeights, x: Values, *, input_gradient: bool, gate: bool
    ) -> tuple[Values, ArchitectureBackward]:
        """As of `Engine`."""
        parts = architecture_parts(
            block.block, block.arithmetic, input_gradient=input_gradient, gate=gate
        )
        y, carried = parts.forward(x, block.handles)
        return y, functools.partial(parts.backward, carried=carried)

    def output(self, block: BlockWeights, x: Values, *, shortcut: bool) -> Values:
        """As of `Engine`."""
        function = output_function(block.block, block.arithmetic, shortcut=shortcut)
        return function([*x, *block.handles])

    def gate_products(self, block: BlockWeights, x: Values, upstream: Values) -> Values:
        """As of `Engine`."""
        return gate_function(block.block, block.arithmetic)([*x, *block.handles, *upstream])


def _weight_backward(
    parts: WeightParts,
    carried: Carried,
    upstream: Values,
    *,
    momenta: Momenta,
    scalars: Sequence[tf.Tensor],
) -> tuple[Values | None, Update]:
    return parts.backward(upstream, carried, slots=momenta.handles, scalars=scalars)
