"""How every plot of a run looks, and how it becomes SVG or PNG, through matplotlib without a
display. Knows nothing of what is drawn."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from pnas_tf.io import Json, atomic
from pnas_tf.report.summary_table import number

Row: TypeAlias = Mapping[str, Json]  # of a history: figures and words by name
BLUE, RED, GREY = "#2a6f97", "#d1495b", "#6b7a86"

# Text stays text: searchable and small. A fixed salt makes the same run the same page.
STYLE: dict[str, str | float | bool] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pnas_tf",
    "axes.unicode_minus": False,
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#8a97a1",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "xtick.color": "#56646f",
    "ytick.color": "#56646f",
    "axes.labelcolor": "#56646f",
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "axes.grid": True,
    "grid.color": "#e3e8ec",
    "grid.linewidth": 0.7,
}


def epoch_of(row: Row, index: int) -> float:
    """The row's epoch; its place where it names none."""
    epoch = number(row.get("epoch"))
    return index if epoch is None else epoch


def svg_of(figure: Figure) -> str:
    """The figure as one <svg> element that scales with the page."""
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(
        stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    for size in ("height", "width"):
        text = re.sub(rf'(<svg\b[^>]*?) {size}="[^"]*"', r"\1", text, count=1)
    return text


def write_png(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes the figure as a PNG file, whole or not at all."""
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return atomic.write_bytes(path, content.getvalue())
