"""The skeleton of a .tflite file: what must hold before the runtime or a generated reader may look
at it.

Source: schema.fbs of TensorFlow Lite, version 3. Options of ops are left out; nothing here follows
them. Knows nothing of metadata.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pnas_tf.tflite.flatbuffer_reader import BadFlatBuffer, Field, Reader

MAX_DECODED_BYTES = (
    16 * 2**20
)  # tables and texts without the weights: about 250,000 tables; large models have 10,000
MAX_ELEMENTS = 2**40  # of a tensor

TABLES: dict[str, tuple[Field, ...]] = {
    "Model": (
        Field("version", "uint"),
        Field("operator_codes", "tables", ("OperatorCode",)),
        Field("subgraphs", "tables", ("SubGraph",)),
        Field("description", "string"),
        Field("buffers", "tables", ("Buffer",)),
        Field("metadata_buffer", "ints"),
        Field("metadata", "tables", ("Metadata",)),
        Field("signature_defs", "tables", ("SignatureDef",)),
    ),
    "OperatorCode": (
        Field("deprecated_builtin_code", "byte"),
        Field("custom_code", "string"),
        Field("version", "int"),
        Field("builtin_code", "int"),
    ),
    "SubGraph": (
        Field("tensors", "tables", ("Tensor",)),
        Field("inputs", "ints"),
        Field("outputs", "ints"),
        Field("operators", "tables", ("Operator",)),
        Field("name", "string"),
    ),
    "Tensor": (
        Field("shape", "ints"),
        Field("type", "byte"),
        Field("buffer", "uint"),
        Field("name", "string"),
        Field("quantization", "table", ("QuantizationParameters",)),
        Field("is_variable", "byte"),
        Field("sparsity", "table", ("Opaque",)),
        Field("shape_signature", "ints"),
        Field("has_rank", "byte"),
        Field("variant_tensors", "tables", ("Opaque",)),
    ),
    "QuantizationParameters": (
        Field("min", "floats"),
        Field("max", "floats"),
        Field("scale", "floats"),
        Field("zero_point", "longs"),
        Field("details", "union"),
        Field("quantized_dimension", "int"),
    ),
    "Operator": (
        Field("opcode_index", "uint"),
        Field("inputs", "ints"),
        Field("outputs", "ints"),
        Field("builtin_options", "union"),
        Field("custom_options", "bytes"),
        Field("custom_options_format", "byte"),
        Field("mutating_variable_inputs", "bytes"),
        Field("intermediates", "ints"),
    ),
    "Buffer": (Field("data", "bytes"), Field("offset", "ulong"), Field("size", "ulong")),
    "Metadata": (Field("name", "string"), Field("buffer", "uint")),
    "SignatureDef": (
        Field("inputs", "tables", ("TensorMap",)),
        Field("outputs", "tables", ("TensorMap",)),
        Field("signature_key", "string"),
        Field("subgraph_index", "uint"),
    ),
    "TensorMap": (Field("name", "string"), Field("tensor_index", "uint")),
    "Opaque": (),
}


def check_skeleton(content: bytes) -> None:
    """Raises BadFlatBuffer, saying where, unless every offset stays inside and every number of a
    tensor, buffer or op names one."""
    model = Reader(content, TABLES, limit=MAX_DECODED_BYTES, strict=False).root("Model")
    graphs, codes, buffers = (
        model.get(name, ()) for name in ("subgraphs", "operator_codes", "buffers")
    )
    if not graphs or not all(
        graphs[0].get(name) for name in ("tensors", "inputs", "outputs", "operators")
    ):
        raise BadFlatBuffer("there is no subgraph of tensors, inputs, outputs and operators")
    for entry in model.get("metadata", ()):
        _inside(
            entry.get("buffer", 0),
            buffers,
            f"buffer of metadata entry {entry.get('name', '')[:40]!r}",
        )
    for number, graph in enumerate(graphs):
        where, tensors = f"subgraph {number}", graph.get("tensors", ())
        for name in ("inputs", "outputs"):
            _all_inside(graph.get(name, ()), tensors, f"{name} of {where}")
        for index, tensor in enumerate(tensors):
            _check_tensor(tensor, buffers, f"tensor {index} of {where}")
        for index, operator in enumerate(graph.get("operators", ())):
            _inside(operator.get("opcode_index", 0), codes, f"code of op {index} of {where}")
            _all_inside(
                operator.get("inputs", ()), tensors, f"inputs of op {index} of {where}", least=-1
            )  # -1: left out
            _all_inside(operator.get("outputs", ()), tensors, f"outputs of op {index} of {where}")


def _check_tensor(tensor: dict[str, Any], buffers: Any, where: str) -> None:
    _inside(tensor.get("buffer", 0), buffers, f"buffer of {where}")
    elements = 1
    for size in tensor.get("shape", ()):
        elements *= int(size)
        if not 0 <= elements <= MAX_ELEMENTS:
            raise BadFlatBuffer(
                f"the shape of {where} is {[int(part) for part in tensor['shape'][:8]]}"
            )
    scales = tensor.get("quantization", {}).get("scale", ())
    if len(scales) and not np.isfinite(scales).all():
        raise BadFlatBuffer(f"the quantisation of {where} is no number")


def _all_inside(indices: Any, things: Any, what: str, *, least: int = 0) -> None:
    for index in indices:
        _inside(int(index), things, what, least=least)


def _inside(index: int, things: Any, what: str, *, least: int = 0) -> None:
    if not least <= index < len(things):
        raise BadFlatBuffer(f"{what}: number {index} of {len(things)}")
