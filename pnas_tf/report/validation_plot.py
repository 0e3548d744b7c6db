"""Scatter plot of predicted against measured latency. Knows the validation document, nothing of how
it was made."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pnas_tf.io import Json
from pnas_tf.report.figures import BLUE, GREY, STYLE, Row, write_png
from pnas_tf.report.summary_table import number


def plot_validation(document: Row, path: str | os.PathLike) -> Path:
    """Draws every pair of a validation document, the diagonal and its 5 % band, to a PNG file."""
    with matplotlib.rc_context(STYLE):
        figure = _figure(document, size=(5.5, 5.5))
        axes = figure.axes[0]
        axes.set_title(f"{document['networks']} held-out networks, {document['dtype']}")
        warnings = [str(warning) for warning in _list(document["warnings"])]
        shown = [text for text in warnings if not text.startswith("unstable")]
        if shown:
            figure.suptitle(
                "\n".join(textwrap.shorten(text, 90) for text in shown),
                fontsize="x-small",
                color="firebrick",
            )
        return write_png(figure, path)


def validation_figure(document: Row) -> Figure | None:
    """The same for a page; None for a document of fewer than two pairs."""
    if len(_points(document, "predicted_ms")) < 2:
        return None
    with matplotlib.rc_context(STYLE):
        return _figure(document, size=(4.0, 3.6))


def _figure(document: Row, *, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    table, macs = _points(document, "predicted_ms"), _points(document, "macs_predicted_ms")
    seen = [value for point in table for value in point]
    ends = (min(seen) * 0.93, max(seen) * 1.07)
    low, high = ([share * end for end in ends] for share in (0.95, 1.05))
    axes.fill_between(ends, low, high, color="#e7eff4", linewidth=0, label="within 5 %")
    axes.plot(ends, ends, color=GREY, linewidth=1)
    if macs:
        error = _error(document.get("macs_only"))
        x, y = _columns(macs)
        axes.scatter(x, y, s=14, marker="x", color=GREY, label=f"MACs only{error}")
    label = f"latency table{_error(document)}"
    x, y = _columns(table)
    axes.scatter(x, y, s=18, color=BLUE, linewidths=0, label=label)
    axes.set(xlabel="measured latency, ms", ylabel="predicted latency, ms", xlim=ends, ylim=ends)
    axes.legend(loc="upper left", fontsize="small")
    return figure


def _points(document: Row, key: str) -> list[tuple[float, float]]:
    """(measured, predicted) of the pairs that have both."""
    points = []
    for pair in _list(document.get("pairs")):
        if isinstance(pair, dict):
            measured, predicted = number(pair.get("measured_ms")), number(pair.get(key))
            if measured is not None and predicted is not None:
                points.append((measured, predicted))
    return points


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _error(document: Json) -> str:
    error = number(document.get("mape_percent")) if isinstance(document, dict) else None
    return "" if error is None else f" (MAPE {error:.1f} %)"


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
