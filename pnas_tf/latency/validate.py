"""Is the prediction true? Random networks, exported and measured, beside what the table says about
them.

The held-out networks are measured interleaved with the calibration networks of the table, so that
the device of today is told apart from errors of the model. Knows nothing of search or training.
"""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pnas_tf.devices.drift_correction import helps, noise_floor_percent
from pnas_tf.devices.schedule import Runner
from pnas_tf.devices.session import Session
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import to_json
from pnas_tf.latency.agreement import agreement
from pnas_tf.latency.calibration import (
    Calibration,
    CalibrationNetwork,
    calibration_architectures,
    fit,
)
from pnas_tf.latency.doubts import doubts_of
from pnas_tf.latency.measure_sources import MeasurementSetup, measure_sources
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.base import SearchSpace

FORMAT, VERSION = "pnas_tf/validation", 2
WORST = 5
_DRAWN = re.compile(r"calibration_(\d{2,4})")  # names of `calibration_architectures`
_HELD_OUT_SEED = 1_000_003  # apart from every seed a calibration is likely to have


@dataclass(frozen=True)
class Pair:
    """One held-out network."""

    name: str
    predicted_ms: float
    measured_ms: float
    macs_predicted_ms: float
    macs: int

    @property
    def error_percent(self) -> float:
        return (self.predicted_ms / self.measured_ms - 1) * 100


def held_out_architectures(space: SearchSpace, *, count: int, seed: int) -> dict[str, Architecture]:
    """Name -> architecture drawn uniformly from `space`, the same for the same seed."""
    return {
        f"network_{number:02d}": random_architecture(
            space, seed=_HELD_OUT_SEED + 7919 * seed + number
        )
        for number in range(count)
    }


def validate(
    table: LatencyTable,
    architectures: Mapping[str, Architecture],
    setup: MeasurementSetup,
) -> dict[str, Json]:
    """Exports and measures networks of one space and compares them with the table.

    Args:
        table: what is validated.
        architectures: name -> held-out network of one space.
        setup: the device, the schedule and the folder of converted models.

    Returns:
        The validation document. Its headline figures use the table's block sums with a calibration
        re-measured in the same measuring session on the table's own calibration networks;
        "uncorrected" the same on medians by the clock on the wall; "stored_calibration" by the
        calibration as search used it, and "stored_drift_corrected" by that times the reference
        model's time now over its time then, where that brings it nearer to the calibration
        networks. Without a calibration all are plain sums.

    Raises:
        UserError: the table lacks a block, or what was measured allows no comparison.
    """
    for architecture in architectures.values():
        table.check_covers(architecture.space)
    space = next(iter(architectures.values())).space
    calibration_set = _calibration_set(table, space)
    clash = set(architectures) & set(calibration_set)
    if clash:
        raise UserError(
            "names of the networks to validate",
            expected="none of the calibration networks' names",
            received=str(sorted(clash)),
            fix="Rename them.",
        )
    session = measure_sources(
        {**architectures, **calibration_set},
        setup,
        dtype=table.identity.dtype,
        rewrites=table.identity.rewrites,
    )
    try:
        comparison = _Comparison(table, architectures, calibration_set, session)
        return _document(comparison, setup.runner)
    except UserError:  # measured again, where the same command is called again
        setup.forget_sessions()
        raise


def save(path: str | os.PathLike, document: Mapping[str, Json]) -> Path:
    """Writes the validation document atomically."""
    return atomic.write_json(path, document)


def _calibration_set(table: LatencyTable, space: SearchSpace) -> dict[str, Architecture]:
    """The networks that the table was calibrated on; none when it is of another space, so that they
    cannot be made again."""
    if table.calibration is None:
        return {}
    stored = {network.name: network.sum_ms for network in table.calibration.networks}
    numbers = [int(each[1]) for each in map(_DRAWN.fullmatch, stored) if each]
    drawn = 1 + max(numbers, default=-1)  # some may have failed
    made = calibration_architectures(space, count=drawn, seed=table.calibration.seed)
    if not stored.keys() <= made.keys():
        return {}
    networks = {name: made[name] for name in stored}
    same = all(
        abs(table.sum_ms(network) / stored[name] - 1) < 1e-6 for name, network in networks.items()
    )
    return networks if same else {}


class _Comparison:
    """Measured networks beside what a table predicts for them."""

    def __init__(
        self,
        table: LatencyTable,
        architectures: Mapping[str, Architecture],
        calibration_set: Mapping[str, Architecture],
        session: Session,
    ):
        self.table, self.session, self.calibration_set = table, session, calibration_set
        self.measured_ms = {name: session.latency_ms(name) for name in session.measurements}
        self.raw_ms = {name: entry.raw_median_ms for name, entry in session.measurements.items()}
        self.networks = {
            name: network for name, network in architectures.items() if name in self.measured_ms
        }
        self.anchors = {
            name: network for name, network in calibration_set.items() if name in self.measured_ms
        }
        self.fitted = self._fit(table.sum_ms, self.measured_ms)
        by_macs = self._macs_only()
        self.pairs = [
            Pair(
                name,
                self._predict_ms(network, self.fitted),
                self.measured_ms[name],
                by_macs.apply(network.macs),
                network.macs,
            )
            for name, network in self.networks.items()
        ]

    def figures(self) -> dict[str, Json]:
        """Agreement by each way of predicting, the headline's own fields first."""
        truth = [pair.measured_ms for pair in self.pairs]
        drift = self.drift
        stored = [self.table.predict_ms(network) for network in self.networks.values()]
        raw = [entry.raw for entry in self.session.measurements.values()]
        raw_fit = self._baseline(self.table.sum_ms, self.raw_ms)
        uncorrected = [self._predict_ms(network, raw_fit) for network in self.networks.values()]
        return {
            **asdict(agreement([pair.predicted_ms for pair in self.pairs], truth)),
            "noise_floor_mape_percent": self.session.noise_percent,
            "correction": self.session.describe(),
            "uncorrected": asdict(
                agreement(uncorrected, [self.raw_ms[name] for name in self.networks])
            ),
            "uncorrected_noise_percent": noise_floor_percent(raw),
            "drift": drift,
            "stored_calibration": asdict(agreement(stored, truth)),
            "stored_drift_corrected": asdict(agreement([ms * drift for ms in stored], truth)),
            "macs_only": asdict(agreement([pair.macs_predicted_ms for pair in self.pairs], truth)),
        }

    def warnings(self, runner: Runner) -> list[str]:
        """What a reader of the figures must be told."""
        found = self.table.warnings() + self.table.identity.differences(
            runner.device, runner.settings
        )
        found += [line for doubt in doubts_of(self.session.measurements) for line in doubt.lines]
        if self.table.calibration is not None and self.fitted is None:
            why = "fewer than 3 of the table's calibration networks could be measured"
            if not self.calibration_set:
                why = "the table's calibration networks are not of this space"
            found.append(f"{why}: figures use its stored calibration")
        return found

    def worst(self) -> list[dict[str, Json]]:
        """The networks with the largest errors, block by block."""
        pairs = sorted(self.pairs, key=lambda pair: -abs(pair.error_percent))[:WORST]
        return [
            {
                "name": pair.name,
                "error_percent": pair.error_percent,
                "blocks": [
                    {"block": block, "key": key, "latency_ms": latency_ms}
                    for block, key, latency_ms in self.table.breakdown(self.networks[pair.name])
                ],
            }
            for pair in pairs
        ]

    @property
    def drift(self) -> float:
        """The reference model now over the reference model then; 1 where the calibration networks
        say that the networks did not drift with it."""
        now_ms, then_ms = self.session.reference_ms, self.table.sentinel_ms
        drift = now_ms / then_ms if now_ms and then_ms else 1.0
        ratios = [
            self.measured_ms[name] / self.table.predict_ms(network)
            for name, network in self.anchors.items()
        ]
        left, without = (
            sum(abs(factor / ratio - 1) for ratio in ratios) for factor in (drift, 1.0)
        )
        return drift if not ratios or helps(left, without) else 1.0

    def _predict_ms(self, network: Architecture, fitted: Calibration | None) -> float:
        if fitted is None:
            return self.table.predict_ms(network)
        return fitted.apply(self.table.sum_ms(network))

    def _fit(
        self, size: Callable[[Architecture], float], measured_ms: Mapping[str, float]
    ) -> Calibration | None:
        """Latency as an affine function of `size`, fitted where the table is calibrated. Raises
        UserError where no line describes it."""
        if len(self.anchors) < 3 or self.table.calibration is None:
            return None
        return fit(
            [
                CalibrationNetwork(name, size(network), measured_ms[name])
                for name, network in self.anchors.items()
            ],
            seed=self.table.calibration.seed,
        )

    def _baseline(
        self, size: Callable[[Architecture], float], measured_ms: Mapping[str, float]
    ) -> Calibration | None:
        """`_fit` of what the table is compared with: where no line describes it, there is none."""
        try:
            return self._fit(size, measured_ms)
        except UserError:
            return None

    def _macs_only(self) -> Calibration:
        """Latency as an affine function of MACs; the baseline to beat.

        Without a line through calibration networks it is one through 0 and the held-out ones,
        which flatters it.
        """
        fitted = self._baseline(lambda network: float(network.macs), self.measured_ms)
        ratios = [self.measured_ms[name] / network.macs for name, network in self.networks.items()]
        slope = statistics.median(ratios) if ratios else 1.0  # of no network
        return fitted or Calibration(slope, 0.0, 0.0, ())


def _document(comparison: _Comparison, runner: Runner) -> dict[str, Json]:
    table, session = comparison.table, comparison.session
    fitted = comparison.fitted
    return {
        "format": FORMAT,
        "version": VERSION,
        "measured_unix_s": time.time(),
        "dtype": table.identity.dtype,
        **comparison.figures(),
        "session_calibration": None if fitted is None else asdict(fitted),
        "sentinel": {"table_ms": table.sentinel_ms, "session_ms": session.reference_ms},
        "device": to_json(runner.device),
        "settings": to_json(runner.settings),
        "table": table.describe(),
        "warnings": comparison.warnings(runner),
        "failures": session.failures,
        "pairs": [
            {**asdict(pair), "error_percent": pair.error_percent} for pair in comparison.pairs
        ],
        "worst": comparison.worst(),
        "measurements": {name: entry.to_json() for name, entry in session.measurements.items()},
    }
