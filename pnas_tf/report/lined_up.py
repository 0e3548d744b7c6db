"""Tables of plain text for a terminal, in which names of any script line up."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence

from pnas_tf.report.words import ABSENT


def lined_up(header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines of a table for a terminal. header: of the columns behind the rows' names."""
    lines = [("", header), *rows]
    widths = [max(columns_of(row[1][column]) for row in lines) for column in range(len(header))]
    first = max(columns_of(what) for what, _ in lines)
    text = []
    for what, cells in lines:
        right = [" " * (width - columns_of(cell)) + cell for cell, width in zip(cells, widths)]
        text.append("  ".join([padded(what, first), *right]).rstrip())
        if not what:
            text.append("-" * (first + sum(widths) + 2 * len(widths)))
    return text


def stacked(names: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> Iterator[str]:
    """The same for a terminal of few columns: name below name. rows: (figure, its cell of each
    name)."""
    for column, name in enumerate(names):
        yield name
        yield from (f"  {what}: {cells[column]}" for what, cells in rows if cells[column] != ABSENT)


def folded(line: str, columns: int | None, *, indent: int) -> str:
    """Broken between words for a terminal of so many columns; None: as long as it is."""
    if columns is None:
        return line
    return textwrap.fill(line, columns, subsequent_indent=" " * indent, break_long_words=False)


def columns_of(text: str) -> int:
    """How many columns a terminal gives the text."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def padded(text: str, width: int) -> str:
    """With spaces behind it, so many columns wide."""
    return text + " " * (width - columns_of(text))
