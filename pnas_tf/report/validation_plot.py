"""Scatter plot of predicted against measured latency. Knows the validation document, nothing of how
it was made."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pnas_tf.io import atomic


def plot_validation(document: Mapping[str, Any], path: str | os.PathLike) -> Path:
    """Draws every pair of a validation document, the diagonal and its 5 % band, to a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 5.5))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    measured = [pair["measured_ms"] for pair in document["pairs"]]
    bounds = [min(measured) * 0.93, max(measured) * 1.07]
    axes.fill_between(
        bounds,
        [0.95 * bound for bound in bounds],
        [1.05 * bound for bound in bounds],
        alpha=0.15,
        label="within 5 %",
    )
    axes.plot(bounds, bounds, linewidth=0.8, color="black")
    axes.scatter(
        measured,
        [pair["macs_predicted_ms"] for pair in document["pairs"]],
        s=14,
        marker="x",
        color="grey",
        label=f"MACs only (MAPE {document['macs_only']['mape_percent']:.1f} %)",
    )
    axes.scatter(
        measured,
        [pair["predicted_ms"] for pair in document["pairs"]],
        s=18,
        label=f"latency table (MAPE {document['mape_percent']:.1f} %)",
    )
    axes.set(
        xlabel="measured latency, ms",
        ylabel="predicted latency, ms",
        xlim=bounds,
        ylim=bounds,
        title=f"{document['networks']} held-out networks, {document['dtype']}",
    )
    doubts = [warning for warning in document["warnings"] if not warning.startswith("unstable")]
    axes.set_title(
        "\n".join(["", *(textwrap.shorten(doubt, 90) for doubt in doubts)]),
        fontsize="x-small",
        color="firebrick",
        loc="left",
    )
    axes.legend(loc="upper left", fontsize="small")
    figure.tight_layout()
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    return atomic.write_bytes(path, content.getvalue())
