"""What several devices teach about a new one: a population of prices for each kind of work, and
what single blocks take besides.

Kinds of work explain a network to 2 or 3 %. What they miss, a shape that a kernel fits well or
badly, is much the same from device to device of a runtime. So a block that tables have measured is
one more feature, whose amount is how often a network holds it and whose price is the block's
excess: what it takes beyond its kinds of work.

  price of block b = scale * (f_b . v + e_b),   v ~ N(mean, covariance),   e_b ~ N(m_b, d_b^2)

Measures nothing and knows no files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pnas_tf.latency.design import design
from pnas_tf.latency.op_features import features_of
from pnas_tf.latency.prior_sources import Source
from pnas_tf.latency.transfer import Observed, Population, condition, learn, typical_ratio
from pnas_tf.space.blocks import Block

# Of a normal error: standard deviation / mean absolute error.
_MEAN_TO_STANDARD = math.sqrt(math.pi / 2)
# What is known beforehand of how much an excess differs between devices, in devices' worth: that it
# differs as the typical excess of a block differs from 0. Few devices say little of it.
_DIFFERENCE_KNOWN = 2.0
_COUNTS = (3, 5, 10, 20)


@dataclass(frozen=True)
class Excess:
    """What a block takes beyond its kinds of work, in ms on a device of scale 1. deviation: from
    device to device."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 <= self.deviation < math.inf):
            raise ValueError(f"an excess of {self.mean}, give or take {self.deviation}")


@dataclass(frozen=True)
class Taught:
    """What devices teach.

    Attributes:
        kinds: of coefficients for `op_features.FEATURES`.
        blocks: latency key -> excess, of blocks that tables have measured.
    """

    kinds: Population
    blocks: Mapping[str, Excess]

    @cached_property
    def population(self) -> Population:
        """Of coefficients for `features_of`."""
        own = list(self.blocks.values())
        kinds, size = self.kinds, len(self.kinds.mean)
        covariance = np.diag([0.0] * size + [each.deviation**2 for each in own])
        covariance[:size, :size] = kinds.covariance
        mean = np.concatenate([kinds.mean, [each.mean for each in own]])
        return Population(mean, covariance, kinds.noise)

    def features_of(self, blocks: Iterable[Block]) -> np.ndarray:
        """[kinds of work + blocks]: the amounts of each kind, and how often each block is there."""
        every = tuple(blocks)
        held = Counter(block.key for block in every)
        return np.concatenate([features_of(every), [held[key] for key in self.blocks]])


def teach(sources: Sequence[Source]) -> Taught:
    """What at least two sources teach. Those of one model share a weight of 1."""
    models = [source.identity.device.model for source in sources]
    devices = [
        Observed(
            source.features,
            np.array(source.latency_ms),
            1 / models.count(model),
            source.error_percent / 100 * _MEAN_TO_STANDARD,
        )
        for source, model in zip(sources, models, strict=True)
    ]
    kinds = learn(devices)
    return Taught(kinds, _excesses(kinds, sources, devices))


def _excesses(
    kinds: Population, sources: Sequence[Source], devices: Sequence[Observed]
) -> dict[str, Excess]:
    """Latency key -> excess, of all blocks that a source has measured."""
    keys = list(dict.fromkeys(key for source in sources for key in source.blocks))
    if not keys:
        return {}
    place = {key: number for number, key in enumerate(keys)}
    excess, price, weight = np.zeros((3, len(sources), len(keys)))
    for number, (source, device) in enumerate(zip(sources, devices, strict=True)):
        if not source.blocks:
            continue
        scale = typical_ratio(device.latency_ms, kinds.expected(device.features))
        own = condition(kinds, device.features, device.latency_ms)
        rows = np.array([features_of([block]) for block, _ in source.blocks.values()])
        price_ms = np.array([ms for _, ms in source.blocks.values()])
        columns = [place[key] for key in source.blocks]
        excess[number, columns] = (price_ms - own.predict_ms(rows)) / scale
        price[number, columns] = price_ms / scale
        weight[number, columns] = device.weight
    known = (weight > 0).sum(axis=0)
    weight /= weight.sum(axis=0)
    mean, typical_price = (weight * excess).sum(axis=0), (weight * price).sum(axis=0)
    variance = (weight * (excess - mean) ** 2).sum(axis=0)
    share = (mean**2 + variance).sum() / (typical_price**2).sum()  # of a price that is excess
    # d_b^2 = (n s_b^2 + n_0 share price_b^2) / (n + n_0)   (Gelman et al. 2013, section 2.6)
    variance = known * variance + _DIFFERENCE_KNOWN * share * typical_price**2
    deviation = np.sqrt(variance / (known + _DIFFERENCE_KNOWN))
    return {key: Excess(float(mean[at]), float(deviation[at])) for key, at in place.items()}


def work_seen(sources: Sequence[Source]) -> np.ndarray:
    """[features]: whether a source did the kind of work."""
    return np.any([source.features.any(axis=0) for source in sources], axis=0)


def held_out_percent(sources: Sequence[Source]) -> dict[int, float]:
    """Number of measured networks -> median over sources of the error on the source's others when
    the rest teaches, in percent; empty below three devices.

    Sources of one model are left out together; of fewer than three models, those of one device. A
    device whose work the rest does not do says nothing of how well the rest teaches.
    """
    models = [source.identity.device.model for source in sources]
    groups = models if len(set(models)) > 2 else [source.unit for source in sources]
    if len(set(groups)) < 3:
        return {}
    errors: dict[int, list[float]] = {}
    for left_out in dict.fromkeys(groups):
        rest = [each for each, group in zip(sources, groups) if group != left_out]
        taught, unseen = teach(rest), ~work_seen(rest)
        for source in (each for each, group in zip(sources, groups) if group == left_out):
            if source.features[:, unseen].any():
                continue
            for count, error_percent in _errors_percent(taught, source):
                whole = math.hypot(error_percent, source.error_percent)
                errors.setdefault(count, []).append(whole)
    return {count: float(np.median(each)) for count, each in errors.items()}


def _errors_percent(taught: Taught, source: Source) -> Iterator[tuple[int, float]]:
    """(number of networks, mean absolute error on the source's others)."""
    rows = np.array([taught.features_of(network.blocks) for network in source.networks])
    latency_ms = np.array(source.latency_ms)
    for count in (count for count in _COUNTS if count < len(latency_ms)):
        order = design(taught.population, rows, rows, count)
        others = np.setdiff1d(np.arange(len(latency_ms)), order)
        found = condition(taught.population, rows[order], latency_ms[order])
        predicted = found.predict_ms(rows[others])
        yield count, 100 * float(np.abs(predicted / latency_ms[others] - 1).mean())
