"""The tables of a .tflite file as plain values, by the runtime's generated reader of the schema.

Runs in this process on bytes that we have made, and on files of others in a child process alone
(`examine`): it follows whatever offsets it finds. Knows the public schema, as shipped with the
runtime, and nothing of networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from pnas_tf.io import Json
from pnas_tf.io.serialization import record_of
from pnas_tf.tflite import metadata_schema
from pnas_tf.tflite.arena import Arena, arena_of
from pnas_tf.tflite.litert_arena import litert_arena_of
from pnas_tf.tflite.schema_names import op_name, quantization_of, shape_of, type_name

METADATA = "TFLITE_METADATA"  # name of the buffer that holds a document of `metadata_schema`
_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_PADDINGS = {0: "same", 1: "valid"}


@dataclass(frozen=True)
class Tensor:
    """real_range: what the number type can hold, [low, high] in real units; None when not
    quantised, over all channels when per channel. scales: how many there are."""

    name: str
    shape: list[int]
    dtype: str
    real_range: list[float] | None
    scales: int


@dataclass(frozen=True)
class Op:
    """One op. kernel, stride: [height, width]. macs: multiply-accumulates of one run of the file at
    its batch; 0 for ops that multiply nothing.

    partition: number of the delegate partition that computes it; None when the interpreter does, or
    nobody has asked.
    """

    index: int
    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    kernel: list[int] | None
    stride: list[int] | None
    padding: str | None
    macs: int
    partition: int | None = None


@dataclass(frozen=True)
class Contents:
    """What stands in the first subgraph of a model, and its metadata.

    dtype: export's name for the number format. metadata: the document of `metadata_schema`, None
    without one; metadata_fault: why it cannot be read. partitions: how many the runtime's default
    CPU delegate (XNNPACK) makes of it; None where it does not tell, or nobody has asked. arena: on
    a microcontroller; litert_arena_bytes: under LiteRT's own kernels; None where it is not known
    before the model runs.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: list[Op]
    dtype: str
    metadata: metadata_schema.Document | None
    metadata_fault: str
    partitions: int | None = None
    arena: Arena | None = None
    litert_arena_bytes: int | None = None


def contents_from_json(document: Json) -> Contents:
    """The inverse of `dataclasses.asdict`. Raises UserError where the child answered otherwise."""
    return record_of(Contents, document, where="the answer of the child", fix="Report this.")


def parse(content: bytes) -> schema.ModelT:
    """The model as objects of the generated reader, every table and buffer of it."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def read_contents(content: bytes) -> Contents:
    """What stands in a model.

    Raises:
        Exception: of many kinds, when the bytes are no whole model.
    """
    model = parse(content)
    graph = model.subgraphs[0]
    tensors = [_tensor(tensor) for tensor in graph.tensors]
    metadata, fault = None, ""
    entry = buffer_of(model, METADATA)
    if entry is not None:
        try:
            metadata = metadata_schema.decode(entry)
        except Exception as error:  # the reader's kind: struct.error, IndexError and more
            fault = f"{type(error).__name__}: {error}"
    return Contents(
        inputs=_those(graph.inputs, tensors),
        outputs=_those(graph.outputs, tensors),
        ops=[
            _op(index, op_name(model, operator), operator, tensors)
            for index, operator in enumerate(graph.operators)
        ],
        dtype=_number_format(model),
        metadata=metadata,
        metadata_fault=fault,
        arena=arena_of(model),
        litert_arena_bytes=litert_arena_of(model),
    )


def buffer_of(model: schema.ModelT, name: str) -> bytes | None:
    """The content of the buffer that the model's metadata list has under `name`, or None."""
    for entry in model.metadata or ():
        if entry.name == name.encode():
            data = model.buffers[entry.buffer].data
            return None if data is None else bytes(bytearray(data))
    return None


def _tensor(tensor: schema.TensorT) -> Tensor:
    name, dtype = (tensor.name or b"").decode("utf-8", "replace"), type_name(tensor)
    scales, zero_points = quantization_of(tensor)
    if not all(map(math.isfinite, scales)):
        raise ValueError(f"the quantisation of tensor '{name}' is no number")
    ends = [
        (limit - point) * scale
        for scale, point in zip(scales, zero_points)
        for limit in _RANGES.get(dtype, ())
    ]
    real_range = [min(ends), max(ends)] if ends else None
    return Tensor(name, shape_of(tensor), dtype, real_range, len(scales))


def _op(index: int, name: str, operator: schema.OperatorT, tensors: Sequence[Tensor]) -> Op:
    inputs, outputs = _those(operator.inputs, tensors), _those(operator.outputs, tensors)
    options, kernel, stride, padding = operator.builtinOptions, None, None, None
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
        kernel = inputs[1].shape[1:3]
    elif hasattr(options, "filterHeight"):
        kernel = [int(options.filterHeight), int(options.filterWidth)]
    if hasattr(options, "strideH"):
        stride = [int(options.strideH), int(options.strideW)]
    if hasattr(options, "padding"):
        padding = _PADDINGS.get(options.padding)
    shapes = [[tensor.shape for tensor in tensors] for tensors in (inputs, outputs)]
    macs = _macs(name, *shapes, turned=bool(getattr(options, "adjX", False)))
    return Op(index, name, inputs, outputs, kernel, stride, padding, macs)


def _macs(
    name: str, inputs: Sequence[list[int]], outputs: Sequence[list[int]], *, turned: bool
) -> int:
    """Multiply-accumulates by the shapes of the weights: [out, height, width, in], depthwise [1,
    height, width, out], dense [out, in]. turned: whether the first of two matrices is transposed.
    """
    if name == "CONV_2D":
        return math.prod(outputs[0]) * math.prod(inputs[1][1:])
    if name == "DEPTHWISE_CONV_2D":
        return math.prod(outputs[0]) * math.prod(inputs[1][1:3])
    if name == "FULLY_CONNECTED":
        return math.prod(outputs[0]) * inputs[1][-1]
    if name == "TRANSPOSE_CONV":
        # inputs: output shape, weights, images; every input value meets every tap of every output
        # channel
        return math.prod(inputs[2]) * math.prod(inputs[1][:3])
    if name == "BATCH_MATMUL":
        return math.prod(outputs[0]) * inputs[0][-2 if turned else -1]
    return 0


def _number_format(model: schema.ModelT) -> str:
    """Export's name for the number format: by what the tensors that are computed hold, then by what
    the constants hold."""
    constant, computed = set(), []
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data):
            constant.add(type_name(tensor))
        else:
            computed.append(type_name(tensor))
    if 2 * sum(kind in ("int8", "uint8") for kind in computed) > len(computed):
        return "int8"
    if "int8" in constant:
        return "dynamic_int8"
    return "float16" if "float16" in constant else "float32"


def _those(numbers: Iterable[int] | None, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of these numbers, without inputs left out (-1)."""
    found = [] if numbers is None else [int(number) for number in numbers if number != -1]
    for number in found:
        if not 0 <= number < len(tensors):
            raise ValueError(f"tensor number {number} of {len(tensors)}")
    return [tensors[number] for number in found]
