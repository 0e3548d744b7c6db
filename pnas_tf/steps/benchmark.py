"""Measures exported models on a device and writes latency.json of the run folder.

  pnas benchmark --run_dir=runs/demo --device=host

takes a few seconds and prints one line a model: median, p10, p90, the median without anything taken
out, and what is wrong with unstable measurements and of those that ran partly on the CPU.
A network that was not searched in this folder then has all, and gets report.html and summary.json.
--models=a.tflite,b.tflite measures given files; --op_profile adds the time of every op where the
device's tool gives it;
--device=android:A,android:B measures on several devices at the same time, each with its
latency_DEVICE.json. --sustained=10m also runs each model for 10 minutes without a pause and writes
sustained.json.
--device=tflm, also in a folder that was made for another device, runs the models once in
TensorFlow Lite for Microcontrollers, in the arena that --max_ram_kb asked for, and writes
memory.json: bytes used, and outputs beside LiteRT's. It times nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import BenchmarkConfig, ConversionConfig, DeviceConfig, RunConfig
from pnas_tf.errors import UserError, number_of
from pnas_tf.io import Json, atomic
from pnas_tf.latency.doubts import NOISE_PERCENT
from pnas_tf.run.layout import Artifact
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import DETAILS, say, warn
from pnas_tf.steps.devices import binary_of, host_runtime, on_devices, outputs_of
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.memory import asks_memory, model_files

if TYPE_CHECKING:
    from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime
    from pnas_tf.devices.schedule import Runner
    from pnas_tf.devices.session import Session
    from pnas_tf.latency.measure_sources import MeasurementSetup

FEW_MODELS = 8  # more of them are measured in fewer rounds
_IN_A_LINE = 3  # models whose latencies one line holds


def _check(job: Inputs) -> None:
    """Refuses memory and latency in one call."""
    from pnas_tf.devices.registry import split_devices
    from pnas_tf.devices.tflm import NAME

    devices = split_devices(job.configs[DeviceConfig].device)
    if NAME in devices:
        raise UserError(
            f"--device={','.join(devices)}",
            expected=f"{NAME} alone: it tells memory, the others latency",
            received=f"{len(devices)} devices",
            fix=f"Call it twice, once with --device={NAME}.",
        )


def _latency(job: Inputs) -> None:
    from pnas_tf.devices.record_file import save_measurements
    from pnas_tf.devices.sustained import duration_of
    from pnas_tf.latency.measure_files import measure_files

    models, outputs = model_files(job), outputs_of(job, Artifact.BENCHMARK)
    outputs_hot = outputs_of(job, Artifact.SUSTAINED)

    def measure(name: str, setup: MeasurementSetup) -> None:
        session = measure_files(models, setup)
        profiles: dict[str, tuple[OperatorTime, ...]] = {}
        if job.configs[BenchmarkConfig].op_profile:
            measured = {model: models[model] for model in session.measurements}
            profiles = _profiles(setup.runner, measured, name)
        save_measurements(
            job.folder / outputs[name],
            session.measurements,
            sentinel_ms=session.reference_ms,
            correction=session.correction,
            noise_percent=session.noise_percent,
            failures=session.failures,
            networks=_networks(models),
            op_profiles={model: [asdict(row) for row in rows] for model, rows in profiles.items()},
        )
        _say_session(session, name)
        if sustained := job.configs[BenchmarkConfig].sustained:
            measured = {model: models[model] for model in session.measurements}
            _sustain(job, measured, setup, duration_of(sustained), outputs_hot[name])

    on_devices(job, measure, few_models=len(models) <= FEW_MODELS)


def _networks(models: Mapping[str, Path]) -> dict[str, Json]:
    """Model -> the architecture that stands in its file, of those that hold one that can be
    read."""
    from pnas_tf.tflite.associated_files import read_files

    name, found = str(Artifact.ARCHITECTURE), {}
    for model, path in models.items():
        with contextlib.suppress(UserError):  # the file may be anybody's, and its time is true
            files = read_files(path.read_bytes(), where=str(path))
            if name in files:
                found[model] = atomic.parse_json(
                    files[name], what=name, where=str(path), made_by="pnas export"
                )
    return found


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
            f"{number_of(entry.invocations, 'invocation')})"
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

    session = sustain_files(models, setup, duration_s)
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
    hot = outputs_of(job, Artifact.SUSTAINED).values()
    asked = bool(job.configs[BenchmarkConfig].sustained)
    return (*outputs_of(job, Artifact.BENCHMARK).values(), *(hot if asked else ()))


def _summary(job: Inputs) -> str:
    """Medians, where there are few."""
    from pnas_tf.devices.record_file import load_measurements

    parts = []
    for name, file in outputs_of(job, Artifact.BENCHMARK).items():
        found = load_measurements(job.folder / file)
        each = (f"{model} {entry.median_ms:.4g} ms" for model, entry in found.items())
        many = len(found) > _IN_A_LINE
        parts.append(f"{name}: {f'{len(found)} models' if many else ', '.join(each)}")
    return "; ".join(parts)


BENCHMARK: Step[Inputs] = Step(
    "benchmark",
    (RunConfig, DeviceConfig, ConversionConfig, BenchmarkConfig),
    _latency,
    writes=_outputs,
    reads=lambda job: (*model_files(job).values(), *binary_of(job)),
    identity=host_runtime,
    wanted=lambda job: not asks_memory(job),
    check=_check,
    summary=_summary,
)
