"""Measures exported models on a device and writes latency.json of the run folder.

  pnas benchmark --run_dir=runs/demo --device=host

takes a few seconds and prints one line a model: median, p10, p90, the median without anything taken
out, and what is wrong with unstable measurements and of those that ran partly on the CPU.
--models=a.tflite,b.tflite measures given files; --op_profile adds the time of every op where the
device's tool gives it;
--device=android:A,android:B measures on several devices at the same time, each with its
latency_DEVICE.json. --sustained=10m also runs each model for 10 minutes without a pause and writes
sustained.json.
--device=tflm runs the models once in TensorFlow Lite for Microcontrollers, in the arena that
--max_ram_kb asked for, and writes memory.json: bytes used, and outputs beside LiteRT's. It times
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import BenchmarkConfig, ConversionConfig, DeviceConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.latency.drift import NOISE_PERCENT
from pnas_tf.run.layout import MODELS_PATTERN, Artifact, model_name
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import DETAILS, say, warn
from pnas_tf.steps.devices import binary_of, on_devices, outputs_of, runtime_version, setup_of
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime
    from pnas_tf.devices.schedule import Runner
    from pnas_tf.devices.session import Session
    from pnas_tf.latency.measure_sources import MeasurementSetup

FEW_MODELS = 8  # more of them are measured in fewer rounds
_IN_A_LINE = 3  # models whose latencies one line holds


def model_files(job: Inputs) -> dict[str, Path]:
    """Name -> file: those given, or the run folder's. Raises UserError when there are none or two
    of one name."""
    given = [Path(name) for name in job.configs[BenchmarkConfig].models]
    paths = given or sorted(job.folder.path.glob(MODELS_PATTERN))
    models = {path.stem: path for path in paths}
    if not models or len(models) < len(paths):
        raise UserError(
            "models to measure",
            expected=f"{MODELS_PATTERN} in the run folder, or --models with distinct file names",
            received=", ".join(map(str, paths)) or f"none in {job.folder.path}",
            fix=f"Export first: pnas export --run_dir={job.folder.path}",
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


def _is_tflm(job: Inputs) -> bool:
    """Whether memory is asked for, not latency."""
    from pnas_tf.devices.tflm import NAME

    return job.configs[DeviceConfig].device.strip() == NAME


def _check(job: Inputs) -> None:
    """Refuses memory and latency in one call."""
    from pnas_tf.devices.registry import split_devices
    from pnas_tf.devices.tflm import NAME

    devices = split_devices(job.configs[DeviceConfig].device)
    if NAME in devices and len(devices) > 1:
        raise UserError(
            f"--device={','.join(devices)}",
            expected=f"{NAME} alone: it tells memory, the others latency",
            received=f"{len(devices)} devices",
            fix=f"Call it twice, once with --device={NAME}.",
        )


def _run(job: Inputs) -> None:
    if _is_tflm(job):
        _memory(job)
    else:
        _latency(job)


def _memory(job: Inputs) -> None:
    """Runs each model once, in the arena that its network was derived for."""
    from pnas_tf.devices.tflm import run_model, runtime_version
    from pnas_tf.report.budgets import derived_budgets

    asked = [row["most"] for row in derived_budgets(job.folder.path) if row["kind"] == "ram_kb"]
    arena = int(float(str(asked[0])) * 1000) if asked else None
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


def _latency(job: Inputs) -> None:
    from pnas_tf.devices.record_file import save_measurements
    from pnas_tf.devices.sustained import duration_of
    from pnas_tf.latency.measure_files import measure_files

    models, outputs = model_files(job), outputs_of(job, Artifact.BENCHMARK)
    outputs_hot = outputs_of(job, Artifact.SUSTAINED)

    def measure(name: str, runner: Runner, details: Callable[[str], None]) -> None:
        few = len(models) <= FEW_MODELS
        setup = setup_of(job, runner, details, few_models=few)
        session = measure_files(models, setup)
        profiles: dict[str, tuple[OperatorTime, ...]] = {}
        if job.configs[BenchmarkConfig].op_profile:
            measured = {model: models[model] for model in session.measurements}
            profiles = _profiles(runner, measured, name)
        save_measurements(
            job.folder / outputs[name],
            session.measurements,
            sentinel_ms=session.reference_ms,
            correction=session.correction,
            noise_percent=session.noise_percent,
            failures=session.failures,
            op_profiles={model: [asdict(row) for row in rows] for model, rows in profiles.items()},
        )
        _say_session(session, name)
        if sustained := job.configs[BenchmarkConfig].sustained:
            measured = {model: models[model] for model in session.measurements}
            _sustain(job, measured, setup, duration_of(sustained), outputs_hot[name])

    on_devices(job, measure)


def _say_session(session: Session, name: str) -> None:
    """What came of it, a line a model."""
    from pnas_tf.latency.doubts import doubts_of

    if (session.noise_percent or 0.0) >= NOISE_PERCENT:
        warn(
            f"{name}: halves of the session differ by {session.noise_percent:.1f} %: a "
            "comparison with these figures proves nothing; measure on a quieter device"
        )
    tell = DETAILS if len(session.measurements) <= _IN_A_LINE else say
    for model, entry in session.measurements.items():
        tell(
            f"{name}: {model} {entry.median_ms:.4g} ms (p10 {entry.p10_ms:.4g}, p90 "
            f"{entry.p90_ms:.4g}, by the clock {entry.raw_median_ms:.4g}, "
            f"{entry.invocations} invocations)"
        )
    for doubt in doubts_of(session.measurements):
        warn(f"{name}: {doubt.meaning}", doubt.details)
    for model, reason in session.failures.items():
        warn(f"{name}: {model} was not measured: {reason}")


def _sustain(
    job: Inputs,
    models: Mapping[str, Path],
    setup: MeasurementSetup,
    duration_s: float,
    output: str,
) -> None:
    """Writes sustained.json, and says what each model's last minute is to its first."""
    from pnas_tf.devices.record_file import save_measurements
    from pnas_tf.devices.sustained import trend_of
    from pnas_tf.latency.measure_files import sustain_files

    session, resume_log = sustain_files(models, setup, duration_s)
    trends = {model: trend_of(entry) for model, entry in session.measurements.items()}
    save_measurements(
        job.folder / output,
        session.measurements,
        duration_s=duration_s,
        trends={
            model: {**asdict(trend), "slowdown": trend.slowdown} for model, trend in trends.items()
        },
        failures=session.failures,
    )
    for model, trend in trends.items():
        say(f"{model}, without a pause: {trend.describe()}")
    for model, reason in session.failures.items():
        warn(f"{model} without a pause: {reason}")
    resume_log.unlink(missing_ok=True)


def _profiles(
    runner: Runner, models: Mapping[str, Path], name: str
) -> dict[str, tuple[OperatorTime, ...]]:
    """Model -> its ops' times, of which the slowest five are said. Where the runtime has no clock
    for them it says so."""
    from pnas_tf.devices.failures import RunFailed

    profile = getattr(runner, "profile", None)
    if profile is None:
        say(f"{name}: no op profile: LiteRT's Python API times whole inferences only")
        return {}
    found = {}
    for model, path in models.items():
        try:
            found[model] = profile(path)
        except RunFailed as error:
            warn(f"{name}: no op profile of {model}: {error}")
            continue
        for row in sorted(found[model], key=lambda row: -row.avg_ms)[:5]:
            say(
                f"{name}: {model}: {row.node_type} {row.name}: {row.avg_ms:.4g} ms, "
                f"{row.percent:.1f} %"
            )
    return found


def _outputs(job: Inputs) -> tuple[str, ...]:
    if _is_tflm(job):
        return (Artifact.MEMORY,)
    hot = outputs_of(job, Artifact.SUSTAINED).values()
    asked = bool(job.configs[BenchmarkConfig].sustained)
    return (*outputs_of(job, Artifact.BENCHMARK).values(), *(hot if asked else ()))


def _summary(job: Inputs) -> str:
    """Medians, where there are few."""
    from pnas_tf.devices.record_file import load_measurements

    if _is_tflm(job):
        return f"{len(model_files(job))} models run"
    parts = []
    for name, file in outputs_of(job, Artifact.BENCHMARK).items():
        found = load_measurements(job.folder / file)
        each = (f"{model} {entry.median_ms:.4g} ms" for model, entry in found.items())
        many = len(found) > _IN_A_LINE
        parts.append(f"{name}: {f'{len(found)} models' if many else ', '.join(each)}")
    return "; ".join(parts)


def _runtime(job: Inputs) -> str:
    from pnas_tf.devices import tflm

    return tflm.runtime_version() if _is_tflm(job) else runtime_version()


BENCHMARK: Step[Inputs] = Step(
    "benchmark",
    (RunConfig, DeviceConfig, ConversionConfig, BenchmarkConfig),
    _run,
    writes=_outputs,
    reads=lambda job: (*model_files(job).values(), *binary_of(job)),
    identity=_runtime,
    check=_check,
    summary=_summary,
)
