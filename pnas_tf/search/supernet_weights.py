"""What a finished search leaves to the networks derived from it: probabilities, and weights for any
of its paths.

Reads the search's checkpoint and changes nothing in it; the best few networks are trained on in
memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import tf_keras as keras

from pnas_tf.config import DeriveConfig, OptimizerConfig, SearchConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS
from pnas_tf.run.progress import Progress
from pnas_tf.search.derive import path_of
from pnas_tf.search.loop import HISTORY, restore_variables
from pnas_tf.search.weight_step import path_result
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.supernet.functional import Arithmetic
from pnas_tf.supernet.supernet import Path, Supernet
from pnas_tf.training.evaluate import evaluate, reestimate_batch_norm
from pnas_tf.training.schedules import cosine_with_warmup
from pnas_tf.training.step import TrainStep

_MADE_BY = "pnas search --run_dir=..."


def probabilities_of(history: FilePath, space: SearchSpace) -> list[np.ndarray]:
    """The path probabilities at the end of the search whose history.json this is, for each block
    float64 [candidates].

    Raises UserError when the file is not whole or belongs to another space.
    """
    document = atomic.read_document(history, **HISTORY, what="search history", made_by=_MADE_BY)
    expected = [[op.key for op in choice.candidates] for choice in space.choice_blocks]
    fix = f"Search again: {_MADE_BY}"
    epochs = value_of(
        tuple[dict[str, Any], ...],
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


def alpha_loss(supernet: Supernet, path: Path, dataset: Dataset, *, batch_size: int) -> float:
    """Cross-entropy of a path on the alpha part, by batch statistics: nothing has to be
    re-estimated first (docs/evidence.md compares its order with that of trained networks)."""
    batches = dataset.alpha(batch_size=batch_size, seed=0, epoch=0)
    return float(
        np.mean([path_result(supernet, path, images, labels)[0] for images, labels in batches])
    )


def steps_of(dataset: Dataset, config: DeriveConfig) -> int:
    """Steps that a network is trained on for, at least one. Raises UserError where the weights part
    has no whole batch."""
    per_epoch = dataset.batches("weights", batch_size=config.derive_batch_size)
    if not per_epoch:
        raise UserError(
            f"the weights part of dataset '{dataset.name}' is smaller than one batch",
            expected=f"at least --derive_batch_size={config.derive_batch_size} images",
            received="fewer",
            fix="Lower --derive_batch_size, give more images, or compare by searched weights "
            "alone: --derive_trained=0.",
        )
    return max(1, round(config.derive_train_epochs * per_epoch))


@dataclass(frozen=True)
class Comparison:
    """best: the network taken. losses: `Inheritance.alpha_loss` of each network compared.
    trained_losses: `Inheritance.trained_loss` of those that were trained on, None for the
    others."""

    best: Architecture
    losses: list[float]
    trained_losses: list[float | None]


class Inheritance:
    """The supernet of a finished search, ready to hand its weights to derived networks.

    folder: the search's folder. optimizer: how its weights were trained, and those of networks that
    are trained on are. Raises UserError when it holds no whole checkpoint.
    """

    def __init__(
        self,
        folder: FilePath,
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
            arithmetic=Arithmetic(normalisation=self.normalisation),
            weights_init="he_fout",  # overwritten
            engine=engine,
        )
        restore_variables(
            self.supernet, checkpoint, where=f"the newest checkpoint in {folder / CHECKPOINTS}"
        )

    def network(
        self, architecture: Architecture, dataset: Dataset, *, batch_size: int
    ) -> keras.Model:
        """The plain network of `architecture` with the supernet's weights and statistics
        re-estimated on the weights part."""
        network = build_network(architecture, normalisation=self.normalisation)
        self.supernet.inherit(network, path_of(architecture))
        reestimate_batch_norm(network, dataset.weights_plain(batch_size=batch_size))
        return network

    def alpha_loss(self, architecture: Architecture, dataset: Dataset, *, batch_size: int) -> float:
        """Cross-entropy of the inherited network on the alpha part, by batch statistics."""
        return alpha_loss(self.supernet, path_of(architecture), dataset, batch_size=batch_size)

    def trained_loss(
        self, architecture: Architecture, dataset: Dataset, config: DeriveConfig, *, seed: int
    ) -> float:
        """Cross-entropy on the alpha part after `config.derive_train_epochs` more of the weights
        part, by statistics re-estimated on it; infinite where it diverges.

        Raises UserError where the weights part has no whole batch.
        """
        steps, size = steps_of(dataset, config), config.derive_batch_size
        network = build_network(architecture, normalisation=self.normalisation)
        self.supernet.inherit(network, path_of(architecture))
        step = TrainStep(network, self.optimizer)
        batches = itertools.chain.from_iterable(
            dataset.weights(batch_size=size, seed=seed, epoch=epoch) for epoch in itertools.count()
        )
        for number, (images, labels) in enumerate(itertools.islice(batches, steps)):
            rate = cosine_with_warmup(
                number, steps=steps, warmup_steps=steps // 10, peak=config.derive_learning_rate
            )
            step(images, labels, learning_rate=rate, step=number)
        # A few steps leave much of the supernet's shared statistics in the moving ones.
        reestimate_batch_norm(network, dataset.weights_plain(batch_size=size))
        loss = evaluate(network, dataset.alpha_once(batch_size=size)).loss
        return loss if math.isfinite(loss) else math.inf

    def best_of(
        self,
        architectures: Sequence[Architecture],
        dataset: Dataset,
        config: DeriveConfig,
        *,
        batch_size: int,
        seed: int,
    ) -> Comparison:
        """Compares by inherited weights (batch_size: images a batch), then the
        `config.derive_trained` best of them by `trained_loss`, if those are more than one; of
        equals the first."""
        losses = []
        with Progress("compare networks", len(architectures)) as progress:
            for architecture in architectures:
                losses.append(self.alpha_loss(architecture, dataset, batch_size=batch_size))
                progress.update()
        few = sorted(range(len(losses)), key=losses.__getitem__)[: max(1, config.derive_trained)]
        after: dict[int, float] = {}
        if len(few) > 1:
            with Progress("train the best on", len(few)) as progress:
                for place in few:
                    after[place] = self.trained_loss(
                        architectures[place], dataset, config, seed=seed
                    )
                    progress.update()
        best = min(after, key=after.__getitem__) if after else few[0]
        return Comparison(
            architectures[best], losses, [after.get(place) for place in range(len(losses))]
        )

    def alpha_accuracy(
        self, architecture: Architecture, dataset: Dataset, *, batch_size: int
    ) -> float:
        """Top-1 of the inherited network on the alpha part: what compares derived architectures
        without the test part."""
        return evaluate(
            self.network(architecture, dataset, batch_size=batch_size),
            dataset.alpha_once(batch_size=batch_size),
        ).accuracy
