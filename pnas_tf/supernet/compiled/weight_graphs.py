"""A weight step's graphs of one block: forward, backward, and the update of its weights.

Blocks share them and pass in their own variables, MBConvs whatever their sizes are: what is
compiled and kept in memory does not grow with the candidates. `supernet.tape` is the definition
that tests hold them to.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from pnas_tf.space.blocks import Block
from pnas_tf.supernet.compiled.graph_pieces import GraphPiece, trace_pieces
from pnas_tf.supernet.compiled.momentum_update import MomentumUpdate
from pnas_tf.supernet.compiled.traced_block import HANDLE, TracedBlock
from pnas_tf.supernet.engine import Momenta, Update
from pnas_tf.supernet.functional import Mode
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import CrossReplicaReducer, on, reducers


@dataclass(frozen=True)
class Residuals:
    """What a forward graph keeps for a backward one.

    Attributes:
        inputs: what it was called with.
        between: the values that it has computed on the way.
    """

    inputs: list[tf.Tensor]
    between: list[tf.Tensor]


@dataclass(frozen=True)
class _ReplicaInputs:
    """What one replica's part of the graphs reads."""

    x: tf.Tensor
    handles: list[tf.Tensor]
    upstream: tf.Tensor
    slots: list[tf.Tensor]


@dataclass(frozen=True)
class _ReplicaOutputs:
    """What one replica's part of the graphs gives: y; dL/dx where asked for; a sign that the
    weights have moved; whether gradients were finite where they are scaled."""

    y: tf.Tensor
    gradient: list[tf.Tensor]
    moved: list[tf.Tensor]
    finite: list[tf.Tensor]


class WeightGraphs:
    """y = o(x), plus x with an identity shortcut, by batch statistics.

    `forward` moves the moving statistics; `backward` gives the gradient to what lies before, and
    the update of the weights, by the sum of all replicas' gradients. Nothing in the step waits for
    an update. Values are lists with one tensor a local replica.

    Args:
        block: as of `shared_block`.
        numerics: how it is computed.
        nesterov: whether momentum is Nesterov's.
        input_gradient: False for the block that reads the images.
    """

    def __init__(
        self, block: Block, numerics: Numerics, *, nesterov: bool, input_gradient: bool
    ) -> None:
        self._traced, self._input_gradient = TracedBlock(block, numerics), input_gradient
        self._local = numerics.replicas.local
        trained = [spec for spec in self._traced.variables if spec.trainable]
        decays = tuple(numerics.decay(spec.kind) for spec in trained)
        self._update = MomentumUpdate(decays, nesterov, scaled=numerics.scales_loss)
        upstream = [self._traced.upstream] * self._local
        last = [*self._update.scalars, *[HANDLE] * (len(trained) * self._local)]
        # Sums over replicas are stateful ops, which TensorFlow runs in every piece whose graph they
        # touch: with replicas the backward graph and the update are one.
        self._fused_update = numerics.replicas.total > 1
        self._update_graph: GraphPiece | None = None
        if self._fused_update:
            forward, self._backward_graph = trace_pieces(
                self._trace_fused, self._traced.inputs, [*upstream, *last]
            )
        else:
            forward, self._backward_graph, self._update_graph = trace_pieces(
                self._trace, self._traced.inputs, upstream, last
            )
        assert forward is not None
        self._forward_graph = forward

    @property
    def graphs(self) -> tuple[GraphPiece | None, ...]:
        """Forward, backward, update; None where there is nothing to compute."""
        return self._forward_graph, self._backward_graph, self._update_graph

    def forward(
        self, x: Sequence[tf.Tensor], handles: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], Residuals]:
        """Runs the block.

        Args:
            x: [batch, in_size, in_size, in_channels] each.
            handles: of all variables in order, replica after replica.

        Returns:
            (y, what `backward` needs).
        """
        inputs = [*x, *handles]
        results = self._forward_graph(inputs)
        return results[: self._local], Residuals(inputs, results[self._local :])

    def backward(
        self,
        upstream: Sequence[tf.Tensor],
        *,
        residuals: Residuals,
        momenta: Momenta,
        scalars: Sequence[tf.Tensor],
    ) -> tuple[list[tf.Tensor] | None, Update]:
        """As of `engine.WeightBackward`. residuals: of `forward`."""
        given = [*residuals.inputs, *residuals.between, *upstream]
        last = [*scalars, *momenta.handles]
        results: list[tf.Tensor] = []
        if self._fused_update:
            if self._backward_graph is not None:
                results = self._backward_graph([*given, *last])
            gradient = results[: self._local] if self._input_gradient else None
            finite = results[-1] if results and self._update.scaled and momenta.handles else None
            return gradient, Update(lambda: finite)
        if self._backward_graph is not None:
            results = self._backward_graph(given)
        gradient = results[:1] if self._input_gradient else None
        if self._update_graph is None:
            return gradient, Update(lambda: None)
        waiting = self._update_graph.select([*given, *results[self._input_gradient :], *last])
        held = sum(
            value.shape.num_elements() * value.dtype.size
            for value in waiting
            if value.dtype.is_floating
        )
        return gradient, Update(functools.partial(self._moved, self._update_graph, waiting), held)

    def _moved(self, graph: GraphPiece, selected: Sequence[tf.Tensor]) -> tf.Tensor | None:
        results = graph.run(selected)
        return results[-1] if self._update.scaled else None

    def _trace_fused(self, inputs: list[tf.Tensor], late: list[tf.Tensor]) -> list[list[tf.Tensor]]:
        outputs, gradients, moved = self._trace(inputs, late[: self._local], late[self._local :])
        return [outputs, [*gradients, *moved]]

    def _trace(
        self, inputs: list[tf.Tensor], upstream: list[tf.Tensor], last: list[tf.Tensor]
    ) -> list[list[tf.Tensor]]:
        replicas, count = self._traced.numerics.replicas, len(self._update.scalars)
        handles = self._traced.handles(inputs)
        slots = self._traced.by_replica(last[count:], len(self._update.decays))
        found = []
        for place, reducer in enumerate(reducers(replicas)):
            own = _ReplicaInputs(inputs[place], handles[place], upstream[place], slots[place])
            with on(replicas.devices[place]):
                found.append(self._trace_replica(own, last[:count], reducer))
        gradients = [gradient for own in found for gradient in own.gradient]
        moved = [sign for own in found for sign in own.moved]
        return [[own.y for own in found], gradients, [*moved, *found[0].finite]]

    def _trace_replica(
        self, own: _ReplicaInputs, scalars: list[tf.Tensor], reducer: CrossReplicaReducer
    ) -> _ReplicaOutputs:
        traced = self._traced
        values = traced.read(own.handles)
        weights = traced.select(values, trainable=True)
        output, differences = traced.compute(own.x, values, mode=Mode.WEIGHTS, reducer=reducer)
        y = traced.with_shortcut(own.x, output)
        wanted = [own.x, *weights] if self._input_gradient else weights
        gradients: list[tf.Tensor] = []
        if wanted:
            gradients = tf.gradients(y, wanted, grad_ys=own.upstream, unconnected_gradients="zero")
        moved, finite = [], []
        if weights:
            all_finite, updates = self._update.ops(
                weights,
                reducer.sum(gradients[-len(weights) :], late=True),
                handles=traced.select(own.handles, trainable=True),
                slots=own.slots,
                scalars=scalars,
            )
            with tf.control_dependencies(updates):
                moved = [tf.constant(True) if all_finite is None else tf.identity(all_finite)]
            finite = [] if all_finite is None else [all_finite]
        if differences and not traced.numerics.normalisation.synchronized:
            differences = reducer.mean(differences)
        targets = traced.select(own.handles, trainable=False)
        statistics = [
            tf.raw_ops.AssignSubVariableOp(resource=target, value=difference)
            for target, difference in zip(targets, differences, strict=True)
        ]
        with tf.control_dependencies(statistics):
            y = tf.identity(y)
        return _ReplicaOutputs(y, gradients[:1] if self._input_gradient else [], moved, finite)
