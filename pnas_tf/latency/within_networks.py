"""What each block of a table adds to a network: its latency alone, brought to what networks take.

A table's line has an intercept, which no block accounts for; the blocks that every network has take
it. Arithmetic on records.
"""

from __future__ import annotations

from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.base import SearchSpace


def factors(
    table: LatencyTable, space: SearchSpace, slope: float = 1.0, intercept_ms: float = 0.0
) -> tuple[float, float]:
    """(What every block is multiplied by, and besides those that every network has), such that a
    network's blocks sum to slope * (its prediction by the table) + intercept. Where the blocks that
    every network has take no longer than a call, nothing takes the intercept."""
    line = table.calibration
    gain = slope * (1.0 if line is None else line.slope)
    rest_ms = intercept_ms + (0.0 if line is None else slope * line.intercept_ms)
    fixed_ms = gain * sum(table.share_ms(block.key) for block in space.fixed_blocks())
    return gain, 1 + rest_ms / fixed_ms if fixed_ms > 0 else 1.0


def prices_ms(
    table: LatencyTable, space: SearchSpace, gain: float, besides: float
) -> dict[str, float]:
    """Latency key -> what the block adds to a network, by `factors`."""
    fixed = {block.key for block in space.fixed_blocks()}
    return {
        key: gain * table.share_ms(key) * (max(0.0, besides) if key in fixed else 1.0)
        for key in space.distinct_blocks()
    }
