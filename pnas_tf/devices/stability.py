"""Whether what was measured can be trusted, in words. Arithmetic on plain values."""

from __future__ import annotations

import statistics
from collections.abc import Sequence, Set

import numpy as np

# Bounds from sessions on shared 2-core machines: quiet ones stay below half of each.
MAX_SPREAD = 0.50  # (p90 - p10) / median of one model's samples
MAX_DRIFT = 0.05  # median of the second half of the runs against the first half
MAX_FREQUENCY_DROP = 0.10  # lowest clock seen during runs against the highest


def problems_of(
    samples_ms: Sequence[float],
    *,
    medians: Sequence[float],
    clocks_mhz: Sequence[float],
    throttling: Set[str],
    disturbed: float,
) -> tuple[str, ...]:
    """Why the measurement of a model is unstable; empty when it is not.

    Args:
        samples_ms: all of them.
        medians: of its runs in the order taken, in any unit.
        clocks_mhz: seen during the runs; empty where the device does not tell.
        throttling: the device's own words.
        disturbed: fraction of the runs that lost time to others, by what the system says.
    """
    found = []
    low, high = (float(np.quantile(samples_ms, level)) for level in (0.1, 0.9))
    spread = (high - low) / statistics.median(samples_ms)
    if len(samples_ms) >= 10 and spread > MAX_SPREAD:
        found.append(f"spread: p10 {low:.3g} to p90 {high:.3g} ms is {spread:.0%} of the median")
    if len(medians) >= 4:
        half = len(medians) // 2
        first, second = map(statistics.median, (medians[:half], medians[-half:]))
        if abs(second / first - 1) > MAX_DRIFT:
            found.append(
                f"drift: {second / first - 1:+.1%} from the first half of the runs to the second"
            )
    if clocks_mhz and min(clocks_mhz) < (1 - MAX_FREQUENCY_DROP) * max(clocks_mhz):
        found.append(f"clock: {max(clocks_mhz):.0f} MHz fell to {min(clocks_mhz):.0f} MHz")
    if disturbed:
        found.append(f"disturbed: {disturbed:.0%} of the runs lost time to others")
    return (*found, *(f"throttling: {words}" for words in sorted(throttling)))
