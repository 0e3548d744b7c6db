"""The tensor arena that LiteRT's own kernels need for a model, on phones and computers.

LiteRT plans otherwise than TensorFlow Lite for Microcontrollers: it places the largest tensor
first, into the smallest gap that holds it, aligned to 64 bytes; keeps a model's inputs to the end;
and lets an element-wise op write into the place of an input that nobody else reads
(arena_planner.cc, simple_memory_arena.cc). Delegates such as XNNPACK have buffers of their own.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pnas_tf.tflite.arena import MAX_TENSORS, Graph, Lifetime, aligned, graph_of

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

_ALIGNMENT = 64
# Ops that may write into an input's place, of the kinds that our files hold: how many of their
# first inputs they look at.
_IN_PLACE = {"ADD": 2, "MUL": 2, "RESHAPE": 1, "SOFTMAX": 1}
_UNCHANGED = ("RESHAPE",)  # the output is the input: others may go on reading it
_LEAST_SHARED = 5  # bytes of a tensor whose place may be shared


def litert_arena_of(model: schema.ModelT) -> int | None:
    """Bytes of the arena of a model's first subgraph under LiteRT's own kernels; None where it
    cannot be planned before it runs, or is beyond `MAX_TENSORS`."""
    if len(model.subgraphs[0].tensors) > MAX_TENSORS:
        return None
    graph = graph_of(model)
    return None if graph is None else litert_arena_bytes(graph)


def litert_arena_bytes(graph: Graph) -> int:
    """The end of the plan."""
    end = len(graph.ops)
    buffers = sorted(  # those that are held from before the first op to the end come first
        _lifetimes(graph, _shared_places(graph)),
        key=lambda each: ((each.first, each.last) != (0, end), -each.size_bytes, each.first),
    )
    placed: list[tuple[int, Lifetime]] = []  # by offset
    for wanted in buffers:
        start = _smallest_gap(placed, wanted)
        bisect.insort_right(placed, (start, wanted), key=lambda entry: entry[0])
    return max((start + buffer.size_bytes for start, buffer in placed), default=0)


def _shared_places(graph: Graph) -> dict[int, int]:
    """Tensor -> the tensor in whose place it lies."""
    readers = Counter(tensor for op in graph.ops for tensor in op.inputs)
    ports = {*graph.inputs, *graph.outputs}
    places: dict[int, int] = {}
    for op in graph.ops:
        for tensor in op.inputs[: _IN_PLACE.get(op.kind, 0)]:
            output = op.outputs[0]
            size = graph.sizes[tensor]
            changes = op.kind not in _UNCHANGED
            fits = size == graph.sizes[output] and size >= _LEAST_SHARED and readers[tensor] == 1
            if size and (fits or not changes) and not {tensor, output} & ports:
                places[output] = places.get(tensor, tensor)
                break
    return places


def _lifetimes(graph: Graph, places: dict[int, int]) -> list[Lifetime]:
    """Every buffer with the ops between which it is held, from 0."""
    end = len(graph.ops)
    spans = {port: [0, end] for port in graph.inputs}
    for number, op in enumerate(graph.ops):
        for tensor in op.outputs:
            spans.setdefault(places.get(tensor, tensor), [number, number])
        for tensor in op.inputs:
            place = places.get(tensor, tensor)
            if place in spans:
                spans[place][1] = max(spans[place][1], number)
    for port in graph.outputs:
        spans.setdefault(places.get(port, port), [0, end])[1] = end  # it may be a constant
    return [
        Lifetime(graph.sizes[tensor], *span)
        for tensor, span in spans.items()
        if graph.sizes[tensor]
    ]


def _smallest_gap(placed: Sequence[tuple[int, Lifetime]], wanted: Lifetime) -> int:
    """Where a buffer goes: the smallest gap between those that are held at the same time, else
    behind them."""
    best, best_gap, offset = None, math.inf, 0
    for start, other in placed:
        if other.first > wanted.last or wanted.first > other.last:
            continue
        begin = aligned(offset, _ALIGNMENT)
        if begin + wanted.size_bytes <= start and start - begin < best_gap:
            best, best_gap = begin, start - offset
        offset = max(offset, start + other.size_bytes)
    return aligned(offset, _ALIGNMENT) if best is None else best
