"""What a finished search gives: path probabilities or an effect model, weights, and the
architectures derived from them (section 3.3).

Knows nothing of run folders, flags, or how the derived network is trained.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import DeriveConfig, EffectsConfig, ExportConfig
from pnas_tf.data.fitted_options import images_of, search_sizes
from pnas_tf.errors import UserError
from pnas_tf.options import check_heeded
from pnas_tf.run.layout import EFFECTS, HISTORY
from pnas_tf.run.loop import Row
from pnas_tf.run.os_errors import as_users
from pnas_tf.run.progress import silent
from pnas_tf.search.budgets import Budget, budgets_of, check_budgets, file_dtypes
from pnas_tf.search.choice_program import Bound
from pnas_tf.search.derivation import (
    Derivation,
    SweepPoint,
    comparison_line,
    limits_of,
)
from pnas_tf.search.derive import most_probable, path_of
from pnas_tf.search.effect_measurement import measure_effects
from pnas_tf.search.effects import Effects
from pnas_tf.search.file_limits import FileLimits, UntrainedFiles, check_resolution
from pnas_tf.search.int8_accuracy import int8_accuracy
from pnas_tf.search.judgement import SEARCHED, Judgement, origin_of
from pnas_tf.search.learnt import Learnt
from pnas_tf.search.recipe import ONE_SHOT, SearchRecipe, check_derivation
from pnas_tf.search.supernet_weights import SupernetWeights, judgements_of, probabilities_of
from pnas_tf.search.targets import search_targets
from pnas_tf.search.worth import worth_of_choices
from pnas_tf.tflite.footprint_reading import measure_footprint

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    import numpy as np
    import tf_keras as keras

    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.footprint import Footprint


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
        budgets: hard ones that derivations keep, but for those of which they are given another of
            the same thing.
    """

    folder: Path
    space: SearchSpace
    dataset: Dataset
    table: LatencyTable
    recipe: SearchRecipe = SearchRecipe()
    budgets: tuple[Budget, ...] = ()
    _footprints: dict[object, Footprint] = field(default_factory=dict, init=False, compare=False)

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
    def effects(self) -> Effects:
        """The effect model of the supernet, fitted when it is not there yet. Raises UserError where
        its file is damaged, or a loss is not finite."""
        path = self.folder / EFFECTS
        if not path.exists():
            return self.fit_effects()
        return Effects.load(path, sizes=[len(each.candidates) for each in self.space.choice_blocks])

    def fit_effects(
        self, config: EffectsConfig = EffectsConfig(), tables: Mapping[str, LatencyTable] = {}
    ) -> Effects:
        """Fits the effect model, and writes it with what each choice is worth and costs.

        Args:
            config: how many paths and images.
            tables: device -> its latencies; empty: those of the search.
        """
        supernet = self.supernet_weights.supernet
        effects = measure_effects(supernet, self.dataset, config, seed=self.recipe.seed)
        devices = tables or {self.table.identity.describe(): self.table}
        worth = worth_of_choices(self.space, effects, devices)
        effects.save(self.folder / EFFECTS, choices=worth)
        self.__dict__.pop("learnt", None)  # by the model before
        self.__dict__["effects"] = effects
        return effects

    @functools.cached_property
    def learnt(self) -> Learnt:
        """What speaks for a network. Raises UserError as `probabilities` and `effects`."""
        if self.recipe.config.algorithm == ONE_SHOT:
            return Learnt(self.space, effects=self.effects)
        return Learnt(self.space, self.probabilities)

    @functools.cached_property
    def judgements(self) -> tuple[Judgement, ...]:
        """Whether the supernet had learnt when alpha started and at the end. Raises UserError as
        `probabilities`."""
        return judgements_of(self.folder / HISTORY)

    @functools.cached_property
    def supernet_weights(self) -> SupernetWeights:
        """The supernet's weights, for any path. Raises UserError where no checkpoint is whole."""
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
        budgets: Sequence[Budget] = (),
        limits: FileLimits | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Architecture:
        """The architecture of `derivation` alone; same arguments and errors."""
        found = self.derivation(config, budgets=budgets, limits=limits, progress=progress)
        return found.architecture

    @as_users()
    def derivation(
        self,
        config: DeriveConfig = DeriveConfig(),
        *,
        budgets: Sequence[Budget] = (),
        limits: FileLimits | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Derivation:
        """Chooses an architecture by the learnt probabilities.

        Args:
            config: how. "most_probable" takes each block's own most probable op; "budget" the best
                of the most probable networks that fit, by supernet weights and then by training the
                best few on for a moment.
            budgets: hard ones, besides those of `config` and of the search; one of the same thing
                takes the place of the search's budget or target.
            limits: these budgets with what holds files to them; None makes it, which converts
                networks where one is of a file.
            progress: called with lines for the user.

        Returns:
            The architecture and the networks it was compared with.

        Raises:
            UserError: no network fits the budgets, an option of `config` does nothing beside the
                others, or the search's files are not whole.
        """
        if limits is not None and budgets:
            raise UserError(
                "derive with budgets and limits",
                expected="one of them: limits are budgets with what holds files to them",
                received="both",
                fix="Give the budgets to `limits`, and derive with what it returns.",
            )
        check_heeded(config)
        check_derivation(self.recipe.config, config)
        if config.derive == "most_probable":
            check_budgets(config, self._asked(config, budgets))
            architecture = most_probable(self.space, self.probabilities)
            row = self.learnt.row(architecture, self.targets[0].quantity)
            found = Derivation(architecture, (row,))
        else:
            found = self._within(limits or self.limits(config, budgets), config, progress)
        origin = origin_of(self.judgements, config.derive)
        if progress and origin != SEARCHED:
            progress(f"the derived architecture is {origin}: see the warnings of the search")
        return dataclasses.replace(found, origin=origin)

    def limits(
        self,
        config: DeriveConfig,
        budgets: Sequence[Budget] = (),
        *,
        export: ExportConfig = ExportConfig(),
    ) -> FileLimits:
        """The budgets of a derivation. export: the options of the files that some are of, whose
        networks are converted when they are asked for first."""
        asked = self._asked(config, budgets)
        check_resolution(asked, export, self.space.resolution, also=bool(self.recipe.config.also))
        dtypes = file_dtypes(asked)
        files = footprint = None
        if dtypes:
            files = UntrainedFiles(self.dataset, export, {self.table.identity.dtype: self.table})
            footprint = self._footprints.get((dtypes, export))
            footprint = footprint or measure_footprint(self.space, files, dtypes, progress=silent)
            self._footprints[dtypes, export] = footprint
        return limits_of(
            self.space,
            self.table,
            self.targets,
            asked,
            footprint=footprint,
            files=files,
        )

    def _asked(self, config: DeriveConfig, budgets: Sequence[Budget]) -> list[Budget]:
        """All budgets of a derivation."""
        given = [*budgets, *budgets_of(config)]
        things = [budget.thing for budget in given]
        return [*(budget for budget in self.budgets if budget.thing not in things), *given]

    def sweep(
        self,
        budgets_ms: Sequence[Target],
        config: DeriveConfig = DeriveConfig(),
        *,
        limits: FileLimits | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> Iterator[SweepPoint]:
        """An architecture for each of `budgets_ms`, as `derivation` chooses it within that one in
        place of the search's own, one after the other."""
        limits = limits or self.limits(config)
        for budget in budgets_ms:
            architecture = self._within(limits.swept(budget), config, progress).architecture
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
        self, limits: FileLimits, config: DeriveConfig, progress: Callable[[str], None] | None
    ) -> Derivation:
        """The best of the networks within the budgets that what was learnt speaks for: of those
        that use their share of the first, where the space has such."""
        networks, least = self.learnt.candidates(limits, config, progress)
        while networks:
            best, rows, line = self._best_of(networks, least, limits.pairs[0][1], config)
            if limits.keeps(best):
                if progress and line:
                    progress(line)
                return Derivation(best, rows, limits.rows(best))
            networks.remove(best)  # predicted within a budget of its file, and not
        raise limits.refusal(self.space, [bound for _, bound in limits.pairs])

    def _best_of(
        self, networks: list[Architecture], least: float, first: Bound, config: DeriveConfig
    ) -> tuple[Architecture, tuple[Row, ...], str]:
        """(the best by its weights, a row for each, a line for the user)."""
        quantity = first.quantity
        if len(networks) == 1:  # without a look at data or weights
            return networks[0], (self.learnt.row(networks[0], quantity),), ""
        found = self.supernet_weights.best_of(
            networks,
            self.dataset,
            config,
            batch_size=min(self.batch_size, images_of(self.dataset).validation),
            seed=self.recipe.seed,
            int8=self._int8_accuracy if self.table.identity.dtype == "int8" else None,
        )
        range_ = f"{least:.4g} to {first.most:.4g} {quantity.unit}"
        figures = zip(found.losses, found.trained_losses, found.int8_accuracies, strict=True)
        rows = [self.learnt.row(each, quantity, *of) for each, of in zip(networks, figures)]
        number = networks.index(found.best) + 1
        line = comparison_line(found, number, range_, words=self.learnt.words)
        return found.best, tuple(rows), line

    def _int8_accuracy(self, model: keras.Model, network: Architecture) -> float:
        return int8_accuracy(model, self.dataset, self.table.rewrites_of(network))
