"""What the steps of a search need of whoever computes a block: both passes of a weight step, both
passes of an architecture step.

A step goes through a path block by block, forwards and then backwards. `tape` does that by public
TensorFlow alone and is obviously right; `compiled` is fast and stands on private machinery. Both
give the same values (tests/supernet/test_engines.py). Knows nothing of alpha, paths or latency.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import tensorflow as tf

from pnas_tf.supernet.mixed_op import BlockWeights

Values = list[tf.Tensor]  # one a local replica


@dataclass(frozen=True)
class Momenta:
    """The momenta of a block's trained variables, in their order. handles: of all local replicas'
    copies, replica after replica."""

    variables: tuple[tf.Variable, ...]
    handles: tuple[tf.Tensor, ...]


@dataclass(frozen=True)
class Update:
    """The update of a block's weights, to be run once. held: bytes of the values that it holds
    until then.

    run: moves the weights, unless that is done already, and returns, where gradients are scaled,
    whether all were finite. Weights whose gradients are not finite stay as they are, with their
    momenta.
    """

    run: Callable[[], tf.Tensor | None]
    held: int = 0


class WeightBackward(Protocol):
    """The backward pass of a block in a weight step."""

    def __call__(
        self, upstream: Values, *, momenta: Momenta, scalars: Sequence[tf.Tensor]
    ) -> tuple[Values | None, Update]:
        """The gradient to what lies before, and the update of the weights.

        Args:
            upstream: dL/dy, L the replica's share of the global loss, times the loss scale in
                float16; shapes as of y.
            momenta: of the block's trained variables.
            scalars: learning rate, momentum and, in float16, the loss scale; float32 scalars.

        Returns:
            (dL/dx where it was asked for, the update: SGD with momentum and weight decay by the sum
            of all replicas' gradients). Nothing in the step waits for the update.
        """


class ArchitectureBackward(Protocol):
    """The backward pass of a block in an architecture step."""

    def __call__(self, upstream: Values) -> tuple[Values | None, Values | None]:
        """(dL/dx, the replicas' parts of dL/dg = <dL/dy, o(x)>), None for what was not asked
        for. upstream: dL/dy."""


class Engine(Protocol):
    """Computes blocks: y = o(x), plus x with an identity shortcut.

    x: [batch, in_size, in_size, in_channels] a local replica, in the precision of the block's
    numerics. Zero candidates own nothing to compute and are not given to an engine.
    """

    @property
    def name(self) -> str:
        """As of `--engine`."""

    def weight_pass(
        self, block: BlockWeights, x: Values, *, nesterov: bool, input_gradient: bool
    ) -> tuple[Values, WeightBackward]:
        """(y, the backward pass) by batch statistics; moves the moving statistics. input_gradient:
        False for the block that reads the images."""

    def architecture_pass(
        self, block: BlockWeights, x: Values, *, input_gradient: bool, gate: bool
    ) -> tuple[Values, ArchitectureBackward]:
        """(y, the backward pass) by batch statistics; weights are constants, nothing is updated."""

    def output(self, block: BlockWeights, x: Values, *, shortcut: bool) -> Values:
        """o(x), with x added where `shortcut` and the block has one; batch statistics, nothing is
        updated or kept."""

    def gate_products(self, block: BlockWeights, x: Values, upstream: Values) -> Values:
        """<upstream, o(x)> of each local replica: the parts of the gate gradient of a candidate
        that did not run."""
