"""All that a search depends on besides space, data and tables."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DeriveConfig,
    DeviceConfig,
    OptimizerConfig,
    RunConfig,
    SearchConfig,
)
from pnas_tf.data.fitted_options import (
    PRETRAINED,
    RECONSTRUCTION,
    images_of,
    search_sizes,
)
from pnas_tf.errors import UserError
from pnas_tf.run.settings import fixed_of

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.networks.pretrained import PretrainedWeights
    from pnas_tf.search.targets import Target
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.supernet.numerics import Numerics


ONE_SHOT = "one_shot"  # of --algorithm


@dataclass(frozen=True)
class SearchRecipe:
    """How a search is done.

    Attributes:
        config: phases, batches, rates, algorithm and objective.
        optimizer: momentum, decay, smoothing and batch normalisation of the weights.
        device: what sampled networks are measured on, where `config.rl_latency` asks for it.
        seed: of initial weights, data order and sampling.
        pretrained: what the supernet starts from, unless `config.weights_init` says otherwise.
        tensorboard: whether events are written.
    """

    config: SearchConfig = SearchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    device: DeviceConfig = DeviceConfig()
    seed: int = RunConfig.seed
    pretrained: PretrainedWeights | None = None
    tensorboard: bool = RunConfig.tensorboard

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", RunConfig(seed=self.seed).seed)

    def starting_from(self, pretrained: PretrainedWeights) -> SearchRecipe:
        """With these weights. Raises UserError where `config.weights_init` says otherwise."""
        wanted = self.config.weights_init
        if wanted not in (None, PRETRAINED):
            raise UserError(
                f"pretrained weights with weights_init={wanted!r}",
                expected="a supernet that starts from them",
                received=f"one that starts from {wanted} weights",
                fix="Leave out one of the two.",
            )
        return dataclasses.replace(self, pretrained=pretrained)

    def started(self) -> SearchRecipe:
        """With `config.weights_init` as the presence of pretrained weights decides it.

        Raises:
            UserError: it asks for such, and there are none.
        """
        if self.config.algorithm == ONE_SHOT and self.config.alpha_scale:
            config = dataclasses.replace(self.config, alpha_scale=0.0)  # stays uniform
            return dataclasses.replace(self, config=config).started()
        wanted = self.config.weights_init
        if wanted is None and self.pretrained is not None:
            config = dataclasses.replace(self.config, weights_init=PRETRAINED)
            return dataclasses.replace(self, config=config)
        check_start(self.config, known=self.pretrained is not None)
        return self


def measures_networks(config: SearchConfig) -> bool:
    """Whether the search measures the networks that it samples."""
    return (config.algorithm, config.rl_latency) == ("reinforce", "device")


def search_identity(
    space: SearchSpace,
    dataset: Dataset,
    recipe: SearchRecipe,
    targets: Sequence[Target],
    *,
    numerics: Numerics,
) -> str:
    """What a search in a folder is known by, 64 hex digits: whatever decides its result."""
    quantities = [target.quantity for target in targets]
    sizes = search_sizes(recipe.config, images_of(dataset), replicas=numerics.replicas.total)
    document = {
        "space": space.to_json(),
        "dataset": dataset.fingerprint,
        "config": fixed_of(recipe.config),
        "optimizer": dataclasses.asdict(recipe.optimizer),
        "seed": recipe.seed,
        "targets": [target.value for target in targets],
        "costs": [
            [each.fixed, each.slope, each.intercept, *(row.tolist() for row in each.choices)]
            for each in quantities
        ],
        "sizes": dataclasses.asdict(sizes),
        "device": fixed_of(recipe.device) if measures_networks(recipe.config) else None,
        "pretrained": recipe.pretrained and recipe.pretrained.digest,
        "precision": numerics.precision,
    }
    if numerics.normalisation.synchronized:
        document["sync_batch_norm"] = True
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def check_derivation(config: SearchConfig, derive: DeriveConfig) -> None:
    """Raises UserError where each block's own most probable op is asked for, and no algorithm
    learns one."""
    if config.algorithm == ONE_SHOT and derive.derive != "budget":
        raise UserError(
            f"--derive={derive.derive} with --algorithm={ONE_SHOT}",
            expected="--derive=budget: the effect model's best networks within it",
            received="path probabilities that nobody learns",
            fix="Leave --derive out, or choose another --algorithm.",
        )


def reconstruction_flags(config: SearchConfig) -> list[str]:
    """The options that ask for an alpha which starts by what candidates lose."""
    strength = config.alpha_reconstruction
    asked = {
        f"--alpha_init={RECONSTRUCTION}": config.alpha_init == RECONSTRUCTION,
        f"--alpha_reconstruction={strength:g}": strength != SearchConfig.alpha_reconstruction,
    }
    return [flag for flag, is_asked in asked.items() if is_asked]


def check_start(config: SearchConfig, *, known: bool) -> None:
    """Raises UserError where the supernet or alpha shall start from pretrained weights, and none
    are `known`, or the supernet starts from others."""
    starts = known and config.weights_init in (None, PRETRAINED)
    by_weights = config.weights_init == PRETRAINED
    asked = [f"--weights_init={PRETRAINED}"] if by_weights else []
    for flag in [*asked, *reconstruction_flags(config)]:
        if not starts:
            raise UserError(
                flag,
                expected="weights to start from",
                received=f"--weights_init={config.weights_init}" if known else "none",
                fix="Leave out one of the two."
                if known
                else "Add e.g. --pretrained=imagenet (in Python: pretrained=...).",
            )
