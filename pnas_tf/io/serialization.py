"""The one way from JSON to frozen dataclasses and back.

Every field has the type that its annotation says, or an error names it by its path
(`$.visits[3].count`). For documents that a stranger may have written. Knows plain types alone, and
nothing of what the records mean.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Literal, TypeAlias, TypeVar, overload

from pnas_tf.errors import UserError, named

Json: TypeAlias = object  # what a JSON text holds: nothing is known of it until it is checked

Record = TypeVar("Record")
_MAX_SHOWN = 200  # characters of a value in an error
_NAMES: dict[object, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "true or false",
}


def record_of(kind: type[Record], document: Json, *, where: str, fix: str) -> Record:
    """The `kind` whose fields the object `document` holds; lists become tuples.

    Args:
        kind: a dataclass whose annotations `value_of` knows.
        document: what the JSON text holds.
        where: the place named in errors ("latency.json, model_int8").
        fix: what the user can do about a document that is refused.

    Raises:
        UserError: an unknown, missing or ill-typed field, by its path, or values that the class
            itself refuses.
    """
    return value_of(kind, document, what=f"{kind.__name__} in {where}", fix=fix)


@overload
def value_of(hint: type[Record], value: Json, *, what: str, fix: str) -> Record: ...
@overload
def value_of(hint: object, value: Json, *, what: str, fix: str) -> object: ...


def value_of(hint: object, value: Json, *, what: str, fix: str) -> object:
    """`value` as the annotation `hint` has it.

    Args:
        hint: str, bool, int, float, None, object, Literal, a dataclass, or X | Y, tuple[X, ...],
            tuple[X, Y], list[X], Sequence[X], dict[str, X], Mapping[str, X] of these. An integer
            is a float too, a boolean is no number. Dataclasses of a union are told apart by
            their `json_tag`, (key, word): the object has that word under that key.
        value: what the JSON text holds.
        what: the thing named in errors.
        fix: what the user can do about it.

    Raises:
        UserError: `value` is of another type; names `what` and the path in it.
    """
    return _Reader(what, fix).read(hint, value, "$")


def to_json(record: object) -> dict[str, Json]:
    """A record as a JSON object without the fields that are at an empty default: the inverse of
    `record_of`."""
    assert is_dataclass(record)
    tag = getattr(record, "json_tag", None)
    return ({tag[0]: tag[1]} if tag else {}) | {
        entry.name: _plain(value)
        for entry in fields(record)
        if (value := getattr(record, entry.name))
        or (entry.default is MISSING and entry.default_factory is MISSING)
    }


@dataclass(frozen=True)
class _Reader:
    """Checks values. what: the thing named in errors; fix: what the user can do."""

    what: str
    fix: str

    def read(self, hint: object, value: Json, path: str) -> object:
        """`value`, found at `path`, as `hint` has it."""
        origin, parts = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return self._union(parts, value, path)
        if isinstance(hint, type) and is_dataclass(hint):
            return self._record(hint, value, path)
        if origin is tuple and isinstance(value, list):
            hints: tuple[object, ...] = (
                parts if parts[-1] is not Ellipsis else parts[:1] * len(value)
            )
            if len(hints) == len(value):
                return tuple(self._items(hints, value, path))
        elif origin in (list, Sequence) and isinstance(value, list):
            return list(self._items(parts * len(value), value, path))
        elif origin in (dict, Mapping) and isinstance(value, dict):
            return {
                name: self.read(parts[1], item, _member(path, name)) for name, item in value.items()
            }
        elif _may_be(hint, value):
            return value
        raise self._refused(path, _name(hint), repr(value))

    def _items(self, hints: Sequence[object], values: list[Json], path: str) -> Iterator[object]:
        for number, (hint, value) in enumerate(zip(hints, values, strict=True)):
            yield self.read(hint, value, f"{path}[{number}]")

    def _union(self, parts: tuple[object, ...], value: Json, path: str) -> object:
        kinds = [part for part in parts if part is not type(None)]
        if value is None and len(kinds) < len(parts):
            return None
        if len(kinds) == 1:
            return self.read(kinds[0], value, path)
        for kind in kinds:
            if _may_be(kind, value):
                return self.read(kind, value, path)
        raise self._refused(path, " or ".join(map(_name, kinds)), repr(value))

    def _record(self, kind: type, value: Json, path: str) -> object:
        hints, required = _fields(kind)
        tag = getattr(kind, "json_tag", None)
        if not isinstance(value, dict) or (tag and value.get(tag[0]) != tag[1]):
            expected = _name(kind) if tag else f"an object with fields among {sorted(hints)}"
            raise self._refused(path, expected, repr(value))
        found = {name: item for name, item in value.items() if not (tag and name == tag[0])}
        if unknown := sorted(set(found) - set(hints)):
            raise self._refused(path, f"an object with fields among {sorted(hints)}", repr(unknown))
        if missing := sorted(required - set(found)):
            raise self._refused(path, f"the fields {sorted(required)}", f"none of {missing}")
        values = {
            name: self.read(hints[name], item, _member(path, name)) for name, item in found.items()
        }
        try:
            with named(self._place(path)):
                return kind(**values)
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise self._refused(path, "values that belong together", str(error)) from error

    def _place(self, path: str) -> str:
        return self.what if path == "$" else f"{self.what} at {path}"

    def _refused(self, path: str, expected: str, received: str) -> UserError:
        return UserError(
            self._place(path), expected=expected, received=received[:_MAX_SHOWN], fix=self.fix
        )


def _may_be(kind: object, value: Json) -> bool:
    """Whether a value of a union is of this member."""
    if is_dataclass(kind):
        tag = getattr(kind, "json_tag", None)
        return isinstance(value, dict) and (tag is None or value.get(tag[0]) == tag[1])
    origin = typing.get_origin(kind)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in typing.get_args(kind))
    if origin in (tuple, list, Sequence):
        return isinstance(value, list)
    if origin in (dict, Mapping):
        return isinstance(value, dict)
    return kind is object or type(value) is kind or (kind is float and type(value) is int)


@functools.cache
def _fields(kind: type) -> tuple[dict[str, object], set[str]]:
    """The fields with their types, and those that have no default."""
    hints = typing.get_type_hints(kind)
    known = {entry.name: hints[entry.name] for entry in fields(kind)}
    return known, {
        entry.name
        for entry in fields(kind)
        if entry.default is MISSING and entry.default_factory is MISSING
    }


def _member(path: str, name: str) -> str:
    return f"{path}.{name}" if name.isidentifier() else f"{path}[{name[:100]!r}]"


def _name(hint: object) -> str:
    """What an error says that it expects."""
    if hint in _NAMES:
        return _NAMES[hint]
    tag, origin = getattr(hint, "json_tag", None), typing.get_origin(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(hint)))
    if tag:
        return f'an object with "{tag[0]}": "{tag[1]}"'
    return "a list" if origin in (tuple, list, Sequence) else "an object"


def _plain(value: object) -> Json:
    if is_dataclass(value):
        return to_json(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return value
