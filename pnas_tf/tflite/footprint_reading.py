"""Reads the footprint of a space's blocks off real files.

As many networks as a block has candidates, so that every block of the space stands in one of them,
are converted as the export converts. An op belongs to the block whose layer gave its tensor a name.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pnas_tf.errors import number_of
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.graph import Images
from pnas_tf.tflite.arena import (
    TENSOR_BYTES,
    Graph,
    Lifetime,
    graph_of,
    lifetimes,
    plan,
    planned_bytes,
)
from pnas_tf.tflite.footprint import ARENA_DTYPE, BlockFootprint, Footprint, architecture_json
from pnas_tf.tflite.part_bytes import (
    add_buffer,
    add_ops,
    add_tensor,
    added_bytes,
    shared_constants,
    zero_buffers,
)
from pnas_tf.tflite.schema_reader import parse

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

    from pnas_tf.space.base import SearchSpace

FileMaker = Callable[[Architecture, str], bytes]  # network, number format -> exported file


@dataclass
class _Readings:
    """What the networks read so far have shown, for one number format."""

    blocks: dict[str, int] = field(default_factory=dict)
    shared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    constants: dict[str, tuple[int, int]] = field(default_factory=dict)
    rests: list[int] = field(default_factory=list)


def measure_footprint(
    space: SearchSpace,
    make_file: FileMaker,
    dtypes: Sequence[str],
    *,
    progress: Callable[[str], None],
) -> Footprint:
    """Converts the networks and reads their blocks.

    Args:
        space: whose blocks are wanted.
        make_file: the exporter, with any weights.
        dtypes: number formats of sizes; the arena is that of `ARENA_DTYPE`.
        progress: called with lines for the user.

    Raises:
        UserError: a network cannot be converted.
    """
    dtypes, networks = tuple(dict.fromkeys((ARENA_DTYPE, *dtypes))), covering_networks(space)
    progress(
        f"footprint of space '{space.name}': converting {number_of(len(networks), 'network')} to "
        f"{' and '.join(dtypes)}"
    )
    sizes = {dtype: _Readings() for dtype in dtypes}
    arena: dict[str, _InArena] = {}
    persistent: list[int] = []
    chain = _is_chain(space)
    for architecture, dtype in itertools.product(networks, dtypes):
        content = make_file(architecture, dtype)
        model = parse(content)
        spans = _spans(architecture, model)
        described = len(architecture_json(architecture))
        _read_sizes(sizes[dtype], architecture, model, spans, len(content) - described)
        if dtype == ARENA_DTYPE:
            persistent.append(_read_arena(arena, architecture, model, spans, chain))
    blocks = {
        key: BlockFootprint(
            {dtype: sizes[dtype].blocks.get(key, 0) for dtype in dtypes},
            *place,
            {dtype: sizes[dtype].shared.get(key, ()) for dtype in dtypes},
        )
        for key, place in arena.items()
    }
    # The most of any network, so that a prediction is rather too large.
    return Footprint(
        blocks,
        {dtype: sizes[dtype].constants for dtype in dtypes},
        {dtype: max(sizes[dtype].rests) for dtype in dtypes},
        max(persistent),
        chain,
    )


def file_arena_bytes(content: bytes) -> int:
    """Peak RAM of a file that we have made."""
    graph = graph_of(parse(content))
    assert graph is not None
    return plan(graph).total_bytes


def covering_networks(space: SearchSpace) -> Sequence[Architecture]:
    """Enough networks that every candidate of every block stands in one."""
    choices = space.choice_blocks
    return [
        Architecture(
            space,
            tuple(choice.candidates[number % len(choice.candidates)] for choice in choices),
        )
        for number in range(max(len(choice.candidates) for choice in choices))
    ]


def _is_chain(space: SearchSpace) -> bool:
    return all(
        isinstance(node, Images) or node.inputs == (place - 1,)
        for place, node in enumerate(space.topology)
    )


def _spans(architecture: Architecture, model: schema.ModelT) -> dict[str, list[int]]:
    """Block name -> numbers of its ops, by the names that layers give their tensors. An op that no
    layer names goes to the block before it, at the beginning to the one behind; a merge op's goes
    to none."""
    names = [block.name for block in architecture.blocks]
    pattern = re.compile(rf"(?:^|/)(joint_\d+|{'|'.join(map(re.escape, names))})(?:/|$|;)")
    graph = model.subgraphs[0]
    owners: list[str | None] = []
    for operator in graph.operators:
        texts = [graph.tensors[number].name.decode() for number in operator.outputs]
        match = next(filter(None, map(pattern.search, texts)), None)
        owners.append(match.group(1) if match else owners[-1] if owners else None)
    first = next(owner for owner in owners if owner is not None)
    spans: dict[str, list[int]] = {}
    for number, owner in enumerate(owners):
        name = owner or first
        if not name.startswith("joint_"):
            spans.setdefault(name, []).append(number)
    return spans


def _read_sizes(
    found: _Readings,
    architecture: Architecture,
    model: schema.ModelT,
    spans: Mapping[str, Sequence[int]],
    described_size: int,
) -> None:
    """Adds what one file shows. described_size: of the file without its architecture.json."""
    seen: set[str] = set()
    rest = described_size
    for block in architecture.blocks:
        ops = spans.get(block.name, ())
        size = added_bytes(model, functools.partial(add_ops, model, ops)) if ops else 0
        shared = shared_constants(model, ops)
        zeros = zero_buffers(model, ops)
        found.blocks[block.key] = max(size, found.blocks.get(block.key, 0))
        found.shared[block.key] = (*shared, *zeros)
        for name, tensor in shared.items():
            if name not in found.constants:
                adds_tensor = functools.partial(add_tensor, model, tensor)
                found.constants[name] = (added_bytes(model, adds_tensor), TENSOR_BYTES)
        for name, buffer in zeros.items():
            if name not in found.constants:
                adds_buffer = functools.partial(add_buffer, model, buffer)
                found.constants[name] = (added_bytes(model, adds_buffer), 0)
        new = {*shared, *zeros} - seen
        rest -= size + sum(found.constants[name][0] for name in new)
        seen |= new
    found.rests.append(rest)


_InArena = tuple[int, int, int, int, tuple[tuple[int, int, "int | None"], ...]]


def _read_arena(
    found: dict[str, _InArena],
    architecture: Architecture,
    model: schema.ModelT,
    spans: Mapping[str, Sequence[int]],
    chain: bool,
) -> int:
    """Adds what one file shows; of blocks with one key in a chain the one with the largest plan, in
    a tree with the smallest: what else is held there depends on the place, and a network may have
    the block where that is least. Returns persistent bytes that are no block's."""
    graph = graph_of(model)
    assert graph is not None  # our own files have no unknown shapes
    rest = plan(graph).persistent_bytes
    seen: set[str] = set()
    for block in architecture.blocks:
        ops = spans.get(block.name, ())
        shared = shared_constants(model, ops)
        place = _in_arena(graph, ops, len(shared)) if ops else (0, 0, 0, 0, ())
        rest -= place[0] + TENSOR_BYTES * len(set(shared) - seen)
        seen |= set(shared)
        if block.key not in found or (place[1] > found[block.key][1]) == chain:
            found[block.key] = place
    return rest


def _in_arena(graph: Graph, ops: Sequence[int], shared: int) -> _InArena:
    """The fields of `BlockFootprint` that are of the arena. ops: of one block. shared: how many
    constants are counted elsewhere."""
    low, high = ops[0] + 1, ops[-1] + 1
    own: list[tuple[int, int, int | None]] = []
    inside, input_last = [], 0
    for buffer in lifetimes(graph):
        if buffer.first > high or buffer.last < low:
            continue
        first, last = max(buffer.first, low), min(buffer.last, high)
        inside.append(Lifetime(buffer.size_bytes, first, last))
        if buffer.first >= low or (low == 1 and buffer.first == 0):
            goes_on = buffer.last > high
            own.append(
                (buffer.size_bytes, buffer.first - low + 1, None if goes_on else last - low + 1)
            )
        else:
            input_last = max(input_last, last - low + 1)
    made = {tensor for number in ops for tensor in graph.ops[number].outputs}
    used = {tensor for number in ops for tensor in graph.ops[number].inputs}
    constants = {tensor for tensor in used if not graph.sizes[tensor]}
    structures = sum(graph.ops[number].persistent_bytes for number in ops)
    tensors = len(made | constants) - shared
    return (
        structures + TENSOR_BYTES * tensors,
        planned_bytes(inside),
        len(ops),
        input_last,
        tuple(own),
    )
