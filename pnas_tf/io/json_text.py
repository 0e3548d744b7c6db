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
    """The document in `content`.

    Args:
        content: finite numbers, integers of 64 bits, Unicode text, at most MAX_DOCUMENT_DEPTH deep.
        what: what it is to the user ("latency table").
        where: the file's name in errors.
        made_by: the command that makes one.

    Raises:
        UserError: it is anything else; names line and column, or the entry.
    """

    def refusal(problem: str, expected: str, received: str) -> UserError:
        fix = f"Make it again: {made_by}"
        return UserError(
            f"{what} {where} is {problem}", expected=expected, received=received, fix=fix
        )

    if sum(map(content.count, b",:[{")) > MAX_DOCUMENT_ITEMS:
        raise refusal("too large", f"at most {MAX_DOCUMENT_ITEMS} items", "more")
    text = decode_text(content, what=what, where=where, made_by=made_by)
    ours = "JSON of finite numbers, Unicode text and small depth"
    try:
        document = json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}: {error.msg}"
        raise refusal("corrupt or truncated", "JSON", place) from error
    except RecursionError as error:
        depth = f"more than {MAX_DOCUMENT_DEPTH} levels"
        raise refusal("not a document of ours", ours, depth) from error
    except _NotJson as error:
        line = text.count("\n", 0, text.find(str(error))) + 1
        place = f"line {line}: the number {str(error)[:40]}"
        raise refusal("not a document of ours", ours, place) from error
    fault = _fault(document, 0)
    if fault is not None:
        place = "/".join(fault[0])[:200] or "the top"
        raise refusal("not a document of ours", ours, f"{fault[1]} at {place}")
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
