"""A calibrated table refined block by block: the blocks whose price is most uncertain and matters
most are measured alone, and take their measured price.

A block alone takes less than within a network; one factor, found on the measured networks, brings
it there. Knows the measuring schedule, not the device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from pnas_tf.errors import number_of
from pnas_tf.latency.doubts import noisier
from pnas_tf.latency.few_shot import Price
from pnas_tf.latency.measure_sources import CALL, MeasurementSetup, comparable, measure_sources
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.ops import Zero

# Of a block within a network to the block alone, from tables of measured blocks: networks take 3 to
# 9 % longer than their blocks.
_IN_NETWORK, _IN_NETWORK_DEVIATION = 1.06, 0.05
_BLOCK_ERROR = 0.05  # of a measured block's price, relative
_NETWORK_ERROR = 0.02  # of a network's sum, relative


def measured_blocks(table: LatencyTable, setup: MeasurementSetup, count: int) -> LatencyTable:
    """The table with `count` blocks measured alone, those in `entries` among them. Raises as
    `measure_sources`."""
    assert table.space is not None and table.few_shot is not None
    blocks, known = table.space.distinct_blocks(), table.entries
    estimated = {key: price for key, price in table.few_shot.prices.items() if key not in known}
    keys = most_telling(table.space, estimated, max(0, count - len(known)))
    if not keys:
        return refined(table) if known else table
    wanted, identity = {key: blocks[key] for key in keys}, table.identity
    session = measure_sources(
        wanted, setup, dtype=identity.dtype, rewrites=identity.rewrites, with_call=True
    )
    measurements = comparable(session)
    call = measurements.get(CALL)
    sentinel_ms = table.sentinel_ms or session.reference_ms
    failures = {key: reason for key, reason in session.failures.items() if key in wanted}
    of_call = session.failures.get(CALL) if table.call_ms is None else None
    doubts = (*table.few_shot.doubts, *_told(failures, of_call))
    table = replace(
        table,
        entries={**known, **{key: each for key, each in measurements.items() if key in wanted}},
        sentinel_ms=sentinel_ms,
        call_ms=table.call_ms if call is None else call.corrected_ms(sentinel_ms),
        failures={**table.failures, **failures},
        noise_percent=noisier(table.noise_percent, session.noise_percent),
        few_shot=replace(table.few_shot, doubts=doubts),
    )
    return refined(table)


def _told(failures: Mapping[str, str], of_call: str | None) -> Iterator[str]:
    """What a reader must know of blocks, and of a call, that could not be measured alone."""
    if failures:
        key, reason = next(iter(failures.items()))
        yield (
            f"{number_of(len(failures), 'block')} could not be measured alone, and kept the "
            f"estimated price, e.g. '{key}': {reason}"
        )
    if of_call is not None:
        yield f"prices of measured blocks hold that of a call, which was not measured: {of_call}"


def most_telling(space: SearchSpace, prices: Mapping[str, Price], count: int) -> list[str]:
    """Latency keys whose price moves a random network's prediction most: deviation times how often
    such a network holds the block."""
    held: dict[str, float] = defaultdict(float)
    for block in space.fixed_blocks():
        held[block.key] += 1
    for choice in space.choice_blocks:
        for op in choice.candidates:
            if not isinstance(op, Zero):
                held[space.candidate_block(choice, op).key] += 1 / len(choice.candidates)
    ranked = sorted(prices, key=lambda key: -prices[key].deviation_ms * held[key])
    return ranked[:count]


def refined(table: LatencyTable) -> LatencyTable:
    """The table whose `entries` are blocks measured alone: their prices are those, times the factor
    that suits the measured networks."""
    few = table.few_shot
    assert few is not None and table.space is not None
    alone_ms = {
        key: max(1e-9, entry.corrected_ms(table.sentinel_ms) - (table.call_ms or 0.0))
        for key, entry in table.entries.items()
    }
    rows = []  # measured = factor * (blocks that were measured alone) + rest
    for name, network in few.architectures(table.space).items():
        keys = [block.key for block in network.blocks if not isinstance(block.op, Zero)]
        known = sum(alone_ms[key] for key in keys if key in alone_ms)
        rest = sum(few.prices[key].latency_ms for key in keys if key not in alone_ms)
        total = few.networks[name].measurement.corrected_ms(table.sentinel_ms)
        rows.append((known / total, 1 - rest / total))
    # Least squares of relative errors, with what is known of the factor as one more row.
    shares, aims = np.array(rows).T / _NETWORK_ERROR
    strength = 1 / _IN_NETWORK_DEVIATION
    factor = (shares @ aims + strength**2 * _IN_NETWORK) / (shares @ shares + strength**2)
    prices = dict(few.prices)
    for key, latency_ms in alone_ms.items():
        price_ms = max(0.0, float(factor)) * latency_ms
        prices[key] = Price(price_ms, _BLOCK_ERROR * price_ms, measured=True)
    return replace(table, few_shot=replace(few, prices=prices))
