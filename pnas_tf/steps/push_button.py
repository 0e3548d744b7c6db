"""The whole way: dataset and latency in, a measured .tflite out.

  pnas run --dataset=digits --target_latency_ms=auto --run_dir=runs/demo

takes about 5 minutes on 2 cores and leaves model_float32.tflite, model_int8.tflite, summary.json
and report.html in the run folder. Each step (latency table, search, train, export, benchmark) is
also a program of its own on the same folder; a step that is complete and whose inputs have not
changed is skipped, so a run that was stopped goes on with the same command.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from pnas_tf.config import (
    BenchmarkConfig,
    ConversionConfig,
    DataConfig,
    DeriveConfig,
    DeviceConfig,
    DistributionConfig,
    ExportConfig,
    LatencyConfig,
    OptimizerConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.follower import RunFollower
from pnas_tf.steps import benchmark, build_latency_table, export, search, train

CONFIGS = (
    RunConfig,
    DataConfig,
    SpaceConfig,
    SearchConfig,
    DeriveConfig,
    TrainConfig,
    DeviceConfig,
    OptimizerConfig,
    LatencyConfig,
    ExportConfig,
    BenchmarkConfig,
    ConversionConfig,
    DistributionConfig,
)


def main(folder: RunFolder, *configs: Any) -> None:
    """All steps, the closing table and the report."""
    from pnas_tf.training.distribution import start

    by_class = {type(config): config for config in configs}
    start(by_class[DistributionConfig])  # before anything of TensorFlow runs

    def step(tool: Any, **changed: Any) -> None:
        started = time.monotonic()
        print(f"\n== {tool.__name__.removeprefix('pnas_tf.steps.')}", flush=True)
        tool.main(folder, *(by_class[config_class] for config_class in tool.CONFIGS), **changed)
        print(f"   {time.monotonic() - started:.0f} s", flush=True)

    if isinstance(folder, RunFollower):  # the other steps are the chief's alone
        folder.wait_for("latency_table", "latency_table.json")
        step(search)
        folder.wait_for("derive", "architecture.json")
        step(train)
        return
    _check(
        *(
            by_class[config_class]
            for config_class in (
                DataConfig,
                SpaceConfig,
                SearchConfig,
                DeriveConfig,
                DeviceConfig,
                ExportConfig,
            )
        )
    )
    step(build_latency_table)
    step(search)
    step(train)
    if "int8" in by_class[ExportConfig].formats and by_class[LatencyConfig].latency_dtype != "int8":
        by_class[LatencyConfig] = dataclasses.replace(by_class[LatencyConfig], latency_dtype="int8")
        step(
            build_latency_table, output="latency_table_int8.json"
        )  # before the export, which takes the rewrites that pay in int8
    step(export)
    step(benchmark)
    _close(
        folder,
        *(by_class[config_class] for config_class in (DataConfig, SpaceConfig, SearchConfig)),
    )


def _check(
    data: DataConfig,
    space_config: SpaceConfig,
    config: SearchConfig,
    derive: DeriveConfig,
    device: DeviceConfig,
    export_config: ExportConfig,
) -> None:
    """Refuses what no step could use, before any work starts."""
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.data.run_space import space_of_run
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.search.targets import check_request
    from pnas_tf.tflite.export import check_config

    check_config(export_config)
    check_request(config)
    search.sweep_budgets(derive)
    runner_for(device).close()
    dataset = load_dataset(data, resolution=space_of_run(data, space_config).resolution)
    print(
        f"{dataset.name}: {len(dataset.class_names)} classes; {dataset.weights_size} images for "
        f"weights, {dataset.alpha_size} for alpha, "
        f"{dataset.test_size} for testing"
    )


def _close(
    folder: RunFolder, data: DataConfig, space_config: SpaceConfig, config: SearchConfig
) -> None:
    from pnas_tf.data.run_space import space_of_run
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.report.page import write_report
    from pnas_tf.report.summary import write_summary
    from pnas_tf.report.summary_table import text_table
    from pnas_tf.search.targets import search_targets

    targets = search_targets(
        space_of_run(data, space_config), LatencyTable.load(folder / "latency_table.json"), config
    )
    summary = write_summary(
        folder, dataset=data.dataset, objective=config.objective, target=targets[0]
    )
    print("\n" + text_table(summary))
    print(f"\nwrote {folder / 'summary.json'} and {write_report(folder.path)}")
