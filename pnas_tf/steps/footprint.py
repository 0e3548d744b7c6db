"""Reads what each block of the space adds to an exported file and to its arena, where a budget of
files asks for it, and writes footprint.json of the run folder.

  pnas search --run_dir=runs/board --max_ram_kb=128 --max_size_kb=256

converts as many networks as a block has candidates (space tiny: 7, about 3 seconds each on a quiet
core) before it searches, so that budgets that no network keeps are refused before the search.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import DataConfig, DeriveConfig, ExportConfig, RunConfig, SpaceConfig
from pnas_tf.io import atomic
from pnas_tf.run.layout import TABLES, Artifact
from pnas_tf.run.records import read_steps
from pnas_tf.run.step import Step, digest_of
from pnas_tf.run.terminal import DETAILS
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    from pnas_tf.search.file_limits import UntrainedFiles

# Options of an export that decide neither the bytes nor the ops of a file.
_NOT_IN_FILES = (
    "formats",
    "representative_images",
    "prune",
    "cluster",
    "finetune_epochs",
    "finetune_learning_rate",
    "max_logit_difference",
    "min_agreement",
    "max_accuracy_drop",
    "debug_layers",
)


def dtypes_of(job: Inputs) -> tuple[str, ...]:
    """Of the files that budgets are of; none where there are no such."""
    from pnas_tf.search.budgets import budgets_of, file_dtypes

    return file_dtypes(budgets_of(job.configs[DeriveConfig]))


def file_options(config: ExportConfig) -> dict[str, object]:
    """Those that decide a file's bytes and ops."""
    options = dataclasses.asdict(config)
    return {name: value for name, value in options.items() if name not in _NOT_IN_FILES}


def tables_of(job: Inputs) -> tuple[Path, ...]:
    """Latency tables of the device that are there: they say which rewrites pay."""
    return tuple(job.folder / name for name in TABLES.values() if job.has(name))


def files_of(job: Inputs) -> UntrainedFiles:
    """The exporter of networks of this run."""
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.file_limits import UntrainedFiles

    tables = [LatencyTable.load(path) for path in tables_of(job)]
    by_dtype = {table.identity.dtype: table for table in tables}
    return UntrainedFiles(job.dataset, job.configs[ExportConfig], by_dtype)


def _measure(job: Inputs, path: Path) -> None:
    from pnas_tf.tflite.footprint_reading import measure_footprint

    files, dtypes = files_of(job), dtypes_of(job)
    measure_footprint(job.space, files, dtypes, progress=DETAILS).save(path)


def _run(job: Inputs) -> None:
    _measure(job, job.folder / Artifact.FOOTPRINT)


FOOTPRINT: Step[Inputs] = Step(
    "footprint",
    (RunConfig, DataConfig, SpaceConfig, DeriveConfig, ExportConfig),
    _run,
    writes=lambda _: (Artifact.FOOTPRINT,),
    reads=tables_of,
    identity=lambda job: {"space": job.space.to_json(), "dataset": job.dataset.identity},
    remade_by=lambda job: {
        "files": dtypes_of(job),
        "export": file_options(job.configs[ExportConfig]),
    },
    wanted=lambda job: bool(dtypes_of(job)),
    summary=lambda job: (
        f"what each block adds to size and RAM of {', '.join(dtypes_of(job))} files"
    ),
    indirect=(DeriveConfig, ExportConfig),  # by what they say of files alone
)


def kept_footprint(job: Inputs, table: str) -> Path:
    """Where the run folder of `job` has its specialisations' footprint, or is to have it. table: of
    another device; "": the run's own."""
    inputs, place = FOOTPRINT.inputs(job.only(FOOTPRINT.configs)), job.folder.path
    if table:  # alone, under the name that it gets where it is brought to
        inputs["files"] = [(str(Artifact.LATENCY_TABLE), Path(table))]
    digest = digest_of(inputs)
    record = read_steps(place).get(FOOTPRINT.name)
    if record is not None and record.is_complete(digest, [Artifact.FOOTPRINT], place):
        return place / Artifact.FOOTPRINT
    return place / Artifact.FOOTPRINTS / f"{digest}.json"


def brought_footprint(kept: Path) -> Step[Inputs]:
    """`FOOTPRINT` of another folder: measured where `kept` is not there yet, which then is."""

    def run(job: Inputs) -> None:
        if not kept.exists():
            _measure(job, kept)
        atomic.write_bytes(job.folder / Artifact.FOOTPRINT, kept.read_bytes())

    return dataclasses.replace(FOOTPRINT, run=run)
