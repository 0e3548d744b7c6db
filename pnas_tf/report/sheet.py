"""A sheet to draw on in pixels, the first row at the top. Knows nothing of what is drawn."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from pnas_tf.report.figures import INK, ON_COLOR

_INCHES, _POINTS = 10.4 / 1000, 10.4 * 72 / 1000  # of a pixel


@dataclass(frozen=True)
class Style:
    """Of a text. size: in pixels."""

    size: int
    color: str = INK
    weight: str = "normal"


class Sheet:
    """width, height: in pixels."""

    def __init__(self, width: float, height: float):
        self.figure = Figure(figsize=(width * _INCHES, height * _INCHES))
        self.axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set(xlim=(0, width), ylim=(height, 0))
        self.axes.set_axis_off()

    def text(self, x: float, y: float, words: str, *, style: Style, side: str = "left") -> None:
        """y: of the line that the letters stand on. Names from anywhere are no formulas."""
        self.axes.text(
            x,
            y,
            words,
            fontsize=style.size * _POINTS,
            color=style.color,
            fontweight=style.weight,
            horizontalalignment=side,
            parse_math=False,
        )

    def on_color(self, x: float, y: float, words: str, *, size: int) -> None:
        """Words in the middle of a coloured box."""
        self.text(x, y, words, style=Style(size, ON_COLOR), side="center")

    def box(
        self,
        box: tuple[float, float, float, float],
        *,
        fill: str,
        label: str = "",
        radius: float,
        edge: bool = False,
    ) -> None:
        """box: (left, top, width, height)."""
        left, top, width, height = box
        patch = FancyBboxPatch(
            (left, top),
            width,
            height,
            boxstyle=f"round,pad=0,rounding_size={min(radius, width / 2, height / 2)}",
            facecolor=fill,
            edgecolor="#1b273359" if edge else "none",
            linewidth=0.75 if edge else 0.0,
            label=label or None,
        )
        self.axes.add_patch(patch)

    def ground(self, box: tuple[float, float, float, float], *, fill: str) -> None:
        """A box behind everything."""
        self.box(box, fill=fill, radius=6)
        self.axes.patches[-1].set_zorder(0.5)

    def line(self, x: tuple[float, float], y: tuple[float, float], *, color: str) -> None:
        """Behind everything but the ground."""
        self.axes.plot(x, y, color=color, linewidth=1.1, zorder=0.9)
