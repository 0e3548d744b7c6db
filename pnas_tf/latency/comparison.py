"""Measured networks beside what a table predicts for them, the pace of the device told apart by the
networks that the table was calibrated on. Arithmetic on records; measures nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from pnas_tf.config import RunConfig
from pnas_tf.devices.drift_correction import helps, noise_floor_percent
from pnas_tf.devices.schedule import Runner
from pnas_tf.devices.session import Session
from pnas_tf.errors import UserError
from pnas_tf.io import Json
from pnas_tf.latency.agreement import agreement
from pnas_tf.latency.calibration import Calibration, CalibrationNetwork, fit
from pnas_tf.latency.doubts import doubts_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.architecture import Architecture

WORST = 5


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


class Comparison:
    """What a table predicts for held-out networks, and what they took in one session.

    Args:
        table: what is validated.
        architectures: name -> held-out network.
        calibration_set: name -> network that the table was calibrated on, measured beside them.
        session: what was measured of both.

    Raises:
        UserError: no line describes the calibration networks.
    """

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
        self.fitted = self._calibration(self.measured_ms)
        self.pace = self._pace(self.measured_ms)
        by_macs = self._macs_only()
        self.pairs = [
            Pair(
                name,
                self._predict_ms(network, self.fitted, self.pace),
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
        raw_fit = None if self.fitted is None else self._baseline(self.table.sum_ms, self.raw_ms)
        raw_pace = self._pace(self.raw_ms)
        uncorrected = [
            self._predict_ms(network, raw_fit, raw_pace) for network in self.networks.values()
        ]
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
        few, line = self.table.few_shot is not None, self.table.calibration is not None
        if (few or line) and self.fitted is None and self.pace is None:
            least = 1 if few else 3
            why = f"fewer than {least} of the table's calibration networks could be measured"
            if not self.calibration_set:
                why = "the table's calibration networks are not of this space"
            stored = "prices" if few else "calibration"
            found.append(f"{why}: figures use its stored {stored}, the pace of the device included")
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

    def _predict_ms(
        self, network: Architecture, fitted: Calibration | None, pace: float | None
    ) -> float:
        if fitted is None:
            return self.table.predict_ms(network) * (pace or 1.0)
        return fitted.apply(self.table.sum_ms(network))

    def _calibration(self, measured_ms: Mapping[str, float]) -> Calibration | None:
        """The table's line anew; None of a table from few networks, which has none."""
        if self.table.few_shot is not None:
            return None
        return self._fit(self.table.sum_ms, measured_ms)

    def _pace(self, measured_ms: Mapping[str, float]) -> float | None:
        """What the networks of a table from few networks take now over what it predicts; None of
        any other table, or where none was measured."""
        ratios = [
            measured_ms[name] / self.table.predict_ms(network)
            for name, network in self.anchors.items()
        ]
        return statistics.median(ratios) if ratios and self.table.few_shot is not None else None

    def _fit(
        self, size: Callable[[Architecture], float], measured_ms: Mapping[str, float]
    ) -> Calibration | None:
        """Latency as an affine function of `size`, by the calibration networks. Raises UserError
        where no line describes it."""
        if len(self.anchors) < 3:
            return None
        known = self.table.calibration
        return fit(
            [
                CalibrationNetwork(name, size(network), measured_ms[name])
                for name, network in self.anchors.items()
            ],
            seed=RunConfig.seed if known is None else known.seed,
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
