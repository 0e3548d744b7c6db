"""The public TFLite metadata schema as data, with a writer and a reader that both walk it.

Source: metadata_schema.fbs of TensorFlow Lite Support and MediaPipe, version 1.5.0, identifier "M001". A table's fields stand
in the order of the schema, which is the order of their slots; a union takes two. Knows nothing of what the fields mean.
A table is a dict of its set fields, a union {"name of its table": {...}}; fields at their default (0, absent) are left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import flatbuffers

IDENTIFIER = b"M001"
MAX_DECODED_BYTES = 4 * 2**20  # a crafted file can point many entries at one long text; real documents are a few KB


class BadMetadata(ValueError):
    """The bytes are not a document of this schema."""


@dataclass(frozen=True)
class Field:
    """kind: "string", "byte", "uint", "int", "float", "table", "union", or one of these plus "s" for a vector.

    of: name of the table, or of the union's tables in order. A member that image classifiers never use is None: skipped.
    """

    name: str
    kind: str
    of: tuple[str | None, ...] = ()


_FILES = Field("associated_files", "tables", ("AssociatedFile",))

TABLES: dict[str, tuple[Field, ...]] = {
    "ModelMetadata": (
        Field("name", "string"), Field("description", "string"), Field("version", "string"),
        Field("subgraph_metadata", "tables", ("SubGraphMetadata",)), Field("author", "string"), Field("license", "string"),
        _FILES, Field("min_parser_version", "string")),
    "SubGraphMetadata": (
        Field("name", "string"), Field("description", "string"),
        Field("input_tensor_metadata", "tables", ("TensorMetadata",)),
        Field("output_tensor_metadata", "tables", ("TensorMetadata",)), _FILES),
    "TensorMetadata": (
        Field("name", "string"), Field("description", "string"), Field("dimension_names", "strings"),
        Field("content", "table", ("Content",)), Field("process_units", "tables", ("ProcessUnit",)),
        Field("stats", "table", ("Stats",)), _FILES),
    "AssociatedFile": (
        Field("name", "string"), Field("description", "string"), Field("type", "byte"), Field("locale", "string"),
        Field("version", "string")),
    "Content": (
        Field("content_properties", "union", ("FeatureProperties", "ImageProperties", None, None)),
        Field("range", "table", ("ValueRange",))),
    "FeatureProperties": (),
    "ImageProperties": (Field("color_space", "byte"), Field("default_size", "table", ("ImageSize",))),
    "ImageSize": (Field("width", "uint"), Field("height", "uint")),
    "ValueRange": (Field("min", "int"), Field("max", "int")),
    "ProcessUnit": (Field("options", "union", ("NormalizationOptions", None, None, None, None, None)),),
    "NormalizationOptions": (Field("mean", "floats"), Field("std", "floats")),
    "Stats": (Field("max", "floats"), Field("min", "floats")),
}
ROOT = "ModelMetadata"

# AssociatedFileType and ColorSpaceType
DESCRIPTIONS, TENSOR_AXIS_LABELS = 1, 2
RGB, GRAYSCALE = 1, 2

_SCALARS = {"byte": "<b", "uint": "<I", "int": "<i", "float": "<f"}


def encode(document: dict[str, Any]) -> bytes:
    """The document as a FlatBuffer; the same document gives the same bytes. Raises KeyError on an unknown field."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, ROOT, document), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def decode(content: bytes) -> dict[str, Any]:
    """The inverse of `encode`. Fields unknown to this version are skipped. Raises BadMetadata on anything malformed."""
    if content[4:8] != IDENTIFIER:
        raise BadMetadata(f"identifier {content[4:8]!r} instead of {IDENTIFIER!r}")
    return _Reader(content).root()


def slots(table: str) -> dict[str, int]:
    """Field name -> vtable slot; of a union the slot of its value (its type stands one before)."""
    numbered, slot = {}, 0
    for field in TABLES[table]:
        slot += field.kind == "union"
        numbered[field.name] = slot
        slot += 1
    return numbered


def _write_table(builder: flatbuffers.Builder, table: str, values: dict[str, Any]) -> int:
    """Children first, as FlatBuffers are built, then the table itself."""
    rows, number = {field.name: field for field in TABLES[table]}, slots(table)
    offsets = {name: _write_value(builder, rows[name], value) for name, value in values.items() if rows[name].kind not in _SCALARS}
    builder.StartObject(number[TABLES[table][-1].name] + 1 if TABLES[table] else 0)
    for name, value in values.items():
        kind = rows[name].kind
        if kind == "union":
            builder.PrependUint8Slot(number[name] - 1, rows[name].of.index(next(iter(value))) + 1, 0)
        if kind in _SCALARS:
            prepend = {"byte": builder.PrependInt8Slot, "uint": builder.PrependUint32Slot, "int": builder.PrependInt32Slot,
                       "float": builder.PrependFloat32Slot}[kind]
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
        (member, content), = value.items()
        return _write_table(builder, member, content)
    if field.kind == "floats":
        builder.StartVector(4, len(value), 4)
        for number in reversed(value):
            builder.PrependFloat32(number)
        return builder.EndVector()
    offsets = [builder.CreateString(entry) if field.kind == "strings" else _write_table(builder, str(field.of[0]), entry)
               for entry in value]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


class _Reader:
    """Reads tables with every offset checked; Python's FlatBuffers library has no verifier."""

    def __init__(self, content: bytes):
        self._content, self._decoded_bytes = content, 0

    def root(self) -> dict[str, Any]:
        return self._table(self._follow(0), ROOT)

    def _spend(self, size: int) -> None:
        self._decoded_bytes += size
        if self._decoded_bytes > MAX_DECODED_BYTES:
            raise BadMetadata(f"more than {MAX_DECODED_BYTES} bytes when read")

    def _number(self, format: str, position: int) -> Any:
        if not 0 <= position <= len(self._content) - struct.calcsize(format):
            raise BadMetadata(f"an offset points to byte {position} of {len(self._content)}")
        return struct.unpack_from(format, self._content, position)[0]

    def _follow(self, position: int) -> int:
        return position + self._number("<I", position)

    def _table(self, position: int, table: str) -> dict[str, Any]:
        self._spend(64)  # about what an empty dict takes
        vtable = position - self._number("<i", position)
        size = self._number("<H", vtable)
        found, number = {}, slots(table)

        def place(slot: int) -> int:
            offset = self._number("<H", vtable + 4 + 2 * slot) if 4 + 2 * slot + 2 <= size else 0
            return position + offset if offset else 0

        for field in TABLES[table]:
            at = place(number[field.name])
            if not at:
                continue
            if field.kind == "union":
                kind_at = place(number[field.name] - 1)
                kind = self._number("<B", kind_at) if kind_at else 0
                member = field.of[kind - 1] if 1 <= kind <= len(field.of) else None
                if member:
                    found[field.name] = {member: self._table(self._follow(at), member)}
            else:
                found[field.name] = self._value(at, field)
        return found

    def _value(self, at: int, field: Field) -> Any:
        if field.kind in _SCALARS:
            return self._number(_SCALARS[field.kind], at)
        if field.kind == "string":
            return self._string(self._follow(at))
        if field.kind == "table":
            return self._table(self._follow(at), str(field.of[0]))
        start, count = self._vector(self._follow(at))
        entries = range(start, start + 4 * count, 4)
        if field.kind == "floats":
            return [self._number("<f", entry) for entry in entries]
        if field.kind == "strings":
            return [self._string(self._follow(entry)) for entry in entries]
        return [self._table(self._follow(entry), str(field.of[0])) for entry in entries]

    def _vector(self, position: int, item_bytes: int = 4) -> tuple[int, int]:
        count = self._number("<I", position)
        if count * item_bytes > len(self._content) - position - 4:
            raise BadMetadata(f"a vector of {count} entries does not fit {len(self._content)} bytes")
        self._spend(count * item_bytes)
        return position + 4, count

    def _string(self, position: int) -> str:
        start, count = self._vector(position, 1)
        try:
            return self._content[start:start + count].decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadMetadata(f"text that is not UTF-8: {error.reason}") from error
