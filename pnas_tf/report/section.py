"""What a part of the report's page can hold. Knows nothing of runs, and not how it looks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """header: of each column, the rows' names included. rows: (name, its cells)."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Cell:
    """Of a matrix. words: its text. shade: 0 to 1, of its ground. right: whether it stands for
    right answers. title: what is said of it."""

    words: str
    shade: float
    right: bool
    title: str


@dataclass(frozen=True)
class Matrix:
    """Columns are named by numbers, so that names of any length and script fit.

    Attributes:
        columns: (number, name) of each.
        rows: (number, name, cells) of each.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class Picture:
    """jpeg: in base64. lines: below it, the first one the larger."""

    jpeg: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out.

    Attributes:
        title: its heading.
        words: a paragraph.
        svg: a drawing over the whole width.
        table: figures.
        facts: (what, value).
        narrow_svg: a drawing of a plot's usual width.
        matrix: counts of pairs.
        pictures: images with words.
        warnings: what a reader must be told; the first eight are shown.
        caption: what is seen.
    """

    title: str
    words: str = ""
    svg: str = ""
    table: Table | None = None
    facts: tuple[tuple[str, str], ...] = ()
    narrow_svg: str = ""
    matrix: Matrix | None = None
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[str, ...] = ()
    caption: str = ""
