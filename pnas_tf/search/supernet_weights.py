"""What a finished search leaves to the networks derived from it: probabilities, and weights for any
of its paths.

Reads the search's checkpoint and changes nothing in it; the best few networks are trained on in
memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tf_keras as keras

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import DeriveConfig, OptimizerConfig, SearchConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import batch_size as fitted_batch_size
from pnas_tf.data.fitted_options import (
    check_demands,
    derive_epochs,
    fitted_derivation,
    images_of,
)
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS
from pnas_tf.run.loop import Row
from pnas_tf.run.progress import Progress
from pnas_tf.run.step import Demand
from pnas_tf.search.derive import path_of
from pnas_tf.search.judgement import Judgement, judgements_in
from pnas_tf.search.loop import HISTORY_FORMAT, HISTORY_VERSION, restore_variables
from pnas_tf.search.path_validation import validate_paths
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.space.base import SearchSpace
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.evaluate import evaluate, reestimate_batch_norm
from pnas_tf.training.schedules import cosine_with_warmup
from pnas_tf.training.step import TrainStep

_MADE_BY = "pnas search --run_dir=..."


def probabilities_of(history: Path, space: SearchSpace) -> list[np.ndarray]:
    """The path probabilities at the end of the search whose history.json this is, for each block
    float64 [candidates].

    Raises UserError when the file is not whole or belongs to another space.
    """
    document = _read_history(history)
    expected = [[op.key for op in choice.candidates] for choice in space.choice_blocks]
    fix = f"Search again: {_MADE_BY}"
    epochs = value_of(
        tuple[Row, ...],
        document.get("epochs"),
        what=f"epochs of search history {history}",
        fix=fix,
    )
    probabilities = value_of(
        tuple[tuple[float, ...], ...],
        epochs[-1].get("probabilities") if epochs else [],
        what=f"probabilities of the last epoch of search history {history}",
        fix=fix,
    )
    if document.get("candidates") != expected or [len(block) for block in probabilities] != [
        len(block) for block in expected
    ]:
        raise UserError(
            f"search history {history} is not of this space",
            expected=f"the {len(expected)} choice blocks of '{space.name}'",
            received=f"{len(probabilities)} blocks, {len(epochs)} epochs, or other candidates",
            fix=fix,
        )
    if not all(min(block) >= 0 and sum(block) > 0 for block in probabilities):
        raise UserError(
            f"probabilities of search history {history}",
            expected="none below zero, some above",
            received="others",
            fix=fix,
        )
    return [np.array(block, np.float64) for block in probabilities]


def judgements_of(history: Path) -> tuple[Judgement, ...]:
    """What was found of the supernet in the search whose history.json this is. Raises UserError as
    `probabilities_of`."""
    return judgements_in(
        _read_history(history),
        where=f"search history {history}",
        fix=f"Search again: {_MADE_BY}",
    )


def _read_history(path: Path) -> dict[str, Json]:
    return atomic.read_document(
        path,
        format=HISTORY_FORMAT,
        version=HISTORY_VERSION,
        what="search history",
        made_by=_MADE_BY,
    )


def validation_loss(
    supernet: Supernet, path: ChoiceIndices, dataset: Dataset, *, batch_size: int
) -> float:
    """Cross-entropy of a path on the validation split, by batch statistics: nothing has to be
    re-estimated first (docs/evidence.md compares its order with that of trained networks)."""
    return float(validate_paths(supernet, [path], dataset, batch_size=batch_size).losses[0])


def steps_of(dataset: Dataset, config: DeriveConfig) -> tuple[int, int]:
    """(images a step, steps) that a network is trained on for, at least one. Raises UserError where
    the search's train split has no whole batch."""

    images = images_of(dataset)
    size = fitted_batch_size(config.derive_batch_size, images.train)
    check_demands([Demand("train", "derive_batch_size", size)], images, dataset=dataset.name)
    per_epoch = dataset.steps_per_epoch("train", batch_size=size)
    return size, max(1, round(derive_epochs(config, steps=per_epoch) * per_epoch))


def loss_of(network: keras.Model, dataset: Dataset, config: DeriveConfig) -> float:
    """Cross-entropy of a plain network on the validation split, infinite where it is not finite.
    config: of the derivation, whose images a step are those of a batch."""
    size, _ = steps_of(dataset, config)
    loss = evaluate(network, dataset.validation_once(batch_size=size)).loss
    return loss if math.isfinite(loss) else math.inf


@dataclass(frozen=True)
class Comparison:
    """best: the network taken. losses: `SupernetWeights.validation_loss` of each network compared.
    trained_losses: `SupernetWeights.trained_loss` of those that were trained on, None for the
    others. int8_accuracies: likewise, where int8 decides."""

    best: Architecture
    losses: list[float]
    trained_losses: list[float | None]
    int8_accuracies: list[float | None]


class SupernetWeights:
    """The weights of a finished search's supernet, for any of its paths.

    folder: the search's folder. optimizer: how its weights were trained, and those of networks that
    are trained on are. Raises UserError when it holds no whole checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        space: SearchSpace,
        *,
        optimizer: OptimizerConfig,
        engine: str = SearchConfig.engine,
    ):
        checkpoint = Checkpoints(folder / CHECKPOINTS).latest()
        if checkpoint is None:
            raise UserError(
                f"no searched weights in {folder}",
                expected="a checkpoint of a search",
                received="none",
                fix=f"Search first: {_MADE_BY}; or train from scratch: --init=scratch",
            )
        self.optimizer, self.normalisation = optimizer, Normalisation.of(optimizer)
        self.supernet = Supernet(
            space,
            SearchConfig(weights_init="he_fout", engine=engine),
            numerics=Numerics(normalisation=self.normalisation),
        )
        restore_variables(
            self.supernet, checkpoint, where=f"the newest checkpoint in {folder / CHECKPOINTS}"
        )

    @deterministic_ops()
    def network(
        self, architecture: Architecture, dataset: Dataset, *, batch_size: int
    ) -> keras.Model:
        """The plain network of `architecture` with the supernet's weights and statistics
        re-estimated on the train split."""
        network = build_network(architecture, normalisation=self.normalisation)
        self.supernet.inherit(network, path_of(architecture))
        reestimate_batch_norm(network, dataset.train_unaugmented(batch_size=batch_size))
        return network

    @deterministic_ops()
    def validation_loss(
        self, architecture: Architecture, dataset: Dataset, *, batch_size: int
    ) -> float:
        """Cross-entropy by the supernet's weights on the validation split, by batch statistics."""
        return validation_loss(self.supernet, path_of(architecture), dataset, batch_size=batch_size)

    def trained_loss(
        self, architecture: Architecture, dataset: Dataset, config: DeriveConfig, *, seed: int
    ) -> float:
        """Cross-entropy on the validation split of `trained_network`; infinite where it
        diverges."""
        return loss_of(
            self.trained_network(architecture, dataset, config, seed=seed), dataset, config
        )

    @deterministic_ops()
    def trained_network(
        self, architecture: Architecture, dataset: Dataset, config: DeriveConfig, *, seed: int
    ) -> keras.Model:
        """The network after `config.derive_train_epochs` more of the train split, with statistics
        re-estimated on it.

        Raises UserError where the train split has no whole batch.
        """
        config = fitted_derivation(config, images_of(dataset))
        size, steps = steps_of(dataset, config)
        assert config.derive_learning_rate is not None
        network = build_network(architecture, normalisation=self.normalisation)
        self.supernet.inherit(network, path_of(architecture))
        step = TrainStep(network, self.optimizer)
        batches = itertools.chain.from_iterable(
            dataset.train_batches(batch_size=size, seed=seed, epoch=epoch)
            for epoch in itertools.count()
        )
        for number, (images, labels) in enumerate(itertools.islice(batches, steps)):
            rate = cosine_with_warmup(
                number, steps=steps, warmup_steps=steps // 10, peak=config.derive_learning_rate
            )
            step(images, labels, learning_rate=rate, step=number)
        # A few steps leave much of the supernet's shared statistics in the moving ones.
        reestimate_batch_norm(network, dataset.train_unaugmented(batch_size=size))
        return network

    @deterministic_ops()
    def best_of(
        self,
        architectures: Sequence[Architecture],
        dataset: Dataset,
        config: DeriveConfig,
        *,
        batch_size: int,
        seed: int,
        int8: Callable[[keras.Model, Architecture], float] | None = None,
    ) -> Comparison:
        """Compares by supernet weights (batch_size: images a batch), then the
        `config.derive_trained` best of them by `trained_loss`, if those are more than one; of
        equals the first. int8: accuracy of such a network as an int8 file, which decides before its
        loss does."""
        losses = []
        with Progress("comparing networks", len(architectures)) as progress:
            for architecture in architectures:
                losses.append(self.validation_loss(architecture, dataset, batch_size=batch_size))
                progress.update()
        few = sorted(range(len(losses)), key=losses.__getitem__)[: max(1, config.derive_trained)]
        after: dict[int, float] = {}
        accuracies: dict[int, float] = {}
        if len(few) > 1:
            with Progress("training the best further", len(few)) as progress:
                for place in few:
                    network = architectures[place]
                    if int8 is None:
                        after[place] = self.trained_loss(network, dataset, config, seed=seed)
                    else:
                        model = self.trained_network(network, dataset, config, seed=seed)
                        after[place] = loss_of(model, dataset, config)
                        accuracies[place] = int8(model, network)
                    progress.update()
        best = min(few, key=lambda place: (-accuracies.get(place, 0.0), after.get(place, 0.0)))
        places = range(len(losses))
        return Comparison(
            architectures[best],
            losses,
            [after.get(place) for place in places],
            [accuracies.get(place) for place in places],
        )

    @deterministic_ops()
    def validation_accuracy(
        self, architecture: Architecture, dataset: Dataset, *, batch_size: int
    ) -> float:
        """Top-1 by the supernet's weights on the validation split: what compares derived
        architectures without the test split."""
        return evaluate(
            self.network(architecture, dataset, batch_size=batch_size),
            dataset.validation_once(batch_size=batch_size),
        ).accuracy
