"""Training of one plain network, whole or continued (recipe of section 4.2). Knows nothing of where
the architecture came from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tf_keras as keras

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import OptimizerConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import (
    check_demands,
    fit_split,
    fitted_training,
    images_of,
    training_sizes,
)
from pnas_tf.data.run_space import check_channels
from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.run.loop import Row, StepLoop
from pnas_tf.run.step import Demand
from pnas_tf.space.architecture import Architecture
from pnas_tf.training.distribution import PRECISIONS, Distribution, check_shares
from pnas_tf.training.forward import check_depth
from pnas_tf.training.recipe import TrainRecipe, training_identity
from pnas_tf.training.step import keras_precision
from pnas_tf.training.work import Training

KEEP_CHECKPOINTS = 2


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


@deterministic_ops()  # or a continued run would be another one
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
        UserError: the loss is no longer finite, `folder` holds a training with other settings, or
            the network does not suit the images or the recipe.
    """
    check_channels(architecture.space)
    check_depth(architecture.space, recipe.config)
    recipe = _fitted(recipe, dataset, distribution)
    plain = build_network(architecture, normalisation=Normalisation.of(recipe.optimizer))
    plain.set_weights(
        initial_weights if initial_weights is not None else seeded_weights(plain, seed=recipe.seed)
    )
    weights = plain.get_weights()
    identity = training_identity(architecture, dataset, recipe, distribution.options, weights)
    with distribution.scope():
        model = _trained_form(plain, architecture, recipe.optimizer, distribution)
        training = Training(model, dataset, recipe, identity=identity, distribution=distribution)
        loop = StepLoop(
            training,
            Path(folder),
            peers=distribution.replicas,
            keep=KEEP_CHECKPOINTS,
            checkpoint_steps=None,
            tensorboard=recipe.tensorboard,
        )
        loop.run()
        training.end()
        if model is not plain:
            plain.set_weights(model.get_weights())
    return Trained(plain, loop.history)


def _fitted(recipe: TrainRecipe, dataset: Dataset, distribution: Distribution) -> TrainRecipe:
    """With the batch and the epochs that fit the dataset, where none are given. Raises UserError
    where it has no whole batch, or a batch no equal part for every replica; ValueError where the
    teacher that it names is not opened."""
    if recipe.config.teacher and recipe.teacher is None:
        raise ValueError("config.teacher names a teacher; give it opened, as recipe.teacher")
    split, replicas = fit_split(recipe.config), distribution.replicas
    sizes = images_of(dataset)
    config = fitted_training(recipe.config, sizes.of(split), replicas=replicas.total)
    size, _ = training_sizes(config, sizes.of(split))
    demands = [Demand(split, "batch_size", size)]
    check_demands(demands, sizes, dataset=dataset.name)
    check_shares(demands, replicas)
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
