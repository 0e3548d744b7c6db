"""The section on what each choice is worth by the effect model, beside what it costs. Knows nothing
of the page around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.report import summary_table as cells
from pnas_tf.report.section import Section, Table

_FIX = "Make it again: pnas run --run_dir=..."


def load_worth(path: Path) -> tuple[Mapping[str, Json], ...]:
    """The rows of effects.json: "block", "op", "effect", "latency_ms" by device, "macs"; none where
    there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    if not path.exists():
        return ()
    document = atomic.read_document(
        path, format="pnas_tf/effects", version=1, what="effect model", made_by="pnas run"
    )
    rows = value_of(
        tuple[dict[str, object], ...], document.get("choices"), what=f"choices of {path}", fix=_FIX
    )
    for number, row in enumerate(rows):
        if not isinstance(row.get("latency_ms"), dict):
            raise UserError(
                f"choices of {path}, number {number}",
                expected="latency_ms by device",
                received=str(row)[:200],
                fix=_FIX,
            )
    return rows  # type: ignore[return-value]


def effects_section(rows: Sequence[Mapping[str, Json]]) -> Section | None:
    """The table of all candidates, block by block; None without an effect model."""
    if not rows:
        return None
    devices = list(_latencies(rows[0]))
    table = tuple(
        (
            f"{row.get('block')}: {row.get('op')}",
            (
                f"{cells.number(row.get('effect')) or 0.0:+.4f}",
                *(cells.milliseconds(cells.number(_latencies(row).get(name))) for name in devices),
                cells.count(cells.number(row.get("macs"))),
            ),
        )
        for row in rows
    )
    return Section(
        "What each choice is worth, and costs",
        table=Table(("choice", "cross-entropy", *devices, "MACs"), table),
        meaning="By the effect model of the supernet: what a choice adds to the cross-entropy on "
        "the search's validation split beside the mean of its block; less is better.",
        terms=("supernet", "choice", "macs"),
    )


def _latencies(row: Mapping[str, Json]) -> Mapping[str, Json]:
    found = row["latency_ms"]
    assert isinstance(found, dict)
    return found
