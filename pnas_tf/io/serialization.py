"""Frozen dataclasses out of JSON objects: every field of the type that its annotation says, or an
error that names it.

For documents that a stranger may have written. Knows plain types alone, and nothing of what the
records mean.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from pnas_tf.errors import UserError

Record = TypeVar("Record")


def record_of(kind: type[Record], document: Any, *, where: str, fix: str) -> Record:
    """The `kind` whose fields the object `document` holds; lists become tuples.

    where: the place named in errors ("latency.json, model_int8"). Raises UserError on an unknown,
    missing or ill-typed field, and on values that the class itself refuses.
    """
    hints, required = _fields(kind)  # type: ignore[arg-type]
    if not isinstance(document, dict) or not set(document) <= set(hints):
        received = (
            repr(sorted(set(document) - set(hints)))
            if isinstance(document, dict)
            else repr(document)
        )
        raise UserError(
            f"{kind.__name__} in {where}",
            expected=f"an object with fields among {sorted(hints)}",
            received=received[:200],
            fix=fix,
        )
    missing = sorted(required - set(document))
    if missing:
        raise UserError(
            f"{kind.__name__} in {where}",
            expected=f"the fields {sorted(required)}",
            received=f"none of {missing}",
            fix=fix,
        )
    values = {
        name: value_of(hints[name], value, what=f"{name} of {kind.__name__} in {where}", fix=fix)
        for name, value in document.items()
    }
    try:
        return kind(**values)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{kind.__name__} in {where}",
            expected="values that belong together",
            received=str(error)[:300],
            fix=fix,
        ) from error


def value_of(hint: Any, value: Any, *, what: str, fix: str) -> Any:
    """`value` as the annotation `hint` has it: str, bool, int, float, X | None, tuple[X, ...],
    tuple[X, Y], Mapping[str, X].

    An integer is a float too, a boolean is no number. Raises UserError naming `what` and the place
    in it.
    """
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        return value_of(
            next(part for part in parts if part is not type(None)), value, what=what, fix=fix
        )
    if origin is tuple and isinstance(value, list):
        hints = parts if parts[-1] is not Ellipsis else parts[:1] * len(value)
        if len(hints) == len(value):
            return tuple(
                value_of(part, item, what=f"{what}, entry {number}", fix=fix)
                for number, (part, item) in enumerate(zip(hints, value))
            )
    if origin in (dict, Mapping) and isinstance(value, dict):
        return {
            name: value_of(parts[1], item, what=f"{what}, '{name}'", fix=fix)
            for name, item in value.items()
        }
    if hint in (Any, object) or type(value) is hint or (hint is float and type(value) is int):
        return value
    raise UserError(what, expected=_name(hint), received=repr(value)[:200], fix=fix)


@functools.cache
def _fields(kind: Any) -> tuple[dict[str, Any], set[str]]:
    hints = typing.get_type_hints(kind)
    known = {entry.name: hints[entry.name] for entry in fields(kind)}
    return known, {
        entry.name
        for entry in fields(kind)
        if entry.default is MISSING and entry.default_factory is MISSING
    }


def _name(hint: Any) -> str:
    return {str: "text", int: "an integer", float: "a number", bool: "true or false"}.get(hint) or (
        "a list" if typing.get_origin(hint) is tuple else "an object"
    )
