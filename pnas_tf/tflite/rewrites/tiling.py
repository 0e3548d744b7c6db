"""Cutting a large convolution kernel into the fewest rectangles that XNNPACK has a depthwise kernel
for. Arithmetic only.

XNNPACK's depthwise kernels are written for at most 25 taps; a kernel of more falls back to a path
15 to 30 times slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

MAX_TAPS = 25
KERNEL_TAPS = (9, 25)  # a piece is computed by the smallest of these that holds its taps


class Rectangle(NamedTuple):
    """Rows top to bottom and columns left to right of a kernel, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int


def tile(height: int, width: int) -> tuple[Rectangle, ...]:
    """Rectangles of at most MAX_TAPS taps that cover height x width taps once each.

    The fewest that cuts from side to side can make, least padded taps among them; these are the
    fewest of all up to 10 x 10.
    """
    return tuple(Rectangle(*sides) for sides in _best(height, width)[2])


Sides = tuple[int, int, int, int]
# (pieces, taps with padding, rectangles); fewer is better, in this order
Cover = tuple[int, int, tuple[Sides, ...]]


@cache
def _best(height: int, width: int) -> Cover:
    taps = height * width
    if taps <= MAX_TAPS:
        return 1, min(size for size in KERNEL_TAPS if size >= taps), ((0, height, 0, width),)
    # min takes the first of equals: cuts between rows, since cropping rows copies whole runs of
    # memory, and near the middle, which leaves the smallest piece there (7 = 3 + 1 + 3): the int8
    # sums of equal pieces then round less.
    return min(_through_cuts(height, width), key=lambda cover: cover[:2])


def _through_cuts(height: int, width: int) -> Iterator[Cover]:
    for cut in sorted(range(1, height), key=lambda cut: abs(2 * cut - height)):
        yield _joined(((0, 0, cut, width), (cut, 0, height - cut, width)))
    for cut in sorted(range(1, width), key=lambda cut: abs(2 * cut - width)):
        yield _joined(((0, 0, height, cut), (0, cut, height, width - cut)))


def _joined(parts: tuple[Sides, ...]) -> Cover:
    """The covers of the parts (top, left, height, width), moved to their places."""
    pieces, padded, rectangles = 0, 0, []
    for top, left, height, width in parts:
        count, taps, inner = _best(height, width)
        pieces, padded = pieces + count, padded + taps
        rectangles += [(top + a, top + b, left + c, left + d) for a, b, c, d in inner]
    return pieces, padded, tuple(rectangles)
