"""Means, standard errors, choices and correlations of lists of numbers. Knows no networks."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """(mean, its standard error, None for a single value)."""
    mean = statistics.mean(values)
    return mean, statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def difference(left: Sequence[float], right: Sequence[float]) -> tuple[float, float]:
    """(mean left - mean right, its standard error with unequal variances); both lists hold at least
    two values."""
    (a, error_a), (b, error_b) = mean_and_error(left), mean_and_error(right)
    assert error_a is not None and error_b is not None
    return a - b, math.hypot(error_a, error_b)


def best_of(
    count: int, *, judged_by: Sequence[float], values: Sequence[float]
) -> tuple[float, float]:
    """Expected value of the best of `count` drawn without replacement, the best by `judged_by`; and
    its standard error.

    The error is the jackknife's over the pool: what another pool of this size would have given.
    """
    pool = list(zip(judged_by, values, strict=True))
    whole = _expected_best(count, pool)
    leaving_one = [
        _expected_best(count, pool[:index] + pool[index + 1 :]) for index in range(len(pool))
    ]
    n = len(pool)
    return whole, math.sqrt(
        (n - 1) / n * sum((value - statistics.mean(leaving_one)) ** 2 for value in leaving_one)
    )


def _expected_best(count: int, pool: Sequence[tuple[float, float]]) -> float:
    return statistics.mean(
        max(group)[1] for group in itertools.combinations(pool, min(count, len(pool)))
    )


def spearman(
    left: Sequence[float], right: Sequence[float], *, samples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(rank correlation, ends of its 95 % interval by resampling pairs)."""
    pairs = np.array([left, right])
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        chosen = pairs[:, generator.integers(pairs.shape[1], size=pairs.shape[1])]
        if len(set(chosen[0])) > 1 and len(set(chosen[1])) > 1:
            found.append(stats.spearmanr(*chosen).statistic)
    low, high = np.percentile(found, [2.5, 97.5])
    return float(stats.spearmanr(*pairs).statistic), float(low), float(high)
