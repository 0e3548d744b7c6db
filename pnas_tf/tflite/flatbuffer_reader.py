"""FlatBuffers of strangers, read by a schema given as data, with every offset checked before it is
followed.

A table is a dict of its set fields, a union {"name of its table": {...}}; vectors of numbers are
lists, of bytes NumPy views. Knows no schema. Source: the public description of the FlatBuffers
binary format.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

SCALARS = {"byte": "<b", "ubyte": "<B", "uint": "<I", "int": "<i", "float": "<f", "ulong": "<Q"}
VECTORS = {"bytes": "<u1", "ints": "<i4", "longs": "<i8", "floats": "<f4"}


class BadFlatBuffer(ValueError):
    """The bytes are not a document of the schema; str(error) says where they are not."""


@dataclass(frozen=True)
class Field:
    """kind: one of SCALARS, of VECTORS, "string", "strings", "table", "tables" or "union". Fields
    stand in the order of the schema.

    of: name of the table, or of the union's tables in order. A member that nobody here reads is
    None: skipped.
    """

    name: str
    kind: str
    of: tuple[str | None, ...] = ()


def slots_of(fields: tuple[Field, ...]) -> dict[str, int]:
    """Field name -> vtable slot; of a union the slot of its value (its type stands one before)."""
    numbered, slot = {}, 0
    for field in fields:
        slot += field.kind == "union"
        numbered[field.name] = slot
        slot += 1
    return numbered


class Reader:
    """Reads tables with every offset checked; Python's FlatBuffers library has no verifier.

    tables: the schema. limit: of what the content may become when read, in bytes: a crafted file
    can point many entries at one table or text. Byte vectors are views and cost nothing. strict:
    text that is not UTF-8 is refused.
    """

    def __init__(
        self,
        content: bytes,
        tables: Mapping[str, tuple[Field, ...]],
        *,
        limit: int,
        strict: bool = True,
    ):
        self._content, self._tables, self._limit, self._decoded_bytes = content, tables, limit, 0
        self._errors = "strict" if strict else "replace"
        self._slots = {name: slots_of(fields) for name, fields in tables.items()}

    def root(self, table: str) -> dict[str, Any]:
        """The whole document. Raises BadFlatBuffer with the place of what is malformed."""
        return self._table(self._follow(0), table)

    def _spend(self, size: int) -> None:
        self._decoded_bytes += size
        if self._decoded_bytes > self._limit:
            raise BadFlatBuffer(f"more than {self._limit} bytes when read")

    def _number(self, format: str, position: int) -> Any:
        if not 0 <= position <= len(self._content) - struct.calcsize(format):
            raise BadFlatBuffer(f"an offset points to byte {position} of {len(self._content)}")
        return struct.unpack_from(format, self._content, position)[0]

    def _follow(self, position: int) -> int:
        return position + self._number("<I", position)

    def _table(self, position: int, table: str) -> dict[str, Any]:
        self._spend(64)  # about what an empty dict takes
        vtable = position - self._number("<i", position)
        size = self._number("<H", vtable)
        if size < 4 or vtable + size > len(self._content):
            raise BadFlatBuffer(
                f"the table at byte {position} has a broken list of fields at byte {vtable}"
            )
        found, number = {}, self._slots[table]

        def place(slot: int) -> int:
            offset = self._number("<H", vtable + 4 + 2 * slot) if 4 + 2 * slot + 2 <= size else 0
            return position + offset if offset else 0

        for field in self._tables[table]:
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
        if field.kind in SCALARS:
            return self._number(SCALARS[field.kind], at)
        if field.kind == "string":
            return self._string(self._follow(at))
        if field.kind == "table":
            return self._table(self._follow(at), str(field.of[0]))
        if field.kind in VECTORS:
            item = np.dtype(VECTORS[field.kind])
            start, count = self._vector(self._follow(at), item.itemsize)
            found = np.frombuffer(self._content, item, count, start)
            if field.kind == "bytes":
                return found
            self._spend(found.nbytes)
            return found.tolist()
        start, count = self._vector(self._follow(at))
        self._spend(4 * count)
        entries = range(start, start + 4 * count, 4)
        if field.kind == "strings":
            return [self._string(self._follow(entry)) for entry in entries]
        return [self._table(self._follow(entry), str(field.of[0])) for entry in entries]

    def _vector(self, position: int, item_bytes: int = 4) -> tuple[int, int]:
        count = self._number("<I", position)
        if count * item_bytes > len(self._content) - position - 4:
            raise BadFlatBuffer(
                f"a vector of {count} entries does not fit {len(self._content)} bytes"
            )
        return position + 4, count

    def _string(self, position: int) -> str:
        start, count = self._vector(position, 1)
        self._spend(count)
        try:
            return self._content[start : start + count].decode("utf-8", self._errors)
        except UnicodeDecodeError as error:
            raise BadFlatBuffer(
                f"text at byte {start} that is not UTF-8: {error.reason}"
            ) from error
