"""How compared runs are shown: in a terminal, as a page, and as a document for programs. Compares
nothing itself."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from pnas_tf.data.accuracy import accuracy_interval
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import to_json
from pnas_tf.report import summary_table as cells
from pnas_tf.report.compare import Group, Network, place_of
from pnas_tf.report.figures import BLUE, GREY, STYLE
from pnas_tf.report.glossary import TERMS
from pnas_tf.report.lined_up import folded, lined_up, stacked
from pnas_tf.report.page import render
from pnas_tf.report.section import Plot, Section, Table

_HEADER = ("test accuracy", cells.INTERVAL, "latency", "size", "peak RAM", "MACs")


def _rows(group: Group) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(
        (
            f"{_mark(network)}{network.run} {network.dtype}",
            (
                cells.percent(network.accuracy),
                "–"
                if network.accuracy is None or not network.images
                else cells.interval(accuracy_interval(network.accuracy, network.images)),
                cells.milliseconds(network.latency_ms),
                cells.file_size(network.size_bytes),
                cells.file_size(network.ram_bytes),
                cells.count(network.macs),
            ),
        )
        for network in group.networks
    )


def _mark(network: Network) -> str:
    return "* " if network.front else "  "


def comparison_text(groups: Sequence[Group], *, columns: int | None = None) -> str:
    """For a terminal of so many columns: a table a group."""
    parts = []
    for letter, group in zip(_letters(groups), groups):
        words = [f"{letter}: {group.describe}", *(f"! {note}" for note in group.notes)]
        words = [folded(line, columns, indent=0) for line in words]
        parts.append("\n".join([words[0], *_lines(group, columns), *words[1:]]))
    return "\n\n".join([*parts, _told(groups)])


def _lines(group: Group, columns: int | None) -> list[str]:
    """Each run's networks below its name, which may be long."""
    names, cells = zip(*_rows(group), strict=True)
    formats = [f"{_mark(network)}{network.dtype}" for network in group.networks]
    head, rule, *rows = lined_up(_HEADER, list(zip(formats, cells, strict=True)))
    if columns is not None and len(rule) > columns:
        return list(stacked(names, list(zip(_HEADER, zip(*cells, strict=True), strict=True))))
    lines, last = [head, rule], ""
    for network, row in zip(group.networks, rows, strict=True):
        lines += [network.run] * (network.run != last) + [row]
        last = network.run
    return lines


def _told(groups: Sequence[Group]) -> str:
    front = "*: on the accuracy-latency front of its group, no other is faster and as accurate."
    if len(groups) == 1:
        return front
    other = "Figures of different groups cannot be compared: other images, device or settings."
    return f"{front}\n{other}"


def _letters(groups: Sequence[Group]) -> list[str]:
    letters = string.ascii_uppercase
    return [
        letters[n] if n < 26 else f"{letters[n // 26 - 1]}{letters[n % 26]}"
        for n in range(len(groups))
    ]


def comparison_json(groups: Sequence[Group]) -> dict[str, Json]:
    """For programs."""
    return {
        "format": "pnas_tf/comparison",
        "version": 1,
        "groups": [to_json(group) for group in groups],
    }


def comparison_page(groups: Sequence[Group]) -> str:
    """One self-contained page: a table and a front a group."""
    sections = [
        Section(
            f"Group {letter}" if len(groups) > 1 else "The runs",
            meaning=f"{group.describe}.",
            terms=("accuracy", "interval", "latency", "front", "drift"),
            plots=(
                Plot(
                    f"front_{letter}",
                    front_figure(group.networks),
                    "Up is more accurate, left is faster. The line joins the networks that no "
                    "other one beats in both; upright lines are 95 % intervals.",
                    ("front", "interval"),
                    wide=True,
                ),
            ),
            table=Table(("network", *_HEADER), _starred(_rows(group))),
            words=group.notes,
        )
        for letter, group in zip(_letters(groups), groups)
    ]
    return render(
        "page.html",
        script="page.js",
        title=f"{len({n.run for g in groups for n in g.networks})} runs compared",
        outcome=tuple(_told(groups).split("\n")),
        sections=sections,
        terms=TERMS,
    )


def _starred(
    rows: Sequence[tuple[str, tuple[str, ...]]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """On a narrow screen a star stays beside its name."""
    return tuple((name.replace("* ", "*\N{NO-BREAK SPACE}", 1), row) for name, row in rows)


def front_figure(networks: Sequence[Network]) -> Figure:
    """Accuracy with its interval against latency; the front joined by a line."""
    points = [(network, place) for network in networks if (place := place_of(network)) is not None]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 4.0), layout="constrained")
        axes = figure.subplots()
        axes.margins(x=0.15)
        points.sort(key=lambda point: point[1])
        for number, (network, (latency, accuracy)) in enumerate(points):
            low, high = accuracy_interval(accuracy, network.images) if network.images else (0, 0)
            color = BLUE if network.front else GREY
            if network.images:
                axes.vlines(latency, 100 * low, 100 * high, color=color, linewidth=0.8)
            axes.plot(latency, 100 * accuracy, "o", color=color, markersize=5)
            axes.annotate(
                f"{network.run} {network.dtype}",
                (latency, 100 * accuracy),
                textcoords="offset points",
                xytext=(6, -11 if number % 2 else 4),  # names of neighbours stand apart
                fontsize=8,
                parse_math=False,
            )
        front = sorted(place for network, place in points if network.front)
        if len(front) > 1:
            axes.plot([x for x, _ in front], [100 * y for _, y in front], color=BLUE, linewidth=1)
        axes.set(xlabel="measured latency, ms", ylabel="test accuracy, %")
        return figure


def writer_of(path: Path) -> Callable[[Sequence[Group]], Path]:
    """What writes the comparison to a file of this name.

    Raises:
        UserError: its ending is neither .html nor .json.
    """
    if path.suffix == ".html":
        return lambda groups: atomic.write_text(path, comparison_page(groups))
    if path.suffix == ".json":
        return lambda groups: atomic.write_json(path, comparison_json(groups))
    raise UserError(
        f"--out={path}",
        expected="a file that ends in .html or .json",
        received=path.suffix or "no ending",
        fix="Write e.g. --out=compared.html",
    )
