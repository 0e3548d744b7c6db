"""What a part of the report's page can hold. Knows nothing of runs, and not how it looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from matplotlib.figure import Figure

from pnas_tf.io import atomic
from pnas_tf.report.figures import svg_of, write_png


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
class Plot:
    """A drawing, in the page and as files.

    Attributes:
        name: of its files.
        figure: matplotlib's.
        meaning: one sentence for a reader who sees such a thing for the first time.
        terms: of `glossary.TERMS` that it takes to read it.
        wide: whether it takes the whole width.
    """

    name: str
    figure: Figure
    meaning: str
    terms: tuple[str, ...] = ()
    wide: bool = False

    @cached_property
    def svg(self) -> str:
        """One <svg> element."""
        return svg_of(self.figure, label=self.meaning)

    def write(self, folder: Path) -> None:
        """Writes NAME.svg and NAME.png, each whole or not at all."""
        atomic.write_text(folder / f"{self.name}.svg", self.svg + "\n")
        write_png(self.figure, folder / f"{self.name}.png")


@dataclass(frozen=True)
class Bar:
    """Of a slider, one choice block. ops: (label, colour) of each candidate, in the order of the
    values. chosen: label of the derived one."""

    name: str
    ops: tuple[tuple[str, str], ...]
    chosen: str


@dataclass(frozen=True)
class Slider:
    """Shares that change over time. moments: words for each; values: [moment][bar][op]."""

    moments: tuple[str, ...]
    bars: tuple[Bar, ...]
    values: tuple[tuple[tuple[float, ...], ...], ...]
    legend: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Warnings:
    """What a reader must be told. meaning: one line on what it means for them. lines: single
    cases, folded, where there are such."""

    meaning: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out.

    Attributes:
        title: its heading.
        meaning: a sentence or two on what it shows.
        terms: of `glossary.TERMS`, linked behind that.
        words: paragraphs.
        plots: drawings.
        slider: shares over time.
        table: figures.
        facts: (what, value).
        command: what a reader may copy.
        matrix: counts of pairs.
        pictures: images with words.
        warnings: what a reader must be told, one for each kind.
        more: (heading, lines) folded away.
        caption: where it is from.
    """

    title: str
    meaning: str = ""
    terms: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    slider: Slider | None = None
    table: Table | None = None
    facts: tuple[tuple[str, str], ...] = ()
    command: str = ""
    matrix: Matrix | None = None
    pictures: tuple[Picture, ...] = ()
    warnings: tuple[Warnings, ...] = ()
    more: tuple[tuple[str, tuple[str, ...]], ...] = ()
    caption: str = ""

    @property
    def anchor(self) -> str:
        """Its place in the page, for links."""
        return "-".join("".join(c if c.isalnum() else " " for c in self.title.lower()).split())
