"""All that a training depends on besides the network and the data."""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.config import OptimizerConfig, RunConfig, TrainConfig


@dataclass(frozen=True)
class TrainRecipe:
    """How a network is trained.

    Attributes:
        config: epochs, batch, rate and what it is trained and evaluated on.
        optimizer: momentum, decay, smoothing and batch normalisation.
        seed: of initial weights, data order, augmentation and dropout.
    """

    config: TrainConfig = TrainConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    seed: int = RunConfig.seed
