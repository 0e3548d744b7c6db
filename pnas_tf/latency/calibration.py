"""From a sum of isolated blocks to a whole network: an affine calibration with its own held-out
error.

In a network a block finds its weights and inputs in farther caches than alone, so sums are too low
by a nearly constant factor. The map stays affine in the table, so expected latency stays linear in
the path probabilities. Knows no devices.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pnas_tf.config import RunConfig
from pnas_tf.errors import UserError
from pnas_tf.io.serialization import record_of
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace


@dataclass(frozen=True)
class Calibration:
    """measured_ms ~ slope * sum_ms + intercept_ms, fitted on `networks`, each (name, sum_ms,
    measured_ms).

    held_out_mape_percent: mean absolute error in percent of each network by the fit on the others.
    seed: the networks are `calibration_architectures(space, count=..., seed=seed)`.
    """

    slope: float
    intercept_ms: float
    held_out_mape_percent: float
    networks: tuple[tuple[str, float, float], ...]
    seed: int = RunConfig.seed

    def apply(self, sum_ms: float) -> float:
        """Predicted latency of a network in ms."""
        return self.slope * sum_ms + self.intercept_ms

    def describe(self) -> str:
        """For beside a figure."""
        return (
            f"calibrated on {len(self.networks)} networks ({self.slope:.3f} * sum "
            f"{self.intercept_ms:+.3f} ms, "
            f"held-out error {self.held_out_mape_percent:.1f} %)"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "networks": [
                {"name": name, "sum_ms": total, "measured_ms": measured}
                for name, total, measured in self.networks
            ],
        }


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


def fit(networks: Sequence[tuple[str, float, float]], *, seed: int = RunConfig.seed) -> Calibration:
    """Fits the affine map and its leave-one-out error.

    networks: (name, sum of blocks in ms, measured ms). Raises UserError below three networks, and
    where no line of positive slope describes them.
    """
    if len(networks) < 3:
        raise UserError(
            "latency calibration",
            expected="at least 3 measured networks",
            received=str(len(networks)),
            fix="Calibrate with --calibration_networks=10.",
        )
    slope, intercept = _line([row[1] for row in networks], [row[2] for row in networks])
    errors = []
    for left_out, (_, total, measured) in enumerate(networks):
        rest = [row for index, row in enumerate(networks) if index != left_out]
        part_slope, part_intercept = _line([row[1] for row in rest], [row[2] for row in rest])
        errors.append(abs(part_slope * total + part_intercept - measured) / measured * 100)
    return Calibration(slope, intercept, statistics.mean(errors), tuple(networks), seed)


def _line(sums: Sequence[float], measured: Sequence[float]) -> tuple[float, float]:
    """Weighted least squares of relative errors: minimises sum ((a x + b - y) / y)^2. A line
    through 0 where sums are equal."""
    weights = [1 / y**2 for y in measured]
    total = sum(weights)
    mean_x = sum(w * x for w, x in zip(weights, sums)) / total
    mean_y = sum(w * y for w, y in zip(weights, measured)) / total
    spread = sum(w * (x - mean_x) ** 2 for w, x in zip(weights, sums))
    if spread <= 1e-12 * mean_x**2 * total:
        return mean_y / mean_x, 0.0
    slope = (
        sum(w * (x - mean_x) * (y - mean_y) for w, x, y in zip(weights, sums, measured)) / spread
    )
    if slope <= 0:
        raise UserError(
            "latency calibration",
            expected="networks that take longer where their blocks do",
            received=f"a slope of {slope:.3f}",
            fix="Measure again on a quieter device, or with more networks.",
        )
    return slope, mean_y - slope * mean_x


@dataclass(frozen=True)
class _Network:
    """A row of the document."""

    name: str
    sum_ms: float
    measured_ms: float

    def __post_init__(self) -> None:
        if not (0 < self.sum_ms < 1e9 and 0 < self.measured_ms < 1e9):
            raise ValueError(f"a network of {self.sum_ms} and {self.measured_ms} ms")


def calibration_from_json(document: Any, *, where: str) -> Calibration | None:
    """The inverse of `Calibration.to_json`; None for None. Raises UserError naming the place in
    `where`."""
    if document is None:
        return None
    fix = "Build the table again."
    if not isinstance(document, dict) or not isinstance(document.get("networks"), list):
        raise UserError(
            f"calibration in {where}",
            expected="slope, intercept_ms, held_out_mape_percent, seed, networks",
            received=repr(document)[:200],
            fix=fix,
        )
    rows = [
        record_of(_Network, row, where=f"calibration of {where}, network {number}", fix=fix)
        for number, row in enumerate(document["networks"])
    ]
    return record_of(
        Calibration,
        {**document, "networks": [[row.name, row.sum_ms, row.measured_ms] for row in rows]},
        where=where,
        fix=fix,
    )
