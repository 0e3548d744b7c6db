"""Everything that it takes to make a run again: command, options, versions, seed, images. Reads
what the run folder holds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
import re
import shlex
from collections.abc import Mapping, Sequence
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
# Program -> the classes of options that it takes, of a network whose search is no part of the run.
_PROGRAMS: dict[str, tuple[str, ...]] = {
    "train": (
        "RunConfig",
        "DataConfig",
        "ArchitectureConfig",
        "PretrainedConfig",
        "TrainConfig",
        "OptimizerConfig",
        "DistributionConfig",
    ),
    "export": ("ExportConfig",),
    "benchmark": ("DeviceConfig", "ConversionConfig", "BenchmarkConfig"),
}
_OF_SPECIALISE = ("SearchConfig", "DeriveConfig", "ExportConfig")
_OF_DERIVATION = ("target_latency_ms", "objective", "target_value", "also")  # of SearchConfig
_NOT_OF_RUN = ("ArchitectureConfig", "ValidateConfig", "SpecialiseConfig", "PublishConfig")
_AGAIN = "runs/again"
_PACKAGES = ("tensorflow", "tf_keras", "ai-edge-litert", "numpy", "tensorflow-model-optimization")


def command_of(run: RunFiles) -> str:
    """What makes such a run, with the settings that are not defaults: `pnas run`; the programs that
    train, export and measure a network that was not searched there, behind `pnas specialise` where
    its supernet is another run's; or, of images that only the caller had, `pnas_tf.fit`."""
    changed = _changed(_with_target(run))
    named = run.settings.get(options.ArchitectureConfig.__name__, {}).get("architecture")
    if run.specialised:
        derived = {
            name: value
            for kind in _OF_SPECIALISE
            for name, value in changed.get(kind, {}).items()
            if kind != "SearchConfig" or name in _OF_DERIVATION
        }
        table = run.specialised.get("table")
        where = {"run_dir": run.specialised.get("from"), "out": _AGAIN}
        first = _typed("specialise", where | ({"table": table} if table else {}) | derived)
        return " && ".join([first, *_single(changed, without=("ExportConfig",))])
    if run.origin is None and (named or run.search is None):
        return " && ".join(_single(changed))
    if _of_arrays(run):
        return _called(changed)
    kinds = [kind for kind in changed if kind not in _NOT_OF_RUN]
    return _typed("run", {"run_dir": _AGAIN}, *(changed[kind] for kind in kinds))


def _changed(settings: Settings) -> dict[str, dict[str, object]]:
    """Config class -> {option: value}, of those that are part of the recipe and no defaults."""
    found: dict[str, dict[str, object]] = {}
    for section, values in settings.items():
        kind = getattr(options, section, None)
        for field in dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ():
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            value = values.get(field.name, default)
            if field.name not in ("run_dir", "preset", *_ELSEWHERE) and value != default:
                found.setdefault(section, {})[field.name] = value
    return found


def _single(
    changed: Mapping[str, Mapping[str, object]], *, without: Sequence[str] = ()
) -> list[str]:
    """The commands of `_PROGRAMS`. without: classes whose options the folder has already."""
    return [
        _typed(
            program,
            {"run_dir": _AGAIN},
            *(changed[kind] for kind in kinds if kind in changed and kind not in without),
        )
        for program, kinds in _PROGRAMS.items()
    ]


def _typed(program: str, *flags: Mapping[str, object]) -> str:
    words = [
        shlex.quote(f"--{name}={_value(value)}") for part in flags for name, value in part.items()
    ]
    return " ".join(["pnas", program, *words])


def _of_arrays(run: RunFiles) -> bool:
    """Whether the images were the caller's own arrays, which --dataset cannot name."""
    dataset = str(run.settings.get(options.DataConfig.__name__, {}).get("dataset"))
    return re.fullmatch(r"(?!folder:|csv:).*:[0-9a-f]{16}(\+[0-9a-f]{16})?", dataset) is not None


def _called(changed: Mapping[str, Mapping[str, object]]) -> str:
    """The call of Python."""
    split = dict(changed["DataConfig"])
    name, _, digests = str(split.pop("dataset")).rpartition(":")
    tested = ["test=(test_images, test_labels)"] * ("+" in digests)
    images, given, others = [*tested, f"name={name!r}"], [f"run_dir={_AGAIN!r}"], []
    if split:
        images.append(f"data_config={_object('DataConfig', split)}")
    for kind, values in changed.items():
        if kind == "RunConfig":
            given += [f"seed={values['seed']}"] * ("seed" in values)
        elif kind == "DeviceConfig":
            given.append(f"device={_object(kind, values)}")
        elif kind not in ("DataConfig", *_NOT_OF_RUN):
            others.append(_object(kind, values))
    return (
        "import pnas_tf\nfrom pnas_tf import config\n"
        f"data = pnas_tf.data.from_arrays(images, labels, class_names, {', '.join(images)})\n"
        f"pnas_tf.fit(data, {', '.join(given)}, options=[{', '.join(others)}])"
    )


def _object(kind: str, values: Mapping[str, object]) -> str:
    return f"config.{kind}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


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
    alike = "derives" if run.specialised else "searches"
    return Section(
        "To make it again",
        meaning="The same command on the same images with the same versions, seed and latency "
        f"table {alike} and trains alike. A table that is measured anew differs a little, and may "
        "tip the choice between networks that are nearly equal."
        if run.search
        else "The same commands on the same images with the same versions and seed train alike.",
        terms=("seed",),
        command=command_of(run),
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
