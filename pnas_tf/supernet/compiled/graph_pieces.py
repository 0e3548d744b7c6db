"""A function traced once and split into pieces, each of which has to wait for inputs that the one
before does not need.

The forward pass of a block can run when its input is there; its backward pass needs a gradient that
exists only when the whole network has run; its weights need not move before the next step. Each
piece is one TensorFlow function, called without tape or signature matching: such a call costs about
a tenth of the millisecond that a `tf.function` under a tape takes. Knows nothing of blocks.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable, Sequence

import tensorflow as tf

from pnas_tf import _tf_private

# What is cheaper computed again than handed on.
_RECOMPUTED = ("Placeholder", "Const", "ReadVariableOp", "Shape", "ShapeN")
_NUMBERS = itertools.count()

# Inputs of every piece -> outputs of every piece. A piece's outputs are computed from the inputs of
# that piece and those before; updates of variables run where an output has them among its control
# inputs.
Traced = Callable[..., Sequence[Sequence[tf.Tensor]]]


def _without_grappler() -> bytes:
    """Grappler's passes take 40 % of the time that a piece takes to compile, and gain nothing that
    can be measured in a step."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config.SerializeToString()


_WITHOUT_GRAPPLER = _without_grappler()


class GraphPiece:
    """One compiled function of a flat list of tensors and resource handles.

    Attributes:
        name: by which TensorFlow's runtime knows it.
        ops: the types of its ops, see `_kind`.
    """

    def __init__(
        self, function: tf.types.experimental.ConcreteFunction, takes: Sequence[int]
    ) -> None:
        """
        Args:
            function: what it computes.
            takes: the places of the arguments that it reads, in the order of `function`'s inputs.
        """
        self._takes = tuple(takes)
        self._dtypes = [output.dtype for output in function.outputs]
        self.ops = tuple(sys.intern(_kind(op)) for op in function.graph.get_operations())
        if {"PartitionedCall", "StatefulPartitionedCall"} & set(self.ops):
            # The functions that it calls live as long as its graph.
            self._function = function
            self.name = function.function_def.signature.name
            return
        # TensorFlow needs the definition alone. The Python graph and the stack traces of its ops
        # take as much memory again, and a graph is a cycle that waits for the garbage collector, so
        # it is taken apart.
        definition = type(function.function_def).FromString(
            function.function_def.SerializeToString()
        )
        definition.signature.name = self.name = f"graph_piece_{next(_NUMBERS)}"
        _tf_private.add_function(definition)
        weakref.finalize(self, _tf_private.remove_function, self.name).atexit = False
        _tf_private.dismantle(function.graph)

    def select(self, arguments: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Those of `arguments` that `run` takes: whoever waits with a call holds no more than
        these."""
        return [arguments[place] for place in self._takes]

    def run(self, selected: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The function's outputs for what `select` gave."""
        # `f` is an attribute of kind func, which TensorFlow takes by its name.
        return tf.raw_ops.StatefulPartitionedCall(
            args=selected, Tout=self._dtypes, f=self, config_proto=_WITHOUT_GRAPPLER
        )

    def __call__(self, arguments: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The function's outputs for `arguments`, in the order of its signature."""
        return self.run(self.select(arguments))


def trace_pieces(
    function: Traced, *inputs: Sequence[tf.TensorSpec]
) -> tuple[GraphPiece | None, ...]:
    """Traces function(inputs of the first piece, inputs of the second, ...) and splits it.

    Returns:
        The pieces. Each returns its outputs, then its residuals: values that later pieces need. It
        is called with all that the piece before was called with, that one's residuals, and its own
        inputs; of these it reads what it needs. None stands for a piece without outputs, which has
        no residuals either.
    """
    graph, outputs, given = _trace(function, inputs)
    definition = graph.as_graph_def()
    for node in definition.node:
        node.attr.pop("_class", None)  # a wish to stand beside another op, which a piece may lack
    known: set[tf.Operation] = set()
    feeds: list[tf.Tensor] = []
    pieces: list[GraphPiece | None] = []
    for number, own in enumerate(outputs):
        feeds += given[number]
        ops = _between(own)[1] - known
        known |= ops
        later = set().union(*(_between(others)[1] for others in outputs[number + 1 :])) - known
        needed = {
            tensor.ref(): tensor
            for op in later
            for tensor in op.inputs
            if tensor.op in ops and tensor.op.type not in _RECOMPUTED
        }
        # The order of a set changes from process to process, and with it the order of arguments,
        # though no result.
        residuals = sorted(needed.values(), key=lambda tensor: tensor.name)
        pieces.append(_piece(definition, [*own, *residuals], feeds) if own else None)
        feeds += residuals
    _tf_private.dismantle(graph)
    return tuple(pieces)


def trace_piece(
    function: Callable[[list[tf.Tensor]], Sequence[tf.Tensor]], inputs: Sequence[tf.TensorSpec]
) -> GraphPiece:
    """`function` of a flat list of inputs as one compiled function."""
    (piece,) = trace_pieces(lambda given: [function(given)], inputs)
    assert piece is not None
    return piece


def _trace(
    function: Traced, inputs: Sequence[Sequence[tf.TensorSpec]]
) -> tuple[tf.Graph, list[list[tf.Tensor]], list[list[tf.Tensor]]]:
    """(the graph, the outputs of every piece, the inputs of every piece)."""
    found: list[list[list[tf.Tensor]]] = []

    def split(flat: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        remaining = iter(flat)
        return [[next(remaining) for _ in own] for own in inputs]

    def body(*flat: tf.Tensor) -> list[tf.Tensor]:
        found.append([list(own) for own in function(*split(flat))])
        return [tensor for own in found[0] for tensor in own]

    wrapped = tf.compat.v1.wrap_function(body, [spec for own in inputs for spec in own])
    return wrapped.graph, found[0], split(wrapped.inputs)


def _piece(
    definition: tf.compat.v1.GraphDef, outputs: Sequence[tf.Tensor], feeds: Sequence[tf.Tensor]
) -> GraphPiece:
    """feeds -> outputs as a function that holds only what lies between. definition: of the graph of
    both."""
    takes, ops = _between(outputs, feeds)
    names = {op.name for op in ops}
    part = tf.compat.v1.GraphDef(
        node=[node for node in definition.node if node.name in names],
        library=definition.library,
        versions=definition.versions,
    )

    def body(*given: tf.Tensor) -> list[tf.Tensor]:
        values = {feeds[place].name: value for place, value in zip(takes, given, strict=True)}
        computed = [output.name for output in outputs if output.name not in values]
        found = tf.graph_util.import_graph_def(
            part, input_map=values, name="", return_elements=computed
        )
        values |= zip(computed, found, strict=True)
        return [values[output.name] for output in outputs]

    # A placeholder is named by its place, and no op of a traced graph is named so.
    specs = [
        tf.TensorSpec(feeds[place].shape, feeds[place].dtype, name=f"given_{place}")
        for place in takes
    ]
    return GraphPiece(tf.compat.v1.wrap_function(body, specs), takes)


def _between(
    outputs: Sequence[tf.Tensor], feeds: Sequence[tf.Tensor] = ()
) -> tuple[list[int], set[tf.Operation]]:
    """(the places of the feeds that `outputs` are computed from, the ops by which); nothing before
    a feed is computed again."""
    place_of = {feed.ref(): place for place, feed in enumerate(feeds)}
    takes: set[int] = set()
    ops: set[tf.Operation] = set()
    todo: list[tf.Tensor | tf.Operation] = list(outputs)
    while todo:
        item = todo.pop()
        if isinstance(item, tf.Tensor):
            if item.ref() in place_of:
                takes.add(place_of[item.ref()])
                continue
            item = item.op
        if item not in ops:
            ops.add(item)
            todo += [*item.inputs, *item.control_inputs]
    return sorted(takes), ops


def _kind(op: tf.Operation) -> str:
    """The type of an op; of a product of matrices with what it transposes, which tells a gradient
    from what it is of."""
    transposed = [name for name in ("transpose_a", "transpose_b") if op.type == "MatMul"]
    return " ".join([op.type, *(name for name in transposed if op.get_attr(name))])
