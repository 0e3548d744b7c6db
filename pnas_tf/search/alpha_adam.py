"""Adam on alpha, for the sampled entries only (section 4.2: beta_1 = 0, so that old gradients move
nothing).

Alpha is a few hundred numbers, so this is numpy in float64; TensorFlow's copy is written back after
each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnas_tf.config import SearchConfig
from pnas_tf.data.fitted_options import search_tuning_of


class AlphaAdam:
    """Adam (Kingma and Ba 2015) whose moments and step counts stand still for entries that were not
    sampled.

    With every entry sampled in every step it is Adam. config: its rate, betas, epsilon and decay
    (arch_*).
    """

    def __init__(self, sizes: Sequence[int], config: SearchConfig):
        self.config, self.rate = config, search_tuning_of(config).arch_learning_rate
        self.first = [np.zeros(size) for size in sizes]
        self.second = [np.zeros(size) for size in sizes]
        self.steps = [np.zeros(size) for size in sizes]

    def updated(
        self, block: int, alpha: np.ndarray, gradient: np.ndarray, sampled: Sequence[int]
    ) -> np.ndarray:
        """alpha of choice block `block` after one step on the entries in `sampled`; all shapes
        [candidates]."""
        config, index, result = self.config, list(sampled), np.array(alpha, np.float64)
        first, second = self.first[block], self.second[block]
        g = gradient[index] + config.arch_weight_decay * result[index]
        self.steps[block][index] += 1
        # m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2   (algorithm 1)
        first[index] = config.arch_beta_1 * first[index] + (1 - config.arch_beta_1) * g
        second[index] = config.arch_beta_2 * second[index] + (1 - config.arch_beta_2) * g**2
        # alpha <- alpha - rate * m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + epsilon)
        steps = self.steps[block][index]
        mean = first[index] / (1 - config.arch_beta_1**steps)
        root = np.sqrt(second[index] / (1 - config.arch_beta_2**steps))
        result[index] -= self.rate * mean / (root + config.arch_epsilon)
        return result

    def state(self) -> dict[str, np.ndarray]:
        """Everything that a continued search must restore, by name."""
        parts = {"first": self.first, "second": self.second, "steps": self.steps}
        return {
            f"{name}/{block}": values.copy()
            for name, part in parts.items()
            for block, values in enumerate(part)
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """The inverse of `state`."""
        for name, part in (("first", self.first), ("second", self.second), ("steps", self.steps)):
            for block in range(len(part)):
                part[block] = np.array(state[f"{name}/{block}"])
