"""Peak RAM of a model: the tensor arena that TensorFlow Lite for Microcontrollers needs for it.

The arena has a working part, in which tensors share places as they come and go, and a persistent
one of structures. The working part is that runtime's own greedy plan (memory_planner/
greedy_memory_planner.cc), to the byte; the persistent one is a sum over tensors and ops on a 64-bit
machine, on 32 bits less. Buffers that optimised kernels of a board ask for (CMSIS-NN's) are its
own. Knows tensors and ops of the public schema, nothing of blocks.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pnas_tf.tflite.schema_names import op_name, quantization_of, shape_of, type_name

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema

ALIGNMENT = 16  # of every buffer of the arena
MAX_TENSORS = 20_000  # of a file that is planned; planning takes the square of their number
_TYPE_BYTES = {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "float16": 2, "float32": 4} | {
    "int32": 4,
    "uint32": 4,
    "float64": 8,
    "int64": 8,
}
# Bytes of structures on a 64-bit machine, as the runtime's recording allocator reports them (the
# test measures them again): a tensor, an op, and what each kind of op keeps besides, what it loses
# to alignment rounded up.
TENSOR_BYTES, _OP_BYTES, _MODEL_BYTES, _QUANTISED_PORT_BYTES = 24, 64, 664, 32
_KIND_BYTES = {
    "CONV_2D": 107,
    "DEPTHWISE_CONV_2D": 107,
    "FULLY_CONNECTED": 112,
    "ADD": 74,
    "MUL": 56,
    "AVERAGE_POOL_2D": 72,
    "MAX_POOL_2D": 72,
    "CONCATENATION": 94,
    "MEAN": 72,
    "PAD": 64,
    "STRIDED_SLICE": 122,
    "HARD_SWISH": 36,
    "QUANTIZE": 40,
    "DEQUANTIZE": 40,
    "SOFTMAX": 88,
    "RESHAPE": 36,
}
_OTHER_KIND_BYTES = 100
_PER_CHANNEL = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


@dataclass(frozen=True)
class Lifetime:
    """A buffer of the arena: its bytes, rounded up to the alignment, and the ops (numbered from 1;
    0 is before the first) between which it is held, both included."""

    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Arena:
    """What a model needs.

    Attributes:
        working_bytes: of the plan of all buffers.
        persistent_bytes: of structures; within 1 % of what the runtime reports.
        peak_bytes: that buffers hold together at the op where they hold most; the plan needs as
            much or a little more.
        peak_op: that op, from 0; None for a model without ops.
    """

    working_bytes: int
    persistent_bytes: int
    peak_bytes: int
    peak_op: int | None

    @property
    def total_bytes(self) -> int:
        """Peak RAM: the arena to reserve."""
        return self.working_bytes + self.persistent_bytes


@dataclass(frozen=True)
class GraphOp:
    """An op as memory sees it. inputs, outputs: numbers of tensors. channels: scales of its
    weights, where the kernel keeps one multiplier a channel."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    channels: int = 0

    @property
    def persistent_bytes(self) -> int:
        """Of the op's own structures; two arrays of int32 a channel are among them."""
        arrays = 2 * aligned(4 * self.channels) if self.channels else 0
        return _OP_BYTES + _KIND_BYTES.get(self.kind, _OTHER_KIND_BYTES) + arrays


@dataclass(frozen=True)
class Graph:
    """The first subgraph of a model, as memory sees it. sizes: bytes of each tensor in the arena, 0
    of constants. scratch: (op, bytes) of what kernels ask for while they run. quantised_ports: how
    many of the model's inputs and outputs are."""

    ops: tuple[GraphOp, ...]
    sizes: tuple[int, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    scratch: tuple[tuple[int, int], ...]
    quantised_ports: int


def aligned(size_bytes: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple."""
    return -(-size_bytes // alignment) * alignment


def _is_open(tensor: schema.TensorT) -> bool:
    """Whether a size is known only when the model runs. Converters write such as 1 in the shape."""
    signature = () if tensor.shapeSignature is None else tensor.shapeSignature
    return any(size < 0 for size in (*shape_of(tensor), *signature))


def graph_of(model: schema.ModelT) -> Graph | None:
    """The graph of a model; None where a tensor's size is not known before it runs."""
    graph = model.subgraphs[0]
    sizes = []
    for tensor in graph.tensors:
        data, shape = model.buffers[tensor.buffer].data, shape_of(tensor)
        if type_name(tensor) not in _TYPE_BYTES or _is_open(tensor):
            return None
        size = math.prod(shape) * _TYPE_BYTES[type_name(tensor)]
        sizes.append(0 if data is not None and len(data) else size)
    ops, scratch = [], []
    for number, operator in enumerate(graph.operators):
        kind, inputs, outputs = (
            op_name(model, operator),
            *map(_numbers, (operator.inputs, operator.outputs)),
        )
        scales = len(quantization_of(graph.tensors[inputs[1]])[0]) if len(inputs) > 1 else 0
        quantised = bool(inputs) and type_name(graph.tensors[inputs[0]]) == "int8"
        ops.append(
            GraphOp(kind, inputs, outputs, scales if quantised and kind in _PER_CHANNEL else 0)
        )
        if kind == "MEAN" and quantised:  # sums in int32
            scratch.append((number, 4 * math.prod(shape_of(graph.tensors[outputs[0]]))))
    ports = (*_numbers(graph.inputs), *_numbers(graph.outputs))
    quantised_ports = sum(bool(quantization_of(graph.tensors[port])[0]) for port in ports)
    return Graph(
        tuple(ops),
        tuple(sizes),
        _numbers(graph.inputs),
        _numbers(graph.outputs),
        tuple(scratch),
        quantised_ports,
    )


def arena_of(model: schema.ModelT) -> Arena | None:
    """The arena of a model's first subgraph; None where it cannot be planned before it runs, or is
    beyond `MAX_TENSORS`."""
    if len(model.subgraphs[0].tensors) > MAX_TENSORS:
        return None
    graph = graph_of(model)
    return None if graph is None else plan(graph)


def plan(graph: Graph) -> Arena:
    """The arena of a graph."""
    buffers = lifetimes(graph)
    held = held_bytes(buffers, len(graph.ops))
    peak = max(range(len(held)), key=held.__getitem__)
    persistent = (
        _MODEL_BYTES
        + _QUANTISED_PORT_BYTES * graph.quantised_ports
        + TENSOR_BYTES * len(graph.sizes)
        + sum(op.persistent_bytes for op in graph.ops)
    )
    return Arena(
        planned_bytes(buffers), persistent, held[peak], max(peak - 1, 0) if graph.ops else None
    )


def lifetimes(graph: Graph, alignment: int = ALIGNMENT) -> list[Lifetime]:
    """Every buffer of the arena in the order in which the runtime plans them: tensors by number,
    then what kernels ask for. Inputs are there before the first op, outputs from then to the end.
    """
    spans = {port: [0, 0] for port in (*graph.inputs, *graph.outputs)}
    for number, op in enumerate(graph.ops, 1):
        for tensor in op.outputs:
            spans[tensor] = [number, number]
        for tensor in op.inputs:
            if tensor in spans:
                spans[tensor][1] = number
    for port in graph.outputs:
        spans[port][1] = len(graph.ops)
    tensors = [
        Lifetime(aligned(graph.sizes[tensor], alignment), *spans[tensor])
        for tensor in sorted(spans)
        if graph.sizes[tensor]
    ]
    scratch = [Lifetime(aligned(size, alignment), op + 1, op + 1) for op, size in graph.scratch]
    return [*tensors, *scratch]


def held_bytes(buffers: Iterable[Lifetime], ops: int) -> list[int]:
    """Bytes that live buffers hold together, before the first op and at each."""
    change = [0] * (ops + 2)
    for buffer in buffers:
        change[buffer.first] += buffer.size_bytes
        change[buffer.last + 1] -= buffer.size_bytes
    held, total = [], 0
    for step in change[: ops + 1]:
        total += step
        held.append(total)
    return held


def planned_bytes(buffers: Sequence[Lifetime]) -> int:
    """The end of the runtime's greedy plan: the largest buffer first, the later one of equals, each
    in the first gap between those that are held at the same time."""
    order = sorted(reversed(range(len(buffers))), key=lambda index: -buffers[index].size_bytes)
    placed: list[tuple[int, Lifetime]] = []  # by offset
    for index in order:
        wanted, offset = buffers[index], 0
        for start, other in placed:
            if other.first > wanted.last or wanted.first > other.last:
                continue
            if start - offset >= wanted.size_bytes:
                break
            offset = max(offset, start + other.size_bytes)
        bisect.insort_right(placed, (offset, wanted), key=lambda entry: entry[0])
    return max((offset + buffer.size_bytes for offset, buffer in placed), default=0)


def _numbers(values: Iterable[int] | None) -> tuple[int, ...]:
    """Without those left out (-1)."""
    return () if values is None else tuple(int(value) for value in values if value >= 0)
