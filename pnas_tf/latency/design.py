"""Which networks are worth measuring: those that say most about what will be predicted. Knows no
devices and measures nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pnas_tf.latency.transfer import Population


def design(
    population: Population,
    pool: np.ndarray,
    targets: np.ndarray,
    count: int,
    *,
    chosen: Sequence[int] = (),
) -> list[int]:
    """The networks that say most: greedily those that lower the targets' relative variance most.

    Args:
        population: what is known before.
        pool: [candidates, features].
        targets: [networks, features], those that will be predicted.
        count: how many, with `chosen`.
        chosen: indices of those that are measured already.

    Returns:
        Indices into `pool`, `chosen` first, in the order of choice.

    Raises:
        UserError: the population expects no time of a network.
    """
    covariance = population.with_free_scale()
    expected, wanted = population.expected(pool), population.expected(targets)
    noise = (population.noise * expected) ** 2
    taken: list[int] = []
    for number in range(count):
        variance = np.einsum("ci,ij,cj->c", pool, covariance, pool) + noise
        if number < len(chosen):
            best = chosen[number]
        else:
            shared = (targets / wanted[:, None]) @ covariance @ pool.T
            gain = (shared**2).sum(axis=0) / variance
            gain[taken] = -np.inf
            best = int(np.argmax(gain))
        taken.append(best)
        direction = covariance @ pool[best]
        covariance = covariance - np.outer(direction, direction) / variance[best]
    return taken
