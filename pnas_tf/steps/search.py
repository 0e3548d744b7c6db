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
import math
from collections.abc import Sequence
from typing import Any

from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    DistributionConfig,
    LatencyConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
    TrainConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.folder import RunFolder

CONFIGS = (
    RunConfig,
    DataConfig,
    SpaceConfig,
    SearchConfig,
    DeriveConfig,
    LatencyConfig,
    TrainConfig,
    DistributionConfig,
)
BORROWED = (
    TrainConfig,
    LatencyConfig,
)


def main(
    folder: RunFolder,
    run: RunConfig,
    data: DataConfig,
    space_config: SpaceConfig,
    config: SearchConfig,
    derive: DeriveConfig,
    latency: LatencyConfig,
    recipe: TrainConfig,
    distribution: DistributionConfig,
) -> None:
    """The search step of a run, then the derivation."""
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.data.run_space import space_of_run
    from pnas_tf.latency.table import LatencyTable
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
        config.engine,
        Arithmetic(jit_compile=distribution.jit_compile, replicas=started.replicas),
    )
    space = space_of_run(data, space_config)
    table = LatencyTable.load(folder / "latency_table.json")
    targets = search_targets(space, table, config)
    budget = (
        targets[0]
        if derive.max_latency_ms is None
        else latency_budget(space, table, derive.max_latency_ms, flag="--max_latency_ms")
    )
    budgets = [
        latency_budget(space, table, milliseconds, flag="--sweep")
        for milliseconds in sweep_budgets(derive)
    ]
    dataset = load_dataset(data, resolution=space.resolution)
    weights_recipe = {
        name: getattr(recipe, name)
        for name in (
            "momentum",
            "nesterov",
            "weight_decay",
            "no_decay",
            "label_smoothing",
            "bn_momentum",
            "bn_epsilon",
        )
    }
    identity = {
        "space": space.to_json(),
        "dataset": dataset.fingerprint,
        "search": config,
        "recipe": weights_recipe,
        "seed": run.seed,
        "distribution": distribution,
        "targets": [(target.quantity.name, target.value) for target in targets],
        "table": folder / "latency_table.json",
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
            _search,
            folder,
            run,
            config,
            recipe,
            latency,
            space,
            dataset,
            table,
            targets,
            distribution,
            started,
        ),
    )
    if folder.follows:
        return
    deriving = {
        "history": folder / "search/history.json",
        "derive": derive,
        "seed": run.seed,
        "training": [recipe.learning_rate, recipe.batch_size],
        "max_latency_ms": derive.max_latency_ms,
        "min_latency_fraction": derive.min_latency_fraction,
        "targets": identity["targets"],
        "table": identity["table"],
        "recipe": weights_recipe,
        "dataset": dataset.fingerprint,
    }
    deriver = _Deriver(folder, derive, config, recipe, space, dataset, seed=run.seed)
    folder.step(
        "derive",
        inputs=deriving,
        outputs=["architecture.json", "derivation.json"],
        work=functools.partial(deriver.derive, budget),
    )
    print(f"wrote {folder / 'architecture.json'}")
    if budgets:
        folder.step(
            "sweep",
            inputs={**deriving, "sweep": [target.value for target in budgets]},
            outputs=["sweep.json", "sweep.png"],
            work=functools.partial(deriver.sweep, budgets),
        )


def _search(
    folder: RunFolder,
    run: RunConfig,
    config: SearchConfig,
    recipe: TrainConfig,
    latency: LatencyConfig,
    space: Any,
    dataset: Any,
    table: Any,
    targets: Any,
    distribution: DistributionConfig,
    started: Any,
) -> None:
    import tensorflow as tf

    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.session import Schedule
    from pnas_tf.networks.layers import Normalisation
    from pnas_tf.search.device_latency import MeasuredLatency
    from pnas_tf.search.loop import Search
    from pnas_tf.search.target_terms import guidance
    from pnas_tf.supernet.supernet import Supernet
    from pnas_tf.training.distribution import arithmetic_of

    tf.config.experimental.enable_op_determinism()
    arithmetic = arithmetic_of(
        distribution,
        started,
        weight_decay=recipe.weight_decay,
        no_decay=recipe.no_decay,
        normalisation=Normalisation(
            recipe.bn_momentum, recipe.bn_epsilon, distribution.sync_batch_norm
        ),
    )
    measured = runner = None
    if config.algorithm == "reinforce" and config.rl_latency == "device":
        runner = runner_for(
            latency.device,
            threads=latency.threads,
            delegate=latency.delegate,
            binary=latency.benchmark_binary,
        )
        schedule = Schedule(
            min_invocations=latency.min_invocations,
            warmups=latency.warmup_invocations,
            rounds=2,
            extra_rounds=2,
        )
        measured = MeasuredLatency(
            space, table, runner=runner, schedule=schedule, folder=folder / "search/measured"
        )
    try:
        with started.scope():
            supernet = Supernet(
                space,
                arithmetic=arithmetic,
                seed=run.seed,
                alpha_scale=config.alpha_scale,
                alpha_init=config.alpha_init,
                weights_init=config.weights_init,
                init_div_groups=config.init_div_groups,
                shortcut_gamma=config.shortcut_gamma,
                engine=config.engine,
            )
            Search(
                supernet,
                dataset,
                guidance(targets, config, measured=measured),
                config=config,
                recipe=recipe,
                folder=folder / "search",
                seed=run.seed,
                writes=started.is_chief,
            ).run()
    finally:
        if runner is not None:
            runner.close()


class _Deriver:
    """Architectures of a finished search."""

    def __init__(
        self,
        folder: RunFolder,
        derive: DeriveConfig,
        config: SearchConfig,
        recipe: TrainConfig,
        space: Any,
        dataset: Any,
        *,
        seed: int,
    ):
        self.folder, self.options, self.space, self.dataset, self.recipe, self.seed = (
            folder,
            derive,
            space,
            dataset,
            recipe,
            seed,
        )
        self.batch_size, self.engine = config.search_batch_size, config.engine

    def derive(self, budget: Any) -> None:
        """Writes the architecture of the run, and what it was compared with."""
        from pnas_tf.search.derive import most_probable

        if self.options.derive == "most_probable":
            architecture = most_probable(self.space, self._probabilities)
            rows = [self._row(architecture, budget.quantity)]
        else:
            architecture, rows = self._within(budget)
        architecture.save(self.folder / "architecture.json")
        atomic.write_json(
            self.folder / "derivation.json",
            {"format": "pnas_tf/derivation", "version": 1, "networks": rows},
        )

    def sweep(self, budgets: Sequence[Any]) -> None:
        """Writes an architecture for each budget, with its accuracy by inherited weights."""
        from pnas_tf.report.pareto_plot import plot_front
        from pnas_tf.search.derive import path_of

        rows = []
        for budget in budgets:
            architecture, _ = self._within(budget)
            name = f"sweep/architecture_{budget.value:g}ms.json"
            architecture.save(self.folder / name)
            rows.append(
                {
                    "budget_ms": budget.value,
                    "architecture": name,
                    "predicted_ms": budget.quantity.of(path_of(architecture)),
                    "alpha_accuracy": self._inheritance.alpha_accuracy(
                        architecture, self.dataset, batch_size=self.batch_size
                    ),
                    "macs": architecture.macs,
                    "parameters": architecture.parameters,
                }
            )
            print(
                (
                    "budget {budget_ms:g} ms: predicted {predicted_ms:.4g} ms, {macs} MACs, top-1 "
                    "on "
                    "the alpha split {alpha_accuracy:.2%}"
                ).format(**rows[-1])
            )
        plot_front(rows, self.folder / "sweep.png")
        atomic.write_json(
            self.folder / "sweep.json", {"format": "pnas_tf/sweep", "version": 1, "networks": rows}
        )
        print(f"wrote {self.folder / 'sweep.json'} and {self.folder / 'sweep.png'}")

    def _within(self, budget: Any) -> tuple[Any, list[dict[str, Any]]]:
        """(the best of the most probable architectures within the budget, a row for each): of those
        that use their share of it, where the space has such."""
        from pnas_tf.search.derive import most_probable_few

        quantity, most = budget.quantity, budget.value
        least = most * self.options.min_latency_fraction
        within: dict[str, Any] = {"quantity": quantity, "budget": most}
        try:
            networks = most_probable_few(
                self.space,
                self._probabilities,
                **within,
                at_least=least,
                count=self.options.derive_networks,
            )
        # a small space has gaps: a network below this one is better than none after the whole
        # search
        except UserError:
            networks = most_probable_few(self.space, self._probabilities, **within, count=1)
            print(
                f"no network of the space lies between {least:.4g} and {most:.4g} {quantity.unit} "
                f"(--min_latency_fraction={self.options.min_latency_fraction:g}); the most "
                "probable below is taken"
            )
        if len(networks) == 1:  # without a look at data or weights
            return networks[0], [self._row(networks[0], quantity)]
        found = self._inheritance.best_of(
            networks,
            self.dataset,
            self.recipe,
            batch_size=self.batch_size,
            seed=self.seed,
            trained=self.options.derive_trained,
            epochs=self.options.derive_train_epochs,
        )
        trained = [loss for loss in found.trained_losses if loss is not None]
        further = (
            f"; {len(trained)} of them trained on: {min(trained):.4f} to {max(trained):.4f}"
            if trained
            else ""
        )
        print(
            f"{len(networks)} most probable networks of {least:.4g} to {most:.4g} {quantity.unit} "
            "compared with the searched weights: "
            f"cross-entropy on the alpha split {min(found.losses):.4f} to "
            f"{max(found.losses):.4f}{further}; "
            f"number {networks.index(found.best) + 1} is taken"
        )
        return found.best, [
            self._row(network, quantity, *losses)
            for network, *losses in zip(networks, found.losses, found.trained_losses, strict=True)
        ]

    def _row(
        self,
        network: Any,
        quantity: Any,
        loss: float | None = None,
        trained_loss: float | None = None,
    ) -> dict[str, Any]:
        from pnas_tf.search.derive import log_probability, path_of

        score = log_probability(network, self._probabilities)
        return {
            "ops": [op.key for op in network.ops],
            "log_probability": score if math.isfinite(score) else None,
            "predicted": quantity.of(path_of(network)),
            "unit": quantity.unit,
            "alpha_loss": loss,
            "trained_loss": trained_loss
            if trained_loss is None or math.isfinite(trained_loss)
            else None,
        }

    @functools.cached_property
    def _probabilities(self) -> Any:
        from pnas_tf.search.supernet_weights import probabilities_of

        return probabilities_of(self.folder / "search/history.json", self.space)

    @functools.cached_property
    def _inheritance(self) -> Any:
        import tensorflow as tf

        from pnas_tf.networks.layers import Normalisation
        from pnas_tf.search.supernet_weights import Inheritance

        tf.config.experimental.enable_op_determinism()
        return Inheritance(
            self.folder / "search",
            self.space,
            normalisation=Normalisation(self.recipe.bn_momentum, self.recipe.bn_epsilon),
            engine=self.engine,
        )


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
