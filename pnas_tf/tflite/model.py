"""A .tflite file: the one door for files of others, and small changes to those that we have made.

`TfliteModel.read` takes a file of anybody: a child process looks at it first and says what stands
in it. `TfliteModel(content)` takes bytes that this process has just made, which are not looked at
again. Knows nothing of metadata, labels or networks.
"""

from __future__ import annotations

import copy
import functools
import os

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, isolated
from pnas_tf.tflite.metadata_schema import Document
from pnas_tf.tflite.schema_names import op_name
from pnas_tf.tflite.schema_reader import (
    Contents,
    contents_from_json,
    parse,
    read_contents,
)

IDENTIFIER = b"TFL3"
MAX_BYTES = 2**31 - 1  # FlatBuffers' own limit: offsets are 32 bits, half of them signed
MADE_BY = "Export it again: pnas export"
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "CAST", "RESHAPE")  # of an output
_BUFFER_ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the schema


class TfliteModel:
    """A .tflite file and what stands in it.

    Args:
        content: bytes that this process has made. Those of others come by `read` or `examined`.
        where: the file's name in errors.
    """

    def __init__(self, content: bytes, *, where: str = "the model"):
        self.content, self.where = content, where

    @classmethod
    def read(
        cls, path: str | os.PathLike, *, prepare: bool = False, run: bool = False
    ) -> TfliteModel:
        """The file at `path`, which may be anybody's; see `examined`.

        Raises:
            UserError: it is absent, too large, damaged, or no model of builtin ops.
        """
        content = atomic.read_bytes(path, what="model", made_by="pnas export", limit=MAX_BYTES)
        return cls.examined(content, where=str(path), prepare=prepare, run=run)

    @classmethod
    def examined(
        cls,
        content: bytes,
        *,
        where: str,
        prepare: bool = False,
        run: bool = False,
    ) -> TfliteModel:
        """Bytes of anybody. The runtime and the reader of the schema look at them in a child
        process; this one sees only what it answers.

        Args:
            content: the file.
            where: its name in errors.
            prepare: whether the runtime prepares it there too, which tells of partitions.
            run: whether it is run there once; it may run in this process after that.

        Raises:
            UserError: the content is no whole model of builtin ops, or harms whoever reads it.
        """
        if content[4:8] != IDENTIFIER:
            raise UserError(
                f"{where} is not a TensorFlow Lite model",
                expected="the file identifier 'TFL3' at byte 4",
                received=f"{len(content)} bytes beginning {bytes(content[:8])!r}",
                fix="Give a .tflite file.",
            )
        prepared = " that the LiteRT interpreter prepares" if prepare or run else ""
        found = isolated.inspect(
            "pnas_tf.tflite.examine",
            content,
            where=where,
            expected=f"a whole .tflite file of builtin ops{prepared}",
            fix=MADE_BY,
            prepare=prepare,
            run=run,
        )
        model = cls(content, where=where)
        model.contents = contents_from_json(found)
        return model

    @functools.cached_property
    def contents(self) -> Contents:
        """What stands in the file."""
        return read_contents(self.content)

    @property
    def has_softmax(self) -> bool:
        """Whether probabilities are made at the end: by the last op, or by the one before a
        conversion of the output."""
        names = [op.name for op in self.contents.ops[-2:]]
        return names[-1:] == ["SOFTMAX"] or (names[:1] == ["SOFTMAX"] and names[1] in _CONVERSIONS)

    @property
    def metadata(self) -> Document | None:
        """The document of `metadata_schema` in the file, None when there is none.

        Raises:
            UserError: it cannot be read.
        """
        fault = self.contents.metadata_fault
        if fault:
            raise UserError(
                f"metadata of {self.where} is corrupt",
                expected="a document of the public schema, identifier M001",
                received=fault[:300],
                fix=MADE_BY,
            )
        return self.contents.metadata


def without_softmax(content: bytes) -> bytes:
    """A file of ours that ends at its logits, in the number type they are computed in; the same
    bytes when no softmax ends it."""
    model = parse(content)
    graph = model.subgraphs[0]
    places = [
        place
        for place in range(len(graph.operators))[-2:]
        if op_name(model, graph.operators[place]) == "SOFTMAX"
    ]
    if not places:
        return content
    logits = int(graph.operators[places[0]].inputs[0])
    graph.operators = graph.operators[: places[0]]
    _end_at(model, logits)
    return pack(model)


def with_softmax(content: bytes) -> bytes:
    """A file of ours that gives float32 logits, with a softmax in float32 behind them: whatever the
    number types before it, no two logits become one probability."""
    model = parse(content)
    graph = model.subgraphs[0]
    logits = int(graph.outputs[0])
    scores = copy.deepcopy(graph.tensors[logits])
    scores.name = b"probability"
    graph.tensors.append(scores)
    softmax = schema.OperatorT()
    softmax.opcodeIndex = operator_code(model, schema.BuiltinOperator.SOFTMAX)
    softmax.inputs, softmax.outputs = [logits], [len(graph.tensors) - 1]
    softmax.builtinOptionsType = schema.BuiltinOptions.SoftmaxOptions
    softmax.builtinOptions = schema.SoftmaxOptionsT()
    softmax.builtinOptions.beta = 1.0
    graph.operators.append(softmax)
    _end_at(model, len(graph.tensors) - 1)
    return pack(model)


def operator_code(model: schema.ModelT, number: int) -> int:
    """The place of a new entry for a builtin op, in its first version."""
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = number
    code.version = 1
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _end_at(model: schema.ModelT, tensor: int) -> None:
    """Makes `tensor` the only output."""
    model.subgraphs[0].outputs = [tensor]
    for signature in model.signatureDefs or []:
        for output in signature.outputs:
            output.tensorIndex = tensor


def put_buffer(model: schema.ModelT, name: str, content: bytes) -> None:
    """Puts `content` under `name` into the model's metadata list; an entry of that name is
    replaced."""
    entries = list(model.metadata or ())
    entry = next((entry for entry in entries if entry.name == name.encode()), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = name.encode(), len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*entries, entry]
    model.buffers[entry.buffer].data = np.frombuffer(content, np.uint8)


def pack(model: schema.ModelT) -> bytes:
    """The bytes of a model; the same object gives the same bytes. Weights stand at multiples of 16
    bytes.

    Raises:
        UserError: they would exceed the format's 2 GiB.
    """
    builder = _AlignedBuilder(1024 * 1024)
    try:
        builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    except flatbuffers.builder.BuilderSizeError as error:
        raise UserError(
            "the model does not fit a .tflite file",
            expected=f"at most {MAX_BYTES} bytes",
            received=str(error),
            fix="Export a smaller network.",
        ) from error
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Python's builder drops `force_align`; weights at odd addresses are slower, and a fault on
    some ARM cores."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        return super().StartVector(
            elemSize, numElems, _BUFFER_ALIGNMENT if elemSize == 1 else alignment
        )
