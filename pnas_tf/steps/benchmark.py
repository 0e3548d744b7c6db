"""Measures exported models on a device and writes latency.json of the run folder.

  pnas benchmark --run_dir=runs/demo --device=host

takes a few seconds and prints one line a model: median, p10, p90, the median without anything taken
out, and what is wrong with unstable measurements and of those that ran partly on the CPU.
--models=a.tflite,b.tflite measures given files; --op_profile adds the time of every op where the
device's tool gives it;
--device=android:A,android:B measures on several devices at the same time, each with its
latency_DEVICE.json.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import BenchmarkConfig, ConversionConfig, DeviceConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.run.layout import MODELS_PATTERN, Artifact
from pnas_tf.run.step import Step
from pnas_tf.steps.devices import binary_of, on_devices, outputs_of, runtime_version, setup_of
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime
    from pnas_tf.devices.schedule import Runner

FEW_MODELS = 8  # more of them are measured in fewer rounds


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


def _run(job: Inputs) -> None:
    from pnas_tf.devices.record_file import save_measurements
    from pnas_tf.latency.drift import NOISE_PERCENT
    from pnas_tf.latency.measure_files import measure_files

    models, outputs = model_files(job), outputs_of(job, Artifact.BENCHMARK)

    def measure(name: str, runner: Runner, say: Callable[[str], None]) -> None:
        few = len(models) <= FEW_MODELS
        session = measure_files(models, setup_of(job, runner, say, few_models=few))
        profiles: dict[str, tuple[OperatorTime, ...]] = {}
        if job.configs[BenchmarkConfig].op_profile:
            measured = {model: models[model] for model in session.measurements}
            profiles = _profiles(runner, measured, say)
        save_measurements(
            job.folder / outputs[name],
            session.measurements,
            sentinel_ms=session.reference_ms,
            correction=session.correction,
            noise_percent=session.noise_percent,
            failures=session.failures,
            op_profiles={model: [asdict(row) for row in rows] for model, rows in profiles.items()},
        )
        if (session.noise_percent or 0.0) >= NOISE_PERCENT:
            say(
                f"WARNING halves of the session differ by {session.noise_percent:.1f} %: a "
                "comparison with these figures proves nothing; measure on a quieter device"
            )
        for model, entry in session.measurements.items():
            say(
                f"{model}: {entry.median_ms:.4g} ms (p10 {entry.p10_ms:.4g}, p90 "
                f"{entry.p90_ms:.4g}, by the clock {entry.raw_median_ms:.4g}, "
                f"{entry.invocations} invocations)"
            )
            for doubt in entry.doubts:
                say(f"WARNING {doubt}")
        for model, reason in session.failures.items():
            say(f"WARNING {model} was not measured: {reason}")

    on_devices(job, measure)


def _profiles(
    runner: Runner, models: Mapping[str, Path], say: Callable[[str], None]
) -> dict[str, tuple[OperatorTime, ...]]:
    """Model -> its ops' times, of which the slowest five are said. Where the runtime has no clock
    for them it says so."""
    from pnas_tf.devices.failures import RunFailed

    profile = getattr(runner, "profile", None)
    if profile is None:
        say("no op profile: LiteRT's Python API times whole inferences only")
        return {}
    found = {}
    for model, path in models.items():
        try:
            found[model] = profile(path)
        except RunFailed as error:
            say(f"WARNING no op profile of {model}: {error}")
            continue
        for row in sorted(found[model], key=lambda row: -row.avg_ms)[:5]:
            say(f"{model}: {row.node_type} {row.name}: {row.avg_ms:.4g} ms, {row.percent:.1f} %")
    return found


BENCHMARK: Step[Inputs] = Step(
    "benchmark",
    (RunConfig, DeviceConfig, ConversionConfig, BenchmarkConfig),
    _run,
    writes=lambda job: tuple(outputs_of(job, Artifact.BENCHMARK).values()),
    reads=lambda job: (*model_files(job).values(), *binary_of(job)),
    identity=lambda _: runtime_version(),
)
