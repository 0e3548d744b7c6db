"""Draws an architecture of many small choices, as of tree cells: one row a cell, one coloured
square an edge.

For spaces that are no chain of MBConvs. Knows nothing of the page around it.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from pnas_tf.report.figures import GREY
from pnas_tf.report.op_style import op_color, op_label
from pnas_tf.report.sheet import Sheet, Style
from pnas_tf.space.architecture import Architecture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIDE, _GAP, _LEFT, _TOP, _WIDTH, _LEGEND = 14, 3, 190, 46, 1000, 150


def choices_figure(architecture: Architecture) -> Figure:
    """The drawing: choice blocks of one stage and output width stand in rows of equal length."""
    choices = architecture.space.choice_blocks
    width = max(1, len(choices) // max(1, _cells(architecture)))
    rows = [
        list(range(start, min(start + width, len(choices))))
        for start in range(0, len(choices), width)
    ]
    sheet = Sheet(_WIDTH, _TOP + len(rows) * (_SIDE + _GAP) + 10)
    for column, op in enumerate(
        dict.fromkeys(op for choice in choices for op in choice.candidates)
    ):
        x = 12 + column * _LEGEND % (_WIDTH - _LEGEND)
        y = 6 + 18 * (column * _LEGEND // (_WIDTH - _LEGEND))
        sheet.box((x, y, 12, 12), fill=op_color(op), radius=2)
        sheet.text(x + 18, y + 10, op_label(op), style=Style(11, GREY))
    for number, row in enumerate(rows):
        y = _TOP + number * (_SIDE + _GAP)
        first = choices[row[0]]
        words = f"stage {first.stage + 1} · cell {number} · {first.out_size}×{first.out_size}"
        sheet.text(12, y + 11, words, style=Style(10))
        for column, index in enumerate(row):
            box = (_LEFT + column * (_SIDE + _GAP), y, _SIDE, _SIDE)
            color = op_color(architecture.ops[index])
            sheet.box(box, fill=color, label=f"choice {index}", radius=2)
    return sheet.figure


def _cells(architecture: Architecture) -> int:
    """How many cells the choices belong to: runs in which the position within the cell starts
    again."""
    blocks = getattr(architecture.space, "block_widths", None)
    if blocks is not None:
        return len(blocks)
    return sum(1 for _ in groupby(choice.stage for choice in architecture.space.choice_blocks))
