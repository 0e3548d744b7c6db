"""The public TFLite metadata schema as data, with a writer and a reader that both walk it.

Source: metadata_schema.fbs of TensorFlow Lite Support and MediaPipe, version 1.5.0, identifier
"M001". A table's fields stand in the order of the schema, which is the order of their slots; a
union takes two. Knows nothing of what the fields mean. A table is a dict of its set fields, a union
{"name of its table": {...}}; fields at their default (0, absent) are left out.
"""

from __future__ import annotations

from typing import Any

import flatbuffers

from pnas_tf.tflite.flatbuffer_reader import SCALARS, BadFlatBuffer, Field, Reader, slots_of

IDENTIFIER = b"M001"
MAX_DECODED_BYTES = (
    4 * 2**20
)  # a crafted file can point many entries at one long text; real documents are a few KB


_FILES = Field("associated_files", "tables", ("AssociatedFile",))

TABLES: dict[str, tuple[Field, ...]] = {
    "ModelMetadata": (
        Field("name", "string"),
        Field("description", "string"),
        Field("version", "string"),
        Field("subgraph_metadata", "tables", ("SubGraphMetadata",)),
        Field("author", "string"),
        Field("license", "string"),
        _FILES,
        Field("min_parser_version", "string"),
    ),
    "SubGraphMetadata": (
        Field("name", "string"),
        Field("description", "string"),
        Field("input_tensor_metadata", "tables", ("TensorMetadata",)),
        Field("output_tensor_metadata", "tables", ("TensorMetadata",)),
        _FILES,
    ),
    "TensorMetadata": (
        Field("name", "string"),
        Field("description", "string"),
        Field("dimension_names", "strings"),
        Field("content", "table", ("Content",)),
        Field("process_units", "tables", ("ProcessUnit",)),
        Field("stats", "table", ("Stats",)),
        _FILES,
    ),
    "AssociatedFile": (
        Field("name", "string"),
        Field("description", "string"),
        Field("type", "byte"),
        Field("locale", "string"),
        Field("version", "string"),
    ),
    "Content": (
        Field("content_properties", "union", ("FeatureProperties", "ImageProperties", None, None)),
        Field("range", "table", ("ValueRange",)),
    ),
    "FeatureProperties": (),
    "ImageProperties": (
        Field("color_space", "byte"),
        Field("default_size", "table", ("ImageSize",)),
    ),
    "ImageSize": (Field("width", "uint"), Field("height", "uint")),
    "ValueRange": (Field("min", "int"), Field("max", "int")),
    "ProcessUnit": (
        Field("options", "union", ("NormalizationOptions", None, None, None, None, None)),
    ),
    "NormalizationOptions": (Field("mean", "floats"), Field("std", "floats")),
    "Stats": (Field("max", "floats"), Field("min", "floats")),
}
ROOT = "ModelMetadata"

# AssociatedFileType and ColorSpaceType
DESCRIPTIONS, TENSOR_AXIS_LABELS = 1, 2
RGB, GRAYSCALE = 1, 2


def encode(document: dict[str, Any]) -> bytes:
    """The document as a FlatBuffer; the same document gives the same bytes. Raises KeyError on an
    unknown field."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, ROOT, document), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def decode(content: bytes) -> dict[str, Any]:
    """The inverse of `encode`. Fields unknown to this version are skipped. Raises BadFlatBuffer on
    anything malformed."""
    if content[4:8] != IDENTIFIER:
        raise BadFlatBuffer(f"identifier {content[4:8]!r} instead of {IDENTIFIER!r}")
    return Reader(content, TABLES, limit=MAX_DECODED_BYTES).root(ROOT)


def slots(table: str) -> dict[str, int]:
    """Field name -> vtable slot; of a union the slot of its value (its type stands one before)."""
    return slots_of(TABLES[table])


def _write_table(builder: flatbuffers.Builder, table: str, values: dict[str, Any]) -> int:
    """Children first, as FlatBuffers are built, then the table itself."""
    rows, number = {field.name: field for field in TABLES[table]}, slots(table)
    offsets = {
        name: _write_value(builder, rows[name], value)
        for name, value in values.items()
        if rows[name].kind not in SCALARS
    }
    builder.StartObject(number[TABLES[table][-1].name] + 1 if TABLES[table] else 0)
    for name, value in values.items():
        kind = rows[name].kind
        if kind == "union":
            builder.PrependUint8Slot(
                number[name] - 1, rows[name].of.index(next(iter(value))) + 1, 0
            )
        if kind in SCALARS:
            prepend = {
                "byte": builder.PrependInt8Slot,
                "uint": builder.PrependUint32Slot,
                "int": builder.PrependInt32Slot,
                "float": builder.PrependFloat32Slot,
            }[kind]
            prepend(number[name], value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number[name], offsets[name], 0)
    return builder.EndObject()


def _write_value(builder: flatbuffers.Builder, field: Field, value: Any) -> int:
    if field.kind == "string":
        return builder.CreateString(value)
    if field.kind == "table":
        return _write_table(builder, str(field.of[0]), value)
    if field.kind == "union":
        ((member, content),) = value.items()
        return _write_table(builder, member, content)
    if field.kind == "floats":
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
        return builder.EndVector()
    offsets = [
        builder.CreateString(entry)
        if field.kind == "strings"
        else _write_table(builder, str(field.of[0]), entry)
        for entry in value
    ]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
