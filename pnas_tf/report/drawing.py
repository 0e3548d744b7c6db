"""Draws an architecture: a box a block from top to bottom, width by expansion, colour by kernel, a
skipped block a thin line.

Iterates the blocks. Knows nothing of the page around it. Artists of a block carry its name as their
label.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from pnas_tf.report.cell_drawing import choices_figure
from pnas_tf.report.figures import GREY, GROUND, STYLE
from pnas_tf.report.op_style import ZERO_COLOR, kernel_and_expansion, kernel_color
from pnas_tf.report.op_style import op_words as words_of
from pnas_tf.report.sheet import Sheet, Style
from pnas_tf.report.summary_table import count, milliseconds
from pnas_tf.space import complexity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import Head, Stem, Zero

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIXED_COLOR, BAR_COLOR = "#dfe4e8", "#5b7f95"

_WIDTH, _ROW, _BOX, _STAGE_GAP, _TOP = 1000, 30, 22, 14, 64
_STAGE_X, _CENTRE, _MAX_BOX, _MIN_BOX = 8, 325, 300, 62
_SHAPE_X, _MACS_X, _BAR_X, _BAR = 505, 715, 740, 175

_HEADING, _WORDS, _FAINT_WORDS, _NOTE = (
    Style(13, weight="bold"),
    Style(12),
    Style(12, GREY),
    Style(11, GREY),
)


def architecture_figure(
    architecture: Architecture, *, latencies_ms: Mapping[str, float] | None = None
) -> Figure:
    """The drawing.

    Args:
        architecture: of a chain of blocks; others are drawn by `cell_drawing`, without bars.
        latencies_ms: block name -> ms of the block alone, drawn as bars beside the boxes; without
            them the bars are MACs.
    """
    with matplotlib.rc_context(STYLE):
        if not isinstance(architecture.space, MBConvSpace):
            return choices_figure(architecture)
        return _Drawing(architecture, latencies_ms).sheet.figure


class _Drawing:
    def __init__(self, architecture: Architecture, latencies_ms: Mapping[str, float] | None):
        self.architecture = architecture
        groups = _groups(architecture)
        height = _TOP + sum(len(blocks) * _ROW + _STAGE_GAP for _, blocks in groups) + 6
        self.sheet = Sheet(_WIDTH, height)
        self._measure(latencies_ms)
        self._legend()
        y = float(_TOP)
        for words, blocks in groups:
            self._panel(words, blocks, y)
            for block in blocks:
                self._block(block, y)
                self._bar(block, y)
                y += _ROW
            y += _STAGE_GAP
        # The way of the data: one line behind the boxes, seen alone where a block is skipped.
        ends = (_TOP + _ROW / 2, y - _STAGE_GAP - _ROW / 2)
        self.sheet.line((_CENTRE, _CENTRE), ends, color=ZERO_COLOR)

    def _measure(self, latencies_ms: Mapping[str, float] | None) -> None:
        """Beside each box how large it is: ms of the block alone, or MACs where they are not
        known."""
        title, self._bar_words = "latency of the block alone", milliseconds
        if latencies_ms is None:
            title, self._bar_words = "MACs", count
            blocks = self.architecture.blocks
            latencies_ms = {block.name: float(complexity.macs([block])) for block in blocks}
        self._sizes = latencies_ms
        self._longest = max(latencies_ms.values(), default=0.0) or 1.0
        for x, words, side in (
            (_SHAPE_X, "output", "left"),
            (_MACS_X, "MACs", "right"),
            (_BAR_X, title, "left"),
        ):
            self.sheet.text(x, _TOP - 10, words, style=_NOTE, side=side)

    def _bar(self, block: Block, y: float) -> None:
        size = self._sizes.get(block.name)
        if size is None or isinstance(block.op, Zero):
            return
        width = max(1.0, _BAR * size / self._longest)
        box = (_BAR_X, y + 8, width, _ROW - 16)
        self.sheet.box(box, fill=BAR_COLOR, label=f"bar of {block.name}", radius=2)
        words = self._bar_words(size)
        self.sheet.text(_BAR_X + width + 6, y + _ROW / 2 + 4, words, style=_NOTE)

    def _panel(self, words: str, blocks: list[Block], y: float) -> None:
        """The ground of one stage, its name and, of several blocks, its size."""
        box = (_STAGE_X, y, _WIDTH - 2 * _STAGE_X, len(blocks) * _ROW)
        self.sheet.ground(box, fill=GROUND)
        self.sheet.text(_STAGE_X + 12, y + 19, words, style=_HEADING)
        if len(blocks) > 1:
            last = blocks[-1]
            size = f"{last.out_size}×{last.out_size} · {last.out_channels} channels"
            self.sheet.text(_STAGE_X + 12, y + 37, size, style=_NOTE)

    def _block(self, block: Block, y: float) -> None:
        middle = y + _ROW / 2
        if isinstance(block.op, Zero):
            self.sheet.text(_CENTRE + 10, middle + 4, "skipped", style=_NOTE)
            return
        width, shape = self._box_width(block), kernel_and_expansion(block.op)
        fill = FIXED_COLOR if shape is None else kernel_color(shape[0])
        if block.shortcut:
            self._shortcut(width / 2 + 10, y)
        box = (_CENTRE - width / 2, middle - _BOX / 2, width, _BOX)
        self.sheet.box(box, fill=fill, label=block.name, radius=4, edge=True)
        self.sheet.on_color(_CENTRE, middle + 4, op_words(block), size=12)
        stride = f"   stride {block.stride}" if block.stride > 1 else ""
        size = f"{block.out_size}×{block.out_size}×{block.out_channels}"
        words = f"{block.out_channels} classes" if isinstance(block.op, Head) else size
        self.sheet.text(_SHAPE_X, middle + 4, words + stride, style=_WORDS)
        macs = count(complexity.macs([block]))
        self.sheet.text(_MACS_X, middle + 4, macs, style=_FAINT_WORDS, side="right")

    def _shortcut(self, out: float, y: float) -> None:
        """A line around the box, which ends in a dot."""
        right, low = _CENTRE + out, y + _ROW
        corners = [(_CENTRE, y), (right - 6, y), (right, y), (right, y + 6)]
        corners += [(right, low - 6), (right, low), (right - 6, low), (_CENTRE, low)]
        codes = [Path.MOVETO, Path.LINETO, *[Path.CURVE3] * 2]
        codes += [Path.LINETO, *[Path.CURVE3] * 2, Path.LINETO]
        patch = PathPatch(Path(corners, codes), fill=False, edgecolor=ZERO_COLOR, linewidth=0.8)
        self.sheet.axes.add_patch(patch)
        self.sheet.axes.plot(_CENTRE, low, "o", color=ZERO_COLOR, markersize=3)

    def _box_width(self, block: Block) -> float:
        shape = kernel_and_expansion(block.op)
        if shape is None:
            return 0.6 * _MAX_BOX
        largest = max(expansion for _, expansion in _shapes(self.architecture))
        return max(_MIN_BOX, _MAX_BOX * shape[1] / largest)

    def _legend(self) -> None:
        shapes, x = _shapes(self.architecture), _STAGE_X + 64
        self.sheet.text(_STAGE_X + 12, 26, "kernel", style=_FAINT_WORDS)
        for kernel in sorted({kernel for kernel, _ in shapes}):
            self.sheet.box((x, 13, 18, 18), fill=kernel_color(kernel), radius=3, edge=True)
            self.sheet.text(x + 24, 26, f"{kernel}×{kernel}", style=_WORDS)
            x += 70
        expansions = ", ".join(map(str, sorted({expansion for _, expansion in shapes})))
        words = f"width: expansion {expansions}     line at the side: identity shortcut     "
        self.sheet.text(x + 12, 26, words + "thin line: skipped block", style=_FAINT_WORDS)


def op_words(block: Block) -> str:
    """What stands in a box: "5×5 · e6"."""
    op = block.op
    if isinstance(op, Stem):
        return f"conv {op.kernel}×{op.kernel}"
    if isinstance(op, Head):
        hidden = f", 1×1 → {op.hidden}" if op.hidden else ""
        return f"1×1 → {op.width}, pool{hidden}, dense"
    return "skipped" if isinstance(op, Zero) else " · ".join(words_of(op))


def _groups(architecture: Architecture) -> list[tuple[str, list[Block]]]:
    *rest, head = architecture.blocks
    choices = len(architecture.ops)
    stages = groupby(
        zip(architecture.space.choice_blocks, rest[-choices:], strict=True),
        key=lambda pair: pair[0].stage,
    )
    groups = [("stem", rest[:-choices])]
    for number, pairs in stages:
        groups.append((f"stage {number + 1}", [block for _, block in pairs]))
    return [*groups, ("head", [head])]


def _shapes(architecture: Architecture) -> set[tuple[int, int]]:
    """(kernel, expansion) of every op that the drawing may have to explain."""
    candidates = (op for choice in architecture.space.choice_blocks for op in choice.candidates)
    fixed = (block.op for block in architecture.space.fixed_blocks())
    shapes = map(kernel_and_expansion, (*fixed, *candidates))
    return {shape for shape in shapes if shape is not None}


def spoken(architecture: Architecture) -> str:
    """The drawing in words."""
    return f"Architecture of space {architecture.space.name}: " + "; ".join(
        f"{block.name} {'skipped' if isinstance(block.op, Zero) else block.key}"
        for block in architecture.blocks
    )
