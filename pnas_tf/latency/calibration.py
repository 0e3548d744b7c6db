"""From a sum of isolated blocks to a whole network: an affine calibration with its own held-out
error.

In a network a block finds its weights and inputs in farther caches than alone, so sums are too low
by a nearly constant factor. The map stays affine in the table, so expected latency stays linear in
the path probabilities. Knows no devices.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.config import RunConfig
from pnas_tf.errors import UserError, number_of
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace


@dataclass(frozen=True)
class CalibrationNetwork:
    """One network: the sum of its blocks, and what it takes as a whole, in ms."""

    name: str
    sum_ms: float
    measured_ms: float

    def __post_init__(self) -> None:
        if not (0 < self.sum_ms < 1e12 and 0 < self.measured_ms < 1e9):
            raise ValueError(f"a network of {self.sum_ms} and {self.measured_ms} ms")


@dataclass(frozen=True)
class Calibration:
    """measured_ms ~ slope * sum_ms + intercept_ms, fitted on `networks`.

    Attributes:
        slope: without unit.
        intercept_ms: what no block accounts for.
        held_out_mape_percent: mean absolute error of each network by the fit on the others.
        networks: what it was fitted on.
        seed: the networks are `calibration_architectures(space, count=..., seed=seed)`.
    """

    slope: float
    intercept_ms: float
    held_out_mape_percent: float
    networks: tuple[CalibrationNetwork, ...]
    seed: int = RunConfig.seed

    def __post_init__(self) -> None:
        if not (0 < self.slope < math.inf and math.isfinite(self.intercept_ms)):
            raise ValueError(f"a line of {self.slope} times the sum and {self.intercept_ms} ms")

    def apply(self, sum_ms: float) -> float:
        """Predicted latency of a network in ms."""
        return self.slope * sum_ms + self.intercept_ms

    def describe(self) -> str:
        """For beside a figure."""
        return (
            f"calibrated on {number_of(len(self.networks), 'network')} ({self.slope:.3f} * sum "
            f"{self.intercept_ms:+.3f} ms, "
            f"held-out error {self.held_out_mape_percent:.1f} %)"
        )


def calibration_architectures(
    space: SearchSpace, *, count: int, seed: int
) -> dict[str, Architecture]:
    """Name -> random network, the same for the same seed. They span the space from its fast to its
    slow networks.

    Uniform draws all take about as long as each other, and a line through such a cluster has no
    sure slope. So each network draws a weight for every op first: some come out short and thin,
    some long and thick.
    """
    networks = {}
    for number in range(count):
        generator = random.Random(f"calibration {seed} {number}")
        ops = {op for choice in space.choice_blocks for op in choice.candidates}
        weights = {op: generator.random() ** 2 + 0.02 for op in sorted(ops, key=lambda op: op.key)}
        networks[f"calibration_{number:02d}"] = Architecture(
            space,
            tuple(
                generator.choices(choice.candidates, [weights[op] for op in choice.candidates])[0]
                for choice in space.choice_blocks
            ),
        )
    return networks


def fit(networks: Sequence[CalibrationNetwork], *, seed: int = RunConfig.seed) -> Calibration:
    """Fits the affine map and its leave-one-out error.

    Args:
        networks: at least three.
        seed: that they were drawn with.

    Raises:
        UserError: fewer than three networks, or no line of positive slope describes them.
    """
    if len(networks) < 3:
        raise UserError(
            "latency calibration",
            expected="at least 3 measured networks",
            received=str(len(networks)),
            fix="Calibrate with --calibration_networks=10.",
        )
    sums = np.array([network.sum_ms for network in networks])
    measured = np.array([network.measured_ms for network in networks])
    slope, intercept = _line(sums, measured)
    errors = []
    for left_out in range(len(networks)):
        rest = np.arange(len(networks)) != left_out
        try:
            part_slope, part_intercept = _line(sums[rest], measured[rest])
        except UserError:  # the line as a whole is sound; without this network there is none
            part_slope = 0.0
            part_intercept = float(np.average(measured[rest], weights=measured[rest] ** -2.0))
        predicted = part_slope * sums[left_out] + part_intercept
        errors.append(abs(predicted / measured[left_out] - 1) * 100)
    return Calibration(slope, intercept, float(np.mean(errors)), tuple(networks), seed)


def _line(sums: np.ndarray, measured: np.ndarray) -> tuple[float, float]:
    """Weighted least squares of relative errors: minimises sum ((a x + b - y) / y)^2. A line
    through 0 where sums are equal. sums, measured: [networks], in ms."""
    if np.ptp(sums) <= 1e-6 * np.mean(sums):
        return float(np.average(measured, weights=measured**-2.0) / np.mean(sums)), 0.0
    slope, intercept = map(float, np.polyfit(sums, measured, 1, w=1 / measured))
    if slope <= 0:
        raise UserError(
            "latency calibration",
            expected="networks that take longer where their blocks do",
            received=f"a slope of {slope:.3f}",
            fix="Measure again on a quieter device, or with more networks.",
        )
    return slope, intercept
