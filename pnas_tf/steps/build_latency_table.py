"""Measures the blocks of a search space on a device and writes latency_table.json of the run
folder.

  pnas latency-table --run_dir=runs/phone --space=proxyless --device=host

takes 1 to 3 minutes on 2 cores (proxyless, float32), most of it conversion, which is kept: a second
device costs only the measuring. A killed build goes on where it was. Prints warnings and the
table's one-line description. With several devices (--device=host,android:SERIAL) they are measured
at the same time and each writes latency_table_DEVICE.json.
--original_table=mobile.yaml reads a table of the original project instead of measuring.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from pnas_tf.config import (
    ConversionConfig,
    DataConfig,
    DeviceConfig,
    LatencyConfig,
    RunConfig,
    SpaceConfig,
)
from pnas_tf.run.folder import RunFolder
from pnas_tf.steps.on_devices import on_devices, outputs_of

CONFIGS = (RunConfig, DataConfig, SpaceConfig, DeviceConfig, ConversionConfig, LatencyConfig)


def main(
    folder: RunFolder,
    run: RunConfig,
    data: DataConfig,
    space_config: SpaceConfig,
    device: DeviceConfig,
    conversion: ConversionConfig,
    latency: LatencyConfig,
    *,
    output: str = "latency_table.json",
) -> None:
    """The table step of a run. output: the table's name in the folder; a second table is a step of
    its own."""
    from pnas_tf.data.run_space import space_of_run

    space = space_of_run(data, space_config)
    outputs = outputs_of(device.device, output)
    inputs = {
        "space": space.to_json(),
        "device": device,
        "latency": latency,
        "seed": run.seed,
    }
    if latency.original_table:
        inputs = {
            "space": space.to_json(),
            "original_table": Path(latency.original_table),
            "device": latency.original_device,
        }
        outputs = {"original": output}
    folder.step(
        output.removesuffix(".json"),
        inputs=inputs,
        outputs=list(outputs.values()),
        work=functools.partial(_read, folder / output, space, latency)
        if latency.original_table
        else functools.partial(
            _build, folder, space, (device, conversion, latency), run.seed, outputs
        ),
    )
    for written in outputs.values():
        print(f"wrote {folder / written}")


def _read(output: Path, space: Any, latency: LatencyConfig) -> None:
    """A table of the original project as a table of ours."""
    from pnas_tf.interop.latency_yaml import load_original

    table = load_original(latency.original_table, space=space, device=latency.original_device)
    table.save(output)
    for warning in table.warnings():
        print(f"WARNING {warning}")
    print(table.describe())


def _build(
    folder: RunFolder,
    space: Any,
    configs: tuple[DeviceConfig, ConversionConfig, LatencyConfig],
    seed: int,
    outputs: dict[str, str],
) -> None:
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.build import build_latency_table, convert_ahead
    from pnas_tf.latency.measure_sources import MeasurementSetup

    device, conversion, latency = configs
    convert_ahead(space, latency, conversion, seed=seed, progress=print)

    def build(name: str, runner: Any) -> None:
        schedule = schedule_for(device, runner, seed=seed)
        setup = MeasurementSetup(
            runner, schedule, conversion, lambda line: print(f"{name}: {line}")
        )
        table = build_latency_table(space, setup, latency, seed=seed)
        table.save(folder / outputs[name])
        failed = [f"failed: {key}: {why}" for key, why in table.failures.items()]
        for warning in [*table.warnings(), *table.kernel7_warnings(space), *failed]:
            print(f"{name}: WARNING {warning}")
        print(f"{name}: {table.describe()}")

    on_devices(device, build)
