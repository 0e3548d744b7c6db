"""A function traced once and cut in two: what can be computed early, and what has to wait for inputs that come late.

The forward pass of a block can run when its input is there; its backward pass needs a gradient that exists only when the
whole network has run. Each half is one TensorFlow function, called without tape or signature matching: such a call costs
about a tenth of the millisecond that a `tf.function` under a tape takes. Knows nothing of blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf


def _without_grappler() -> bytes:
    """Grappler's passes take 40 % of the time that a half takes to compile, and gain nothing that can be measured in a step."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config.SerializeToString()


_CONFIG = _without_grappler()


class Half:
    """One compiled function of a flat list of tensors and resource handles."""

    def __init__(self, function: Any):
        self._function = function  # TensorFlow forgets a function that nothing holds
        self.name = function.function_def.signature.name
        self._dtypes = [output.dtype for output in function.outputs]

    def __call__(self, arguments: Sequence[Any]) -> list[tf.Tensor]:
        """The function's outputs for `arguments`, in the order of its signature."""
        # `f` is an attribute of kind func, which TensorFlow takes by its name.
        return tf.raw_ops.StatefulPartitionedCall(args=arguments, Tout=self._dtypes, f=self, config_proto=_CONFIG)


@dataclass(frozen=True)
class Traced:
    """What a function that is to be cut returns.

    early: outputs of the first half, computed from the early inputs alone. late: outputs of the second half. Updates of
    variables run where an output has them among its control inputs.
    """

    early: Sequence[tf.Tensor]
    late: Sequence[tf.Tensor]


def cut(function: Callable[[list[tf.Tensor], list[tf.Tensor]], Traced], early: Sequence[tf.TensorSpec],
        late: Sequence[tf.TensorSpec]) -> tuple[Half, Half]:
    """(first, second) of function(early inputs, late inputs).

    first: early inputs -> early outputs, then the values in between that the second half needs. second: early inputs, those
    values, late inputs -> late outputs.
    """
    graph, traced, inputs = _trace(function, early, late)
    start, end = inputs[:len(early)], inputs[len(early):]
    known = _ancestors(traced.early)
    carried = {tensor.ref(): tensor for op in _ancestors(traced.late) - known for tensor in op.inputs
               if tensor.op in known and tensor.op.type not in ("Placeholder", "Const", "ReadVariableOp")}
    # The order of a set changes from process to process, and with it the order of arguments, though no result.
    between = sorted(carried.values(), key=lambda tensor: tensor.name)
    first = graph.prune(start, [*traced.early, *between])
    return Half(first), Half(graph.prune([*start, *between, *end], list(traced.late)))


def whole(function: Callable[[list[tf.Tensor]], Sequence[tf.Tensor]], inputs: Sequence[tf.TensorSpec]) -> Half:
    """`function` of a flat list of inputs as one compiled function."""
    graph, traced, feeds = _trace(lambda early, _: Traced(function(early), ()), inputs, ())
    return Half(graph.prune(feeds, list(traced.early)))


def _trace(function: Callable[[list[tf.Tensor], list[tf.Tensor]], Traced], early: Sequence[tf.TensorSpec],
           late: Sequence[tf.TensorSpec]) -> tuple[Any, Traced, list[tf.Tensor]]:
    found: list[Traced] = []

    def body(*inputs: tf.Tensor) -> Sequence[tf.Tensor]:
        found.append(function(list(inputs[:len(early)]), list(inputs[len(early):])))
        return [*found[0].early, *found[0].late]

    wrapped = tf.compat.v1.wrap_function(body, [*early, *late])
    return wrapped, found[0], list(wrapped.inputs)


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
