"""All that a search depends on besides space, data and tables."""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.config import DeviceConfig, OptimizerConfig, RunConfig, SearchConfig


@dataclass(frozen=True)
class SearchRecipe:
    """How a search is done.

    Attributes:
        config: phases, batches, rates, algorithm and objective.
        optimizer: momentum, decay, smoothing and batch normalisation of the weights.
        device: what sampled networks are measured on, where `config.rl_latency` asks for it.
        seed: of initial weights, data order and sampling.
    """

    config: SearchConfig = SearchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    device: DeviceConfig = DeviceConfig()
    seed: int = RunConfig.seed
