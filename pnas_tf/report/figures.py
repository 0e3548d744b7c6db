"""How every plot of a run looks, and how it becomes SVG or PNG, through matplotlib without a
display. Knows nothing of what is drawn."""

from __future__ import annotations

import html
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pnas_tf.io import Json, atomic
from pnas_tf.report.summary_table import number

Row: TypeAlias = Mapping[str, Json]  # of a history: figures and words by name
INK, GREY = "#22303c", "#6b7a86"
BLUE, RED, GROUND = "#2a6f97", "#d1495b", "#f1f3f5"
ON_COLOR = "#1b2733"  # of words on a coloured ground, by day and by night
_TICKS, _EDGE, _GRID = "#56646f", "#8a97a1", "#e3e8ec"
PLOT = (4.0, 2.6)  # inches; two stand beside one another, one on a phone

# Text stays text: searchable and small. A fixed salt makes the same run the same page.
STYLE: dict[str, str | float | bool] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pnas_tf",
    "text.parse_math": False,  # names from anywhere are no formulas
    "axes.unicode_minus": False,
    "font.size": 8.5,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _EDGE,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "xtick.color": _TICKS,
    "ytick.color": _TICKS,
    "axes.labelcolor": _TICKS,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
}
# Colour -> the page's own of that part, which follows its day and night.
THEME = {
    INK: "--ink",
    GREY: "--faint",
    _TICKS: "--faint",
    _EDGE: "--edge",
    _GRID: "--line",
    GROUND: "--ground",
    BLUE: "--blue",
    RED: "--red",
    "#ffffff": "--clear",
}


def theme_css() -> str:
    """Rules by which drawings of `svg_of` take the page's colours."""
    return "\n".join(
        f'svg [style*="{part}: {color}"] {{ {part}: var({name}) !important; }}'
        for color, name in THEME.items()
        for part in ("fill", "stroke")
    )


def epoch_of(row: Row, index: int) -> float:
    """How many epochs the row is the end of; histories count from 0. Its place where it names
    none."""
    epoch = number(row.get("epoch"))
    return 1 + (index if epoch is None else epoch)


def svg_of(figure: Figure, *, label: str = "") -> str:
    """The figure as one <svg> element that scales with the page. label: what is said of it to who
    does not see it."""
    stream = io.StringIO()
    with matplotlib.rc_context(STYLE):
        FigureCanvasSVG(figure).print_svg(
            stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    figure.set_layout_engine("none")  # it is laid out now; a PNG of it need not do that again
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for size in ("height", "width"):
        text = re.sub(rf'(<svg\b[^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    text = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", text)  # nothing refers to them; a page has many
    words = html.escape(label, quote=True)
    return text.replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)


def write_png(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes the figure as a PNG file, whole or not at all."""
    return atomic.write_bytes(path, png_of(figure))


def png_of(figure: Figure) -> bytes:
    """The figure as a PNG image on white."""
    with matplotlib.rc_context(STYLE):
        FigureCanvasAgg(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return content.getvalue()
