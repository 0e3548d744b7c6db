"""Compares predicted with measured latency on random networks and writes validation.json and
validation.png.

  pnas validate --run_dir=runs/phone --space=proxyless --networks=40 --max_mape=3

takes about 5 minutes on 2 cores (proxyless; most of it conversion) and prints bias, mean absolute
error, rank correlations, the session's noise floor and the MACs-only baseline. Uses
latency_table.json of the run folder (pnas latency-table). Exit status 1 when the mean
absolute error in percent is above --max_mape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnas_tf.config import (
    ConversionConfig,
    DataConfig,
    DeviceConfig,
    RunConfig,
    SpaceConfig,
    ValidateConfig,
)
from pnas_tf.run.folder import RunFolder

CONFIGS = (RunConfig, DataConfig, SpaceConfig, DeviceConfig, ConversionConfig, ValidateConfig)
BORROWED = (DeviceConfig,)


def main(
    folder: RunFolder,
    run: RunConfig,
    data: DataConfig,
    space_config: SpaceConfig,
    device: DeviceConfig,
    conversion: ConversionConfig,
    config: ValidateConfig,
) -> int:
    """Validates the run's table; the exit status says whether the bound held."""
    from pnas_tf.data.run_space import space_of_run
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency import validate
    from pnas_tf.latency.measure_sources import MeasurementSetup
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.report.validation_plot import plot_validation
    from pnas_tf.space.architecture import Architecture

    table = LatencyTable.load(folder / "latency_table.json")
    if config.architectures:
        networks = {Path(name).stem: Architecture.load(name) for name in config.architectures}
    else:
        networks = validate.held_out_architectures(
            space_of_run(data, space_config), count=config.networks, seed=run.seed
        )
    runner = runner_for(device)
    try:
        schedule = schedule_for(device, runner, seed=run.seed)
        document = validate.validate(
            table, networks, MeasurementSetup(runner, schedule, conversion, print)
        )
    finally:
        runner.close()
    document["max_mape_percent"] = config.max_mape
    validate.save(folder / "validation.json", document)
    plot_validation(document, folder / "validation.png")
    _print(document)
    print(f"wrote {folder / 'validation.json'} and {folder / 'validation.png'}")
    mape_percent = document["mape_percent"]
    assert isinstance(mape_percent, float)
    if config.max_mape is not None and mape_percent > config.max_mape:
        print(f"mean absolute error {mape_percent:.2f} % is above --max_mape={config.max_mape:g}")
        return 1
    return 0


def _print(document: dict[str, Any]) -> None:
    print(document["table"])
    for warning in document["warnings"]:
        print(f"WARNING {warning}")
    rows = (
        ("table and calibration of the measuring session", document),
        ("calibration stored in the table", document["stored_calibration"]),
        ("the same, drift corrected by the sentinel", document["stored_drift_corrected"]),
        ("MACs only", document["macs_only"]),
    )
    for name, row in rows:
        print(
            f"{name}: {row['networks']} networks, bias {row['bias_percent']:+.2f} %, MAPE "
            f"{row['mape_percent']:.2f} %, "
            f"RMSE {row['rmse_ms']:.4g} ms, within 5 % {row['within_5_percent']:.0f} %, within 10 "
            f"% {row['within_10_percent']:.0f} %, "
            f"Spearman {_rank(row['spearman'])}, Kendall {_rank(row['kendall'])}"
        )
    print(f"noise floor of the measuring session: {document['noise_floor_mape_percent']:.2f} %")
    for entry in document["worst"]:
        slowest = sorted(entry["blocks"], key=lambda block: -block["latency_ms"])[:3]
        print(
            f"{entry['name']}: {entry['error_percent']:+.1f} %, slowest blocks: "
            + ", ".join(f"{block['block']} {block['latency_ms']:.3g} ms" for block in slowest)
        )


def _rank(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
