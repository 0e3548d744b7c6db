"""Everything that it takes to make a run again: command, options, versions, seed, images. Reads
what the run folder holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import shlex
from collections.abc import Mapping
from importlib import metadata

import pnas_tf
from pnas_tf import config as options
from pnas_tf.io import Json
from pnas_tf.report.run_files import RunFiles
from pnas_tf.report.section import Section
from pnas_tf.report.summary_table import target_of
from pnas_tf.report.words import one_line
from pnas_tf.run.layout import Artifact
from pnas_tf.run.records import StepRecord
from pnas_tf.run.settings import Settings

_ELSEWHERE = (
    "data_dir",
    "offline_files",
    "model_cache",
    "benchmark_binary",
    "models",
)  # where things lie on one machine is no part of the recipe
# Of a network that was not searched.
_PROGRAMS = {
    "TrainConfig": "train",
    "ExportConfig": "export",
    "ConversionConfig": "export",
    "DeviceConfig": "benchmark",
    "BenchmarkConfig": "benchmark",
}
_PACKAGES = ("tensorflow", "tf_keras", "ai-edge-litert", "numpy", "tensorflow-model-optimization")


def command_of(settings: Settings) -> str:
    """What makes such a run: `pnas run`, or for a network that was not searched the programs that
    train, export and measure it; with the settings that are not defaults."""
    named = settings.get(options.ArchitectureConfig.__name__, {}).get("architecture")
    commands = dict.fromkeys(_PROGRAMS.values() if named else ["run"], "")
    for section, values in settings.items():
        kind = getattr(options, section, None)
        if not dataclasses.is_dataclass(kind):
            continue
        program = _PROGRAMS.get(section, "train") if named else "run"
        for field in dataclasses.fields(kind):
            value = values.get(field.name, field.default)
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            if field.name in ("run_dir", *_ELSEWHERE) or value == default:
                continue
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            commands[program] += " " + shlex.quote(f"--{field.name}={text}")
    return " && ".join(
        f"pnas {program} --run_dir=runs/again{words}" for program, words in commands.items()
    )


def versions() -> dict[str, Json]:
    """Of this process."""
    found = {"python": platform.python_version(), "pnas_tf": pnas_tf.__version__}
    return {**found, **{name: metadata.version(name) for name in _PACKAGES}}


def dataset_fingerprint(steps: Mapping[str, StepRecord]) -> dict[str, str]:
    """Digests of the images and of each split, hexadecimal, by name; empty where no step says what
    it was made from."""
    for name in ("train", "search", "export"):
        identity = steps[name].made_from.get("identity") if name in steps else None
        dataset = identity.get("dataset") if isinstance(identity, Mapping) else None
        if isinstance(dataset, Mapping):
            images = {key: dataset.get(key) for key in ("classes", "images")}
            splits = dataset.get("splits")
            parts = splits if isinstance(splits, Mapping) else {}
            return {"images": _digest(images)} | {
                f"{split} split": _digest(content) for split, content in parts.items()
            }
    return {}


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def reproduce_section(run: RunFiles) -> Section | None:
    if not run.settings:
        return None
    prints = dataset_fingerprint(run.records)
    known = run.summary.get("versions")
    outputs = {
        name: digest
        for step in run.records.values()
        for name, digest in (step.outputs or {}).items()
        if name.endswith(".tflite")
    }
    facts = [
        ("seed", str(run.settings.get("RunConfig", {}).get("seed", options.RunConfig.seed))),
        *((f"fingerprint, {name}", digest) for name, digest in prints.items()),
    ]
    if isinstance(known, Mapping):
        words = ", ".join(f"{name} {version}" for name, version in known.items())
        facts.append(("versions", one_line(words)))
    facts += [(f"SHA-256 of {name}", digest) for name, digest in outputs.items()]
    return Section(
        "To make it again",
        meaning="The same command on the same images with the same versions, seed and latency "
        "table searches and trains alike. A table that is measured anew differs a little, and may "
        "tip the choice between networks that are nearly equal.",
        terms=("seed",),
        command=command_of(_with_target(run)),
        facts=tuple(facts),
        more=(
            (
                f"All options of this run; None: chosen by the program, {Artifact.LOG} says what",
                tuple(
                    f"--{name}={_value(value)}"
                    for values in run.settings.values()
                    for name, value in values.items()
                ),
            ),
        ),
    )


def _with_target(run: RunFiles) -> Settings:
    """The settings, with the target that `auto` chose: of a table that is measured anew it would
    choose another one."""
    name, settings = options.SearchConfig.__name__, run.settings
    target, _ = target_of(run.summary)
    if not run.target_is_auto or target is None:
        return settings
    return {**settings, name: {**settings.get(name, {}), "target_latency_ms": f"{target:.4g}"}}


def _value(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
