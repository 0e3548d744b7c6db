"""A .tflite file as objects and back. Its skeleton is checked here, and the runtime looks at it in
a child process first.

Knows the public TFLite schema (as shipped with the runtime) and nothing of metadata, labels or
networks.
"""

from __future__ import annotations

import os
from typing import Any

import flatbuffers
import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, isolated
from pnas_tf.tflite.flatbuffer_reader import BadFlatBuffer
from pnas_tf.tflite.model_schema import check_skeleton

IDENTIFIER = b"TFL3"
MAX_MODEL_BYTES = 2**31 - 1  # FlatBuffers' own limit: offsets are 32 bits, half of them signed
_BUFFER_ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the schema
_MADE_BY = "Export it again: pnas export"


def read_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of a model file. Raises UserError when it is absent, not a file or too large."""
    return atomic.read_bytes(path, what="model", made_by="pnas export", limit=MAX_MODEL_BYTES)


def parse(model: bytes, *, where: str = "the model") -> Any:
    """The model as a `ModelT` object of the public schema, every table and buffer of it.

    where: the file's name in errors. Raises UserError when the bytes are not a whole, valid .tflite
    file.
    """
    from ai_edge_litert import schema_py_generated as schema

    verify(model, where=where)
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


def verify(
    model: bytes,
    *,
    where: str = "the model",
    prepare: bool = False,
    run: bool = False,
    threads: int = 1,
) -> Any:
    """Raises UserError unless the model is whole, of builtin ops, and the runtime takes it.

    A model that crashes the runtime does so in a child process. prepare, run: the runtime also
    prepares, or runs it once. Returns the prepared ops where the runtime tells:
    isolated_worker.tflite.
    """
    if len(model) < 8 or model[4:8] != IDENTIFIER:
        raise UserError(
            f"{where} is not a TensorFlow Lite model",
            expected="the file identifier 'TFL3' at byte 4",
            received=f"{len(model)} bytes beginning {bytes(model[:8])!r}",
            fix="Give a .tflite file.",
        )
    expected = "a whole .tflite file of builtin ops" + (
        " that the LiteRT interpreter prepares" if prepare or run else ""
    )
    try:
        check_skeleton(model)
    except BadFlatBuffer as error:
        raise UserError(
            f"{where} is corrupt, truncated or of another kind",
            expected=expected,
            received=str(error),
            fix=_MADE_BY,
        ) from error
    return isolated.inspect(
        "tflite",
        model,
        where=where,
        expected=expected,
        fix=_MADE_BY,
        prepare=prepare,
        run=run,
        threads=threads,
    )


def pack(model: Any) -> bytes:
    """The bytes of a `ModelT`; the same object gives the same bytes. Weights stand at multiples of
    16 bytes.

    Raises UserError when they would exceed the format's 2 GiB.
    """
    builder = _AlignedBuilder(1024 * 1024)
    try:
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    except flatbuffers.builder.BuilderSizeError as error:
        raise UserError(
            "the model does not fit a .tflite file",
            expected=f"at most {MAX_MODEL_BYTES} bytes",
            received=str(error),
            fix="Export a smaller network.",
        ) from error
    return bytes(builder.Output())


def softmax_at_end(model: Any) -> Any | None:
    """The operator that makes probabilities of a `ModelT`'s logits: its last one, or the one before
    a conversion of the output."""
    graph = model.subgraphs[0]
    return next(
        (operator for operator in graph.operators[-2:] if op_name(model, operator) == "SOFTMAX"),
        None,
    )


def without_softmax(content: bytes) -> bytes:
    """The same file ending at its logits, in the number type they are computed in; the same bytes
    when no softmax ends it."""
    model = parse(content)
    softmax = softmax_at_end(model)
    if softmax is None:
        return content
    graph, logits = model.subgraphs[0], int(softmax.inputs[0])
    graph.operators = graph.operators[
        : next(place for place, operator in enumerate(graph.operators) if operator is softmax)
    ]
    graph.outputs = [logits]
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = logits
    return pack(model)


def add_buffer_entry(model: Any, name: str, content: bytes) -> None:
    """Puts `content` under `name` into the model's metadata list; an entry of that name is
    replaced."""
    from ai_edge_litert import schema_py_generated as schema

    entry = _entry(model, name)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*(model.metadata or []), entry]
    model.buffers[entry.buffer].data = np.frombuffer(content, np.uint8)


def buffer_entry(model: Any, name: str) -> bytes | None:
    """What `add_buffer_entry` put there, or None."""
    entry = _entry(model, name)
    if (
        entry is None
        or not 0 <= entry.buffer < len(model.buffers)
        or model.buffers[entry.buffer].data is None
    ):
        return None
    return bytes(bytearray(model.buffers[entry.buffer].data))


def op_name(model: Any, operator: Any) -> str:
    """The name of an operator of a `ModelT`: "CONV_2D", or the custom op's own name."""
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex]
    number = max(
        code.builtinCode, code.deprecatedBuiltinCode
    )  # old files have only the second, a byte
    if number == schema.BuiltinOperator.CUSTOM:
        return bytes(code.customCode or b"CUSTOM").decode("utf-8", "replace")
    return _names(schema.BuiltinOperator).get(number, f"op {number}")


def type_name(tensor: Any) -> str:
    """The number type of a `TensorT`: "float32", "uint8", ..."""
    from ai_edge_litert import schema_py_generated as schema

    return _names(schema.TensorType).get(tensor.type, f"type {tensor.type}").lower()


def shape_of(tensor: Any) -> list[int]:
    """The shape of a `TensorT`; empty for a scalar or an unknown one."""
    return [] if tensor.shape is None else [int(size) for size in tensor.shape]


def quantization_of(tensor: Any) -> tuple[list[float], list[int], int]:
    """Scales, zero points and the axis they run along: value = (q - zero point) * scale. Empty
    lists when it is not quantised."""
    found = tensor.quantization
    if (
        found is None
        or found.scale is None
        or found.zeroPoint is None
        or len(found.scale) != len(found.zeroPoint)
    ):
        return [], [], 0
    return (
        [float(scale) for scale in found.scale],
        [int(point) for point in found.zeroPoint],
        int(found.quantizedDimension),
    )


def _names(enumeration: type) -> dict[int, str]:
    return {number: name for name, number in vars(enumeration).items() if not name.startswith("_")}


def _entry(model: Any, name: str) -> Any:
    return next((entry for entry in model.metadata or [] if entry.name == name.encode()), None)


class _AlignedBuilder(flatbuffers.Builder):
    """Python's builder drops `force_align`; weights at odd addresses are slower, and a fault on
    some ARM cores."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
        return super().StartVector(
            elemSize, numElems, _BUFFER_ALIGNMENT if elemSize == 1 else alignment
        )
