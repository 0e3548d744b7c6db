"""How the path probabilities of a search moved, as inline SVG. Knows the rows of its history,
nothing of pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pnas_tf.report.figures import STYLE, epoch_of, svg_of
from pnas_tf.report.op_style import op_color, op_label, op_order
from pnas_tf.report.run_files import SearchHistory
from pnas_tf.space.ops import CandidateOp

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_PANELS = 60
MAX_POINTS = 120  # of a curve; a page of 54 blocks stays below a few MB


def alpha_history(
    history: SearchHistory,
    candidates: Sequence[Sequence[CandidateOp]],
    *,
    chosen: Sequence[CandidateOp],
) -> str:
    """Probability of each op of each block over time: one panel a block, areas stacked to 1.

    Args:
        history: of the search.
        candidates: the ops of each block.
        chosen: the derived one of each, named in the panel's title.

    Returns:
        One <svg> element; beyond MAX_PANELS blocks it shows means over them.
    """
    if len(candidates) > MAX_PANELS:
        return _mean_history(history, candidates)
    shown = min(len(history.epochs), MAX_POINTS)
    picked = np.unique(np.linspace(0, len(history.epochs) - 1, shown).round().astype(int))
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
        return svg_of(figure)


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


def _mean_history(history: SearchHistory, candidates: Sequence[Sequence[CandidateOp]]) -> str:
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
        return svg_of(figure)
