"""Who competes at a latency: networks drawn uniformly, and uniform networks in the manner of
MobileNetV2. Trains nothing.

Both are chosen by the latency table, within the same window in which the derived networks lie.
"""

from __future__ import annotations

import itertools

import numpy as np

from pnas_tf.search.derive import architecture_of, path_of
from pnas_tf.search.quantities import Quantity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import MBConv, Zero

_DRAWS = 100_000
_MAX_ROUNDS = 200
MOBILENET_V2 = MBConv(kernel=3, expansion=6)


# of the target, where the derivation's default is 0.95: half of the tolerance is for the prediction
LEAST_FRACTION = 0.97


def window_ms(target_ms: float) -> tuple[float, float]:
    """(least, most) predicted latency of a network that counts as one of `target_ms`."""
    return target_ms * LEAST_FRACTION, target_ms


def random_within(
    space: SearchSpace, quantity: Quantity, target_ms: float, *, count: int, seed: int
) -> list[Architecture]:
    """`count` networks drawn uniformly among those whose predicted latency lies in the window, by
    rejection."""
    least, most = window_ms(target_ms)
    generator = np.random.default_rng(np.random.SeedSequence([seed, 7]))
    found: list[Architecture] = []
    for _ in range(_MAX_ROUNDS):
        paths = np.stack(
            [generator.integers(len(choice), size=_DRAWS) for choice in quantity.choices], axis=1
        )
        sums = sum(choice[paths[:, block]] for block, choice in enumerate(quantity.choices))
        predicted = quantity.slope * (quantity.fixed + sums) + quantity.intercept
        for row in paths[(predicted >= least) & (predicted <= most)]:
            found.append(architecture_of(space, tuple(int(index) for index in row)))
            if len(found) == count:
                return found
    raise ValueError(
        f"{len(found)} of {_MAX_ROUNDS * _DRAWS} networks lie from {least:.4g} to {most:.4g} ms: "
        "choose another budget"
    )


def uniform_within(space: MBConvSpace, quantity: Quantity, target_ms: float) -> list[Architecture]:
    """MobileNetV2's block (kernel 3, expansion 6) everywhere, scaled in depth: the profiles in the
    window, evenest first.

    A stage of n blocks keeps its first m, m = 1 ... n; the others are skipped.
    """
    least, most = window_ms(target_ms)
    rows = []
    for depths in itertools.product(*(range(1, stage.blocks + 1) for stage in space.stages)):
        network = uniform_network(space, depths)
        predicted = quantity.of(path_of(network))
        if least <= predicted <= most:
            rows.append((max(depths) - min(depths), -predicted, depths, network))
    return [row[-1] for row in sorted(rows, key=lambda row: row[:3])]


def uniform_network(space: MBConvSpace, depths: tuple[int, ...]) -> Architecture:
    """The network with `depths[s]` blocks of MobileNetV2 in stage s."""
    ops, seen = [], [0] * len(space.stages)
    for choice in space.choice_blocks:
        seen[choice.stage] += 1
        ops.append(MOBILENET_V2 if seen[choice.stage] <= depths[choice.stage] else Zero())
    return Architecture(space, tuple(ops))
