"""Adam on alpha, for the sampled entries only (section 4.2: beta_1 = 0, so that nothing unsampled
drifts).

Alpha is a few hundred numbers, so this is numpy in float64; TensorFlow's copy is written back after
each step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class AlphaAdam:
    """Adam (Kingma and Ba 2015) whose moments and step counts stand still for entries that were not
    sampled.

    With every entry sampled in every step it is Adam.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        learning_rate: float,
        beta_1: float,
        beta_2: float,
        epsilon: float,
        weight_decay: float,
    ):
        self.learning_rate, self.beta_1, self.beta_2, self.epsilon = (
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
        )
        self.weight_decay = weight_decay
        self.first = [np.zeros(size) for size in sizes]
        self.second = [np.zeros(size) for size in sizes]
        self.steps = [np.zeros(size) for size in sizes]

    def updated(
        self, block: int, alpha: np.ndarray, gradient: np.ndarray, sampled: Sequence[int]
    ) -> np.ndarray:
        """alpha of choice block `block` after one step on the entries in `sampled`; all shapes
        [candidates]."""
        index = list(sampled)
        result = np.array(alpha, np.float64)
        g = gradient[index] + self.weight_decay * result[index]
        self.steps[block][index] += 1
        self.first[block][index] = self.beta_1 * self.first[block][index] + (1 - self.beta_1) * g
        self.second[block][index] = (
            self.beta_2 * self.second[block][index] + (1 - self.beta_2) * g**2
        )
        steps = self.steps[block][index]
        mean = self.first[block][index] / (1 - self.beta_1**steps)
        root = np.sqrt(self.second[block][index] / (1 - self.beta_2**steps))
        result[index] -= self.learning_rate * mean / (root + self.epsilon)
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
