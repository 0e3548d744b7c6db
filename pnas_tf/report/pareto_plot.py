"""One plot of accuracy against latency for a set of derived networks. Knows nothing of how they
were made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnas_tf.io import atomic


def plot_front(rows: Sequence[dict[str, Any]], path: Path) -> Path:
    """Writes a PNG of `rows`, each with predicted_ms, alpha_accuracy (fraction) and budget_ms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(rows, key=lambda row: row["predicted_ms"])
    axes.plot(
        [row["predicted_ms"] for row in ordered],
        [100 * row["alpha_accuracy"] for row in ordered],
        "o-",
    )
    for row in ordered:
        axes.annotate(
            f"budget {row['budget_ms']:g}",
            (row["predicted_ms"], 100 * row["alpha_accuracy"]),
            textcoords="offset points",
            xytext=(6, -10),
            fontsize=8,
        )
    axes.set_xlabel("predicted latency, ms")
    axes.set_ylabel("top-1 on the validation split, inherited weights, %")
    axes.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None})
    return atomic.write_bytes(path, content.getvalue())
