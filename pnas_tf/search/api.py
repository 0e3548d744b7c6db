"""A search and what is derived from it, by one call each (sections 3.2 and 3.3).

`search_architecture` learns path probabilities on a dataset, guided by a device's latency table,
and keeps everything in a folder; its `SearchResult` derives architectures from them. Knows nothing
of run folders, flags, or how the derived network is trained.
"""

from __future__ import annotations

import contextlib
import functools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from pnas_tf.config import (
    DeriveConfig,
    DeviceConfig,
    DistributionConfig,
    OptimizerConfig,
    RunConfig,
    SearchConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.layout import HISTORY, MEASURED, Artifact
from pnas_tf.search.derive import log_probability, most_probable, most_probable_few, path_of
from pnas_tf.search.device_latency import MeasuredLatency
from pnas_tf.search.loop import Search
from pnas_tf.search.supernet_weights import Inheritance, probabilities_of
from pnas_tf.search.target_terms import guidance
from pnas_tf.search.targets import check_request, latency_budget, search_targets
from pnas_tf.supernet.engine_choice import check_engine
from pnas_tf.supernet.functional import Arithmetic
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.distribution import Distribution, arithmetic_of, start

if TYPE_CHECKING:
    import os

    import numpy as np

    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.objective import Quantity, Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace

_DERIVATION: dict[str, Any] = {"format": "pnas_tf/derivation", "version": 1}
_VISIT_ROUNDS = 2  # a sampled network's latency measured in the loop: of so many rounds


@dataclass(frozen=True)
class Derivation:
    """What one derivation gave.

    Attributes:
        architecture: the network taken.
        compared: a row for each network compared, the most probable one first: "ops" (keys),
            "log_probability" (None where it is -inf), "predicted" in "unit", "alpha_loss" and
            "trained_loss" (cross-entropies on the alpha split, None where not computed).
    """

    architecture: Architecture
    compared: tuple[dict[str, Any], ...]

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes architecture.json and derivation.json into `folder`; returns their paths."""
        return [
            self.architecture.save(Path(folder) / Artifact.ARCHITECTURE),
            atomic.write_json(
                Path(folder) / Artifact.DERIVATION, {**_DERIVATION, "networks": list(self.compared)}
            ),
        ]


@dataclass(frozen=True)
class SweepPoint:
    """The architecture of one budget. predicted_ms: its predicted latency. alpha_accuracy: top-1 on
    the alpha split with the supernet's weights, a fraction."""

    budget_ms: float
    architecture: Architecture
    predicted_ms: float
    alpha_accuracy: float


@dataclass(frozen=True)
class SearchResult:
    """A finished search in `folder`, as `search_architecture` left it.

    The files are read when first needed, so that a result can also be made of a folder of an
    earlier process.

    Attributes:
        folder: holds history.json and checkpoints/.
        space: the space that was searched.
        dataset: what it was searched on; derivation compares networks on its alpha split.
        table: the device's latencies, in ms.
        targets: what guided it, the one it is named for first.
        config: its options; `search_batch_size` images a batch when networks are compared.
        optimizer: how its weights were trained.
        seed: of the batches that compared networks are trained on with.
        scratch: a temporary folder to keep for as long as the result lives.
    """

    folder: Path
    space: SearchSpace
    dataset: Dataset
    table: LatencyTable
    targets: tuple[Target, ...]
    config: SearchConfig
    optimizer: OptimizerConfig
    seed: int = RunConfig.seed
    scratch: object = None

    @functools.cached_property
    def probabilities(self) -> list[np.ndarray]:
        """softmax(alpha) at the end, for each choice block float64 [candidates].

        Raises:
            UserError: history.json is absent, damaged or of another space.
        """
        return probabilities_of(self.folder / HISTORY, self.space)

    @functools.cached_property
    def supernet_weights(self) -> Inheritance:
        """The supernet's weights, for any path. Raises UserError where no checkpoint is whole."""
        tf.config.experimental.enable_op_determinism()
        return Inheritance(
            self.folder,
            self.space,
            optimizer=self.optimizer,
            engine=self.config.engine,
        )

    def derive(
        self,
        config: DeriveConfig = DeriveConfig(),
        *,
        budget: Target | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Architecture:
        """The architecture of `derivation` alone; same arguments and errors."""
        return self.derivation(config, budget=budget, progress=progress).architecture

    def derivation(
        self,
        config: DeriveConfig = DeriveConfig(),
        *,
        budget: Target | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Derivation:
        """Chooses an architecture by the learnt probabilities.

        Args:
            config: how. "most_probable" takes each block's own most probable op; "budget" the best
                of the most probable networks that fit, by supernet weights and then by training the
                best few on for a moment.
            budget: at most so much of a quantity; default `derivation_budget`.
            progress: called with lines for the user.

        Returns:
            The architecture and the networks it was compared with.

        Raises:
            UserError: no network fits the budget, or the search's files are not whole.
        """
        if budget is None:
            budget = derivation_budget(self.space, self.table, self.targets, config)
        if config.derive == "most_probable":
            architecture = most_probable(self.space, self.probabilities)
            return Derivation(architecture, (self._row(architecture, budget.quantity),))
        return self._within(budget, config, progress)

    def sweep(
        self,
        budgets: Sequence[Target],
        config: DeriveConfig = DeriveConfig(),
        *,
        progress: Callable[[str], None] | None = None,
    ) -> Iterator[SweepPoint]:
        """An architecture for each of the `budgets` (in ms), as `derivation` by budget chooses it,
        one after the other."""
        for budget in budgets:
            architecture = self._within(budget, config, progress).architecture
            yield SweepPoint(
                budget.value,
                architecture,
                budget.quantity.of(path_of(architecture)),
                self.supernet_weights.alpha_accuracy(
                    architecture, self.dataset, batch_size=self.config.search_batch_size
                ),
            )

    def save(self, folder: str | os.PathLike) -> Path:
        """Copies history, checkpoints and TensorBoard events to `folder`, from which a
        `SearchResult` can be made again; returns it."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Path(folder)

    def _within(
        self, budget: Target, config: DeriveConfig, progress: Callable[[str], None] | None
    ) -> Derivation:
        """The best of the most probable networks within the budget: of those that use their share
        of it, where the space has such."""
        networks, least = self._candidates(budget, config, progress)
        quantity = budget.quantity
        if len(networks) == 1:  # without a look at data or weights
            return Derivation(networks[0], (self._row(networks[0], quantity),))
        found = self.supernet_weights.best_of(
            networks,
            self.dataset,
            config,
            batch_size=self.config.search_batch_size,
            seed=self.seed,
        )
        if progress:
            trained = [loss for loss in found.trained_losses if loss is not None]
            further = (
                f"; {len(trained)} of them trained on: {min(trained):.4f} to {max(trained):.4f}"
                if trained
                else ""
            )
            progress(
                f"{len(networks)} most probable networks of {least:.4g} to {budget.value:.4g} "
                f"{quantity.unit} compared with the searched weights: "
                f"cross-entropy on the alpha split {min(found.losses):.4f} to "
                f"{max(found.losses):.4f}{further}; "
                f"number {networks.index(found.best) + 1} is taken"
            )
        rows = [
            self._row(network, quantity, *losses)
            for network, *losses in zip(networks, found.losses, found.trained_losses, strict=True)
        ]
        return Derivation(found.best, tuple(rows))

    def _candidates(
        self, budget: Target, config: DeriveConfig, progress: Callable[[str], None] | None
    ) -> tuple[list[Architecture], float]:
        """(the most probable networks to compare, the least of the quantity that was asked)."""
        quantity, most = budget.quantity, budget.value
        least = most * config.min_latency_fraction
        few = functools.partial(
            most_probable_few, self.space, self.probabilities, quantity=quantity, budget=most
        )
        try:
            return few(at_least=least, count=config.derive_networks), least
        # A small space has gaps: a network below this one is better than none after the whole
        # search.
        except UserError:
            networks = few(count=1)
        if progress:
            progress(
                f"no network of the space lies between {least:.4g} and {most:.4g} {quantity.unit} "
                f"(--min_latency_fraction={config.min_latency_fraction:g}); the most "
                "probable below is taken"
            )
        return networks, least

    def _row(
        self,
        network: Architecture,
        quantity: Quantity,
        loss: float | None = None,
        trained_loss: float | None = None,
    ) -> dict[str, Any]:
        score = log_probability(network, self.probabilities)
        finite = trained_loss is not None and math.isfinite(trained_loss)
        return {
            "ops": [op.key for op in network.ops],
            "log_probability": score if math.isfinite(score) else None,
            "predicted": quantity.of(path_of(network)),
            "unit": quantity.unit,
            "alpha_loss": loss,
            "trained_loss": trained_loss if finite else None,
        }


def search_architecture(
    space: SearchSpace,
    dataset: Dataset,
    table: LatencyTable,
    config: SearchConfig = SearchConfig(),
    *,
    folder: str | os.PathLike,
    optimizer: OptimizerConfig = OptimizerConfig(),
    targets: Sequence[Target] | None = None,
    device: DeviceConfig = DeviceConfig(),
    options: DistributionConfig = DistributionConfig(),
    distribution: Distribution | None = None,
    seed: int = RunConfig.seed,
) -> SearchResult:
    """Searches `space` on `dataset`, or continues the search whose checkpoints are in `folder`.

    Args:
        space: what can be searched; its resolution and classes are the dataset's.
        dataset: the weights split trains the weights, the alpha split the architecture.
        table: latencies of the blocks of `space` on the target device, in ms.
        config: the search's options.
        folder: gets history.json, checkpoints/ and TensorBoard events/. A folder with a search of
            other settings must be emptied first.
        optimizer: how the weights are trained.
        targets: what guides the search; default: those that `config` asks for.
        device: what is measured on, where `config` wants latencies measured in the loop
            (`rl_latency="device"`); otherwise unused.
        options: precision, batch normalisation and compilation of the steps.
        distribution: as started from `options`; default: starts it.
        seed: of initial weights, data order and sampling.

    Returns:
        The finished search. The same arguments give the same result to the bit, however often it
        was stopped on the way.

    Raises:
        UserError: the target is out of reach, the table lacks blocks, or a split is smaller than a
            batch; before any work.
        Stopped: on SIGTERM or Ctrl-C, after a checkpoint.
    """
    check_request(config)
    started = start(options) if distribution is None else distribution
    check_engine(
        config.engine, Arithmetic(jit_compile=options.jit_compile, replicas=started.replicas)
    )
    wanted = tuple(search_targets(space, table, config) if targets is None else targets)
    folder = Path(folder)
    tf.config.experimental.enable_op_determinism()
    arithmetic = arithmetic_of(options, started, optimizer)
    with _measured(space, table, config, device, folder) as measured, started.scope():
        supernet = Supernet(
            space,
            arithmetic=arithmetic,
            seed=seed,
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
            guidance(wanted, config, measured=measured),
            config=config,
            optimizer=optimizer,
            folder=folder,
            seed=seed,
            writes=started.is_chief,
        ).run()
    return SearchResult(folder, space, dataset, table, wanted, config, optimizer, seed)


def derivation_budget(
    space: SearchSpace, table: LatencyTable, targets: Sequence[Target], config: DeriveConfig
) -> Target:
    """At most what a derived network may take: `config.max_latency_ms`, else the search's first
    target. Raises UserError when even the fastest network of the space takes longer."""
    if config.max_latency_ms is None:
        return targets[0]
    return latency_budget(space, table, config.max_latency_ms, flag="--max_latency_ms")


@contextlib.contextmanager
def _measured(
    space: SearchSpace,
    table: LatencyTable,
    config: SearchConfig,
    device: DeviceConfig,
    folder: Path,
) -> Iterator[MeasuredLatency | None]:
    """Latency of sampled networks measured on the device, where the search asks for it."""
    if (config.algorithm, config.rl_latency) != ("reinforce", "device"):
        yield None
        return
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.devices.session import Schedule

    runner = runner_for(device)
    schedule = Schedule(
        min_invocations=device.min_invocations,
        warmups=device.warmup_invocations,
        rounds=_VISIT_ROUNDS,
        extra_rounds=_VISIT_ROUNDS,
    )
    try:
        yield MeasuredLatency(
            space, table, runner=runner, schedule=schedule, folder=folder / MEASURED
        )
    finally:
        runner.close()
