"""JSON texts that a stranger may have written.

Size, depth, numbers and characters are bounded before anything looks at what they say
(docs/security.md). Knows nothing of files."""

from __future__ import annotations

import json
import math
import re

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import Json

MAX_DOCUMENT_ITEMS = 8_000_000  # "[],[],..." takes 30 times its size in memory
MAX_DOCUMENT_DEPTH = 32  # ours have 8
_INTEGERS = range(
    -(2**63), 2**63
)  # what other readers of JSON take; longer digits take quadratic time
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(content: bytes, *, what: str, where: str, made_by: str) -> Json:
    """The document in `content`: finite numbers, integers of 64 bits, Unicode text, at most
    MAX_DOCUMENT_DEPTH deep.

    where: the file's name in errors. Raises UserError when it is anything else, naming line and
    column or the entry.
    """
    if sum(map(content.count, b",:[{")) > MAX_DOCUMENT_ITEMS:
        raise UserError(
            f"{what} {where} is too large",
            expected=f"at most {MAX_DOCUMENT_ITEMS} items",
            received="more",
            fix=f"Make it again: {made_by}",
        )
    text = decode_text(content, what=what, where=where, made_by=made_by)
    try:
        document = json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{what} {where} is corrupt or truncated",
            expected="JSON",
            received=f"line {error.lineno} column {error.colno}: {error.msg}",
            fix=f"Make it again: {made_by}",
        ) from error
    except (RecursionError, _NotJson) as error:
        place = (
            f"line {text.count(chr(10), 0, text.find(str(error))) + 1}: the number "
            f"{str(error)[:40]}"
            if isinstance(error, _NotJson)
            else f"more than {MAX_DOCUMENT_DEPTH} levels"
        )
        raise UserError(
            f"{what} {where} is not a document of ours",
            expected="JSON of finite numbers and small depth",
            received=place,
            fix=f"Make it again: {made_by}",
        ) from error
    fault = _fault(document, 0)
    if fault is not None:
        raise UserError(
            f"{what} {where} is not a document of ours",
            expected="JSON of finite numbers, Unicode text and small depth",
            received=f"{fault[1]} at {'/'.join(fault[0])[:200] or 'the top'}",
            fix=f"Make it again: {made_by}",
        )
    return document


def decode_text(content: bytes, *, what: str, where: str, made_by: str) -> str:
    """UTF-8 text. Raises UserError naming the first byte that is none."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{what} {where} is not text",
            expected="UTF-8",
            received=f"byte {error.start}: {error.reason}",
            fix=f"Make it again: {made_by}",
        ) from error


class _NotJson(ValueError):
    """str(error) is the number as it stands in the text."""


def _refuse_constant(name: str) -> None:
    raise _NotJson(name)


def _integer(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in _INTEGERS:
        raise _NotJson(digits)
    return int(digits)


def _fault(value: Json, depth: int) -> tuple[tuple[str, ...], str] | None:
    """(place, problem) of the first value that no document of ours can hold."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ((), f"the number {value}")
    if isinstance(value, str):
        return None if value.isascii() or not _SURROGATE.search(value) else ((), "half a character")
    if not isinstance(value, (dict, list)):
        return None
    if depth == MAX_DOCUMENT_DEPTH:
        return (), f"more than {MAX_DOCUMENT_DEPTH} levels"
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        found = _fault(name, depth) or _fault(item, depth + 1)
        if found is not None:
            return (str(name), *found[0]), found[1]
    return None
