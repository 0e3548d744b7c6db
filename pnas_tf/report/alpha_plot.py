"""How the path probabilities of a search moved: drawn, and as shares for a slider. Knows the rows
of its history, nothing of pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pnas_tf.report.figures import STYLE, epoch_of
from pnas_tf.report.op_style import op_color, op_label, op_order
from pnas_tf.report.run_files import SearchHistory, is_warm_up
from pnas_tf.report.section import Bar, Slider
from pnas_tf.space.ops import CandidateOp

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_PANELS = 60
MAX_POINTS = 120  # of a curve; a page of 54 blocks stays below a few MB


def alpha_figure(
    history: SearchHistory,
    candidates: Sequence[Sequence[CandidateOp]],
    *,
    chosen: Sequence[CandidateOp],
) -> Figure:
    """Probability of each op of each block over time: one panel a block, areas stacked to 1.

    Args:
        history: of the search.
        candidates: the ops of each block.
        chosen: the derived one of each, named in the panel's title.

    Returns:
        The panels; beyond MAX_PANELS blocks means over them.
    """
    if len(candidates) > MAX_PANELS:
        return _mean_history(history, candidates)
    picked = _picked(history)
    epochs = np.array([epoch_of(history.epochs[index], index) for index in picked])
    # As few empty panels as can be, then as many columns as can be.
    columns = min(range(3, 8), key=lambda width: (-len(candidates) % width, -width))
    lines = math.ceil(len(candidates) / columns)
    style = {**STYLE, "axes.grid": False, "font.size": 8.0, "axes.titlesize": 8.0}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(10.4, 1.35 * lines + 0.5), layout="constrained")
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        areas: dict[str, Artist] = {}
        for block, (axes, ops) in enumerate(zip(grid.flat, candidates)):
            values = np.array([history.probabilities[index][block] for index in picked]).T
            areas = _stack(axes, epochs, values, ops) | areas
            axes.set_title(f"{block}: {op_label(chosen[block])}", pad=2)
        for axes in grid.flat[len(candidates) :]:
            axes.set_axis_off()
        figure.legend(
            list(areas.values()),
            list(areas),
            loc="outside lower center",
            ncols=min(len(areas), 9),
        )
        return figure


def alpha_slider(
    history: SearchHistory,
    candidates: Sequence[Sequence[CandidateOp]],
    *,
    chosen: Sequence[CandidateOp],
) -> Slider | None:
    """The same shares, epoch by epoch. None beyond MAX_PANELS blocks."""
    if len(candidates) > MAX_PANELS:
        return None
    orders = [sorted(range(len(ops)), key=lambda index: op_order(ops[index])) for ops in candidates]
    every = sorted({op for ops in candidates for op in ops}, key=op_order)
    return Slider(
        tuple(
            f"epoch {epoch_of(row, index):g} of {len(history.epochs)}, "
            + ("warm-up: nothing is chosen yet" if is_warm_up(row) else "search")
            for index in _picked(history)
            for row in [history.epochs[index]]
        ),
        tuple(
            Bar(
                str(number),
                tuple((op_label(ops[index]), op_color(ops[index])) for index in order),
                op_label(taken),
            )
            for number, (ops, order, taken) in enumerate(zip(candidates, orders, chosen))
        ),
        tuple(
            tuple(
                tuple(round(float(history.probabilities[moment][block][op]), 4) for op in order)
                for block, order in enumerate(orders)
            )
            for moment in _picked(history)
        ),
        tuple((op_label(op), op_color(op)) for op in every),
    )


def _picked(history: SearchHistory) -> list[int]:
    """The epochs that are shown."""
    shown = min(len(history.epochs), MAX_POINTS)
    return [*np.unique(np.linspace(0, len(history.epochs) - 1, shown).round().astype(int))]


def _stack(
    axes: Axes, epochs: np.ndarray, values: np.ndarray, ops: Sequence[CandidateOp]
) -> dict[str, Artist]:
    """Areas of one block, from cheap to dear ops; returns them by label. values: [ops, epochs]."""
    order = sorted(range(len(ops)), key=lambda index: op_order(ops[index]))
    if len(epochs) == 1:  # a point, not an area: drawn as a band one epoch wide
        epochs, values = np.array([epochs[0], epochs[0] + 1]), np.repeat(values, 2, axis=1)
    colors = [op_color(ops[index]) for index in order]
    areas = axes.stackplot(epochs, values[order], colors=colors, linewidth=0)
    axes.set(xlim=(epochs[0], epochs[-1]), ylim=(0, 1), yticks=(0, 0.5, 1))
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    return {op_label(ops[index]): area for index, area in zip(order, areas)}


def _mean_history(history: SearchHistory, candidates: Sequence[Sequence[CandidateOp]]) -> Figure:
    """Too many blocks for a panel each: the mean probability of every op, over the blocks that hold
    it."""
    ops = sorted({op for block in candidates for op in block}, key=op_order)
    epochs = [epoch_of(row, index) for index, row in enumerate(history.epochs)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.4), layout="constrained")
        axes = figure.subplots()
        marker = "o-" if len(epochs) == 1 else "-"
        for op in ops:
            held = [(block, ops.index(op)) for block, ops in enumerate(candidates) if op in ops]
            means = [
                float(np.mean([row[block][place] for block, place in held]))
                for row in history.probabilities
            ]
            axes.plot(epochs, means, marker, color=op_color(op), label=op_label(op))
        axes.set_title(f"mean over {len(candidates)} choice blocks")
        axes.legend(ncols=2)
        return figure
