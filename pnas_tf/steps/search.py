"""Learns an architecture on the dataset and for the device whose latency_table.json lies in the run
folder.

  pnas search --run_dir=runs/demo --dataset=digits

takes about a minute on 2 cores (digits, space tiny) and writes search/history.json,
search/checkpoints, architecture.json and derivation.json. Of the most probable architectures that
fit the target latency (--derive_networks), the few that are best with the searched weights are
trained on for a moment (--derive_trained, --derive_train_epochs), and the best of them is taken. A
stopped search goes on from its last checkpoint. With --sweep=0.2,0.3 it also derives one
architecture for each budget, evaluates them with inherited weights on the alpha split, and writes
sweep.json and sweep.png.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    DeviceConfig,
    DistributionConfig,
    OptimizerConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.folder import RunFolder

if TYPE_CHECKING:
    from pnas_tf.search.api import SearchResult
    from pnas_tf.search.objective import Target

CONFIGS = (
    RunConfig,
    DataConfig,
    SpaceConfig,
    SearchConfig,
    DeriveConfig,
    DeviceConfig,
    OptimizerConfig,
    DistributionConfig,
)
BORROWED = (DeviceConfig,)


def main(
    folder: RunFolder,
    run: RunConfig,
    data: DataConfig,
    space_config: SpaceConfig,
    config: SearchConfig,
    derive: DeriveConfig,
    device: DeviceConfig,
    optimizer: OptimizerConfig,
    distribution: DistributionConfig,
) -> None:
    """The search step of a run, then the derivation."""
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.data.run_space import space_of_run
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.api import SearchResult, derivation_budget, search_architecture
    from pnas_tf.search.targets import check_request, latency_budget, search_targets, table_files
    from pnas_tf.supernet.engine_choice import check_engine
    from pnas_tf.supernet.functional import Arithmetic
    from pnas_tf.training.distribution import start

    if distribution.strategy == "multi_worker" and (config.algorithm, config.rl_latency) == (
        "reinforce",
        "device",
    ):
        raise UserError(
            "--rl_latency=device with --strategy=multi_worker",
            expected="latencies that every worker knows",
            received="a device of one of them",
            fix="Use --rl_latency=table.",
        )
    check_request(config)
    started = start(distribution)
    check_engine(
        config.engine, Arithmetic(jit_compile=distribution.jit_compile, replicas=started.replicas)
    )
    space = space_of_run(data, space_config)
    table = LatencyTable.load(folder / "latency_table.json")
    targets = search_targets(space, table, config)
    budget = derivation_budget(space, table, targets, derive)
    budgets = [
        latency_budget(space, table, milliseconds, flag="--sweep")
        for milliseconds in sweep_budgets(derive)
    ]
    dataset = load_dataset(data, resolution=space.resolution)
    identity = {
        "space": space.to_json(),
        "dataset": dataset.fingerprint,
        "search": config,
        "optimizer": optimizer,
        "seed": run.seed,
        "distribution": distribution,
        "targets": [(target.quantity.name, target.value) for target in targets],
        "tables": tables_read(folder.path, config),
    }
    for origin, doubted in [
        ("latency_table.json", table),
        *((name, LatencyTable.load(name)) for name in table_files(config.also)),
    ]:
        print(
            f"{origin}: {doubted.describe()}"
            + "".join(f"\nWARNING {origin}: {warning}" for warning in doubted.warnings())
        )
    for target in targets:
        print(f"target: {target.value:.4g} {target.quantity.unit} ({target.quantity.name})")
    folder.step(
        "search",
        inputs=identity,
        outputs=["search/history.json"],
        partial=["search"],
        work=functools.partial(
            search_architecture,
            space,
            dataset,
            table,
            config,
            folder=folder / "search",
            optimizer=optimizer,
            targets=targets,
            device=device,
            options=distribution,
            distribution=started,
            seed=run.seed,
        ),
    )
    if folder.follows:
        return
    deriving = {
        "history": folder / "search/history.json",
        "derive": derive,
        "seed": run.seed,
        "max_latency_ms": derive.max_latency_ms,
        "min_latency_fraction": derive.min_latency_fraction,
        "targets": identity["targets"],
        "tables": identity["tables"],
        "batch_size": config.search_batch_size,
        "optimizer": optimizer,
        "dataset": dataset.fingerprint,
    }
    found = SearchResult(
        folder / "search", space, dataset, table, tuple(targets), config, optimizer, run.seed
    )
    folder.step(
        "derive",
        inputs=deriving,
        outputs=["architecture.json", "derivation.json"],
        work=lambda: found.derivation(derive, budget=budget, progress=print).save(folder.path),
    )
    print(f"wrote {folder / 'architecture.json'}")
    if budgets:
        folder.step(
            "sweep",
            inputs={**deriving, "sweep": [target.value for target in budgets]},
            outputs=["sweep.json", "sweep.png"],
            work=functools.partial(_sweep, folder, found, budgets, derive),
        )


def _sweep(
    folder: RunFolder, found: SearchResult, budgets: Sequence[Target], derive: DeriveConfig
) -> None:
    """Writes an architecture for each budget, with its accuracy by supernet weights."""
    from pnas_tf.report.pareto_plot import plot_front

    rows = []
    for point in found.sweep(budgets, derive, progress=print):
        name = f"sweep/architecture_{point.budget_ms:g}ms.json"
        point.architecture.save(folder / name)
        rows.append(
            {
                "budget_ms": point.budget_ms,
                "architecture": name,
                "predicted_ms": point.predicted_ms,
                "alpha_accuracy": point.alpha_accuracy,
                "macs": point.architecture.macs,
                "parameters": point.architecture.parameters,
            }
        )
        print(
            f"budget {point.budget_ms:g} ms: predicted {point.predicted_ms:.4g} ms, "
            f"{point.architecture.macs} MACs, top-1 on the alpha split {point.alpha_accuracy:.2%}"
        )
    plot_front(rows, folder / "sweep.png")
    atomic.write_json(
        folder / "sweep.json", {"format": "pnas_tf/sweep", "version": 1, "networks": rows}
    )
    print(f"wrote {folder / 'sweep.json'} and {folder / 'sweep.png'}")


def sweep_budgets(derive: DeriveConfig) -> list[float]:
    """The budgets of --sweep in ms. Raises UserError on what is no number."""
    try:
        return [float(text) for text in derive.sweep]
    except ValueError as error:
        raise UserError(
            "--sweep",
            expected="budgets in ms, comma-separated",
            received=repr(",".join(derive.sweep)),
            fix="Write e.g. --sweep=40,60,80",
        ) from error


def tables_read(folder: Path, config: SearchConfig) -> list[Path]:
    """The latency tables that a search reads, the run's own first; they count by content."""
    from pnas_tf.search.targets import table_files

    return [folder / "latency_table.json", *(Path(name) for name in table_files(config.also))]
