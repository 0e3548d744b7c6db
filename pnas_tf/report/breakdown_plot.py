"""Where the time of a network goes, block by block, by its latency tables. Knows nothing of
pages."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.drawing import op_words
from pnas_tf.report.figures import BLUE, STYLE
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import Zero

MAX_BLOCKS = 60
_COLORS = (BLUE, "#d9a441", "#7a9e3f", "#b07cc6")


def covering(
    tables: Mapping[str, LatencyTable], architecture: Architecture
) -> dict[str, LatencyTable]:
    """Number format -> table, of those that have a latency for every block."""
    keys = {block.key for block in architecture.blocks if not isinstance(block.op, Zero)}
    return {dtype: table for dtype, table in tables.items() if keys <= table.keys}


def breakdown_figure(
    tables: Mapping[str, LatencyTable], architecture: Architecture
) -> Figure | None:
    """Bars of what each block adds, one a number format; None without a table that covers the
    network, and of more than MAX_BLOCKS blocks."""
    shown = covering(tables, architecture)
    blocks = [block for block in architecture.blocks if not isinstance(block.op, Zero)]
    if not shown or len(blocks) > MAX_BLOCKS:
        return None
    names = [f"{block.name}  {op_words(block)}" for block in blocks]
    rows, height = np.arange(len(blocks)), 0.8 / len(shown)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(8.0, 0.7 + 0.27 * len(blocks)), layout="constrained")
        axes = figure.subplots()
        for number, (dtype, table) in enumerate(shown.items()):
            times = [milliseconds for _, _, milliseconds in table.breakdown(architecture)]
            offset = (number - (len(shown) - 1) / 2) * height
            axes.barh(rows + offset, times, height, color=_COLORS[number % 4], label=dtype)
        axes.set_yticks(rows, names)
        axes.set(ylim=(len(blocks) - 0.4, -0.6), xlabel="what the block adds, ms")
        axes.legend()
        return figure
