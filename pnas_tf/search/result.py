"""What a finished search gives: path probabilities, weights, and the architectures derived from
them (section 3.3).

Knows nothing of run folders, flags, or how the derived network is trained.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from pnas_tf.config import DeriveConfig
from pnas_tf.data.fitted_options import images_of, search_sizes
from pnas_tf.errors import UserError
from pnas_tf.run.layout import HISTORY
from pnas_tf.run.loop import Row
from pnas_tf.search.derivation import Derivation
from pnas_tf.search.derive import log_probability, most_probable, most_probable_few, path_of
from pnas_tf.search.judgement import DRAW, DRAW_WITHIN_BUDGET, SEARCHED, Judgement, is_draw
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.supernet_weights import (
    Comparison,
    SupernetWeights,
    judgements_of,
    probabilities_of,
)
from pnas_tf.search.targets import latency_budget, search_targets

if TYPE_CHECKING:
    import os

    import numpy as np

    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.quantities import Quantity
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace


@dataclass(frozen=True)
class SweepPoint:
    """The architecture of one budget.

    Attributes:
        budget_ms: the budget.
        architecture: what was derived.
        predicted_ms: its predicted latency.
        validation_accuracy: top-1 on the search's validation split with the supernet's weights, a
            fraction.
    """

    budget_ms: float
    architecture: Architecture
    predicted_ms: float
    validation_accuracy: float


@dataclass(frozen=True)
class SearchResult:
    """A finished search in `folder`, as `search_architecture` left it.

    The files are read when first needed, so that a result can also be made of a folder of an
    earlier process.

    Attributes:
        folder: holds history.json and checkpoints/.
        space: the space that was searched.
        dataset: what it was searched on; derivation compares networks on the search's validation
            split.
        table: the device's latencies, in ms.
        recipe: its options; networks are compared on batches as large as the search's.
    """

    folder: Path
    space: SearchSpace
    dataset: Dataset
    table: LatencyTable
    recipe: SearchRecipe = SearchRecipe()

    @property
    def batch_size(self) -> int:
        """Images of a weight step."""
        return search_sizes(self.recipe.config, images_of(self.dataset)).batch_size

    @functools.cached_property
    def targets(self) -> tuple[Target, ...]:
        """What the search was to reach, the one it is named for first."""
        return tuple(search_targets(self.space, self.table, self.recipe.config))

    @functools.cached_property
    def probabilities(self) -> list[np.ndarray]:
        """softmax(alpha) at the end, for each choice block float64 [candidates].

        Raises:
            UserError: history.json is absent, damaged or of another space.
        """
        return probabilities_of(self.folder / HISTORY, self.space)

    @functools.cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Whether the supernet had learnt when alpha started and at the end. Raises UserError as
        `probabilities`."""
        return judgements_of(self.folder / HISTORY)

    @functools.cached_property
    def supernet_weights(self) -> SupernetWeights:
        """The supernet's weights, for any path. Raises UserError where no checkpoint is whole."""
        tf.config.experimental.enable_op_determinism()
        return SupernetWeights(
            self.folder,
            self.space,
            optimizer=self.recipe.optimizer,
            engine=self.recipe.config.engine,
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
            found = Derivation(architecture, (self._row(architecture, budget.quantity),))
        else:
            found = self._within(budget, config, progress)
        origin = self._origin(config)
        if progress and origin != SEARCHED:
            progress(f"the derived architecture is {origin}: see the warnings of the search")
        return dataclasses.replace(found, origin=origin)

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
                self.supernet_weights.validation_accuracy(
                    architecture, self.dataset, batch_size=self.batch_size
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
            batch_size=min(self.batch_size, images_of(self.dataset).validation),
            seed=self.recipe.seed,
        )
        if progress:
            range_ = f"{least:.4g} to {budget.value:.4g} {quantity.unit}"
            progress(_told(found, networks.index(found.best) + 1, range_))
        rows = [
            self._row(network, quantity, *losses)
            for network, *losses in zip(networks, found.losses, found.trained_losses, strict=True)
        ]
        return Derivation(found.best, tuple(rows))

    def _origin(self, config: DeriveConfig) -> str:
        """Of what is derived so."""
        if not is_draw(self.judgements):
            return SEARCHED
        return DRAW if config.derive == "most_probable" else DRAW_WITHIN_BUDGET

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
    ) -> Row:
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


def derivation_budget(
    space: SearchSpace, table: LatencyTable, targets: Sequence[Target], config: DeriveConfig
) -> Target:
    """At most what a derived network may take: `config.max_latency_ms`, else the search's first
    target. Raises UserError when even the fastest network of the space takes longer."""
    if config.max_latency_ms is None:
        return targets[0]
    return latency_budget(space, table, config.max_latency_ms, flag="--max_latency_ms")


def _told(found: Comparison, number: int, quantities: str) -> str:
    """A line for the user on how the derived network was chosen."""
    line = (
        f"{len(found.losses)} most probable networks of {quantities} compared with the searched "
        "weights: cross-entropy on the search's validation split "
        f"{min(found.losses):.4f} to {max(found.losses):.4f}"
    )
    trained = [loss for loss in found.trained_losses if loss is not None]
    if trained:
        line += f"; {len(trained)} of them trained on: {min(trained):.4f} to {max(trained):.4f}"
    return f"{line}; number {number} is taken"
