"""Measures exported models on a device and writes latency.json of the run folder.

  pnas benchmark --run_dir=runs/demo --device=host

takes a few seconds and prints one line a model: median, p10, p90, and what is wrong with unstable
measurements.
--models=a.tflite,b.tflite measures given files; --op_profile adds the time of every op where the
device's tool gives it;
--device=android:A,android:B measures on several devices at the same time, each with its
latency_DEVICE.json.
"""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pnas_tf.config import BenchmarkConfig, ConversionConfig, DeviceConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder
from pnas_tf.steps.on_devices import on_devices, outputs_of

CONFIGS = (RunConfig, DeviceConfig, ConversionConfig, BenchmarkConfig)
BORROWED = (DeviceConfig,)
FEW_MODELS = 8  # more of them are measured in fewer rounds


def main(
    folder: RunFolder,
    run: RunConfig,
    device: DeviceConfig,
    conversion: ConversionConfig,
    config: BenchmarkConfig,
) -> None:
    """The benchmark step of a run."""
    models = model_files(folder.path, config.models)
    outputs = outputs_of(device.device, "latency.json")
    inputs = {
        "models": models,
        "device": device,
        "seed": run.seed,
        "op_profile": config.op_profile,
    }
    folder.step(
        "benchmark",
        inputs=inputs,
        outputs=list(outputs.values()),
        work=functools.partial(
            _measure, folder, models, (device, conversion), run.seed, outputs, config.op_profile
        ),
    )
    for output in outputs.values():
        print(f"wrote {folder / output}")


def model_files(run_dir: Path, given: tuple[str, ...]) -> dict[str, Path]:
    """Name -> file: those given, or the run folder's. Raises UserError when there are none or two
    of one name."""
    paths = [Path(name) for name in given] or sorted(run_dir.glob("model_*.tflite"))
    models = {path.stem: path for path in paths}
    if not models or len(models) < len(paths):
        raise UserError(
            "models to measure",
            expected="model_*.tflite in the run folder, or --models with distinct file names",
            received=", ".join(map(str, paths)) or f"none in {run_dir}",
            fix=f"Export first: pnas export --run_dir={run_dir}",
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


def _measure(
    folder: RunFolder,
    models: dict[str, Path],
    configs: tuple[DeviceConfig, ConversionConfig],
    seed: int,
    outputs: dict[str, str],
    op_profile: bool,
) -> None:
    from pnas_tf.devices.record_file import save_measurements
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.measure_files import measure_files
    from pnas_tf.latency.measure_sources import MeasurementSetup

    device, conversion = configs

    def measure(name: str, runner: Any) -> None:
        schedule = schedule_for(device, runner, seed=seed, few_models=len(models) <= FEW_MODELS)
        session = measure_files(
            models,
            MeasurementSetup(runner, schedule, conversion, lambda line: print(f"{name}: {line}")),
        )
        profiles = (
            _profiles(name, runner, {model: models[model] for model in session.measurements})
            if op_profile
            else {}
        )
        save_measurements(
            folder / outputs[name],
            session.measurements,
            sentinel_ms=session.reference_ms,
            failures=session.failures,
            op_profiles={model: [asdict(row) for row in rows] for model, rows in profiles.items()},
        )
        for model, entry in session.measurements.items():
            print(
                f"{name}: {model}: {entry.median_ms:.4g} ms (p10 {entry.p10_ms:.4g}, p90 "
                f"{entry.p90_ms:.4g}, "
                f"{entry.invocations} invocations)"
                + "".join(f"\n{name}: WARNING {problem}" for problem in entry.problems)
            )
        for model, reason in session.failures.items():
            print(f"{name}: WARNING {model} was not measured: {reason}")

    on_devices(device, measure)


def _profiles(name: str, runner: Any, models: dict[str, Path]) -> dict[str, Any]:
    """Model -> its ops' times, printed with the slowest five. Where the runtime has no clock for
    them it says so."""
    from pnas_tf.devices.failures import RunFailed

    if not hasattr(runner, "profile"):
        print(f"{name}: no op profile: LiteRT's Python API times whole inferences only")
        return {}
    found = {}
    for model, path in models.items():
        try:
            found[model] = runner.profile(path)
        except RunFailed as error:
            print(f"{name}: WARNING no op profile of {model}: {error}")
            continue
        for row in sorted(found[model], key=lambda row: -row.avg_ms)[:5]:
            print(
                f"{name}: {model}: {row.node_type} {row.name}: {row.avg_ms:.4g} ms, "
                f"{row.percent:.1f} %"
            )
    return found
