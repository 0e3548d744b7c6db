"""Training of one plain network: what its steps and epochs are (recipe of section 4.2).

Every batch, every random draw and every rate follows from (seed, step), so training that was
stopped anywhere and started again is, to the bit, the one that would have run through. Knows
nothing of where the architecture came from.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import OptimizerConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import (
    check_demands,
    fit_split,
    fitted_training,
    images_of,
    training_sizes,
)
from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.run.checkpoints import Checkpoint
from pnas_tf.run.loop import Row, RunningMeans, StepLoop, require_finite
from pnas_tf.run.step import Demand
from pnas_tf.space.architecture import Architecture
from pnas_tf.training.distribution import PRECISIONS, Distribution, check_batch
from pnas_tf.training.evaluate import Evaluator, reestimate_batch_norm
from pnas_tf.training.fine_tuning import block_rates, head_rates
from pnas_tf.training.initial_weights import seeded_weights
from pnas_tf.training.loss_scale import LossScale
from pnas_tf.training.recipe import TrainRecipe, training_identity, tuning_of
from pnas_tf.training.schedules import cosine_with_warmup
from pnas_tf.training.step import Moved, TrainStep, keras_precision

KEEP_CHECKPOINTS = 2
HISTORY = {"format": "pnas_tf/train_history", "version": 1}


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        model: gives logits; a plain one in float32, whatever it was trained on.
        history: one row an epoch with epoch, loss, accuracy (of training batches, augmented) and
            learning_rate at its end; in the epochs in which they were measured test_loss and
            test_accuracy, or, where the validation split is held out (train_on_alpha=False),
            alpha_loss and alpha_accuracy.
    """

    model: keras.Model
    history: list[Row]


def train_network(
    architecture: Architecture,
    dataset: Dataset,
    recipe: TrainRecipe,
    folder: str | os.PathLike,
    *,
    initial_weights: Sequence[np.ndarray] | None = None,
    distribution: Distribution = Distribution(),
) -> Trained:
    """Trains the network of `architecture`, or continues from the checkpoints in `folder`.

    Args:
        architecture: what is trained.
        dataset: what it is trained and evaluated on.
        recipe: how.
        folder: holds checkpoints/, history.json and TensorBoard events/.
        initial_weights: as of `Model.get_weights` of this network; None draws them from the seed.
        distribution: on which devices, in which precision.

    Returns:
        The trained network and its history.

    Raises:
        Stopped: on SIGTERM or Ctrl-C, after a checkpoint.
        UserError: the loss is no longer finite, or `folder` holds a training with other settings.
    """
    recipe = _fitted(recipe, dataset, distribution)
    tf.config.experimental.enable_op_determinism()  # or a continued run would be another one
    plain = build_network(architecture, normalisation=Normalisation.of(recipe.optimizer))
    plain.set_weights(
        initial_weights if initial_weights is not None else seeded_weights(plain, seed=recipe.seed)
    )
    identity = training_identity(
        architecture, dataset, recipe, distribution.options, plain.get_weights()
    )
    with distribution.scope():
        model = _trained_form(plain, architecture, recipe.optimizer, distribution)
        training = _Training(model, dataset, recipe, identity=identity, distribution=distribution)
        loop = StepLoop(
            training,
            Path(folder),
            peers=distribution.replicas,
            keep=KEEP_CHECKPOINTS,
            checkpoint_steps=None,
        )
        loop.run()
        if model is not plain:
            plain.set_weights(model.get_weights())
    return Trained(plain, loop.history)


def _fitted(recipe: TrainRecipe, dataset: Dataset, distribution: Distribution) -> TrainRecipe:
    """With the batch and the epochs that fit the dataset, where none are given. Raises UserError
    where it has no whole batch, or a batch no equal part for every replica."""
    split, replicas = fit_split(recipe.config), distribution.replicas
    sizes = images_of(dataset)
    config = fitted_training(recipe.config, sizes.of(split), replicas=replicas.total)
    size, _ = training_sizes(config, sizes.of(split))
    check_demands([Demand(split, "batch_size", size)], sizes, dataset=dataset.name)
    check_batch(size, replicas, flag="batch_size")
    return dataclasses.replace(recipe, config=config)


def _trained_form(
    plain: keras.Model,
    architecture: Architecture,
    optimizer: OptimizerConfig,
    distribution: Distribution,
) -> keras.Model:
    """The network that is trained in the place of `plain`, with its weights: on all replicas and in
    the precision that was asked for."""
    options = distribution.options
    if distribution.strategy is None and options.mixed_precision == "none":
        return plain
    normalisation = Normalisation.of(optimizer, synchronized=options.sync_batch_norm)
    with keras_precision(PRECISIONS[options.mixed_precision]):
        model = build_network(architecture, normalisation=normalisation)
    model.set_weights(plain.get_weights())
    return model


class _Training:
    """The work of a `StepLoop`; see `run.loop.Work`."""

    name = "train"
    header = HISTORY

    def __init__(
        self,
        model: keras.Model,
        dataset: Dataset,
        recipe: TrainRecipe,
        *,
        identity: str,
        distribution: Distribution,
    ):
        self.model, self.dataset, self.config, self.seed = (
            model,
            dataset,
            recipe.config,
            recipe.seed,
        )
        self.identity, self.distribution = identity, distribution
        self.tuning = tuning_of(recipe.config)
        step = functools.partial(
            TrainStep,
            model,
            recipe.optimizer,
            dropout=recipe.config.dropout,
            seed=recipe.seed,
            distribution=distribution,
        )
        rates = block_rates(model, self.config.layer_rate_decay)
        statistics = self.tuning.train_batch_norm != "frozen"
        self.train_step = step(moved=Moved(rates, statistics))
        # Alone it learns nothing of statistics, and the network's are those that it will see.
        self.head_step = step(moved=Moved(head_rates(model), statistics=False))
        self.evaluator = Evaluator(model, distribution)
        self.means = RunningMeans.of(2)  # loss, accuracy
        images = images_of(dataset).of(fit_split(self.config))
        self.batch_size, self.epochs = training_sizes(self.config, images)
        self.steps_per_epoch = dataset.fit_steps(self.config)
        self.head_steps = self.tuning.head_epochs * self.steps_per_epoch

    @property
    def causes(self) -> str:
        return (
            f"--learning_rate={self.tuning.learning_rate} too high, too short a "
            "--learning_rate_warmup_epochs, inherited weights that are not finite, or images that "
            "are not"
        )

    def phase(self, epoch: int) -> str:
        return "head" if epoch < self.tuning.head_epochs else "train"

    def batches(self, epoch: int, start: int) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
        return self.dataset.fit_batches(self.config, seed=self.seed, epoch=epoch, start_batch=start)

    def take_step(self, step: int, images: tf.Tensor, labels: tf.Tensor) -> None:
        rate = self._learning_rate(step)
        take = self.head_step if step < self.head_steps else self.train_step
        loss, accuracy = take(images, labels, learning_rate=rate, step=step)
        require_finite(loss, "training step")
        self.means.add(loss, accuracy)

    def figures(self) -> dict[str, str]:
        loss, accuracy = self.means.means
        return {"accuracy": f"{100 * (accuracy or 0.0):.0f} %", "loss": f"{loss or 0.0:.3g}"}

    def end_epoch(self, epoch: int) -> Row:
        loss, accuracy = self.means.means
        self.means = RunningMeans.of(2)
        rate = self._learning_rate((epoch + 1) * self.steps_per_epoch - 1)
        row: Row = {"epoch": epoch, "loss": loss, "accuracy": accuracy, "learning_rate": rate}
        every = self.config.evaluate_epochs
        if epoch + 1 == self.epochs or (every and (epoch + 1) % every == 0):
            row |= self._evaluation()
        return row

    def _evaluation(self) -> Row:
        """Loss and top-1 on the split that is held out."""
        self._agree_on_statistics()
        if self.tuning.train_batch_norm == "reestimated":
            images = self.dataset.train_unaugmented(batch_size=self.batch_size)
            reestimate_batch_norm(self.model, images)
        if self.config.train_on_alpha:
            split, batches = "test", self.dataset.test_batches
        else:
            split, batches = "alpha", self.dataset.validation_once
        result = self.evaluator(batches(batch_size=self.batch_size))
        return {f"{split}_loss": result.loss, f"{split}_accuracy": result.accuracy}

    def _learning_rate(self, step: int) -> float:
        """The classifier alone learns at a constant rate; then the whole network's begins."""
        if step < self.head_steps:
            return self.tuning.learning_rate
        return cosine_with_warmup(
            step - self.head_steps,
            steps=self.epochs * self.steps_per_epoch - self.head_steps,
            peak=self.tuning.learning_rate,
            warmup_steps=round(self.config.learning_rate_warmup_epochs * self.steps_per_epoch),
        )

    def _agree_on_statistics(self) -> None:
        """Gives every replica the mean of all replicas' moving statistics; each has moved its own
        by its share of the batches."""
        if self.distribution.strategy is not None:
            for variable in self.model.non_trainable_variables:
                variable.assign(variable.numpy())

    def _variables(self) -> dict[str, tf.Variable]:
        """Weights and momenta by the names that checkpoints have."""
        named = {
            f"variable/{number}/{variable.name}": variable
            for number, variable in enumerate(self.model.weights)
        }
        slots = {f"momentum/{number}": slot for number, slot in enumerate(self.train_step.slots)}
        if self.head_steps:
            slots |= {f"head/{number}": slot for number, slot in enumerate(self.head_step.slots)}
        return {**named, **slots}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        self._agree_on_statistics()
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        state: dict[str, object] = {"sums": self.means.sums, "identity": self.identity}
        if (scale := self.train_step.loss_scale) is not None:
            state["loss_scale"] = [scale.value, scale.good_steps]
        return arrays, state

    def restore(self, checkpoint: Checkpoint, where: str) -> None:
        if checkpoint.state.get("identity") != self.identity:
            raise UserError(
                f"the training of {where} was started with other settings",
                expected="the same architecture, dataset, training options, seed and initial "
                "weights",
                received="others",
                fix="Choose another --run_dir, or delete the folder to train anew.",
            )
        for name, variable in self._variables().items():
            variable.assign(checkpoint.array(name, shape=tuple(variable.shape), where=where))
        self.means = RunningMeans(checkpoint.value("sums", tuple[float, ...], where=where))
        if self.train_step.loss_scale is not None:
            self.train_step.loss_scale = LossScale(
                *checkpoint.value("loss_scale", tuple[float, int], where=where)
            )
