"""Learns an architecture on the dataset and for the device whose latency_table.json lies in the run folder.

  python -m tools.search --run_dir=runs/demo --dataset=digits

takes about a minute on 2 cores (digits, space tiny) and writes search/history.json, search/checkpoints and
architecture.json, which is the most probable architecture that fits the target latency. A stopped search goes on from its
last checkpoint. With --sweep=0.2,0.3 it also derives one architecture for each budget, evaluates them with inherited
weights on the alpha split, and writes sweep.json and sweep.png.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from pnas_tf import files
from pnas_tf.config import DataConfig, DeriveConfig, DistributionConfig, LatencyConfig, RunConfig, SearchConfig, SpaceConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.run_folder import RunFolder
from tools.program import program

CONFIGS = (RunConfig, DataConfig, SpaceConfig, SearchConfig, DeriveConfig, LatencyConfig, TrainConfig, DistributionConfig)


def main(folder: RunFolder, run: RunConfig, data: DataConfig, space_config: SpaceConfig, config: SearchConfig, derive: DeriveConfig,
         latency: LatencyConfig, recipe: TrainConfig, distribution: DistributionConfig) -> None:
    """The search step of a run, then the derivation."""
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.target import latency_budget, search_targets, table_files
    from pnas_tf.training.data import load_dataset
    from pnas_tf.training.distribution import start
    from pnas_tf.training.run_space import space_of_run

    if distribution.strategy == "multi_worker" and (config.algorithm, config.rl_latency) == ("reinforce", "device"):
        raise UserError("--rl_latency=device with --strategy=multi_worker", expected="latencies that every worker knows",
                        received="a device of one of them", fix="Use --rl_latency=table.")
    started = start(distribution)
    space = space_of_run(data, space_config)
    table = LatencyTable.load(folder / "latency_table.json")
    targets = search_targets(space, table, config)
    budget = targets[0] if derive.max_latency_ms is None else latency_budget(space, table, derive.max_latency_ms, flag="--max_latency_ms")
    budgets = [latency_budget(space, table, milliseconds, flag="--sweep") for milliseconds in sweep_budgets(derive)]
    dataset = load_dataset(data, resolution=space.resolution)
    weights_recipe = {name: getattr(recipe, name) for name in ("momentum", "nesterov", "weight_decay", "no_decay", "label_smoothing",
                                                               "bn_momentum", "bn_epsilon")}
    identity = {"space": space.to_json(), "dataset": dataset.fingerprint, "search": config, "recipe": weights_recipe, "seed": run.seed,
                "distribution": distribution,
                "targets": [(target.quantity.name, target.value) for target in targets], "table": folder / "latency_table.json"}
    for origin, doubted in [("latency_table.json", table), *((name, LatencyTable.load(name)) for name in table_files(config.also))]:
        print(f"{origin}: {doubted.describe()}" + "".join(f"\nWARNING {origin}: {warning}" for warning in doubted.warnings()))
    for target in targets:
        print(f"target: {target.value:.4g} {target.quantity.unit} ({target.quantity.name})")
    folder.step("search", inputs=identity, outputs=["search/history.json"], partial=["search"],
                work=functools.partial(_search, folder, run, config, recipe, latency, space, dataset, table, targets, distribution,
                                       started))
    if folder.follows:
        return
    deriving = {"history": folder / "search/history.json", "derive": derive.derive, "max_latency_ms": derive.max_latency_ms,
                "min_latency_fraction": derive.min_latency_fraction, "targets": identity["targets"], "table": identity["table"]}
    folder.step("derive", inputs=deriving, outputs=["architecture.json"],
                work=functools.partial(_derive, folder, derive, space, budget))
    print(f"wrote {folder / 'architecture.json'}")
    if budgets:
        folder.step("sweep", inputs={**deriving, "sweep": [target.value for target in budgets], "recipe": weights_recipe,
                                      "dataset": dataset.fingerprint},
                    outputs=["sweep.json", "sweep.png"],
                    work=functools.partial(_sweep, folder, recipe, config, derive, space, dataset, budgets))


def _search(folder: RunFolder, run: RunConfig, config: SearchConfig, recipe: TrainConfig, latency: LatencyConfig, space: Any,
            dataset: Any, table: Any, targets: Any, distribution: DistributionConfig, started: Any) -> None:
    import tensorflow as tf

    from pnas_tf.benchmark.devices import runner_for
    from pnas_tf.benchmark.protocol import Schedule
    from pnas_tf.nn.layers import Normalisation
    from pnas_tf.nn.supernet import Supernet
    from pnas_tf.search.device_latency import MeasuredLatency
    from pnas_tf.search.guidance import guidance
    from pnas_tf.search.loop import Search
    from pnas_tf.training.distribution import arithmetic_of

    tf.config.experimental.enable_op_determinism()
    arithmetic = arithmetic_of(distribution, started, weight_decay=recipe.weight_decay, no_decay=recipe.no_decay,
                               normalisation=Normalisation(recipe.bn_momentum, recipe.bn_epsilon, distribution.sync_batch_norm))
    measured = runner = None
    if config.algorithm == "reinforce" and config.rl_latency == "device":
        runner = runner_for(latency.device, threads=latency.threads, delegate=latency.delegate, binary=latency.benchmark_binary)
        schedule = Schedule(min_invocations=latency.min_invocations, warmups=latency.warmup_invocations, rounds=2, extra_rounds=2)
        measured = MeasuredLatency(space, table, runner=runner, schedule=schedule, folder=folder / "search/measured")
    try:
        with started.scope():
            supernet = Supernet(space, arithmetic=arithmetic, seed=run.seed, alpha_scale=config.alpha_scale, alpha_init=config.alpha_init,
                                weights_init=config.weights_init, init_div_groups=config.init_div_groups,
                                shortcut_gamma=config.shortcut_gamma)
            Search(supernet, dataset, guidance(targets, config, measured=measured), config=config, recipe=recipe,
                   folder=folder / "search", seed=run.seed, writes=started.is_chief).run()
    finally:
        if runner is not None:
            runner.close()


def _derive(folder: RunFolder, derive: DeriveConfig, space: Any, budget: Any) -> None:
    from pnas_tf.search.derive import most_probable
    from pnas_tf.search.inherited import probabilities_of

    probabilities = probabilities_of(folder / "search/history.json", space)
    if derive.derive == "most_probable":
        architecture = most_probable(space, probabilities)
    else:
        architecture = _within(derive, space, probabilities, budget.quantity, budget.value)
    architecture.save(folder / "architecture.json")


def _within(derive: DeriveConfig, space: Any, probabilities: Any, quantity: Any, budget: float) -> Any:
    """The most probable architecture of at most `budget`; of those that use their share of it, where the space has such."""
    from pnas_tf.search.derive import most_probable_within

    least = budget * derive.min_latency_fraction
    try:
        return most_probable_within(space, probabilities, quantity=quantity, budget=budget, at_least=least)
    except UserError:  # a small space has gaps: a network below this one is better than none after the whole search
        architecture = most_probable_within(space, probabilities, quantity=quantity, budget=budget)
        print(f"no network of the space lies between {least:.4g} and {budget:.4g} {quantity.unit} "
              f"(--min_latency_fraction={derive.min_latency_fraction:g}); the most probable below is taken")
        return architecture


def _sweep(folder: RunFolder, recipe: TrainConfig, config: SearchConfig, derive: DeriveConfig, space: Any, dataset: Any,
           targets: Sequence[Any]) -> None:
    from pnas_tf.nn.layers import Normalisation
    from pnas_tf.report.front import plot_front
    from pnas_tf.search.derive import path_of
    from pnas_tf.search.inherited import Inheritance, probabilities_of

    probabilities = probabilities_of(folder / "search/history.json", space)
    inheritance = Inheritance(folder / "search", space, normalisation=Normalisation(recipe.bn_momentum, recipe.bn_epsilon))
    rows = []
    for target in targets:
        quantity, budget = target.quantity, target.value
        architecture = _within(derive, space, probabilities, quantity, budget)
        name = f"sweep/architecture_{budget:g}ms.json"
        architecture.save(folder / name)
        rows.append({"budget_ms": budget, "architecture": name, "predicted_ms": quantity.of(path_of(architecture)),
                     "alpha_accuracy": inheritance.alpha_accuracy(architecture, dataset, batch_size=config.search_batch_size),
                     "macs": architecture.macs, "parameters": architecture.parameters})
        print("budget {budget_ms:g} ms: predicted {predicted_ms:.4g} ms, {macs} MACs, top-1 on the alpha split {alpha_accuracy:.2%}".format(
            **rows[-1]))
    plot_front(rows, folder / "sweep.png")
    files.write_json(folder / "sweep.json", {"format": "pnas_tf/sweep", "version": 1, "networks": rows})
    print(f"wrote {folder / 'sweep.json'} and {folder / 'sweep.png'}")


def sweep_budgets(derive: DeriveConfig) -> list[float]:
    """The budgets of --sweep in ms. Raises UserError on what is no number."""
    try:
        return [float(text) for text in derive.sweep]
    except ValueError as error:
        raise UserError("--sweep", expected="budgets in ms, comma-separated", received=repr(",".join(derive.sweep)),
                        fix="Write e.g. --sweep=40,60,80") from error


if __name__ == "__main__":
    program(main, *CONFIGS, doc=__doc__, borrowed=(TrainConfig, LatencyConfig))
