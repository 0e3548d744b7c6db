"""A function traced once and cut into parts, each of which has to wait for inputs that the one before does not need.

The forward pass of a block can run when its input is there; its backward pass needs a gradient that exists only when the
whole network has run; its weights need not move before the next step. Each part is one TensorFlow function, called
without tape or signature matching: such a call costs about a tenth of the millisecond that a `tf.function` under a tape
takes. Knows nothing of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def _without_grappler() -> bytes:
    """Grappler's passes take 40 % of the time that a part takes to compile, and gain nothing that can be measured in a step."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config.SerializeToString()


_WITHOUT_GRAPPLER = _without_grappler()


class Part:
    """One compiled function of a flat list of tensors and resource handles."""

    def __init__(self, function: Any):
        self._function = function  # TensorFlow forgets a function that nothing holds
        self.name = function.function_def.signature.name
        self._dtypes = [output.dtype for output in function.outputs]
        # A part's graph holds ops of other parts that nothing here needs. TensorFlow drops them as it runs a function, but for stateful
        # ones, and a collective op run twice waits forever for its peers; Grappler drops those too.
        collective = any(op.type.startswith("Collective") for op in function.graph.get_operations())
        self._config = b"" if collective else _WITHOUT_GRAPPLER

    def __call__(self, arguments: Sequence[Any]) -> list[tf.Tensor]:
        """The function's outputs for `arguments`, in the order of its signature."""
        # `f` is an attribute of kind func, which TensorFlow takes by its name.
        return tf.raw_ops.StatefulPartitionedCall(args=arguments, Tout=self._dtypes, f=self, config_proto=self._config)


# Inputs of every part -> outputs of every part. A part's outputs are computed from the inputs of that part and those before;
# updates of variables run where an output has them among its control inputs.
Traced = Callable[..., Sequence[Sequence[tf.Tensor]]]

# What is cheaper computed again than handed on.
_AGAIN = ("Placeholder", "Const", "ReadVariableOp", "Shape", "ShapeN")


def cut(function: Traced, *inputs: Sequence[tf.TensorSpec]) -> tuple[Part | None, ...]:
    """The parts of function(inputs of the first part, inputs of the second, ...).

    A part returns its outputs, then values that later parts need. It takes all that the part before took, what that part
    returned for later ones, and its own inputs. None stands for a part without outputs, which hands nothing on either.
    """
    graph, outputs, given = _trace(function, inputs)
    known: set[tf.Operation] = set()
    feeds: list[tf.Tensor] = []
    parts: list[Part | None] = []
    for number, own in enumerate(outputs):
        feeds += given[number]
        ops = _ancestors(own) - known
        known |= ops
        later = set().union(*(_ancestors(others) for others in outputs[number + 1:])) - known
        carried = {tensor.ref(): tensor for op in later for tensor in op.inputs if tensor.op in ops and tensor.op.type not in _AGAIN}
        # The order of a set changes from process to process, and with it the order of arguments, though no result.
        between = sorted(carried.values(), key=lambda tensor: tensor.name)
        parts.append(Part(graph.prune(list(feeds), [*own, *between])) if own else None)
        feeds += between
    return tuple(parts)


def whole(function: Callable[[list[tf.Tensor]], Sequence[tf.Tensor]], inputs: Sequence[tf.TensorSpec]) -> Part:
    """`function` of a flat list of inputs as one compiled function."""
    part, = cut(lambda given: [function(given)], inputs)
    assert part is not None
    return part


def _trace(function: Traced, inputs: Sequence[Sequence[tf.TensorSpec]]) -> tuple[Any, list[list[tf.Tensor]], list[list[tf.Tensor]]]:
    """(the graph, the outputs of every part, the inputs of every part)."""
    found: list[list[list[tf.Tensor]]] = []

    def split(flat: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        remaining = iter(flat)
        return [[next(remaining) for _ in own] for own in inputs]

    def body(*flat: tf.Tensor) -> list[tf.Tensor]:
        found.append([list(own) for own in function(*split(flat))])
        return [tensor for own in found[0] for tensor in own]

    wrapped = tf.compat.v1.wrap_function(body, [spec for own in inputs for spec in own])
    return wrapped, found[0], split(wrapped.inputs)


def _ancestors(tensors: Sequence[tf.Tensor]) -> set[tf.Operation]:
    """The ops that `tensors` are computed by, their own included."""
    seen: set[tf.Operation] = set()
    todo = [tensor.op for tensor in tensors]
    while todo:
        op = todo.pop()
        if op not in seen:
            seen.add(op)
            todo += [tensor.op for tensor in op.inputs] + list(op.control_inputs)
    return seen
