"""Draws an architecture of many small choices, as of tree cells: one row a cell, one coloured
square an edge.

For spaces that are no chain of MBConvs. Knows nothing of the page around it.
"""

from __future__ import annotations

import html
from itertools import groupby

from pnas_tf.report.op_style import op_color, op_label
from pnas_tf.space.architecture import Architecture

_SIDE, _GAP, _LEFT, _TOP, _WIDTH, _LEGEND = 14, 3, 190, 46, 1000, 150
_INK, _FAINT = "#22303c", "#6b7a86"


def draw_choices(architecture: Architecture) -> str:
    """The drawing as one <svg> element: choice blocks of one stage and output width stand in rows
    of equal length."""
    choices = architecture.space.choice_blocks
    width = max(1, len(choices) // max(1, _cells(architecture)))
    rows = [
        list(range(start, min(start + width, len(choices))))
        for start in range(0, len(choices), width)
    ]
    height = _TOP + len(rows) * (_SIDE + _GAP) + 10
    label = html.escape(f"Architecture of space {architecture.space.name}", quote=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'class="architecture" role="img" '
        f'aria-label="{label}">'
    ]
    for column, op in enumerate(
        dict.fromkeys(op for choice in choices for op in choice.candidates)
    ):
        x = 12 + column * _LEGEND % (_WIDTH - _LEGEND)
        y = 6 + 18 * (column * _LEGEND // (_WIDTH - _LEGEND))
        parts.append(
            f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{op_color(op)}"/>'
            f'<text x="{x + 18}" y="{y + 10}" font-size="11" '
            f'fill="{_FAINT}">{html.escape(op_label(op))}</text>'
        )
    for number, row in enumerate(rows):
        y = _TOP + number * (_SIDE + _GAP)
        first = choices[row[0]]
        parts.append(
            f'<text x="12" y="{y + 11}" font-size="10" fill="{_INK}">stage {first.stage + 1} · '
            f"cell {number} · "
            f"{first.out_size}×{first.out_size}</text>"
        )
        for column, index in enumerate(row):
            op = architecture.ops[index]
            title = html.escape(f"choice {index}: {op.key}")
            parts.append(
                f'<rect x="{_LEFT + column * (_SIDE + _GAP)}" y="{y}" width="{_SIDE}" '
                f'height="{_SIDE}" rx="2" '
                f'fill="{op_color(op)}"><title>{title}</title></rect>'
            )
    return "\n".join([*parts, "</svg>"])


def _cells(architecture: Architecture) -> int:
    """How many cells the choices belong to: runs in which the position within the cell starts
    again."""
    blocks = getattr(architecture.space, "block_widths", None)
    if blocks is not None:
        return len(blocks)
    return sum(1 for _ in groupby(choice.stage for choice in architecture.space.choice_blocks))
