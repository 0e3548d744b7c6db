"""The public TFLite metadata schema as data, with a writer and a reader that both walk it.

Source: metadata_schema.fbs of TensorFlow Lite Support and MediaPipe, version 1.5.0, identifier
"M001". A table's fields stand in the order of the schema, which is the order of their slots; a
union takes two. Knows nothing of what the fields mean. A table is a dict of its set fields, a union
{"name of its table": {...}}; fields at their default (0, absent) are left out.

tflite-support has a generated reader but has not been released since 2023, and MediaPipe's needs
another absl than TensorFlow's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import flatbuffers
from flatbuffers import encode as values
from flatbuffers import number_types, packer, table

IDENTIFIER = b"M001"
Document = dict[str, object]  # text, numbers, other documents, and lists of these
_SCALARS = {
    "byte": number_types.Int8Flags,
    "uint": number_types.Uint32Flags,
    "int": number_types.Int32Flags,
}


@dataclass(frozen=True)
class Field:
    """kind: one of _SCALARS, "string", "strings", "floats", "table", "tables" or "union". Fields
    stand in the order of the schema.

    of: name of the table, or of the union's tables in order. A member that nobody here reads is
    None: skipped.
    """

    name: str
    kind: str
    of: tuple[str | None, ...] = ()


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


def encode(document: Document) -> bytes:
    """The document as a FlatBuffer; the same document gives the same bytes.

    Raises:
        KeyError: an unknown field.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, ROOT, document), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def decode(content: bytes) -> Document:
    """The inverse of `encode`. Fields unknown to this version are skipped.

    Follows whatever offsets it finds: of files of others in a child process alone.

    Raises:
        Exception: of many kinds, on what is no such document.
    """
    if content[4:8] != IDENTIFIER:
        raise ValueError(f"identifier {content[4:8]!r} instead of {IDENTIFIER!r}")
    root = values.Get(packer.uoffset, content, 0)
    return _read_table(table.Table(content, root), ROOT)


def slots(name: str) -> dict[str, int]:
    """Field name -> vtable slot; of a union the slot of its value (its type stands one before)."""
    numbered, slot = {}, 0
    for field in TABLES[name]:
        slot += field.kind == "union"
        numbered[field.name] = slot
        slot += 1
    return numbered


def _read_table(found: table.Table, name: str) -> Document:
    document: Document = {}
    number = slots(name)
    for field in TABLES[name]:
        offset = found.Offset(4 + 2 * number[field.name])
        if not offset:
            continue
        if field.kind == "union":
            kind_at = found.Offset(2 + 2 * number[field.name])
            kind = found.Get(number_types.Uint8Flags, kind_at + found.Pos) if kind_at else 0
            member = field.of[kind - 1] if 1 <= kind <= len(field.of) else None
            if member:
                document[field.name] = {member: _read_table(_table_at(found, offset), member)}
        else:
            document[field.name] = _read_value(found, offset, field)
    return document


def _read_value(found: table.Table, offset: int, field: Field) -> object:
    if field.kind in _SCALARS:
        return found.Get(_SCALARS[field.kind], offset + found.Pos)
    if field.kind == "string":
        return found.String(offset + found.Pos).decode("utf-8")
    if field.kind == "table":
        return _read_table(_table_at(found, offset), str(field.of[0]))
    if field.kind == "floats":
        return found.GetVectorAsNumpy(number_types.Float32Flags, offset).tolist()
    start = found.Vector(offset)
    entries = range(start, start + 4 * found.VectorLen(offset), 4)
    if field.kind == "strings":
        return [found.String(entry).decode("utf-8") for entry in entries]
    kind = str(field.of[0])
    return [_read_table(table.Table(found.Bytes, found.Indirect(entry)), kind) for entry in entries]


def _table_at(found: table.Table, offset: int) -> table.Table:
    return table.Table(found.Bytes, found.Indirect(offset + found.Pos))


def _write_table(builder: flatbuffers.Builder, name: str, document: Mapping[str, object]) -> int:
    """Children first, as FlatBuffers are built, then the table itself."""
    rows, number = {field.name: field for field in TABLES[name]}, slots(name)
    offsets = {
        key: _write_value(builder, rows[key], value)
        for key, value in document.items()
        if rows[key].kind not in _SCALARS
    }
    builder.StartObject(number[TABLES[name][-1].name] + 1 if TABLES[name] else 0)
    for key, value in document.items():
        kind = rows[key].kind
        if kind == "union":
            assert isinstance(value, dict)
            member = rows[key].of.index(next(iter(value)))
            builder.PrependUint8Slot(number[key] - 1, member + 1, 0)
        if kind in _SCALARS:
            builder.PrependSlot(_SCALARS[kind], number[key], value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(number[key], offsets[key], 0)
    return builder.EndObject()


def _write_value(builder: flatbuffers.Builder, field: Field, value: object) -> int:
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, dict):
        if field.kind == "table":
            return _write_table(builder, str(field.of[0]), value)
        ((member, content),) = value.items()
        assert isinstance(content, dict)
        return _write_table(builder, member, content)
    assert isinstance(value, list)
    if field.kind == "floats":
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
        return builder.EndVector()
    offsets = [
        _write_table(builder, str(field.of[0]), entry)
        if isinstance(entry, dict)
        else builder.CreateString(entry)
        for entry in value
    ]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
