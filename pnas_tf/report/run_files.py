"""Everything the report needs, read from one run folder. Only architecture.json must be there.

Knows the files' names and forms, and nothing of how they are shown.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from pnas_tf.config import SearchConfig
from pnas_tf.devices.record import Measurement
from pnas_tf.devices.record_file import load_measurements
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.effects import load_worth
from pnas_tf.run.layout import MODELS_PATTERN, TABLES, Artifact, model_file, model_name
from pnas_tf.run.records import StepRecord, check_made_of, is_current, read_steps
from pnas_tf.run.settings import Settings, read_config
from pnas_tf.search.judgement import SEARCHED, Judgement, judgements_in
from pnas_tf.search.targets import AUTO
from pnas_tf.space.architecture import Architecture
from pnas_tf.tflite.parity_report import ParityReport, load_reports
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

    @property
    def trains_choices(self) -> bool:
        """Whether an epoch trained more than weights; of --algorithm=one_shot none does."""
        return not all(map(is_warm_up, self.epochs))


def is_warm_up(row: Mapping[str, Json]) -> bool:
    """Whether the epoch trained weights alone."""
    return str(row.get("phase", "")).startswith("warm")


@dataclass(frozen=True)
class RunFiles:
    """What stands in a run folder; None or empty where a step has not run.

    Attributes:
        table: the one that decides.
        tables: number format -> table.
        measurements: of latency.json by the names that they were measured under, without those of
            other files under the names of the run's own.
        measured: number format -> measurement of the exported file that is there.
        compared: the networks that the derivation chose from.
        origin: of the architecture, see `search.derivation`; None where it was not derived.
        specialised: of `pnas specialise`: whose supernet it is, and the table given.
        pretrained: whose weights of other images the network started from; None: nobody's.
        reports: exported file -> how it compares with the network.
        records: of the steps, as steps.json has them.
        settings: as config.json has them.
    """

    path: Path
    architecture: Architecture
    summary: Mapping[str, Json] = field(default_factory=dict)
    search: SearchHistory | None = None
    training: tuple[Mapping[str, Json], ...] = ()
    table: LatencyTable | None = None
    tables: Mapping[str, LatencyTable] = field(default_factory=dict)
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    sustained: Mapping[str, Measurement] = field(default_factory=dict)
    validation: Mapping[str, Json] = field(default_factory=dict)
    sweep: tuple[Mapping[str, Json], ...] = ()
    compared: tuple[Mapping[str, Json], ...] = ()
    judgements: tuple[Judgement, ...] = ()
    origin: str | None = None
    specialised: Mapping[str, Json] = field(default_factory=dict)
    pretrained: str | None = None
    answers: Answers | None = None
    worth: tuple[Mapping[str, Json], ...] = ()  # of each choice, by the effect model
    reports: Mapping[str, ParityReport] = field(default_factory=dict)
    records: Mapping[str, StepRecord] = field(default_factory=dict)
    settings: Settings = field(default_factory=dict)

    @property
    def target_is_auto(self) -> bool:
        """Whether the search chose its target in ms by itself."""
        config = self.settings.get(SearchConfig.__name__, {})
        asked = config.get("target_latency_ms", SearchConfig.target_latency_ms)
        return self.search is not None and bool(self.settings) and asked == AUTO

    @property
    def batch(self) -> int:
        """Images of a call of the exported files."""
        return self._input_shape[0]

    @property
    def exported(self) -> Architecture:
        """The network at the exported files' image size."""
        space = dataclasses.replace(self.architecture.space, resolution=self._input_shape[1])
        return dataclasses.replace(self.architecture, space=space)

    @property
    def _input_shape(self) -> tuple[int, ...]:
        """Of the exported files; as it was trained where none was measured."""
        side = self.architecture.space.resolution
        shapes = (entry.model.input_shape for entry in self.measured.values())
        return next((shape for shape in shapes if len(shape) == 4), (1, side, side, 3))

    @property
    def right_by_class(self) -> dict[str, tuple[int, ...]]:
        """Number format -> rightly answered test images of each class."""
        reports = self.reports.values()
        return {each.dtype: each.right_by_class for each in reports if each.right_by_class}


def read_run(run_dir: str | os.PathLike) -> RunFiles:
    """Reads a run folder, without what an earlier call validated, swept or measured and its files
    have been replaced since. Raises UserError when it holds no architecture, or a file in it is
    damaged."""
    path = Path(run_dir)
    architecture = Architecture.load(path / Artifact.ARCHITECTURE)
    tables = {
        artifact: LatencyTable.load(path / artifact)
        for artifact in TABLES.values()
        if (path / artifact).exists()
    }
    records = read_steps(path)

    def is_there(name: Artifact, step: str) -> bool:
        made_of = (Artifact.SEARCH_HISTORY, Artifact.LATENCY_TABLE, *_models(path))
        is_of_it = is_current(name, records.get(step), path, made_of=made_of)
        return is_of_it and (path / name).exists()

    def measurements_in(name: Artifact) -> Mapping[str, Measurement]:
        found = load_measurements(path / name) if is_there(name, "benchmark") else {}
        return {model: entry for model, entry in found.items() if _is_own(path, model, entry)}

    answers, parity = path / Artifact.TRAINING_ANSWERS, path / Artifact.PARITY
    validated, swept = Artifact.VALIDATION, Artifact.SWEEP
    reports = load_reports(parity) if parity.exists() else {}
    measurements = measurements_in(Artifact.BENCHMARK)
    derivation = _object(path / Artifact.DERIVATION)
    return RunFiles(
        path,
        architecture,
        summary=_object(path / Artifact.SUMMARY),
        search=_search(path / Artifact.SEARCH_HISTORY, architecture),
        training=tuple(_rows(path / Artifact.TRAINING_HISTORY)),
        table=tables.get(Artifact.LATENCY_TABLE),
        tables={table.identity.dtype: table for table in tables.values()},
        measurements=measurements,
        measured=_of_exported(path, reports, measurements),
        sustained=measurements_in(Artifact.SUSTAINED),
        validation=_object(path / validated) if is_there(validated, "validate") else {},
        sweep=tuple(_rows(path / swept, key="networks")) if is_there(swept, "sweep") else (),
        compared=_compared(derivation, path / Artifact.DERIVATION),
        judgements=_judgements(path / Artifact.SEARCH_HISTORY),
        specialised=_object(path / Artifact.SPECIALISED),
        origin=_origin(derivation, path / Artifact.DERIVATION),
        pretrained=_pretrained(path / Artifact.TRAINING_RESULT),
        answers=load_answers(answers) if answers.exists() else None,
        worth=load_worth(path / Artifact.EFFECTS),
        reports=reports,
        records=records,
        settings=read_config(path),
    )


def check_of_one_network(path: Path) -> None:
    """Raises UserError where network, files and measurement of a run folder are not of one another,
    since an earlier step was done anew."""
    made_of = (Artifact.ARCHITECTURE, Artifact.NETWORK, *_models(path))
    check_made_of(path, ("train", "export", "benchmark"), made_of)


def _models(path: Path) -> list[str]:
    """The exported files that are there."""
    return [file.name for file in path.glob(MODELS_PATTERN)]


def _is_own(path: Path, model: str, entry: Measurement) -> bool:
    """Whether what was measured is the run's file of that name, where it has one: --models and an
    export since measure and make others."""
    file = path / f"{model}.tflite"
    return not file.is_file() or atomic.sha256_of(file) == entry.model.sha256


def _of_exported(
    path: Path, reports: Mapping[str, ParityReport], measurements: Mapping[str, Measurement]
) -> dict[str, Measurement]:
    """By number format, of the files that are there."""
    dtypes = (report.dtype for report in reports.values())
    return {
        dtype: measurements[model_name(dtype)]
        for dtype in dtypes
        if model_name(dtype) in measurements and (path / model_file(dtype)).is_file()
    }


def _judgements(path: Path) -> tuple[Judgement, ...]:
    return judgements_in(_object(path), where=str(path), fix=_FIX)


def _compared(document: Mapping[str, Json], path: Path) -> tuple[Mapping[str, Json], ...]:
    rows = document.get("networks", [])
    return value_of(  # type: ignore[return-value]
        tuple[dict[str, object], ...], rows, what=f"networks of {path}", fix=_FIX
    )


def _origin(document: Mapping[str, Json], path: Path) -> str | None:
    if not document:
        return None
    origin, what = document.get("origin", SEARCHED), f"origin of {path}"
    return value_of(str | None, origin, what=what, fix=_FIX)  # type: ignore[return-value]


def _pretrained(path: Path) -> str | None:
    """By a training's result.json."""
    taken = _object(path).get("pretrained")
    source = taken.get("source") if isinstance(taken, Mapping) else taken
    return value_of(  # type: ignore[return-value]
        str | None, source, what=f"pretrained of {path}", fix=_FIX
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
