"""Latency over time without a pause, with clock and temperature where the device tells them, drawn
and in figures. Knows measurements, nothing of pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.figure import Figure

from pnas_tf.devices.record import Measurement
from pnas_tf.devices.sustained import Point, points_of, trend_of
from pnas_tf.report.figures import BLUE, GREY, RED, STYLE
from pnas_tf.report.summary_table import milliseconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEADER = ("model", "first minute", "last minute", "change", "slowest run", "throttling told")
_COLOURS = (BLUE, GREY, "#7a9e3f", "#b07cc6", "#c98b2b")


def sustained_rows(series: Mapping[str, Measurement]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(Model, its cells under `HEADER`)."""
    trends = {name: trend_of(one) for name, one in series.items()}
    return tuple(
        (
            name,
            (
                milliseconds(trend.first_ms),
                milliseconds(trend.last_ms),
                f"{trend.slowdown:+.1%}",
                milliseconds(trend.slowest_ms),
                "yes" if trend.throttled else "no",
            ),
        )
        for name, trend in trends.items()
    )


def sustained_figure(series: Mapping[str, Measurement]) -> Figure:
    """Latency, clock and temperature over minutes, a line a model. Runs in which
    the device said that it throttles are marked red. series: at least one."""
    points = {name: points_of(one) for name, one in series.items()}
    every = [point for one in points.values() for point in one]
    panels = [("latency, ms", "latency_ms")]
    panels += [("clock, MHz", "frequency_mhz")] * any(point.frequency_mhz for point in every)
    panels += [("temperature, °C", "temperature_c")] * any(point.temperature_c for point in every)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 1.0 + 1.6 * len(panels)), layout="constrained")
        rows: list[Axes] = [*figure.subplots(len(panels), 1, sharex=True, squeeze=False).flat]
        for axes, (title, field) in zip(rows, panels, strict=True):
            axes.set_title(title)
            for number, (name, one) in enumerate(points.items()):
                minutes, values = _curve(one, field)
                colour = _COLOURS[number % len(_COLOURS)]
                shown = f" {name}" if name.startswith("_") else name  # else it has no legend
                axes.plot(minutes, values, color=colour, label=shown, marker=".", markersize=3)
        throttled = [point for point in every if point.throttling]
        if throttled:
            rows[0].scatter(
                [point.minute for point in throttled],
                [point.latency_ms for point in throttled],
                color=RED,
                s=14,
                zorder=3,
                label="throttling",
            )
        rows[0].set_ylim(bottom=0)
        rows[0].legend(loc="lower right")
        rows[-1].set_xlabel("minutes without a pause")
        return figure


def _curve(points: list[Point], field: str) -> tuple[list[float], list[float]]:
    known = [(point.minute, getattr(point, field)) for point in points if getattr(point, field)]
    return [minute for minute, _ in known], [value for _, value in known]
