"""The steps of one block: forward and backward pass of a weight step and of an architecture step, each a compiled half.

The supernet's steps go through a path block by block, forwards and then backwards, so these halves are all that is ever
compiled; blocks of one shape share them and pass in their own variables. Weights are updated in the backward half, as
soon as their gradients are there. `functional.forward` under a `GradientTape` is the definition that tests hold them to.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from pnas_tf.nn.functional import Arithmetic, Mode, forward
from pnas_tf.nn.halves import Half, Traced, cut, whole
from pnas_tf.space.geometry import Block, Layer

_HANDLE, _SCALAR = tf.TensorSpec([], tf.resource), tf.TensorSpec([], tf.float32)


@dataclass(frozen=True)
class Carried:
    """What a forward half keeps for its backward half: its inputs and the values in between."""

    early: list[Any]
    between: list[tf.Tensor]


class WeightHalves:
    """A weight step's halves of one block: y = o(x), plus x with an identity shortcut, by batch statistics.

    The forward half moves the moving statistics; the backward half moves weights by SGD with momentum and weight decay.
    """

    def __init__(self, block: Block, arithmetic: Arithmetic, *, nesterov: bool, input_gradient: bool):
        trained = [variable for variable in _variables(block) if variable.trainable]

        def trace(early: list[tf.Tensor], late: list[tf.Tensor]) -> Traced:
            x, handles = early[0], early[1:]
            upstream, rate, momentum, *slots = late
            values = [_Argument(variable, handle) for variable, handle in zip(_variables(block), handles, strict=True)]
            weights = [value.tensor for value in values if value.variable.trainable]
            output = forward(block, x, [value.for_forward for value in values], mode=Mode.WEIGHTS, arithmetic=arithmetic)
            y = _with_shortcut(block, x, output)
            wanted = [x, *weights] if input_gradient else weights
            gradients = tf.gradients(y, wanted, grad_ys=upstream, unconnected_gradients="zero")
            targets = [value.handle for value in values if value.variable.trainable]
            with tf.control_dependencies(gradients):  # every reader of a weight is done before it moves
                moves = [tf.raw_ops.ResourceApplyMomentum(var=target, accum=slot, lr=rate, grad=gradient, momentum=momentum,
                                                          use_nesterov=nesterov)
                         for target, slot, gradient in zip(targets, slots, gradients[-len(weights):] if weights else [], strict=True)]
            with tf.control_dependencies(moves):
                done = tf.identity(gradients[0]) if input_gradient else tf.constant(0.0)
            with tf.control_dependencies([op for value in values for op in value.updates]):
                return Traced([tf.identity(y)], [done])

        early, upstream = _signature(block)
        self._forward, self._backward = cut(trace, early, [upstream, _SCALAR, _SCALAR, *[_HANDLE] * len(trained)])
        self.input_gradient = input_gradient

    def forward(self, x: tf.Tensor, handles: Sequence[Any]) -> tuple[tf.Tensor, Carried]:
        """(y, what `backward` needs). x: [batch, in_size, in_size, in_channels]; handles: of all variables in order."""
        early = [x, *handles]
        y, *between = self._forward(early)
        return y, Carried(early, between)

    def backward(self, upstream: tf.Tensor, carried: Carried, *, slots: Sequence[Any], rate: tf.Tensor,
                 momentum: tf.Tensor) -> tf.Tensor | None:
        """Moves the weights; returns dL/dx where it was asked for. upstream: dL/dy; slots: handles of the trained variables' momenta."""
        result = self._backward([*carried.early, *carried.between, upstream, rate, momentum, *slots])
        return result[0] if self.input_gradient else None


class ArchitectureHalves:
    """An architecture step's halves of one block: as a weight step's, but weights are constants and nothing is updated.

    gate: the backward half also gives dL/dg = <dL/dy, o(x)>.
    """

    def __init__(self, block: Block, arithmetic: Arithmetic, *, input_gradient: bool, gate: bool):
        def trace(early: list[tf.Tensor], late: list[tf.Tensor]) -> Traced:
            x, upstream = early[0], late[0]
            output = _output(block, arithmetic, early)
            y = _with_shortcut(block, x, output)
            gradients = tf.gradients(y, [x], grad_ys=upstream) if input_gradient else []
            return Traced([y], [*gradients, *([tf.reduce_sum(upstream * output)] if gate else [])])

        early, upstream = _signature(block)
        self._forward, self._backward = cut(trace, early, [upstream])
        self.input_gradient, self.gate = input_gradient, gate

    def forward(self, x: tf.Tensor, handles: Sequence[Any]) -> tuple[tf.Tensor, Carried]:
        """(y, what `backward` needs)."""
        early = [x, *handles]
        y, *between = self._forward(early)
        return y, Carried(early, between)

    def backward(self, upstream: tf.Tensor, carried: Carried) -> tuple[tf.Tensor | None, tf.Tensor | None]:
        """(dL/dx, dL/dg), None for what was not asked for. upstream: dL/dy."""
        result = self._backward([*carried.early, *carried.between, upstream])
        return result[0] if self.input_gradient else None, result[-1] if self.gate else None


@functools.cache
def _weight_halves(block: Block, arithmetic: Arithmetic, nesterov: bool, input_gradient: bool) -> WeightHalves:
    return WeightHalves(block, arithmetic, nesterov=nesterov, input_gradient=input_gradient)


@functools.cache
def _architecture_halves(block: Block, arithmetic: Arithmetic, input_gradient: bool, gate: bool) -> ArchitectureHalves:
    return ArchitectureHalves(block, arithmetic, input_gradient=input_gradient, gate=gate)


def weight_halves(block: Block, arithmetic: Arithmetic, *, nesterov: bool, input_gradient: bool = True) -> WeightHalves:
    """The halves that all blocks of this shape share. input_gradient: False for the block that reads the images."""
    return _weight_halves(_anywhere(block), arithmetic, nesterov, input_gradient)


def architecture_halves(block: Block, arithmetic: Arithmetic, *, input_gradient: bool, gate: bool) -> ArchitectureHalves:
    """The halves that all blocks of this shape share. input_gradient: whether anything before the block needs a gradient."""
    return _architecture_halves(_anywhere(block), arithmetic, input_gradient, gate)


def output_function(block: Block, arithmetic: Arithmetic, *, shortcut: bool) -> Half:
    """[x, *handles] -> [o(x)], with x added where `shortcut` and the block has one; batch statistics, nothing updated."""
    return _output_function(_anywhere(block), arithmetic, shortcut and block.shortcut)


def gate_function(block: Block, arithmetic: Arithmetic) -> Half:
    """[x, *handles, upstream] -> [<upstream, o(x)>], the gate gradient of a candidate that did not run."""
    return _gate_function(_anywhere(block), arithmetic)


@functools.cache
def _output_function(block: Block, arithmetic: Arithmetic, shortcut: bool) -> Half:
    def output(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        y = _output(block, arithmetic, inputs)
        return [tf.add_n([inputs[0], y]) if shortcut else y]

    return whole(output, _signature(block)[0])


@functools.cache
def _gate_function(block: Block, arithmetic: Arithmetic) -> Half:
    early, upstream = _signature(block)
    return whole(lambda inputs: [tf.reduce_sum(inputs[-1] * _output(block, arithmetic, inputs[:-1]))], [*early, upstream])


def _anywhere(block: Block) -> Block:
    """The block without its name, which says where it stands and not what it computes."""
    return replace(block, name="block")


def _output(block: Block, arithmetic: Arithmetic, inputs: list[tf.Tensor]) -> tf.Tensor:
    values = [_Argument(variable, handle).tensor for variable, handle in zip(_variables(block), inputs[1:], strict=True)]
    return forward(block, inputs[0], values, mode=Mode.ARCHITECTURE, arithmetic=arithmetic)


def _with_shortcut(block: Block, x: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
    return tf.add_n([x, output]) if block.shortcut else output


def _signature(block: Block) -> tuple[list[tf.TensorSpec], tf.TensorSpec]:
    """(x and the variables' handles, the gradient of the block's output)."""
    x = tf.TensorSpec([None, block.in_size, block.in_size, block.in_channels])
    output = [None, block.out_channels] if block.layers and block.layers[-1].kind == "dense" else \
        [None, block.out_size, block.out_size, block.out_channels]
    return [x, *[_HANDLE] * len(_variables(block))], tf.TensorSpec(output)


@dataclass(frozen=True)
class _Variable:
    shape: tuple[int, ...]
    trainable: bool


def _variables(block: Block) -> list[_Variable]:
    """Shapes in the order of `functional.block_function`."""
    return [variable for layer in block.layers for variable in _layer_variables(layer)]


def _layer_variables(layer: Layer) -> list[_Variable]:
    channels = (layer.out_channels,)
    return ([_Variable(layer.kernel_shape, True)] + [_Variable(channels, True)] * layer.bias
            + ([_Variable(channels, True)] * 2 + [_Variable(channels, False)] * 2 if layer.norm else []))


class _Argument:
    """A variable that a function is given by its resource handle."""

    def __init__(self, variable: _Variable, handle: tf.Tensor):
        self.variable, self.handle = variable, handle
        self.tensor = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
        self.tensor.set_shape(variable.shape)
        self.updates: list[tf.Operation] = []

    @property
    def for_forward(self) -> Any:
        """What `functional.forward` takes: the value of a trained variable, the variable itself of moving statistics."""
        return self.tensor if self.variable.trainable else self

    def value(self) -> tf.Tensor:
        """As of `tf.Variable`."""
        return self.tensor

    def assign_sub(self, difference: tf.Tensor) -> None:
        """As of `tf.Variable`, once, behind the read."""
        self.updates.append(tf.raw_ops.AssignSubVariableOp(resource=self.handle, value=difference))
