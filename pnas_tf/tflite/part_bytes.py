"""What some ops of a .tflite file take of its bytes, with their tensors and weights.

A part is packed once and twice over, and the difference counted: tables, offsets and alignment are
then those of a file. Knows ops and tensors, nothing of blocks.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pnas_tf.tflite.model import pack
from pnas_tf.tflite.schema_names import quantization_of, shape_of, type_name

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema


def shared_constants(model: schema.ModelT, ops: Sequence[int]) -> dict[str, int]:
    """Name -> tensor of each constant of the ops that is no weight: a file holds one of a value.
    The name is that of its content."""
    graph = model.subgraphs[0]
    found: dict[str, int] = {}
    for number in ops:
        for tensor in map(int, graph.operators[number].inputs):
            entry = graph.tensors[tensor]
            data = model.buffers[entry.buffer].data
            if tensor < 0 or data is None or quantization_of(entry)[0]:
                continue
            if type_name(entry) == "int32":
                about = f"{shape_of(entry)} {bytes(bytearray(data)).hex()}"
                found[hashlib.sha256(about.encode()).hexdigest()[:12]] = tensor
    return found


def zero_buffers(model: schema.ModelT, ops: Sequence[int]) -> dict[str, int]:
    """Name -> buffer of zeros, as the biases of a split kernel's pieces are: a file holds one of a
    length."""
    graph = model.subgraphs[0]
    tensors = {int(tensor) for number in ops for tensor in graph.operators[number].inputs}
    buffers = {graph.tensors[tensor].buffer for tensor in tensors if tensor >= 0}
    return {
        f"{len(model.buffers[buffer].data)} zeros": buffer
        for buffer in sorted(buffers)
        if _is_zero(model, buffer)
    }


def _is_zero(model: schema.ModelT, buffer: int) -> bool:
    data = model.buffers[buffer].data
    return data is not None and len(data) > 0 and not data.any()


def added_bytes(model: schema.ModelT, add: Callable[[schema.ModelT], object]) -> int:
    """What `add` adds to a file that has such a part already."""
    part = copy.copy(model)
    part.subgraphs = [copy.copy(model.subgraphs[0])]
    part.metadata, part.metadataBuffer, part.signatureDefs = [], [], []
    part.buffers = [model.buffers[0], model.buffers[0]]  # the second stands for shared zeros
    part.subgraphs[0].tensors, part.subgraphs[0].operators = [model.subgraphs[0].tensors[0]], []
    add(part)
    once = len(pack(part))
    add(part)
    return len(pack(part)) - once


def add_buffer(model: schema.ModelT, number: int, part: schema.ModelT) -> int:
    """Appends a buffer. Returns its place."""
    part.buffers.append(model.buffers[number])
    return len(part.buffers) - 1


def add_tensor(model: schema.ModelT, number: int, part: schema.ModelT) -> int:
    """Appends a copy of a tensor with its buffer. Returns its place."""
    tensor = copy.copy(model.subgraphs[0].tensors[number])
    if _is_zero(model, tensor.buffer):
        tensor.buffer = 1
    else:
        part.buffers.append(model.buffers[tensor.buffer])
        tensor.buffer = len(part.buffers) - 1
    part.subgraphs[0].tensors.append(tensor)
    return len(part.subgraphs[0].tensors) - 1


def add_ops(model: schema.ModelT, ops: Sequence[int], part: schema.ModelT) -> None:
    """Appends copies of ops, with the tensors that they make and the weights that they read."""
    graph, shared = model.subgraphs[0], set(shared_constants(model, ops).values())
    places: dict[int, int] = {}
    for number in ops:
        operator = copy.copy(graph.operators[number])
        outputs = [int(tensor) for tensor in operator.outputs]
        inputs = [int(tensor) for tensor in operator.inputs]
        for tensor in (*inputs, *outputs):
            if tensor < 0 or tensor in places or tensor in shared:
                continue
            data = model.buffers[graph.tensors[tensor].buffer].data
            if tensor in outputs or data is not None:
                places[tensor] = add_tensor(model, tensor, part)
        operator.inputs = [places.get(tensor, 0) for tensor in inputs]
        operator.outputs = [places.get(tensor, 0) for tensor in outputs]
        part.subgraphs[0].operators.append(operator)
