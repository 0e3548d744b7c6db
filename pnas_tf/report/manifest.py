"""The manifest of published models: which file is what, on which data, how good, how fast, and how
it was made.

Gathers what the run left; computes nothing anew but digests.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from pnas_tf.config import ArchitectureConfig, DataConfig, ExportConfig
from pnas_tf.data.dataset_name import public_name
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import to_json, value_of
from pnas_tf.report.model_card import Entry, model_card
from pnas_tf.report.reproduce import command_of
from pnas_tf.report.run_files import RunFiles, check_of_one_network, read_run
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import MANIFEST, Artifact, published_card, run_dir_option
from pnas_tf.search.judgement import SEARCHED
from pnas_tf.tflite.parity_report import ParityReport, load_reports

_NAME, _VERSION = "pnas_tf/manifest", 1
FORMAT = {"format": _NAME, "version": _VERSION}
MAX_BYTES = 10_000_000  # what a repository takes without storage for large files


def check_name(name: str) -> None:
    """Raises UserError where no published file could be called so."""
    if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
        raise UserError(
            "--model_name",
            expected="lower-case letters, digits and _",
            received=repr(name),
            fix="Write e.g. --model_name=digits",
        )


def publish(folder: RunFolder, models_dir: Path, *, name: str) -> list[Path]:
    """Copies the run's models to `models_dir` as NAME_float32.tflite and so on, with a manifest and
    a model card.

    Returns:
        What was written.

    Raises:
        UserError: the run is not finished, the name is no plain word, or a model is larger than
            `MAX_BYTES`.
    """
    check_name(name)
    check_of_one_network(folder.path)
    manifest = read_manifest(models_dir)
    published: dict[str, Entry] = {}
    contents: dict[str, bytes] = {}
    for source, entry in entries_of(folder).items():  # nothing is written until all are known
        _check_measured(folder, source, entry)
        file = f"{name}_{entry['dtype']}.tflite"
        published[file] = entry
        contents[file] = atomic.read_bytes(
            folder / source,
            what="model to publish",
            made_by="publish a smaller network",
            limit=MAX_BYTES,
        )
    card = model_card(name, published)
    written = [atomic.write_bytes(models_dir / file, contents[file]) for file in contents]
    document = {**FORMAT, "models": dict(sorted({**manifest, **published}.items()))}
    written.append(atomic.write_json(models_dir / MANIFEST, document))
    return [*written, atomic.write_text(models_dir / published_card(name), card)]


def _check_measured(folder: RunFolder, source: str, entry: Entry) -> None:
    """Raises UserError where nobody measured the file."""
    if entry["latency_ms"] is None:
        raise UserError(
            f"run {folder.path} is not finished",
            expected=f"a measurement of {source}",
            received="none",
            fix=f"Measure it: pnas benchmark {run_dir_option(folder.path)}",
        )


def entries_of(folder: RunFolder) -> dict[str, Entry]:
    """File name -> what a manifest says of it, of the exported models of a run."""
    run = read_run(folder.path)
    export, data = (run.settings.get(kind.__name__, {}) for kind in (ExportConfig, DataConfig))
    public = {DataConfig.__name__: {**data, "dataset": public_name(_dataset(run))}}
    command = command_of(replace(run, settings={**run.settings, **public}))
    named = run.settings.get(ArchitectureConfig.__name__, {}).get("architecture")
    return {
        source: {
            "sha256": atomic.sha256_of(folder / source),
            "size_bytes": (folder / source).stat().st_size,
            **_input(folder / source),
            "architecture_origin": run.origin
            or named
            or (SEARCHED if run.search else str(Artifact.ARCHITECTURE)),
            "pretrained": run.pretrained,
            **_entry(run, report),
            "licence": export.get("licence", ""),
            "command": command,
        }
        for source, report in load_reports(folder / Artifact.PARITY).items()
    }


def _input(path: Path) -> Entry:
    """What a file takes of (pixel - mean) / std, one value or one a channel."""
    from pnas_tf.tflite.metadata import read_metadata
    from pnas_tf.tflite.model import TfliteModel

    model = TfliteModel.read(path)
    seen = read_metadata(model)
    return {
        "input_dtype": model.contents.inputs[0].dtype,
        "normalization": {"mean": list(seen.mean), "std": list(seen.std)},
    }


def write_card(folder: RunFolder) -> Path:
    """Writes the model card of a run beside its files."""
    card = model_card(folder.path.resolve().name, entries_of(folder))
    return atomic.write_text(folder / Artifact.MODEL_CARD, card)


def _dataset(run: RunFiles) -> str:
    return str(run.settings[DataConfig.__name__]["dataset"])


def _entry(run: RunFiles, report: ParityReport) -> Entry:
    """What the manifest says of one file; without latency where it was not measured."""
    measured = run.measured.get(report.dtype)
    return {
        "dtype": report.dtype,
        "dataset": public_name(_dataset(run)),
        "architecture": run.exported.to_json(),
        "batch": run.batch,
        "test_accuracy": report.tflite_accuracy,
        "parity": report.to_json(),
        "latency_ms": measured
        and {
            **({"partly": measured.partly} if measured.partly else {}),
            "median": measured.median_ms,
            "p10": measured.p10_ms,
            "p90": measured.p90_ms,
            "invocations": measured.invocations,
            "device": to_json(measured.device),
            "settings": to_json(measured.settings),
        },
    }


def read_manifest(models_dir: Path) -> dict[str, dict[str, Json]]:
    """File name -> entry; empty where there is no manifest yet."""
    path = models_dir / MANIFEST
    if not path.exists():
        return {}
    document = atomic.read_document(
        path,
        format=_NAME,
        version=_VERSION,
        what="manifest",
        made_by="pnas publish --run_dir=...",
    )
    return value_of(
        dict[str, dict[str, object]],
        document.get("models"),
        what=f"models of manifest {path}",
        fix="Restore it, or delete it to publish anew.",
    )
