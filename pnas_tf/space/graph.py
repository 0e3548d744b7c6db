"""How the blocks of a space are joined: a graph as data, the same for every network of the space.

A topology is a tuple of nodes in an order of computation; a node names its inputs by their places
in the tuple. Node 0 is the images, the last one gives the logits. Choice nodes stand in the order
of their choice blocks. The plain network, the supernet and the gate gradients all run `run_graph`,
so they cannot disagree. Knows nothing of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar, Union

if TYPE_CHECKING:
    from pnas_tf.space.blocks import Block

Value = TypeVar("Value")


@dataclass(frozen=True)
class Images:
    """Node 0."""

    inputs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fixed:
    """A block that every network of the space has; its own identity shortcut is part of it."""

    inputs: tuple[int]
    block: Block


@dataclass(frozen=True)
class Choice:
    """The op of choice block `index`, its identity shortcut included."""

    inputs: tuple[int]
    index: int


@dataclass(frozen=True)
class Add:
    """The sum of inputs of one shape."""

    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Concat:
    """The channels of all inputs in order."""

    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Slice:
    """The channels from start to stop of an input that has `channels`."""

    inputs: tuple[int]
    start: int
    stop: int
    channels: int


@dataclass(frozen=True)
class PadChannels:
    """The input with `zeros` channels of zeros behind its own."""

    inputs: tuple[int]
    zeros: int


# What joins blocks and has neither parameters nor a place in a latency table: it is the same in
# every network of a space, so a table's calibration, whose intercept is a constant, holds its time.
MergeOp = Union[Add, Concat, Slice, PadChannels]
Node = Union[Images, Fixed, Choice, MergeOp]
Topology = tuple[Node, ...]


def run_graph(
    topology: Topology,
    images: Value,
    *,
    fixed: Callable[[Block, Value], Value],
    choice: Callable[[int, Value], Value],
    merge: Callable[[int, MergeOp, Sequence[Value]], Value],
) -> Value:
    """The value of the last node. A value is let go behind its last use.

    Args:
        topology: the graph.
        images: the value of node 0.
        fixed: (block, input) -> value.
        choice: (index of the choice block, input) -> value.
        merge: (place, node, inputs) -> value.
    """
    last_use = {source: place for place, node in enumerate(topology) for source in node.inputs}
    values: dict[int, Value] = {}
    result = images
    for place, node in enumerate(topology):
        inputs = [values[source] for source in node.inputs]
        if isinstance(node, Images):
            result = images
        elif isinstance(node, Fixed):
            result = fixed(node.block, inputs[0])
        elif isinstance(node, Choice):
            result = choice(node.index, inputs[0])
        else:
            result = merge(place, node, inputs)
        values[place] = result
        for source in node.inputs:
            if last_use[source] == place:
                values.pop(source, None)
    return result


@dataclass(frozen=True)
class GraphGradients(Generic[Value]):
    """What takes a gradient back through each kind of node.

    Attributes:
        fixed: (block, gradient at its value) -> the gradient at its input, None where that place
            is not wanted.
        choice: the same, with the index of the choice block.
        merge: (place, node, gradient) -> one gradient for each input.
        add: the sum of the gradients that reach a value from all its uses.
    """

    fixed: Callable[[Block, Value], Value | None]
    choice: Callable[[int, Value], Value | None]
    merge: Callable[[int, MergeOp, Value], Sequence[Value]]
    add: Callable[[Sequence[Value]], Value]


def run_backward(
    topology: Topology,
    upstream: Value,
    gradients: GraphGradients[Value],
    *,
    wanted: Collection[int],
) -> None:
    """The reverse of `run_graph`: from the last node to the first.

    Args:
        topology: the graph.
        upstream: the gradient at the last node.
        gradients: of each kind of node.
        wanted: the places whose values need a gradient.
    """
    reached: dict[int, list[Value]] = {len(topology) - 1: [upstream]}
    for place in reversed(range(len(topology))):
        parts, node = reached.pop(place, []), topology[place]
        if not parts or isinstance(node, Images):
            continue
        gradient = parts[0] if len(parts) == 1 else gradients.add(parts)
        of_inputs: Sequence[Value | None]
        if isinstance(node, Fixed):
            of_inputs = [gradients.fixed(node.block, gradient)]
        elif isinstance(node, Choice):
            of_inputs = [gradients.choice(node.index, gradient)]
        else:
            of_inputs = gradients.merge(place, node, gradient)
        for source, part in zip(node.inputs, of_inputs, strict=True):
            if source in wanted and part is not None:
                reached.setdefault(source, []).append(part)


def nodes_after_choices(topology: Topology) -> frozenset[int]:
    """The places whose values depend on a choice: what a gradient for the gates has to pass."""
    found: set[int] = set()
    for place, node in enumerate(topology):
        if isinstance(node, Choice) or any(source in found for source in node.inputs):
            found.add(place)
    return frozenset(found)
