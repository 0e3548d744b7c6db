"""The steps of one block: forward pass, backward pass and update of a weight step, both passes of
an architecture step.

The supernet's steps go through a path block by block, forwards and then backwards, so these parts
are all that is ever compiled. Blocks share them and pass in their own variables, MBConvs whatever
their sizes are: what is compiled and kept in memory does not grow with the candidates.
`supernet.tape` is the definition that tests hold them to.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.compiled.graph_pieces import Part, cut, whole
from pnas_tf.supernet.engine import Update
from pnas_tf.supernet.functional import Arithmetic, Mode, forward
from pnas_tf.supernet.replicas import Exchange, exchanges, on

_HANDLE, _SCALAR = tf.TensorSpec([], tf.resource), tf.TensorSpec([], tf.float32)


@dataclass(frozen=True)
class Carried:
    """What a part keeps for the next one: its inputs and the values in between."""

    early: list[Any]
    between: list[tf.Tensor]


class WeightParts:
    """A weight step's parts of one block: y = o(x), plus x with an identity shortcut, by batch
    statistics.

    `forward` moves the moving statistics; `backward` gives the gradient to what lies before, and
    the update of the weights: SGD with momentum and weight decay, by the sum of all replicas'
    gradients. Nothing in the step waits for an update. Values are lists with one tensor a local
    replica.
    """

    def __init__(
        self, block: Block, arithmetic: Arithmetic, *, nesterov: bool, input_gradient: bool
    ):
        self._block, self._arithmetic, self._nesterov = block, arithmetic, nesterov
        self.input_gradient, self.scaled = input_gradient, arithmetic.precision == "float16"
        self._local = arithmetic.replicas.local
        self._trained = [variable for variable in _variables(block) if variable.trainable]
        early, upstream = _signature(block, arithmetic)
        scalars = [_SCALAR] * (3 if self.scaled else 2)
        last = [*scalars, *[_HANDLE] * (len(self._trained) * self._local)]
        # Sums over replicas are stateful ops, which TensorFlow runs in every part whose graph they
        # touch: with replicas all is one part.
        self.together = arithmetic.replicas.total > 1
        if self.together:
            forward, self._backward = cut(
                self._trace_together, early, [*[upstream] * self._local, *last]
            )
            self._move = None
        else:
            forward, self._backward, self._move = cut(self._trace, early, [upstream], last)
        assert forward is not None
        self._forward = forward

    def forward(
        self, x: Sequence[tf.Tensor], handles: Sequence[Any]
    ) -> tuple[list[tf.Tensor], Carried]:
        """(y, what `backward` needs). x: [batch, in_size, in_size, in_channels] each; handles: of
        all variables in order, replica after replica."""
        early = [*x, *handles]
        results = self._forward(early)
        return results[: self._local], Carried(early, results[self._local :])

    def backward(
        self,
        upstream: Sequence[tf.Tensor],
        carried: Carried,
        *,
        slots: Sequence[Any],
        scalars: Sequence[tf.Tensor],
    ) -> tuple[list[tf.Tensor] | None, Update]:
        """(dL/dx where it was asked for, the update). upstream: dL/dy, L the replica's share of the
        global loss, times the loss scale in float16. slots: handles of the trained variables'
        momenta; scalars: rate, momentum and, in float16, the loss scale.
        """
        given, results = [*carried.early, *carried.between, *upstream], []
        if self.together:
            results = self._backward([*given, *scalars, *slots]) if self._backward else []
            return results[: self._local] if self.input_gradient else None, Update(
                lambda: results[-1] if self.scaled and self._trained else None
            )
        if self._backward is not None:
            results = self._backward(given)
        gradient = results[:1] if self.input_gradient else None
        if self._move is None:
            return gradient, Update(lambda: None)
        waiting = self._move.select([*given, *results[self.input_gradient :], *scalars, *slots])
        held = sum(
            value.shape.num_elements() * value.dtype.size
            for value in waiting
            if value.dtype.is_floating
        )
        return gradient, Update(functools.partial(self._moved, self._move, waiting), held)

    def _moved(self, move: Part, selected: Sequence[Any]) -> tf.Tensor | None:
        results = move.run(selected)
        return results[-1] if self.scaled else None

    def _trace_together(
        self, early: list[tf.Tensor], late: list[tf.Tensor]
    ) -> list[list[tf.Tensor]]:
        outputs, gradients, done = self._trace(early, late[: self._local], late[self._local :])
        return [outputs, [*gradients, *done]]

    def _trace(
        self, early: list[tf.Tensor], late: list[tf.Tensor], last: list[tf.Tensor]
    ) -> list[list[tf.Tensor]]:
        local, scalars = self._local, 3 if self.scaled else 2
        handles = _by_replica(early[local:], local, len(_variables(self._block)))
        slots = _by_replica(last[scalars:], local, len(self._trained))
        outputs, gradients, done, finite = [], [], [], []
        for place, exchange in enumerate(exchanges(self._arithmetic.replicas)):
            with on(self._arithmetic.replicas.devices[place]):
                y, gradient, moved, whole_numbers = self._trace_replica(
                    early[place],
                    handles[place],
                    late[place],
                    last[:scalars],
                    slots[place],
                    exchange,
                )
            outputs.append(y)
            gradients += gradient
            done += moved
            finite += whole_numbers
        return [outputs, gradients, [*done, *finite[:1]]]

    def _trace_replica(
        self,
        x: tf.Tensor,
        handles: list[tf.Tensor],
        upstream: tf.Tensor,
        scalars: list[tf.Tensor],
        slots: list[tf.Tensor],
        exchange: Exchange,
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        """(y, dL/dx where asked for, a sign that the weights have moved, whether gradients were
        finite where they are scaled)."""
        block, arithmetic = self._block, self._arithmetic
        values = _read(block, handles)
        weights = [
            value
            for value, variable in zip(values, _variables(block), strict=True)
            if variable.trainable
        ]
        output, differences = _computed(block, arithmetic, Mode.WEIGHTS, x, values, exchange)
        y = _with_shortcut(block, x, output)
        wanted = [x, *weights] if self.input_gradient else weights
        gradients = (
            tf.gradients(y, wanted, grad_ys=upstream, unconnected_gradients="zero")
            if wanted
            else []
        )
        done, finite = [], []
        if weights:
            whole_numbers, moves = self._moves(
                weights, gradients[-len(weights) :], handles, scalars, slots, exchange
            )
            with tf.control_dependencies(moves):
                done = [tf.constant(True) if whole_numbers is None else tf.identity(whole_numbers)]
            finite = [] if whole_numbers is None else [whole_numbers]
        targets = [
            handle
            for handle, variable in zip(handles, _variables(block), strict=True)
            if not variable.trainable
        ]
        if differences and not arithmetic.normalisation.synchronized:
            differences = exchange.mean(differences)
        updates = [
            tf.raw_ops.AssignSubVariableOp(resource=target, value=difference)
            for target, difference in zip(targets, differences, strict=True)
        ]
        with tf.control_dependencies(updates):
            return tf.identity(y), gradients[:1] if self.input_gradient else [], done, finite

    def _moves(
        self,
        weights: list[tf.Tensor],
        gradients: list[tf.Tensor],
        handles: list[tf.Tensor],
        scalars: list[tf.Tensor],
        slots: list[tf.Tensor],
        exchange: Exchange,
    ) -> tuple[tf.Tensor | None, list[tf.Operation]]:
        """(whether all gradients are finite where they are scaled, the updates of all weights)."""
        rate, momentum = scalars[:2]
        gradients, finite = exchange.sum(gradients, late=True), None
        if self.scaled:
            finite = tf.reduce_all(
                [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
            )
            # accum = 1 * accum + 0; w -= 0
            rate, momentum = tf.where(finite, rate, 0.0), tf.where(finite, momentum, 1.0)
            gradients = [tf.where(finite, gradient / scalars[2], 0.0) for gradient in gradients]
        decays = [_decay(self._arithmetic, variable.kind) for variable in self._trained]
        gradients = [
            gradient + decay * weight if decay else gradient
            for gradient, decay, weight in zip(gradients, decays, weights)
        ]
        if self.scaled:
            gradients = [tf.where(finite, gradient, 0.0) for gradient in gradients]
        targets = [
            handle
            for handle, variable in zip(handles, _variables(self._block), strict=True)
            if variable.trainable
        ]
        # Every reader of a weight is done before it moves: `backward` has run, and what it did not
        # need ends in these gradients. Identities, since to wait for an op of `backward` itself
        # would be to run it again here.
        with tf.control_dependencies([tf.identity(gradient) for gradient in gradients]):
            return finite, [
                tf.raw_ops.ResourceApplyMomentum(
                    var=target,
                    accum=slot,
                    lr=rate,
                    grad=gradient,
                    momentum=momentum,
                    use_nesterov=self._nesterov,
                )
                for target, slot, gradient in zip(targets, slots, gradients, strict=True)
            ]


class ArchitectureParts:
    """An architecture step's parts of one block: as a weight step's, but weights are constants and
    nothing is updated.

    gate: `backward` also gives <dL/dy, o(x)> of each local replica; dL/dg is the sum over all
    replicas.
    """

    def __init__(self, block: Block, arithmetic: Arithmetic, *, input_gradient: bool, gate: bool):
        self._local = local = arithmetic.replicas.local

        def trace(early: list[tf.Tensor], late: list[tf.Tensor]) -> list[list[tf.Tensor]]:
            outputs: list[tf.Tensor] = []
            gradients: list[tf.Tensor] = []
            products: list[tf.Tensor] = []
            for place, (x, output) in enumerate(_outputs(block, arithmetic, early)):
                upstream = late[place]
                with on(arithmetic.replicas.devices[place]):
                    outputs.append(_with_shortcut(block, x, output))
                    gradients += (
                        tf.gradients(outputs[-1], [x], grad_ys=upstream) if input_gradient else []
                    )
                    products.append(_inner_product(upstream, output))
            return [outputs, [*gradients, *(products if gate else [])]]

        early, upstream = _signature(block, arithmetic)
        forward, backward = cut(trace, early, [upstream] * local)
        assert forward is not None and backward is not None, (
            "neither a gradient nor a gate is asked for"
        )
        self._forward, self._backward = forward, backward
        self.input_gradient, self.gate = input_gradient, gate

    def forward(
        self, x: Sequence[tf.Tensor], handles: Sequence[Any]
    ) -> tuple[list[tf.Tensor], Carried]:
        """(y, what `backward` needs), as of `WeightParts`."""
        early = [*x, *handles]
        results = self._forward(early)
        return results[: self._local], Carried(early, results[self._local :])

    def backward(
        self, upstream: Sequence[tf.Tensor], carried: Carried
    ) -> tuple[list[tf.Tensor] | None, list[tf.Tensor] | None]:
        """(dL/dx, the replicas' parts of dL/dg), None for what was not asked for. upstream:
        dL/dy."""
        result = self._backward([*carried.early, *carried.between, *upstream])
        return result[: self._local] if self.input_gradient else None, result[
            -self._local :
        ] if self.gate else None


@functools.cache
def _weight_parts(
    block: Block, arithmetic: Arithmetic, nesterov: bool, input_gradient: bool
) -> WeightParts:
    return WeightParts(block, arithmetic, nesterov=nesterov, input_gradient=input_gradient)


@functools.cache
def _architecture_parts(
    block: Block, arithmetic: Arithmetic, input_gradient: bool, gate: bool
) -> ArchitectureParts:
    return ArchitectureParts(block, arithmetic, input_gradient=input_gradient, gate=gate)


def weight_parts(
    block: Block, arithmetic: Arithmetic, *, nesterov: bool, input_gradient: bool = True
) -> WeightParts:
    """The parts that all blocks of this kind share. input_gradient: False for the block that reads
    the images."""
    return _weight_parts(_common(block, arithmetic), arithmetic, nesterov, input_gradient)


def architecture_parts(
    block: Block, arithmetic: Arithmetic, *, input_gradient: bool, gate: bool
) -> ArchitectureParts:
    """The parts that all blocks of this kind share. input_gradient: whether anything before the
    block needs a gradient."""
    return _architecture_parts(_common(block, arithmetic), arithmetic, input_gradient, gate)


def output_function(block: Block, arithmetic: Arithmetic, *, shortcut: bool) -> Part:
    """[*x, *handles] -> [*o(x)], with x added where `shortcut` and the block has one; batch
    statistics, nothing updated."""
    return _output_function(_common(block, arithmetic), arithmetic, shortcut and block.shortcut)


def gate_function(block: Block, arithmetic: Arithmetic) -> Part:
    """[*x, *handles, *upstream] -> [*<upstream, o(x)>], the parts of the gate gradient of a
    candidate that did not run."""
    return _gate_function(_common(block, arithmetic), arithmetic)


@functools.cache
def _output_function(block: Block, arithmetic: Arithmetic, shortcut: bool) -> Part:
    def output(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        results = []
        for device, (x, y) in zip(
            arithmetic.replicas.devices, _outputs(block, arithmetic, inputs), strict=True
        ):
            with on(device):
                results.append(tf.add_n([x, y]) if shortcut else y)
        return results

    return whole(output, _signature(block, arithmetic)[0])


@functools.cache
def _gate_function(block: Block, arithmetic: Arithmetic) -> Part:
    early, upstream = _signature(block, arithmetic)
    local = arithmetic.replicas.local

    def products(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        results = []
        for place, (_, output) in enumerate(_outputs(block, arithmetic, inputs[:-local])):
            with on(arithmetic.replicas.devices[place]):
                results.append(_inner_product(inputs[len(inputs) - local + place], output))
        return results

    return whole(products, [*early, *[upstream] * local])


def _common(block: Block, arithmetic: Arithmetic) -> Block:
    """The block whose parts compute this one too: without its name, which says where it stands,
    and, of an MBConv, without sizes, which values and variables bring with them. Sums over replicas
    are messages of known lengths, so there every size has its own parts."""
    block, op = replace(block, name="block"), block.op
    if not isinstance(op, MBConv) or arithmetic.replicas.total > 1:
        return block
    padded_by_kernel = block.padding != "same" and block.stride > 1
    op = replace(op, kernel=op.kernel if padded_by_kernel else 3, expansion=min(op.expansion, 2))
    return replace(block, op=op, in_size=0, out_size=0, in_channels=0, out_channels=0)


def _outputs(
    block: Block, arithmetic: Arithmetic, inputs: list[tf.Tensor]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """(x, o(x)) of each local replica; weights are constants."""
    replicas, results = arithmetic.replicas, []
    handles = _by_replica(inputs[replicas.local :], replicas.local, len(_variables(block)))
    for place, exchange in enumerate(exchanges(replicas)):
        with on(replicas.devices[place]):
            output, _ = _computed(
                block,
                arithmetic,
                Mode.ARCHITECTURE,
                inputs[place],
                _read(block, handles[place]),
                exchange,
            )
        results.append((inputs[place], output))
    return results


def _computed(
    block: Block,
    arithmetic: Arithmetic,
    mode: Mode,
    x: tf.Tensor,
    values: list[tf.Tensor],
    exchange: Exchange,
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """(o(x), what the moving statistics move down by: nothing but in mode WEIGHTS). values: of all
    variables in order."""

    def compute(x: tf.Tensor, *values: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        statistics = [
            None if variable.trainable else _Statistic(value)
            for variable, value in zip(_variables(block), values, strict=True)
        ]
        arguments = [
            value if statistic is None else statistic
            for value, statistic in zip(values, statistics)
        ]
        output = forward(
            block,
            x,
            arguments,
            mode=mode,
            arithmetic=arithmetic,
            exchange=exchange if exchange.total > 1 else None,
        )
        return output, [
            difference
            for statistic in statistics
            if statistic is not None
            for difference in statistic.differences
        ]

    if arithmetic.jit_compile:
        return tf.function(compute, jit_compile=True, autograph=False)(x, *values)
    return compute(x, *values)


def _with_shortcut(block: Block, x: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return tf.add_n([x, output]) if block.shortcut else output


def _inner_product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(left, tf.float32) * tf.cast(right, tf.float32))


def _signature(block: Block, arithmetic: Arithmetic) -> tuple[list[tf.TensorSpec], tf.TensorSpec]:
    """(every replica's x, then their variables' handles; the gradient of the block's output)."""
    local, dtype = arithmetic.replicas.local, arithmetic.dtype
    x = tf.TensorSpec(
        [None, block.in_size or None, block.in_size or None, block.in_channels or None], dtype
    )
    is_logits = bool(block.layers) and block.layers[-1].kind == "dense"
    output = (
        tf.TensorSpec([None, block.out_channels])
        if is_logits
        else tf.TensorSpec(
            [None, block.out_size or None, block.out_size or None, block.out_channels or None],
            dtype,
        )
    )
    return [*[x] * local, *[_HANDLE] * (len(_variables(block)) * local)], output


def _by_replica(tensors: Sequence[tf.Tensor], local: int, size: int) -> list[list[tf.Tensor]]:
    return [list(tensors[place * size : (place + 1) * size]) for place in range(local)]


@dataclass(frozen=True)
class _Variable:
    shape: tuple[int, ...]
    trainable: bool
    kind: str


def _variables(block: Block) -> list[_Variable]:
    """Shapes in the order of `functional.forward`."""
    return [variable for layer in block.layers for variable in _layer_variables(layer)]


def _layer_variables(layer: Layer) -> list[_Variable]:
    channels = (layer.out_channels,)
    return (
        [_Variable(layer.kernel_shape, True, "kernel")]
        + [_Variable(channels, True, "bias")] * layer.bias
        + (
            [_Variable(channels, True, "norm")] * 2 + [_Variable(channels, False, "statistic")] * 2
            if layer.norm
            else []
        )
    )


def _decay(arithmetic: Arithmetic, kind: str) -> float:
    return {
        "kernel": arithmetic.weight_decay,
        "bias": arithmetic.bias_decay,
        "norm": arithmetic.norm_decay,
    }[kind]


def _read(block: Block, handles: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The values of the variables that a function is given by their resource handles."""
    values = []
    for variable, handle in zip(_variables(block), handles, strict=True):
        value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        value.set_shape(variable.shape if block.in_size else [None] * len(variable.shape))
        values.append(value)
    return values


class _Statistic:
    """What `functional.forward` takes for moving statistics: a value, and what it moves down by."""

    def __init__(self, value: tf.Tensor):
        self._value = value
        self.differences: list[tf.Tensor] = []

    def value(self) -> tf.Tensor:
        """As of `tf.Variable`."""
        return self._value

    def assign_sub(self, difference: tf.Tensor) -> None:
        """As of `tf.Variable`; whoever traces the block makes the update."""
        self.differences.append(difference)
