"""The Pareto front of a search: accuracy against latency of one derived network a budget.

Knows nothing of how they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pnas_tf.report.figures import BLUE, STYLE, Row, svg_of, write_png
from pnas_tf.report.summary_table import number


def plot_pareto_front(rows: Sequence[Row], path: Path) -> Path:
    """Writes a PNG of `rows`, each with predicted_ms, alpha_accuracy (fraction) and budget_ms."""
    with matplotlib.rc_context(STYLE):
        return write_png(_figure(rows, size=(6.0, 4.0)), path)


def pareto_svg(rows: Sequence[Row]) -> str:
    """The same as one <svg> element; rows without both figures are left out."""
    with matplotlib.rc_context(STYLE):
        return svg_of(_figure(rows, size=(4.6, 3.4)))


def _figure(rows: Sequence[Row], *, size: tuple[float, float]) -> Figure:
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    points = []
    for row in rows:
        latency, accuracy = number(row.get("predicted_ms")), number(row.get("alpha_accuracy"))
        if latency is not None and accuracy is not None:
            points.append((latency, 100 * accuracy, number(row.get("budget_ms"))))
    points.sort(key=lambda point: point[:2])
    if points:
        axes.plot(
            [point[0] for point in points],
            [point[1] for point in points],
            color=BLUE,
            marker="o",
            markersize=4,
        )
    for latency, accuracy, budget in points:
        if budget is not None:
            axes.annotate(
                f"budget {budget:g}",
                (latency, accuracy),
                textcoords="offset points",
                xytext=(6, -10),
                fontsize=8,
            )
    axes.set(xlabel="predicted latency, ms", ylabel="validation top-1, inherited weights, %")
    return figure
