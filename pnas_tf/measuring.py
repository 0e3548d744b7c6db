"""The public API's measuring half: devices, latency tables, and the times of exported files.

The other half, which learns, is `api.py`. Every option is a field of a class in `pnas_tf.config`.
Importing this loads no TensorFlow.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    CalibrateConfig,
    ConversionConfig,
    DeviceConfig,
    LatencyConfig,
    RunConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.run.os_errors import as_users
from pnas_tf.run.terminal import DETAILS

if TYPE_CHECKING:
    from pnas_tf.devices.record import Measurement
    from pnas_tf.latency.measure_sources import MeasurementSetup
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.exported_model import ExportedModels

Progress = Callable[[str], None]


def device(
    name: str = DeviceConfig.device,
    *,
    threads: int = DeviceConfig.threads,
    delegate: str = DeviceConfig.delegate,
    benchmark_binary: str = DeviceConfig.benchmark_binary,
) -> DeviceConfig:
    """What models are measured on. It is opened when something is measured.

    Rarer options are arguments of `pnas_tf.config.DeviceConfig`, which this makes.

    Args:
        name: "host", "android" (the only one attached), "android:SERIAL" or
            "ssh:USER@HOST[:PORT]".
        threads: of the interpreter.
        delegate: "xnnpack", "none"; on Android also "gpu", "nnapi" and "npu".
        benchmark_binary: path of benchmark_model for far devices (docs/devices.md).

    Raises:
        UserError: there is no such kind of device.
    """
    from pnas_tf.devices.registry import split_devices

    split_devices(name)
    return DeviceConfig(
        device=name, threads=threads, delegate=delegate, benchmark_binary=benchmark_binary
    )


@as_users()
def measure_latency(
    space: SearchSpace,
    device: DeviceConfig = DeviceConfig(),
    *,
    config: LatencyConfig = LatencyConfig(),
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = DETAILS,
) -> LatencyTable:
    """Measures every block of a space on a device (Cai et al. 2019, section 3.3).

    Args:
        space: what will be searched.
        device: one device.
        config: number format, export rewrites and calibration networks.
        conversion: processes that convert, and the folder of converted models.
        seed: of the calibration networks and of the order of measurements.
        progress: called with lines for the user; without it he sees how far it is.

    Returns:
        The lookup table, in ms; `save` and `load` keep it.

    Raises:
        UserError: a conversion fails, or the device is absent, refuses or is lost. What was
            measured is kept, and the same call goes on.
    """
    from pnas_tf.latency.build import build_latency_table, convert_ahead
    from pnas_tf.steps.requests import check_given

    _refuse_published(config)
    check_given(config, device)
    convert_ahead(space, config, conversion, seed=seed, progress=progress)
    with _measuring(device, conversion, seed=seed, progress=progress) as setup:
        return build_latency_table(space, setup, config, seed=seed)


@as_users()
def calibrate(
    space: SearchSpace,
    device: DeviceConfig = DeviceConfig(),
    *,
    few: CalibrateConfig = CalibrateConfig(),
    config: LatencyConfig = LatencyConfig(),
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = DETAILS,
) -> LatencyTable:
    """Estimates the table of `measure_latency` from a few measured networks.

    Args:
        space: what will be searched.
        device: one device.
        few: how many networks, up to which error, and what is known before: the file of a prior
            (`pnas learn-prior`), or an old table.
        config: number format and export rewrites.
        conversion: processes that convert, and the folder of converted models.
        seed: of the networks to choose from and of the order of measurements.
        progress: called with lines for the user; without it he sees how far it is.

    Returns:
        The lookup table, in ms; `describe` and `warnings` say what it comes from and what error to
        expect.

    Raises:
        UserError: a file is no prior or table, or of another number format or runtime, a conversion
            fails, or the device is absent, refuses or is lost.
    """
    from pnas_tf.latency.calibrate import calibrate as calibrated
    from pnas_tf.latency.knowledge import knowledge_of
    from pnas_tf.steps.requests import check_given

    _refuse_published(config)
    # Networks are measured here however many `few` says.
    check_given(dataclasses.replace(few, measurements=few.measurements or 1), config, device)
    known = knowledge_of(few, space, config)
    with _measuring(device, conversion, seed=seed, progress=progress) as setup:
        return calibrated(space, setup, config, few, known, seed=seed)


@as_users()
def benchmark(
    files: Mapping[str, str | os.PathLike] | ExportedModels,
    device: DeviceConfig = DeviceConfig(),
    *,
    conversion: ConversionConfig = ConversionConfig(),
    seed: int = RunConfig.seed,
    progress: Progress = DETAILS,
) -> Mapping[str, Measurement]:
    """Measures .tflite files on a device, interleaved.

    Args:
        files: of `export`, or name -> path.
        device: one device.
        conversion: the folder where the reference model is kept.
        seed: of the order of measurements.
        progress: called with lines for the user; without it he sees how far it is.

    Returns:
        Name -> measurement, with `median_ms`, `p90_ms` and the raw samples.

    Raises:
        UserError: a file is no model, none could be measured, or the device is absent or lost.
    """
    from pnas_tf.latency.measure_files import measure_files
    from pnas_tf.steps.requests import check_given
    from pnas_tf.tflite.exported_model import ExportedModels

    check_given(device)
    with tempfile.TemporaryDirectory(prefix="pnas_") as scratch:
        paths = files.save(scratch) if isinstance(files, ExportedModels) else _paths(files)
        with _measuring(device, conversion, seed=seed, progress=progress, few=True) as setup:
            return measure_files(
                {name: Path(path) for name, path in paths.items()}, setup
            ).measurements


def _paths(files: object) -> Mapping[str, str | os.PathLike]:
    """Raises UserError where `files` are not names and paths."""
    others: list[object] = [files]
    if isinstance(files, Mapping):
        others = [each for each in files.values() if not isinstance(each, (str, os.PathLike))]
        if not others:
            return files
    raise UserError(
        "files to measure",
        expected="what pnas_tf.export gave, as a whole, or name -> path",
        received=type(others[0]).__name__,
        fix="Give paths by name: {'mine': 'mine.tflite'}; exported.save(FOLDER) gives those of "
        "exported models.",
    )


def _refuse_published(config: LatencyConfig) -> None:
    if config.original_table:
        raise UserError(
            f"a measurement with original_table={config.original_table!r}",
            expected="blocks or networks to measure",
            received="a published table to read",
            fix="Read it by pnas latency-table --original_table, then LatencyTable.load.",
        )


@contextlib.contextmanager
def _measuring(
    device: DeviceConfig,
    conversion: ConversionConfig,
    *,
    seed: int,
    progress: Progress,
    few: bool = False,
) -> Iterator[MeasurementSetup]:
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.measure_sources import MeasurementSetup

    runner = runner_for(device, say=progress)
    try:
        schedule = schedule_for(device, runner, seed=seed, few_models=few)
        setup = MeasurementSetup(runner, schedule, conversion, progress)
        yield setup
        setup.forget_sessions()  # the caller has what they gave
    finally:
        runner.close()
