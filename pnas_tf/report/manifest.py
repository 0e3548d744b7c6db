"""The manifest of published models: which file is what, on which data, how good, how fast, and how
it was made.

Gathers what the run left; computes nothing anew but digests.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

from pnas_tf import config as options
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.report.run_files import read_run
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import MANIFEST, Artifact
from pnas_tf.run.settings import read_config
from pnas_tf.tflite.parity import load_reports

FORMAT: dict[str, Any] = {"format": "pnas_tf/manifest", "version": 1}
MAX_BYTES = 1_000_000
_ELSEWHERE = (
    "data_dir",
    "offline_files",
    "model_cache",
    "benchmark_binary",
)  # where things lie on one machine is no part of the recipe


def publish(folder: RunFolder, models_dir: Path, *, name: str) -> list[Path]:
    """Copies the run's models to `models_dir` as NAME_float32.tflite and so on; returns what was
    written.

    Raises UserError when the run is not finished, the name is no plain word, or a model is larger
    than `MAX_BYTES`.
    """
    if not re.fullmatch(r"[a-z0-9_]{1,40}", name):
        raise UserError(
            "--model_name",
            expected="lower-case letters, digits and _",
            received=repr(name),
            fix="Write e.g. --model_name=digits",
        )
    summary = atomic.read_json(
        folder / Artifact.SUMMARY,
        what="summary of a finished run",
        made_by="pnas run --run_dir=...",
    )
    if not isinstance(summary, dict):
        raise UserError(
            f"summary {folder / Artifact.SUMMARY}",
            expected="an object",
            received=repr(summary)[:200],
            fix="Make it again: pnas run --run_dir=...",
        )
    run, manifest = read_run(folder.path), read_manifest(models_dir)
    written = []
    for source, report in load_reports(folder / Artifact.PARITY).items():
        content = atomic.read_bytes(
            folder / source,
            what="model to publish",
            made_by="publish a smaller network",
            limit=MAX_BYTES,
        )
        measured = run.measurements.get(Path(source).stem)
        if (
            measured is None
            or not {"dataset", "device"} <= set(summary)
            or not isinstance(summary["device"], dict)
        ):
            raise UserError(
                f"run {folder.path} is not finished",
                expected=f"a measurement of {source}, dataset and device in {Artifact.SUMMARY}",
                received="none",
                fix="Finish it: pnas run --run_dir=...",
            )
        target = atomic.write_bytes(models_dir / f"{name}_{report.dtype}.tflite", content)
        manifest[target.name] = {
            "sha256": atomic.sha256_of(target),
            "size_bytes": len(content),
            "dtype": report.dtype,
            "dataset": summary["dataset"],
            "architecture": run.architecture.to_json(),
            "test_accuracy": report.tflite_accuracy,
            "parity": report.to_json(),
            "latency_ms": {
                "median": measured.median_ms,
                "p10": measured.p10_ms,
                "p90": measured.p90_ms,
                "invocations": measured.invocations,
                **summary["device"],
            },
            "command": command_of(folder),
        }
        written.append(target)
    written.append(
        atomic.write_json(
            models_dir / MANIFEST, {**FORMAT, "models": dict(sorted(manifest.items()))}
        )
    )
    return written


def read_manifest(models_dir: Path) -> dict[str, Any]:
    """File name -> entry; empty where there is no manifest yet."""
    path = models_dir / MANIFEST
    if not path.exists():
        return {}
    models = atomic.read_document(
        path, **FORMAT, what="manifest", made_by="pnas publish --run_dir=..."
    ).get("models")
    if not isinstance(models, dict) or not all(
        isinstance(entry, dict) for entry in models.values()
    ):
        raise UserError(
            f"models of manifest {path}",
            expected="an object, one entry a file",
            received=repr(models)[:200],
            fix="Restore it, or delete it to publish anew.",
        )
    return models


def command_of(folder: RunFolder) -> str:
    """The push_button command that makes such a run: the folder's settings that are not
    defaults."""
    stored = read_config(folder.path)
    words = ["pnas", "run", "--run_dir=runs/again"]
    for section, values in stored.items():
        kind = getattr(options, section, None)
        if not dataclasses.is_dataclass(kind):
            continue
        for field in dataclasses.fields(kind):
            value = values.get(field.name, field.default)
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if field.name in ("run_dir", *_ELSEWHERE) or value == default:
                continue
            words.append(
                f"--{field.name}={','.join(map(str, value)) if isinstance(value, list) else value}"
            )
    return shlex.join(words)
