"""Everything the report needs, read from one run folder. Only architecture.json must be there.

Knows the files' names and forms, and nothing of how they are shown.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pnas_tf.devices.record import Measurement
from pnas_tf.devices.record_file import load_measurements
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.effects import load_worth
from pnas_tf.run.layout import Artifact
from pnas_tf.search.judgement import Judgement, judgements_in
from pnas_tf.space.architecture import Architecture
from pnas_tf.tflite.parity_report import load_reports
from pnas_tf.training.answers import Answers, load_answers

_MADE_BY = "pnas run --run_dir=..."
_FIX = f"Make it again: {_MADE_BY}"
_WORDS = ("phase", "architecture")  # fields of rows that are no figures


@dataclass(frozen=True)
class SearchHistory:
    """candidates: for each choice block the keys of its ops. epochs: one row an epoch, with
    "probabilities" [block][candidate]."""

    candidates: tuple[tuple[str, ...], ...]
    epochs: tuple[Mapping[str, Json], ...]

    @functools.cached_property
    def probabilities(self) -> list[Sequence[Sequence[float]]]:
        """[epoch][block][candidate]; checked when the file was read."""
        return [cast(Sequence[Sequence[float]], row["probabilities"]) for row in self.epochs]


@dataclass(frozen=True)
class RunFiles:
    """What stands in a run folder; None or empty where a step has not run."""

    path: Path
    architecture: Architecture
    summary: Mapping[str, Json] = field(default_factory=dict)
    search: SearchHistory | None = None
    training: tuple[Mapping[str, Json], ...] = ()
    table: LatencyTable | None = None
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    sustained: Mapping[str, Measurement] = field(default_factory=dict)
    validation: Mapping[str, Json] = field(default_factory=dict)
    sweep: tuple[Mapping[str, Json], ...] = ()
    judgements: tuple[Judgement, ...] = ()
    origin: str | None = None  # of the architecture, see `search.derivation`
    answers: Answers | None = None
    worth: tuple[Mapping[str, Json], ...] = ()  # of each choice, by the effect model
    right_by_class: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # by format


def read_run(run_dir: str | os.PathLike) -> RunFiles:
    """Reads a run folder. Raises UserError when it holds no architecture, or a file in it is
    damaged."""
    path = Path(run_dir)
    architecture = Architecture.load(path / Artifact.ARCHITECTURE)
    table, latency = path / Artifact.LATENCY_TABLE, path / Artifact.BENCHMARK
    answers, parity = path / Artifact.TRAINING_ANSWERS, path / Artifact.PARITY
    reports = load_reports(parity) if parity.exists() else {}
    sustained = path / Artifact.SUSTAINED
    return RunFiles(
        path,
        architecture,
        _object(path / Artifact.SUMMARY),
        _search(path / Artifact.SEARCH_HISTORY, architecture),
        tuple(_rows(path / Artifact.TRAINING_HISTORY)),
        LatencyTable.load(table) if table.exists() else None,
        load_measurements(latency) if latency.exists() else {},
        load_measurements(sustained) if sustained.exists() else {},
        _object(path / Artifact.VALIDATION),
        tuple(_rows(path / Artifact.SWEEP, key="networks")),
        _judgements(path / Artifact.SEARCH_HISTORY),
        _origin(path / Artifact.DERIVATION),
        load_answers(answers) if answers.exists() else None,
        load_worth(path / Artifact.EFFECTS),
        {each.dtype: each.right_by_class for each in reports.values() if each.right_by_class},
    )


def _judgements(path: Path) -> tuple[Judgement, ...]:
    return judgements_in(_object(path), where=str(path), fix=_FIX)


def _origin(path: Path) -> str | None:
    origin = _object(path).get("origin")
    return value_of(str | None, origin, what=f"origin of {path}", fix=_FIX)  # type: ignore[return-value]


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
            raise UserError(
                f"probabilities of {path}, epoch {number}",
                expected=f"{expected} candidates in the blocks",
                received=repr([len(block) for block in blocks])[:200],
                fix=_FIX,
            )
    return SearchHistory(candidates, tuple(epochs)) if epochs else None


def _rows(path: Path, *, key: str = "epochs") -> Sequence[Mapping[str, Json]]:
    """The rows of a history: a list of objects, or an object that holds it under `key`. Their plain
    fields are figures or words."""
    if not path.exists():
        return []
    document = atomic.read_json(path, what="history", made_by=_MADE_BY)
    if isinstance(document, dict):
        document = document.get(key)
    rows = value_of(list[dict[str, object]], document, what=f"{key} of {path}", fix=_FIX)
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


def _object(path: Path) -> Mapping[str, Json]:
    if not path.exists():
        return {}
    document = atomic.read_json(path, what="document", made_by=_MADE_BY)
    return value_of(dict[str, object], document, what=str(path), fix=_FIX)
