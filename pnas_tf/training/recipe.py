"""All that a training depends on besides the network and the data."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.config import (
    DistributionConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
    Tuning,
)
from pnas_tf.data.fitted_options import SCRATCH, usual_training
from pnas_tf.errors import UserError

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.training.distillation import Teacher


@dataclass(frozen=True)
class TrainRecipe:
    """How a network is trained.

    Attributes:
        config: epochs, batch, rate and what it is trained and evaluated on.
        optimizer: momentum, decay, smoothing and batch normalisation.
        seed: of initial weights, data order, augmentation and dropout.
        teacher: the network that config.teacher names.
        tensorboard: whether events are written.
    """

    config: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    seed: int = RunConfig.seed
    teacher: Teacher | None = None
    tensorboard: bool = RunConfig.tensorboard

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", RunConfig(seed=self.seed).seed)

    def starting_from(self, init: str) -> TrainRecipe:
        """With the start that the weights at hand are for, a value of --init; from scratch as it
        stands. Raises UserError where `config.init` asks for another."""
        if self.config.init not in (None, init):
            raise UserError(
                f"TrainConfig(init={self.config.init!r})",
                expected="weights of that kind: searched=... for inherit, pretrained=... for "
                "pretrained, neither for scratch",
                received=f"those of {init}",
                fix="Leave init out, or give the weights.",
            )
        if init == SCRATCH:
            return self
        return dataclasses.replace(self, config=dataclasses.replace(self.config, init=init))


def tuning_of(config: TrainConfig) -> Tuning:
    """The values of `config`, or the usual ones of its kind of training where it has none. Raises
    UserError where the classifier's own epochs, or those of the warm-up, are more than all."""
    usual = usual_training(config)
    given = {name: getattr(config, name) for name in Tuning._fields}
    found = usual._replace(**{name: value for name, value in given.items() if value is not None})
    if config.head_epochs is None:  # of few epochs most are for the whole network
        found = found._replace(head_epochs=min(usual.head_epochs, found.epochs // 2))
    if found.head_epochs > found.epochs:
        raise UserError(
            "--head_epochs",
            expected=f"at most {found.epochs}, the epochs of the training",
            received=str(found.head_epochs),
            fix="Choose fewer, or more --epochs.",
        )
    whole = found.epochs - found.head_epochs
    if config.learning_rate_warmup_epochs > (whole or found.epochs):
        after = " after those of --head_epochs" if found.head_epochs else ""
        raise UserError(
            "--learning_rate_warmup_epochs",
            expected=f"at most {whole or found.epochs}, the epochs of the training{after}",
            received=f"{config.learning_rate_warmup_epochs:g}, so that --learning_rate is never "
            "reached",
            fix="Choose fewer, or more --epochs.",
        )
    return found


def training_identity(
    architecture: Architecture,
    dataset: Dataset,
    recipe: TrainRecipe,
    options: DistributionConfig,
    weights: Sequence[np.ndarray],
) -> str:
    """What a training in a folder is known by, 64 hex digits."""
    settings = dataclasses.asdict(recipe.config)
    del settings["evaluate_epochs"]  # moves no weight
    settings["teacher"] = recipe.teacher and recipe.teacher.identity
    document = {
        "architecture": architecture.to_json(),
        "dataset": dataset.fingerprint,
        "config": settings,
        "tuning": tuning_of(recipe.config),
        "optimizer": dataclasses.asdict(recipe.optimizer),
        "seed": recipe.seed,
        "arithmetic": [options.sync_batch_norm, options.mixed_precision],
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for weight in weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
