"""Curves of a run as inline SVG, through matplotlib without any display. Knows the rows of
histories, nothing of pages."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pnas_tf.report.op_style import op_color, op_label, op_order
from pnas_tf.report.run_files import SearchHistory
from pnas_tf.space.ops import CandidateOp

Row = Mapping[str, Any]
MAX_PANELS = 60
MAX_POINTS = 120  # of a curve in the alpha history; a page of 54 blocks stays below a few MB

# Text stays text: searchable and small. A fixed salt makes the same run the same page.
_STYLE = {
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
_BLUE, _RED, _GREY = "#2a6f97", "#d1495b", "#6b7a86"


def search_curves(history: SearchHistory, *, target: float | None, unit: str) -> str:
    """Loss, accuracy, entropy and the expected measure over epochs; the warm-up phase shaded. unit:
    of the expected measure."""
    epochs = history.epochs
    panels: list[tuple[str, list[tuple[str, str, str]]]] = [
        ("loss", [("loss", "train split", _BLUE), ("alpha_loss", "validation split", _RED)]),
        (
            "accuracy",
            [("accuracy", "train split", _BLUE), ("alpha_accuracy", "validation split", _RED)],
        ),
        ("mean entropy of a block, nats", [("entropy", "", _BLUE)]),
        (
            f"expected {'latency, ' if unit == 'ms' else ''}{unit}",
            [(_expected_key(epochs), "", _BLUE)],
        ),
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10.4, 4.9), layout="constrained")
        for axes, (title, curves) in zip(figure.subplots(2, 2).flat, panels, strict=True):
            _shade_warm_up(axes, epochs)
            _curves(axes, epochs, title, curves)
        if target is not None:
            axes.axhline(target, color=_RED, linewidth=1.1, linestyle=(0, (4, 3)))
            axes.annotate(
                f"target {target:.4g}",
                (0.99, target),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="bottom",
                color=_RED,
            )
        return _svg(figure)


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
            [("loss", "training", _BLUE), *((f"{key}_loss", label, _RED) for key, label in splits)],
        ),
        (
            "accuracy",
            [
                ("accuracy", "training", _BLUE),
                *((f"{key}_accuracy", label, _RED) for key, label in splits),
            ],
        ),
        ("learning rate", [("learning_rate", "", _GREY)]),
    ]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10.4, 2.6), layout="constrained")
        for axes, (title, curves) in zip(figure.subplots(1, 3).flat, panels, strict=True):
            _curves(axes, rows, title, curves)
        return _svg(figure)


def alpha_history(
    history: SearchHistory,
    candidates: Sequence[Sequence[CandidateOp]],
    *,
    chosen: Sequence[CandidateOp],
) -> str:
    """Probability of each op of each block over time: one panel a block, areas stacked to 1.

    candidates: the ops of each block. chosen: the derived one of each, named in the panel's title.
    """
    if len(candidates) > MAX_PANELS:
        return _mean_history(history, candidates)
    epochs = history.epochs
    picked = np.unique(
        np.linspace(0, len(epochs) - 1, min(len(epochs), MAX_POINTS)).round().astype(int)
    )
    x = np.array([_epoch(epochs[index], index) for index in picked])
    # As few empty panels as can be, then as many columns as can be.
    columns = min(range(3, 8), key=lambda width: (-len(candidates) % width, -width))
    lines = math.ceil(len(candidates) / columns)
    with matplotlib.rc_context(
        {**_STYLE, "axes.grid": False, "font.size": 8.0, "axes.titlesize": 8.0}
    ):
        figure = Figure(figsize=(10.4, 1.35 * lines + 0.5), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        handles: dict[str, Any] = {}
        for block, (axes, ops) in enumerate(zip(grid.flat, candidates)):
            values = np.array([epochs[index]["probabilities"][block] for index in picked]).T
            order = sorted(range(len(ops)), key=lambda index: op_order(ops[index]))
            # One epoch is a point, not an area: drawn as a band one epoch wide.
            xs, ys = (
                (x, values)
                if len(x) > 1
                else (np.array([x[0], x[0] + 1]), np.repeat(values, 2, axis=1))
            )
            areas = axes.stackplot(
                xs, ys[order], colors=[op_color(ops[index]) for index in order], linewidth=0
            )
            handles |= {
                op_label(ops[index]): area
                for index, area in zip(order, areas)
                if op_label(ops[index]) not in handles
            }
            axes.set_title(f"{block}: {op_label(chosen[block])}", pad=2)
            axes.set(xlim=(xs[0], xs[-1]), ylim=(0, 1), yticks=(0, 0.5, 1))
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axes in grid.flat[len(candidates) :]:
            axes.set_axis_off()
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=min(len(handles), 9),
        )
        return _svg(figure)


def _mean_history(history: SearchHistory, candidates: Sequence[Sequence[CandidateOp]]) -> str:
    """Too many blocks for a panel each: the mean probability of every op, over the blocks that hold
    it."""
    ops = sorted({op for block in candidates for op in block}, key=op_order)
    xs = [_epoch(row, index) for index, row in enumerate(history.epochs)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10.4, 3.4), layout="constrained")
        axes = figure.subplots()
        for op in ops:
            means = [
                float(
                    np.mean(
                        [
                            p[block.index(op)]
                            for p, block in zip(row["probabilities"], candidates)
                            if op in block
                        ]
                    )
                )
                for row in history.epochs
            ]
            axes.plot(
                xs, means, "o-" if len(xs) == 1 else "-", color=op_color(op), label=op_label(op)
            )
        axes.set_title(f"mean over {len(candidates)} choice blocks")
        axes.legend(ncols=2)
        return _svg(figure)


def validation_scatter(pairs: Sequence[tuple[float, float]]) -> str:
    """Predicted against measured latency in ms, one point a network. pairs: (predicted,
    measured)."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 4.2), layout="constrained")
        axes = figure.subplots()
        predicted, measured = np.array(pairs).T
        ends = np.array(
            [
                min(predicted.min(), measured.min()) * 0.97,
                max(predicted.max(), measured.max()) * 1.03,
            ]
        )
        axes.fill_between(
            ends, ends * 0.95, ends * 1.05, color="#e7eff4", linewidth=0, label="within 5 %"
        )
        axes.plot(ends, ends, color=_GREY, linewidth=1)
        axes.scatter(measured, predicted, s=18, color=_BLUE, linewidths=0)
        axes.set(xlabel="measured, ms", ylabel="predicted, ms", xlim=ends, ylim=ends)
        axes.legend(loc="upper left")
        return _svg(figure)


def front(rows: Sequence[Row]) -> str:
    """Accuracy on the validation split against predicted latency, one point a budget."""
    points = sorted(
        (row["predicted_ms"], 100 * row["alpha_accuracy"])
        for row in rows
        if _is_number(row.get("predicted_ms")) and _is_number(row.get("alpha_accuracy"))
    )
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 3.4), layout="constrained")
        axes = figure.subplots()
        if points:
            axes.plot(*zip(*points), color=_BLUE, marker="o", markersize=4)
        axes.set(xlabel="predicted latency, ms", ylabel="top-1 on the validation split, %")
        return _svg(figure)


def _curves(
    axes: Any, rows: Sequence[Row], title: str, curves: Sequence[tuple[str, str, str]]
) -> None:
    axes.set_title(title)
    labelled = False
    for key, label, color in curves:
        points = [
            (_epoch(row, index), row[key])
            for index, row in enumerate(rows)
            if _is_number(row.get(key))
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


def _shade_warm_up(axes: Any, rows: Sequence[Row]) -> None:
    warm_up = [
        _epoch(row, index)
        for index, row in enumerate(rows)
        if str(row.get("phase", "")).startswith("warm")
    ]
    if warm_up:
        axes.axvspan(min(warm_up), max(warm_up) + 0.5, color="#f1f3f5", linewidth=0)


def _expected_key(rows: Sequence[Row]) -> str:
    return next(
        (
            key
            for key in ("expected_latency_ms", "expected")
            if any(_is_number(row.get(key)) for row in rows)
        ),
        "expected",
    )


def _epoch(row: Row, index: int) -> float:
    return row["epoch"] if _is_number(row.get("epoch")) else index


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _svg(figure: Figure) -> str:
    """The figure as one <svg> element that scales with the page."""
    stream = io.StringIO()
    FigureCanvasSVG(figure).print_svg(
        stream, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    return re.sub(
        r'(<svg\b[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1),
        count=1,
    )
