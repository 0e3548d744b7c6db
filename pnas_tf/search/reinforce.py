"""Architecture steps by REINFORCE (section 3.3.2), for objectives that have no gradient.

J(alpha) = E[R(path)], path ~ softmax(alpha), is climbed by sampled networks (eq. 7):

    dJ/dalpha_i = E[(R - b) * d log p(path) / dalpha_i],   d log p_c / dalpha_i = delta_ic - p_i

with c the candidate that stands in alpha_i's block. R is accuracy * (target / latency) ** w, or
TuNAS's, which does not reward being below the target. The original moves its baseline b 99 %
towards the newest mean before it takes the advantage; ours is a moving average, taken before the
move.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.config import SearchConfig
from pnas_tf.search import sampling
from pnas_tf.space.architecture import ChoiceIndices

# A reward of a sampled path: (path) -> reward.
Reward = Callable[[ChoiceIndices], float]


@dataclass(frozen=True)
class PolicyGradient:
    """The result of one REINFORCE step before any update. alpha: for each block d(-reward) / d
    alpha, to be minimised."""

    alpha: list[np.ndarray]
    rewards: tuple[float, ...]
    paths: tuple[ChoiceIndices, ...]
    baseline: float


def reward(accuracy: float, ratios: Sequence[float], config: SearchConfig) -> float:
    """Of a network by `config.rl_reward`; arguments as of `power_reward`."""
    if config.rl_reward == "power":
        return power_reward(
            accuracy, ratios, exponent=config.rl_exponent, combination=config.combination
        )
    return absolute_reward(
        accuracy, ratios, weight=config.regulariser_lambda, combination=config.combination
    )


def power_reward(
    accuracy: float, ratios: Sequence[float], *, exponent: float, combination: str
) -> float:
    """accuracy * (target / latency) ** exponent (MnasNet, Tan et al. 2019, eq. 2).

    accuracy: top-1 on a batch of the search's validation split, a fraction. ratios: latency /
    target of each device; "sum" takes their product, which adds logarithms as `multiplicative_log`
    does, "worst" the largest.
    """
    ratio = math.prod(ratios) if combination == "sum" else max(ratios)
    return accuracy * (1.0 / ratio) ** exponent


def absolute_reward(
    accuracy: float, ratios: Sequence[float], *, weight: float, combination: str
) -> float:
    """accuracy - weight * |latency / target - 1|: nothing is won below the target (Bender et al.
    2020, eq. 3).

    Arguments as of `power_reward`. Each device has its own distance from its target: "sum" adds
    them, "worst" takes the largest, as `absolute` of the gradient objective does. A ratio of all
    would let devices on both sides cancel.
    """
    distances = [abs(ratio - 1.0) for ratio in ratios]
    return accuracy - weight * (math.fsum(distances) if combination == "sum" else max(distances))


def policy_gradient(
    alphas: Sequence[np.ndarray],
    reward_of: Reward,
    *,
    networks: int,
    baseline: float | None,
    decay: float,
    generator: np.random.Generator,
) -> PolicyGradient:
    """Samples `networks` paths and averages (R - b) * grad(-log p(path)) over them.

    baseline: the moving average so far, None before the first step (the first mean then stands in,
    so that the first step is not all of one sign). decay: weight of the old baseline in b <- decay
    * b + (1 - decay) * mean R.
    """
    probabilities = [sampling.softmax(alpha) for alpha in alphas]
    paths = tuple(sampling.sample_path(probabilities, generator) for _ in range(networks))
    rewards = tuple(reward_of(path) for path in paths)
    b = float(np.mean(rewards)) if baseline is None else baseline
    gradients = [np.zeros(len(p)) for p in probabilities]
    for path, value in zip(paths, rewards):
        for gradient, p, chosen in zip(gradients, probabilities, path):
            # d(-log p_chosen) / d alpha_i = p_i - delta_i,chosen
            direction = p.copy()
            direction[chosen] -= 1.0
            gradient += (value - b) * direction / networks
    return PolicyGradient(
        gradients, rewards, paths, decay * b + (1 - decay) * float(np.mean(rewards))
    )
