"""Draws an architecture as SVG: a box a block from top to bottom, width by expansion, colour by
kernel, Zero a thin line.

Iterates the blocks. Knows nothing of the page around it.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from pnas_tf.report.cell_drawing import draw_choices
from pnas_tf.report.op_style import ZERO_COLOR, kernel_and_expansion, kernel_color
from pnas_tf.report.op_style import op_words as words_of
from pnas_tf.report.summary_table import count, milliseconds
from pnas_tf.space import complexity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import Head, Stem, Zero

FIXED_COLOR, INK, FAINT = "#dfe4e8", "#22303c", "#6b7a86"

_WIDTH, _ROW, _BOX, _STAGE_GAP, _TOP = 1000, 30, 22, 14, 64
_STAGE_X, _CENTRE, _MAX_BOX, _MIN_BOX = 8, 325, 300, 62
_SHAPE_X, _MACS_X, _BAR_X, _BAR = 505, 715, 740, 175


@dataclass(frozen=True)
class _Style:
    """Of a text. size: in pixels."""

    size: int
    fill: str = INK
    weight: int = 400


_HEADING, _WORDS, _FAINT_WORDS, _NOTE = (
    _Style(13, weight=600),
    _Style(12),
    _Style(12, FAINT),
    _Style(11, FAINT),
)


def draw_architecture(
    architecture: Architecture, *, latencies_ms: Mapping[str, float] | None = None
) -> str:
    """The drawing as one <svg> element.

    Args:
        architecture: of a chain of blocks; others are drawn by `cell_drawing`, without bars.
        latencies_ms: block name -> ms of the block alone, drawn as bars beside the boxes; without
            them the bars are MACs.
    """
    if not isinstance(architecture.space, MBConvSpace):
        return draw_choices(architecture)
    groups = _groups(architecture)
    height = _TOP + sum(len(blocks) * _ROW + _STAGE_GAP for _, blocks in groups) + 6
    bars = _Bars(architecture, latencies_ms)
    label = html.escape(_spoken(architecture), quote=True)
    panels: list[str] = []
    boxes: list[str] = []
    y = float(_TOP)
    for words, blocks in groups:
        panels += _panel(words, blocks, y)
        for block in blocks:
            boxes += [*_block(block, architecture, y), *bars.of(block, y)]
            y += _ROW
        y += _STAGE_GAP
    # The way of the data: one line behind the boxes, seen alone where a block is skipped.
    spine = (
        f'<line x1="{_CENTRE}" y1="{_TOP + _ROW / 2:g}" x2="{_CENTRE}" '
        f'y2="{y - _STAGE_GAP - _ROW / 2:g}" '
        f'stroke="{ZERO_COLOR}" stroke-width="1.5"/>'
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'class="architecture" role="img" aria-label="{label}">',
        _legend(architecture),
        _text(_SHAPE_X, _TOP - 10, "output", style=_NOTE),
        _text(_MACS_X, _TOP - 10, "MACs", style=_NOTE, anchor="end"),
        _text(_BAR_X, _TOP - 10, bars.title, style=_NOTE),
    ]
    return "\n".join([*lines, *panels, spine, *boxes, "</svg>"])


class _Bars:
    """Beside each box how large it is: ms of the block alone, or MACs where they are not known."""

    def __init__(self, architecture: Architecture, latencies_ms: Mapping[str, float] | None):
        if latencies_ms is None:
            self.title, self._words = "MACs", count
            self._sizes: Mapping[str, float] = {
                block.name: float(complexity.macs([block])) for block in architecture.blocks
            }
        else:
            self.title, self._words = "latency of the block alone", milliseconds
            self._sizes = latencies_ms
        self._longest = max(self._sizes.values(), default=0.0) or 1.0

    def of(self, block: Block, y: float) -> list[str]:
        """The bar of a block whose row begins at `y`; none of a skipped block."""
        size = self._sizes.get(block.name)
        if size is None or isinstance(block.op, Zero):
            return []
        width = max(1.0, _BAR * size / self._longest)
        return [
            f'<rect x="{_BAR_X}" y="{y + 8:g}" width="{width:.1f}" height="{_ROW - 16}" rx="2" '
            'fill="#5b7f95"/>',
            _text(_BAR_X + width + 6, y + _ROW / 2 + 4, self._words(size), style=_NOTE),
        ]


def _panel(words: str, blocks: list[Block], y: float) -> list[str]:
    """The ground of one stage, its name and, of several blocks, its size."""
    parts = [
        f'<rect x="{_STAGE_X}" y="{y:g}" width="{_WIDTH - 2 * _STAGE_X}" '
        f'height="{len(blocks) * _ROW:g}" rx="6" fill="#f5f7f9"/>',
        _text(_STAGE_X + 12, y + 19, words, style=_HEADING),
    ]
    if len(blocks) > 1:
        last = blocks[-1]
        size = f"{last.out_size}×{last.out_size} · {last.out_channels} channels"
        parts.append(_text(_STAGE_X + 12, y + 37, size, style=_NOTE))
    return parts


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
    start, choices, head = _parts(architecture)
    stages = groupby(
        zip(architecture.space.choice_blocks, choices, strict=True), key=lambda pair: pair[0].stage
    )
    groups = [("stem", start)]
    for number, pairs in stages:
        groups.append((f"stage {number + 1}", [block for _, block in pairs]))
    return [*groups, ("head", [head])]


def _parts(architecture: Architecture) -> tuple[list[Block], list[Block], Block]:
    """What stands before the choice blocks, those, and the head."""
    *rest, head = architecture.blocks
    choices = len(architecture.ops)
    return rest[:-choices], rest[-choices:], head


def _block(block: Block, architecture: Architecture, y: float) -> list[str]:
    middle = y + _ROW / 2
    title = f"<title>{html.escape(f'{block.name}: {block.key}')}</title>"
    if isinstance(block.op, Zero):
        return [
            "<g>",
            title,
            _text(_CENTRE + 10, middle + 4, "skipped", style=_NOTE),
            "</g>",
        ]
    width = _box_width(block, architecture)
    shape_of_op = kernel_and_expansion(block.op)
    fill = FIXED_COLOR if shape_of_op is None else kernel_color(shape_of_op[0])
    parts = ["<g>", title]
    if block.shortcut:
        out = width / 2 + 10
        parts.append(
            f'<path d="M {_CENTRE} {y:g} h {out - 6:g} q 6 0 6 6 v {_ROW - 12} q 0 6 -6 6 h '
            f'{6 - out:g}" fill="none" '
            f'stroke="{ZERO_COLOR}"/><circle cx="{_CENTRE}" cy="{y + _ROW:g}" r="2.5" '
            f'fill="{ZERO_COLOR}"/>'
        )
    parts.append(
        f'<rect x="{_CENTRE - width / 2:g}" y="{middle - _BOX / 2:g}" width="{width:g}" '
        f'height="{_BOX}" rx="4" '
        f'fill="{fill}" stroke="{INK}" stroke-opacity="0.35"/>'
    )
    parts.append(_text(_CENTRE, middle + 4, op_words(block), style=_WORDS, anchor="middle"))
    shape = (
        f"{block.out_channels} classes"
        if isinstance(block.op, Head)
        else f"{block.out_size}×{block.out_size}×{block.out_channels}"
    )
    parts.append(
        _text(
            _SHAPE_X,
            middle + 4,
            shape + (f"   stride {block.stride}" if block.stride > 1 else ""),
            style=_WORDS,
        )
    )
    macs = count(complexity.macs([block]))
    parts.append(_text(_MACS_X, middle + 4, macs, style=_FAINT_WORDS, anchor="end"))
    return [*parts, "</g>"]


def _box_width(block: Block, architecture: Architecture) -> float:
    shape = kernel_and_expansion(block.op)
    if shape is None:
        return 0.6 * _MAX_BOX
    largest = max(expansion for _, expansion in _shapes(architecture))
    return max(_MIN_BOX, _MAX_BOX * shape[1] / largest)


def _shapes(architecture: Architecture) -> set[tuple[int, int]]:
    """(kernel, expansion) of every op that the drawing may have to explain."""
    candidates = (op for choice in architecture.space.choice_blocks for op in choice.candidates)
    fixed = (block.op for block in architecture.space.fixed_blocks())
    shapes = map(kernel_and_expansion, (*fixed, *candidates))
    return {shape for shape in shapes if shape is not None}


def _legend(architecture: Architecture) -> str:
    shapes = _shapes(architecture)
    parts, x = [_text(_STAGE_X + 12, 26, "kernel", style=_FAINT_WORDS)], _STAGE_X + 64
    for kernel in sorted({kernel for kernel, _ in shapes}):
        parts.append(
            f'<rect x="{x}" y="13" width="18" height="18" rx="3" fill="{kernel_color(kernel)}" '
            f'stroke="{INK}" '
            f'stroke-opacity="0.35"/>{_text(x + 24, 26, f"{kernel}×{kernel}", style=_WORDS)}'
        )
        x += 70
    expansions = ", ".join(map(str, sorted({expansion for _, expansion in shapes})))
    parts.append(
        _text(
            x + 12,
            26,
            f"width: expansion {expansions}     line at the side: identity shortcut     thin "
            "line: skipped block",
            style=_FAINT_WORDS,
        )
    )
    return "".join(parts)


def _spoken(architecture: Architecture) -> str:
    return f"Architecture of space {architecture.space.name}: " + "; ".join(
        f"{block.name} {'skipped' if isinstance(block.op, Zero) else block.key}"
        for block in architecture.blocks
    )


def _text(x: float, y: float, words: str, *, style: _Style, anchor: str = "start") -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{style.size}" fill="{style.fill}" '
        f'text-anchor="{anchor}" font-weight="{style.weight}" '
        f'xml:space="preserve">{html.escape(words)}</text>'
    )
