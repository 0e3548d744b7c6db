"""Curves of a run as inline SVG: the search, and the training of the derived network. Knows the
rows of histories, nothing of pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pnas_tf.report.figures import BLUE, GREY, RED, STYLE, Row, epoch_of, svg_of
from pnas_tf.report.run_files import SearchHistory
from pnas_tf.report.summary_table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def search_curves(history: SearchHistory, *, target: float | None, unit: str) -> str:
    """Loss, accuracy, entropy and the expected measure over epochs; the warm-up phase shaded. unit:
    of the expected measure."""
    epochs = history.epochs
    panels: list[tuple[str, list[tuple[str, str, str]]]] = [
        ("loss", [("loss", "train split", BLUE), ("alpha_loss", "validation split", RED)]),
        (
            "accuracy",
            [("accuracy", "train split", BLUE), ("alpha_accuracy", "validation split", RED)],
        ),
        ("mean entropy of a block, nats", [("entropy", "", BLUE)]),
        (
            f"expected {'latency, ' if unit == 'ms' else ''}{unit}",
            [(_expected_key(epochs), "", BLUE)],
        ),
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.9), layout="constrained")
        for axes, (title, curves) in zip(figure.subplots(2, 2).flat, panels, strict=True):
            _shade_warm_up(axes, epochs)
            _curves(axes, epochs, title, curves)
        if target is not None:
            axes.axhline(target, color=RED, linewidth=1.1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"target {target:.4g}",
                (0.99, target),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=RED,
            )
        return svg_of(figure)


def training_curves(rows: Sequence[Row]) -> str:
    """Loss, accuracy and learning rate of the derived network over epochs. Histories of earlier
    versions do not name their split."""
    known = {key for row in rows for key in row}
    splits = [
        (key, label)
        for key, label in (
            ("test", "test"),
            ("alpha", "validation split"),
            ("held_out", "held out"),
        )
        if f"{key}_loss" in known
    ]
    panels = [
        (
            "loss",
            [("loss", "training", BLUE), *((f"{key}_loss", label, RED) for key, label in splits)],
        ),
        (
            "accuracy",
            [
                ("accuracy", "training", BLUE),
                *((f"{key}_accuracy", label, RED) for key, label in splits),
            ],
        ),
        ("learning rate", [("learning_rate", "", GREY)]),
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 2.6), layout="constrained")
        for axes, (title, curves) in zip(figure.subplots(1, 3).flat, panels, strict=True):
            _curves(axes, rows, title, curves)
        return svg_of(figure)


def _curves(
    axes: Axes, rows: Sequence[Row], title: str, curves: Sequence[tuple[str, str, str]]
) -> None:
    axes.set_title(title)
    labelled = False
    for key, label, color in curves:
        points = [
            (epoch_of(row, index), value)
            for index, row in enumerate(rows)
            if (value := number(row.get(key))) is not None
        ]
        if points:
            axes.plot(
                *zip(*points),
                color=color,
                label=label or None,
                marker="o" if len(points) < 3 else None,
                markersize=4,
            )
            labelled |= bool(label)
    if labelled:
        axes.legend()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("epoch")


def _shade_warm_up(axes: Axes, rows: Sequence[Row]) -> None:
    warm_up = [
        epoch_of(row, index)
        for index, row in enumerate(rows)
        if str(row.get("phase", "")).startswith("warm")
    ]
    if warm_up:
        axes.axvspan(min(warm_up), max(warm_up) + 0.5, color="#f1f3f5", linewidth=0)


def _expected_key(rows: Sequence[Row]) -> str:
    named = any(number(row.get("expected_latency_ms")) is not None for row in rows)
    return "expected_latency_ms" if named else "expected"
