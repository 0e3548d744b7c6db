"""Runs exported models once in TensorFlow Lite for Microcontrollers and writes memory.json of the
run folder: `pnas benchmark --device=tflm`. Times nothing, so it depends on no device of the run.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pnas_tf.config import BenchmarkConfig, DeviceConfig, RunConfig
from pnas_tf.errors import UserError, number_of
from pnas_tf.io import atomic
from pnas_tf.run.layout import MODELS_PATTERN, Artifact, model_name, run_dir_option
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import say, warn
from pnas_tf.steps.export import derivation_of
from pnas_tf.steps.inputs import Inputs, by_name


def model_files(job: Inputs) -> dict[str, Path]:
    """Name -> file: those given, or the run folder's. Raises UserError when there are none."""
    given = job.configs[BenchmarkConfig].models
    models = by_name(given or sorted(map(str, job.folder.path.glob(MODELS_PATTERN))))
    if not models:
        raise UserError(
            "models to measure",
            expected=f"{MODELS_PATTERN} in the run folder, or --models",
            received=f"none in {job.folder.path}",
            fix=f"Export first: pnas export {run_dir_option(job.folder.path)}",
        )
    absent = [str(path) for path in models.values() if not path.is_file()]
    if absent:
        raise UserError(
            "models to measure",
            expected="files that exist",
            received=f"no file {', '.join(absent)}",
            fix="Correct --models.",
        )
    return models


def asks_memory(job: Inputs) -> bool:
    """Whether memory is asked for, not latency."""
    from pnas_tf.devices.tflm import NAME

    return job.configs[DeviceConfig].device.strip() == NAME


def _run(job: Inputs) -> None:
    """Each model in the arena that its network was derived for."""
    from pnas_tf.devices.tflm import run_model, runtime_version
    from pnas_tf.report.budgets import derived_budgets

    asked = [row["most"] for row in derived_budgets(job.folder.path) if row["kind"] == "ram_kb"]
    arena = int(float(str(asked[0])) * 1000) if asked else None
    timed = job.configs[BenchmarkConfig]
    if timed.sustained or timed.op_profile:
        warn("--sustained and --op_profile do nothing here: nothing is timed")
    used, failures = {}, {}
    for name, path in model_files(job).items():
        own = arena if name == model_name("int8") else None  # the budget is of that file
        try:
            use = run_model(path, arena_bytes=own)
        except UserError as error:
            failures[name] = error.received
            warn(f"{name} did not run: {error.received}")
            continue
        used[name] = asdict(use)
        say(
            f"{name}: {use.used_bytes:,} bytes of an arena of {use.arena_bytes:,} "
            f"({use.working_bytes:,} working, {use.persistent_bytes:,} persistent), outputs differ "
            f"from LiteRT's by at most {use.max_difference:.3g}"
        )
    document = {"format": "pnas_tf/memory", "version": 1, "runtime": runtime_version()}
    atomic.write_json(
        job.folder / Artifact.MEMORY, {**document, "models": used, "failures": failures}
    )
    if not used:
        raise UserError(
            "no model ran in TensorFlow Lite for Microcontrollers",
            expected="models of its ops, float32 or full-integer int8",
            received="; ".join(f"{name}: {why}" for name, why in failures.items()),
            fix="See docs/howto/board.md.",
        )


def _runtime(_: Inputs) -> str:
    from pnas_tf.devices.tflm import runtime_version

    return runtime_version()


MEMORY: Step[Inputs] = Step(
    "memory",
    (RunConfig, DeviceConfig, BenchmarkConfig),
    _run,
    writes=lambda _: (Artifact.MEMORY,),
    reads=lambda job: (*model_files(job).values(), *derivation_of(job)),
    identity=_runtime,
    wanted=asks_memory,
    unused=lambda _: (DeviceConfig,),  # asked whether it is wanted alone
    summary=lambda job: f"{number_of(len(model_files(job)), 'model')} run",
)
