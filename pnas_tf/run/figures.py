"""Figures of steps: running means over an epoch, and the refusal of what is not finite. Knows
nothing of what a figure means."""

from __future__ import annotations

import math
from collections.abc import Iterable


class NotFinite(ArithmeticError):
    """A loss, weights or alpha that are no finite numbers. what: of which kind of step."""

    def __init__(self, what: str, value: float):
        super().__init__(f"{what}: {value}")
        self.what, self.value = what, value


def require_finite(value: float, what: str) -> None:
    """Raises NotFinite where `value`, a figure of `what`, is none."""
    if not math.isfinite(value):
        raise NotFinite(what, value)


class RunningMeans:
    """Means of an epoch's figures so far. sums: [count, sum of each figure], for a checkpoint."""

    def __init__(self, sums: Iterable[float]):
        self.sums = list(sums)

    @classmethod
    def of(cls, figures: int) -> RunningMeans:
        """Of so many figures, none of them seen yet."""
        return cls([0.0] * (1 + figures))

    def add(self, *figures: float) -> None:
        """Those of one step."""
        self.sums = [total + one for total, one in zip(self.sums, (1.0, *figures), strict=True)]

    @property
    def means(self) -> list[float | None]:
        """The mean of each figure, None before the first step."""
        return [total / self.sums[0] if self.sums[0] else None for total in self.sums[1:]]
