"""Everything the report needs, read from one run folder. Only architecture.json must be there.

Knows the files' names and forms, and nothing of how they are shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pnas_tf.devices.record import Measurement, load_measurements
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import Artifact
from pnas_tf.space.architecture import Architecture

_MADE_BY = "pnas run --run_dir=..."
_FIX = f"Make it again: {_MADE_BY}"
_WORDS = ("phase", "architecture")  # fields of rows that are no figures


@dataclass(frozen=True)
class SearchHistory:
    """candidates: for each choice block the keys of its ops. epochs: one row an epoch, with
    "probabilities" [block][candidate]."""

    candidates: tuple[tuple[str, ...], ...]
    epochs: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class RunFiles:
    """What stands in a run folder; None or empty where a step has not run."""

    path: Path
    architecture: Architecture
    summary: Mapping[str, Any] = field(default_factory=dict)
    search: SearchHistory | None = None
    training: tuple[Mapping[str, Any], ...] = ()
    table: LatencyTable | None = None
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    validation: Mapping[str, Any] = field(default_factory=dict)
    sweep: tuple[Mapping[str, Any], ...] = ()


def read_run(run_dir: str | os.PathLike) -> RunFiles:
    """Reads a run folder. Raises UserError when it holds no architecture, or a file in it is
    damaged."""
    path = Path(run_dir)
    architecture = Architecture.load(path / Artifact.ARCHITECTURE)
    table, latency = path / Artifact.LATENCY_TABLE, path / Artifact.BENCHMARK
    return RunFiles(
        path,
        architecture,
        _object(path / Artifact.SUMMARY),
        _search(path / Artifact.SEARCH_HISTORY, architecture),
        tuple(_rows(path / Artifact.TRAINING_HISTORY)),
        LatencyTable.load(table) if table.exists() else None,
        load_measurements(latency) if latency.exists() else {},
        _object(path / Artifact.VALIDATION),
        tuple(_rows(path / Artifact.SWEEP, key="networks")),
    )


def _search(path: Path, architecture: Architecture) -> SearchHistory | None:
    if not path.exists():
        return None
    epochs = _rows(path)
    candidates = tuple(
        tuple(op.key for op in choice.candidates) for choice in architecture.space.choice_blocks
    )
    expected = [len(block) for block in candidates]
    for number, row in enumerate(epochs):
        blocks = value_of(
            tuple[tuple[float, ...], ...],
            row.get("probabilities"),
            fix=_FIX,
            what=f"probabilities of {path}, epoch {number}",
        )
        if [len(block) for block in blocks] != expected:
            raise _damaged(
                path,
                f"probabilities of {expected} candidates in epoch {number}",
                [len(block) for block in blocks],
            )
    return SearchHistory(candidates, tuple(epochs)) if epochs else None


def _rows(path: Path, *, key: str = "epochs") -> list[Mapping[str, Any]]:
    """The rows of a history: a list of objects, or an object that holds it under `key`. Their plain
    fields are figures or words."""
    if not path.exists():
        return []
    document = atomic.read_json(path, what="history", made_by=_MADE_BY)
    rows = document.get(key) if isinstance(document, dict) else document
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _damaged(path, f"a list of {key}", document)
    for number, row in enumerate(rows):
        for name, value in row.items():
            if name != "probabilities":
                value_of(
                    str if name in _WORDS else float | None,
                    value,
                    what=f"{name[:100]} of {path}, {key} {number}",
                    fix=_FIX,
                )
    return rows


def _object(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {}
    document = atomic.read_json(path, what="document", made_by=_MADE_BY)
    if not isinstance(document, dict):
        raise _damaged(path, "an object", document)
    return document


def _damaged(path: Path, expected: str, received: Any) -> UserError:
    return UserError(
        f"{path} is not what this program writes",
        expected=expected,
        received=repr(received)[:200],
        fix=f"Make it again: {_MADE_BY}",
    )
