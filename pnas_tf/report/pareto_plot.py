"""Accuracy against latency: the front of a sweep, and the networks that a derivation chose from.

Knows nothing of how they were made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pnas_tf.report.figures import BLUE, GREY, PLOT, RED, STYLE, Row, write_png
from pnas_tf.report.summary_table import number


def plot_pareto_front(rows: Sequence[Row], path: Path) -> Path:
    """Writes a PNG of `rows`, each with predicted_ms, alpha_accuracy (fraction) and budget_ms."""
    return write_png(pareto_figure(rows), path)


def pareto_figure(rows: Sequence[Row]) -> Figure:
    """One point a budget; rows without both figures are left out."""
    points = []
    for row in rows:
        latency, accuracy = number(row.get("predicted_ms")), number(row.get("alpha_accuracy"))
        if latency is not None and accuracy is not None:
            points.append((latency, 100 * accuracy, number(row.get("budget_ms"))))
    points.sort(key=lambda point: point[:2])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=PLOT, layout="constrained")
        axes = figure.subplots()
        axes.margins(0.12)
        axes.set_title("one network a budget")
        if points:
            x, y, _ = zip(*points)
            axes.plot(x, y, color=BLUE, marker="o", markersize=4)
        for latency, accuracy, budget in points:
            if budget is not None:
                axes.annotate(
                    f"budget {budget:g}",
                    (latency, accuracy),
                    textcoords="offset points",
                    xytext=(4, -11),
                    fontsize=7.5,
                )
        axes.set(xlabel="predicted latency, ms", ylabel="validation top-1, %")
        return figure


def compared_figure(rows: Sequence[Row], *, chosen: Sequence[str]) -> Figure | None:
    """The networks of a derivation: loss with the supernet's weights against the predicted measure,
    the chosen one marked. None of fewer than two.

    Args:
        rows: of derivation.json.
        chosen: keys of the ops of the network taken.
    """
    points = {
        tuple(ops) if isinstance(ops := row.get("ops"), list) else (): (predicted, loss)
        for row in rows
        if (predicted := number(row.get("predicted"))) is not None
        and (loss := number(row.get("alpha_loss"))) is not None
    }
    if len(points) < 2:
        return None
    unit = str(rows[0].get("unit"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=PLOT, layout="constrained")
        axes = figure.subplots()
        axes.set_title("networks that were compared")
        x, y = zip(*points.values())
        axes.scatter(x, y, s=16, color=GREY, linewidths=0, label="compared")
        if (taken := points.get(tuple(chosen))) is not None:
            axes.scatter(taken[:1], taken[1:], s=40, color=RED, label="taken", zorder=3)
        words = "predicted latency, ms" if unit == "ms" else f"predicted {unit}"
        axes.set(xlabel=words, ylabel="validation loss")
        figure.legend(loc="outside lower center", ncols=2)
        return figure
