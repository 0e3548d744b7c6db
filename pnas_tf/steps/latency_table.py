"""Measures the blocks of a search space on a device and writes latency_table.json of the run
folder.

  pnas latency-table --run_dir=runs/phone --space=proxyless --device=host

takes 1 to 3 minutes on 2 cores (proxyless, float32), most of it conversion, which is kept: a second
device costs only the measuring. A killed build goes on where it was. Prints how well whole networks
are predicted. With several devices (--device=host,android:SERIAL) they are measured at the same
time and each writes latency_table_DEVICE.json.
--measurements=5 --prior=FILE calibrates on a few networks instead (pnas calibrate).
--original_table=mobile.yaml reads a table of the original project instead of measuring.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    CalibrateConfig,
    ConversionConfig,
    DataConfig,
    DeviceConfig,
    ExportConfig,
    LatencyConfig,
    PretrainedConfig,
)
from pnas_tf.errors import number_of
from pnas_tf.run.layout import TABLES, Artifact
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import DETAILS, warn
from pnas_tf.steps import calibrate
from pnas_tf.steps.devices import (
    binary_of,
    host_runtime,
    on_devices,
    outputs_of,
    try_far_devices,
)
from pnas_tf.steps.inputs import OF_SPACE, Inputs

if TYPE_CHECKING:
    from pnas_tf.latency.measure_sources import MeasurementSetup
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.space.base import SearchSpace

CONFIGS = (
    *OF_SPACE,
    DeviceConfig,
    ConversionConfig,
    LatencyConfig,
    CalibrateConfig,
)


def _table_step(dtype: str | None = None) -> Step[Inputs]:
    """The step of the table of a number format; None: of --latency_dtype, the search's own."""
    name = Artifact.LATENCY_TABLE if dtype is None else TABLES[dtype]

    def options(job: Inputs) -> LatencyConfig:
        config = job.configs[LatencyConfig]
        return config if dtype is None else dataclasses.replace(config, latency_dtype=dtype)

    def outputs(job: Inputs) -> dict[str, str]:
        return {"original": str(name)} if _is_read(job) else outputs_of(job, name)

    def reads(job: Inputs) -> tuple[Path, ...]:
        if _is_read(job):
            return (Path(options(job).original_table),)
        return (*binary_of(job), *calibrate.reads(job))

    def run(job: Inputs) -> None:
        if _is_read(job):
            _read(job, options(job), job.folder / name)
        elif calibrate.is_asked(job):
            _calibrate(job, options(job), outputs(job))
        else:
            _build(job, options(job), outputs(job))

    def identity(job: Inputs) -> dict[str, object]:
        runtime = None if _is_read(job) else host_runtime(job)
        return {"space": job.space.to_json(), "runtime": runtime, "dtype": dtype}

    def summary(job: Inputs) -> str:
        files = outputs(job)
        return "; ".join(f"{device}: {_words(job.folder / file)}" for device, file in files.items())

    return Step(
        name.removesuffix(".json"),
        CONFIGS if dtype is None else (*CONFIGS, ExportConfig),
        run,
        writes=lambda job: tuple(outputs(job).values()),
        reads=reads,
        identity=identity,
        wanted=lambda job: dtype is None or _is_exported(job, dtype),
        summary=summary,
        indirect=(DataConfig, PretrainedConfig),  # classes of the space, and which it is
        unused=lambda job: (
            ExportConfig,  # only asked whether the table is wanted
            *((DeviceConfig, CalibrateConfig) if _is_read(job) else ()),
        ),
    )


def _is_exported(job: Inputs, dtype: str) -> bool:
    """Whether files of another number format than the search's own will be made of it, and can be
    measured: a published table is of one format."""
    other = job.configs[LatencyConfig].latency_dtype != dtype
    return other and dtype in job.configs[ExportConfig].formats and not _is_read(job)


def _is_read(job: Inputs) -> bool:
    return bool(job.configs[LatencyConfig].original_table)


def _read(job: Inputs, config: LatencyConfig, path: Path) -> None:
    """A table of the original project, or of Once-for-all, as a table of ours."""
    from pnas_tf.interop.latency_yaml import load_upstream_table

    table = load_upstream_table(
        config.original_table, space=job.space, device=config.original_device
    )
    table.save(path)
    other = table.identity.dtype != config.latency_dtype
    dtype = [f"of {table.identity.dtype}, though --latency_dtype={config.latency_dtype}"] * other
    for warning in [*_lacks(table, job.space), *dtype]:
        warn(warning)
    tell_table(table)


def _build(job: Inputs, config: LatencyConfig, outputs: dict[str, str]) -> None:
    from pnas_tf.latency.build import build_latency_table, convert_ahead

    try_far_devices(job)
    space, conversion = job.space, job.configs[ConversionConfig]
    convert_ahead(space, config, conversion, seed=job.seed, progress=DETAILS)

    def build(name: str, setup: MeasurementSetup) -> None:
        table = build_latency_table(space, setup, config, seed=job.seed)
        table.save(job.folder / outputs[name])
        failed = [f"{key}: {why}" for key, why in table.failures.items()]
        for warning in _lacks(table, space):
            warn(f"{name}: {warning}", failed)
        slow = table.kernel7_warnings(space)
        if slow:
            warn(
                f"{name}: {len(slow)} blocks with 7x7 kernels are slow there, and a search will "
                "avoid them; an export with the rewrite split_depthwise makes them fast",
                slow,
            )
        tell_table(table)

    on_devices(job, build)


def _calibrate(job: Inputs, config: LatencyConfig, outputs: dict[str, str]) -> None:
    """Tables from a few measured networks."""
    from pnas_tf.latency.calibrate import calibrate as calibrated

    few = job.configs[CalibrateConfig]
    known = {name: calibrate.knowledge(job, config, path) for name, path in outputs.items()}

    def build(name: str, setup: MeasurementSetup) -> None:
        table = calibrated(job.space, setup, config, few, known[name], seed=job.seed)
        table.save(job.folder / outputs[name])
        tell_table(table)

    on_devices(job, build)


def tell_table(table: LatencyTable) -> None:
    """What a reader of the table must know, and the whole of its description."""
    of = f"{table.identity.device.kind}, {table.identity.dtype}"
    for doubt in table.doubts():
        warn(f"{of}: {doubt.meaning}", doubt.details)
    DETAILS(table.describe())


def _words(path: Path) -> str:
    """What came of it, for the terminal."""
    from pnas_tf.latency.table import LatencyTable

    table = LatencyTable.load(path)
    of = f"{number_of(len(table.keys), 'block')} in {table.identity.dtype}"
    if table.few_shot is not None:
        return f"{of}, {table.few_shot.describe()}"
    if table.calibration is None:
        return f"{of}, uncalibrated: sums of blocks alone, lower than whole networks"
    error = table.calibration.held_out_mape_percent
    return f"{of} timed; whole networks are predicted to within {error:.1f} % on average"


def _lacks(table: LatencyTable, space: SearchSpace) -> list[str]:
    """What the table has not of `space`, and what to do; empty where it has all."""
    from pnas_tf.latency.few_shot import MEASURE_ANEW

    missing = table.missing(space)
    if not missing:
        return []
    reason = next((f" ({table.failures[key]})" for key in missing if key in table.failures), "")
    return [
        f"{len(missing)} of the {len(space.distinct_blocks())} blocks of space '{space.name}' are "
        f"missing, e.g. '{missing[0]}'{reason}. A search on this table will be refused: measure "
        f"all of it ({MEASURE_ANEW}, with this --run_dir), or take a space, --resolution and "
        "--width that the table has, in another --run_dir"
    ]


LATENCY_TABLE = _table_step()
LATENCY_TABLE_INT8 = _table_step("int8")
