"""Is the prediction true? Random networks, exported and measured, beside what the table says about
them.

The held-out networks are measured interleaved with the calibration networks of the table, so that
the device of today is told apart from errors of the model. Knows nothing of search or training.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pnas_tf.devices.record import Measurement, to_json
from pnas_tf.devices.session import Runner, Session
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.latency.calibration import Calibration, calibration_architectures, fit
from pnas_tf.latency.measure_sources import MeasurementSetup, measure_sources
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.base import SearchSpace

FORMAT, VERSION = "pnas_tf/validation", 1
WORST = 5
_HELD_OUT_SEED = 1_000_003  # apart from every seed a calibration is likely to have


@dataclass(frozen=True)
class Agreement:
    """How well predictions agree with measurements. Errors are (predicted - measured) / measured in
    percent.

    within_5_percent, within_10_percent: percent of the networks. spearman, kendall: None where all
    values are equal.
    """

    networks: int
    bias_percent: float
    mape_percent: float
    rmse_ms: float
    within_5_percent: float
    within_10_percent: float
    max_error_percent: float
    spearman: float | None
    kendall: float | None


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


def agreement(predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> Agreement:
    """The figures of two equally long lists. Raises UserError below two networks."""
    from scipy import stats

    if len(predicted_ms) < 2 or len(predicted_ms) != len(measured_ms):
        raise UserError(
            "validation",
            expected="at least two networks with a prediction and a measurement",
            received=f"{len(predicted_ms)} and {len(measured_ms)}",
            fix="Validate on more networks, e.g. --networks=40.",
        )
    errors = [(p / m - 1) * 100 for p, m in zip(predicted_ms, measured_ms)]
    ranked = len(set(predicted_ms)) > 1 and len(set(measured_ms)) > 1
    return Agreement(
        networks=len(errors),
        bias_percent=statistics.mean(errors),
        mape_percent=statistics.mean(map(abs, errors)),
        rmse_ms=statistics.mean((p - m) ** 2 for p, m in zip(predicted_ms, measured_ms)) ** 0.5,
        within_5_percent=100 * sum(abs(error) <= 5 for error in errors) / len(errors),
        within_10_percent=100 * sum(abs(error) <= 10 for error in errors) / len(errors),
        max_error_percent=max(map(abs, errors)),
        spearman=float(stats.spearmanr(predicted_ms, measured_ms).statistic) if ranked else None,
        kendall=float(stats.kendalltau(predicted_ms, measured_ms).statistic) if ranked else None,
    )


def noise_floor_percent(measurements: Sequence[Measurement], *, sentinel_ms: float | None) -> float:
    """Mean difference in percent between each network's medians over its odd and its even visits.

    What no predictor can beat in one measuring session: halves of the same data differ by this
    much.
    """
    differences = []
    for entry in measurements:
        if len(entry.visits) >= 2:
            first, second = (
                replace(entry, visits=entry.visits[start::2]).corrected_ms(sentinel_ms)
                for start in (0, 1)
            )
            differences.append(abs(first - second) / ((first + second) / 2) * 100)
    return statistics.mean(differences) if differences else 0.0


def validate(
    table: LatencyTable,
    architectures: Mapping[str, Architecture],
    setup: MeasurementSetup,
) -> dict[str, Any]:
    """Exports and measures `architectures` (held-out networks of one space) and compares. Returns
    the validation document.

    Its headline figures use the table's block sums with a calibration re-measured in the same
    measuring session on the table's own calibration networks; "stored_calibration" holds the same
    figures by the calibration as search used it, and "stored_drift_corrected" by that times the
    sentinel's time now over its time then. Without a calibration all are plain sums. Raises
    UserError when the table lacks a block, or when fewer than two networks could be measured.
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
    session, resume_log = measure_sources(
        {**architectures, **calibration_set},
        setup,
        dtype=table.identity.dtype,
        rewrites=table.identity.rewrites,
    )
    document = _document(table, architectures, calibration_set, session, setup.runner)
    resume_log.unlink(missing_ok=True)
    return document


def save(path: str | os.PathLike, document: Mapping[str, Any]) -> Path:
    """Writes the validation document atomically."""
    return atomic.write_json(path, document)


def _calibration_set(table: LatencyTable, space: SearchSpace) -> dict[str, Architecture]:
    """The networks that the table was calibrated on; none when it is of another space, so that they
    cannot be made again."""
    if table.calibration is None:
        return {}
    networks = calibration_architectures(
        space, count=len(table.calibration.networks), seed=table.calibration.seed
    )
    stored = {name: sum_ms for name, sum_ms, _ in table.calibration.networks}
    same = all(
        name in stored and abs(table.sum_ms(network) / stored[name] - 1) < 1e-6
        for name, network in networks.items()
    )
    return networks if same else {}


def _document(
    table: LatencyTable,
    architectures: Mapping[str, Architecture],
    calibration_set: Mapping[str, Architecture],
    session: Session,
    runner: Runner,
) -> dict[str, Any]:
    sentinel_ms = session.sentinel.median_ms if session.sentinel else None
    measured = {
        name: entry.corrected_ms(sentinel_ms) for name, entry in session.measurements.items()
    }
    drift = sentinel_ms / table.sentinel_ms if sentinel_ms and table.sentinel_ms else 1.0
    names = [name for name in architectures if name in measured]
    anchors = [name for name in calibration_set if name in measured]
    fitted = (
        fit([(name, table.sum_ms(calibration_set[name]), measured[name]) for name in anchors])
        if len(anchors) >= 3
        else None
    )
    by_macs = _fit_macs(architectures, names, calibration_set, anchors, measured)
    pairs = [
        Pair(
            name,
            _predict(table, architectures[name], fitted),
            measured[name],
            by_macs.apply(architectures[name].macs),
            architectures[name].macs,
        )
        for name in names
    ]
    truth = [pair.measured_ms for pair in pairs]
    headline = agreement([pair.predicted_ms for pair in pairs], truth)
    warnings = table.warnings() + table.differences(runner.device, runner.settings)
    warnings += [
        f"unstable: {name}: {'; '.join(problems)}" for name, problems in session.unstable.items()
    ]
    if table.calibration is not None and fitted is None:
        warnings.append(
            "the table's calibration networks are not of this space: figures use its stored "
            "calibration"
        )
    worst = sorted(pairs, key=lambda pair: -abs(pair.error_percent))[:WORST]
    return {
        "format": FORMAT,
        "version": VERSION,
        "measured_unix_s": time.time(),
        "dtype": table.identity.dtype,
        **asdict(headline),
        "noise_floor_mape_percent": noise_floor_percent(
            [session.measurements[name] for name in names], sentinel_ms=sentinel_ms
        ),
        "stored_calibration": asdict(
            agreement([table.predict_ms(architectures[name]) for name in names], truth)
        ),
        "stored_drift_corrected": asdict(
            agreement([table.predict_ms(architectures[name]) * drift for name in names], truth)
        ),
        "macs_only": asdict(agreement([pair.macs_predicted_ms for pair in pairs], truth)),
        "session_calibration": None if fitted is None else fitted.to_json(),
        "sentinel": {"table_ms": table.sentinel_ms, "session_ms": sentinel_ms},
        "device": to_json(runner.device),
        "settings": to_json(runner.settings),
        "table": table.describe(),
        "warnings": warnings,
        "failures": session.failures,
        "pairs": [{**asdict(pair), "error_percent": pair.error_percent} for pair in pairs],
        "worst": [
            {
                "name": pair.name,
                "error_percent": pair.error_percent,
                "blocks": [
                    {"block": block, "key": key, "latency_ms": latency_ms}
                    for block, key, latency_ms in table.breakdown(architectures[pair.name])
                ],
            }
            for pair in worst
        ],
        "measurements": {name: entry.to_json() for name, entry in session.measurements.items()},
    }


def _predict(table: LatencyTable, architecture: Architecture, fitted: Calibration | None) -> float:
    return (
        table.predict_ms(architecture)
        if fitted is None
        else fitted.apply(table.sum_ms(architecture))
    )


def _fit_macs(
    architectures: Mapping[str, Architecture],
    names: Sequence[str],
    calibration_set: Mapping[str, Architecture],
    anchors: Sequence[str],
    measured: Mapping[str, float],
) -> Calibration:
    """Latency as an affine function of MACs, fitted where the table is calibrated; the baseline to
    beat.

    Without calibration networks it is a line through 0 fitted on the held-out networks themselves,
    which flatters it.
    """
    if len(anchors) >= 3:
        return fit([(name, calibration_set[name].macs, measured[name]) for name in anchors])
    ms_per_mac = (
        statistics.median(measured[name] / architectures[name].macs for name in names)
        if names
        else 0.0
    )
    return Calibration(ms_per_mac, 0.0, 0.0, ())
