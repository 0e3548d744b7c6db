"""Curves of a run: the search, and the training of the derived network. Knows the rows of
histories, nothing of pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pnas_tf.report.figures import BLUE, GREY, GROUND, PLOT, RED, STYLE, Row, epoch_of
from pnas_tf.report.run_files import SearchHistory, is_warm_up
from pnas_tf.report.section import Plot
from pnas_tf.report.summary_table import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Curve(NamedTuple):
    key: str  # of the rows
    label: str
    color: str


_SPLITS = (("test", "test"), ("alpha", "validation split"), ("held_out", "held out"))


def search_plots(history: SearchHistory, *, target: float | None, unit: str) -> tuple[Plot, ...]:
    """Loss and accuracy over epochs, and where choices are trained entropy and the expected
    measure; the warm-up phase shaded. unit: of the expected measure."""
    of_weights = _of_weights(history)
    return (
        (*of_weights, *_of_choices(history, target, unit)) if history.trains_choices else of_weights
    )


def _of_weights(history: SearchHistory) -> tuple[Plot, ...]:
    rows = history.epochs
    both = (
        "Both lines should fall; where only the train split's does, the supernet learns its images "
        "by heart."
    )
    return (
        Plot(
            "search_loss",
            _figure(rows, "loss", _two("loss", "alpha_loss")),
            f"Lower is better. {both}" if history.trains_choices else "Lower is better.",
            ("loss", "split", "warmup"),
        ),
        Plot(
            "search_accuracy",
            _figure(rows, "accuracy, %", _two("accuracy", "alpha_accuracy"), scale=100),
            "How often the paths that were tried answered rightly. The derived network is trained "
            "further, and does better.",
            ("accuracy", "split", "supernet"),
        ),
    )


def _of_choices(history: SearchHistory, target: float | None, unit: str) -> tuple[Plot, ...]:
    rows = history.epochs
    what = "latency" if unit == "ms" else unit
    return (
        Plot(
            "search_entropy",
            _figure(
                rows, "mean entropy of a block, nats", [_Curve("entropy", "", BLUE)], least=0.0
            ),
            "0 where everything is decided. A line that stays high says that no candidate was "
            "clearly better; what was taken then follows from the networks that were compared.",
            ("entropy", "choice"),
        ),
        Plot(
            "search_expected",
            _figure(
                rows,
                f"expected {'latency, ' if unit == 'ms' else ''}{unit}",
                [_Curve(_expected_key(rows), "", BLUE)],
                target=target,
            ),
            f"The {what} of the networks that the search would draw; it is pulled towards the "
            "dashed target. A short search may end above it; what is derived keeps its budget.",
            ("expected", "target") if unit == "ms" else ("target",),
        ),
    )


def training_plots(rows: Sequence[Row]) -> tuple[Plot, ...]:
    """Loss, accuracy and learning rate of the derived network over epochs. Histories of earlier
    versions do not name their split."""
    known = {key for row in rows for key in row}
    splits = [(key, label) for key, label in _SPLITS if f"{key}_loss" in known]

    def curves(what: str) -> list[_Curve]:
        others = (_Curve(f"{key}_{what}", label, RED) for key, label in splits)
        return [_Curve(what, "training", BLUE), *others]

    return (
        Plot(
            "training_loss",
            _figure(rows, "loss", curves("loss")),
            "Lower is better. Training images are varied (--augmentation) and their labels "
            "smoothed (--label_smoothing), which makes them harder: their loss may stay above that "
            "of the others. Test images are looked at to draw their line; nothing is chosen by it.",
            ("loss",),
        ),
        Plot(
            "training_accuracy",
            _figure(rows, "accuracy, %", curves("accuracy"), scale=100),
            "How often the network is right. A line that still climbs at the end asks for more "
            "epochs (--epochs).",
            ("accuracy",),
        ),
        Plot(
            "training_learning_rate",
            _figure(rows, "learning rate", [_Curve("learning_rate", "", GREY)]),
            "How large the steps of the training are: large at first, none at the end.",
        ),
    )


def _two(first: str, second: str) -> list[_Curve]:
    return [_Curve(first, "train split", BLUE), _Curve(second, "validation split", RED)]


def _figure(
    rows: Sequence[Row],
    title: str,
    curves: Sequence[_Curve],
    *,
    scale: float = 1,
    target: float | None = None,
    least: float | None = None,
) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=PLOT, layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        _shade_warm_up(axes, rows)
        _draw(axes, rows, curves, scale=scale)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.set_xlabel("epoch")
        if least is not None:
            axes.set_ylim(least, 1.05 * axes.get_ylim()[1])
        if target is not None:
            _mark(axes, target)
        return figure


def _draw(axes: Axes, rows: Sequence[Row], curves: Sequence[_Curve], *, scale: float) -> None:
    for curve in curves:
        points = [
            (epoch_of(row, index), scale * value)
            for index, row in enumerate(rows)
            if (value := number(row.get(curve.key))) is not None
        ]
        if points:
            marker = "o" if len(points) < 3 else None
            label = curve.label or None
            axes.plot(*zip(*points), color=curve.color, label=label, marker=marker, markersize=4)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()


def _mark(axes: Axes, target: float) -> None:
    axes.axhline(target, color=RED, linewidth=1.1, linestyle=(0, (4, 3)))
    axes.annotate(
        f"target {target:.4g}",
        (0.01, target),
        xycoords=("axes fraction", "data"),
        ha="left",
        va="bottom",
        color=RED,
    )


def _shade_warm_up(axes: Axes, rows: Sequence[Row]) -> None:
    warm_up = [epoch_of(row, index) for index, row in enumerate(rows) if is_warm_up(row)]
    if len(warm_up) < len(rows) and warm_up:
        axes.axvspan(min(warm_up), max(warm_up) + 0.5, color=GROUND, linewidth=0)


def _expected_key(rows: Sequence[Row]) -> str:
    named = any(number(row.get("expected_latency_ms")) is not None for row in rows)
    return "expected_latency_ms" if named else "expected"
