"""Is the prediction true? Random networks, exported and measured, beside what the table says about
them.

The held-out networks are measured interleaved with those that the table was calibrated on, so that
the device of today is told apart from errors of the model. Knows nothing of search or training.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pnas_tf.devices.schedule import Runner
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import to_json
from pnas_tf.latency.calibration import calibration_architectures
from pnas_tf.latency.comparison import Comparison
from pnas_tf.latency.measure_sources import MeasurementSetup, measure_sources
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.base import SearchSpace

FORMAT, VERSION = "pnas_tf/validation", 2
_ANCHORS = 10  # of a table from few networks: more tell its pace no better
_DRAWN = re.compile(r"calibration_(\d{2,4})")  # names of `calibration_architectures`
_HELD_OUT_SEED = 1_000_003  # apart from every seed a calibration is likely to have


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
        re-measured in the same measuring session on the table's own calibration networks; those of
        a table from few networks use its prices times "pace", the one factor that these networks
        take today. "uncorrected" is the same on medians by the clock on the wall;
        "stored_calibration" the table as search used it, and "stored_drift_corrected" that times
        the reference model's time now over its time then, where that brings it nearer to the
        calibration networks. Without such networks all are the table as it stands.

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
        comparison = Comparison(table, architectures, calibration_set, session)
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
    if table.few_shot is not None and table.space == space:
        return dict(list(table.few_shot.architectures(space).items())[:_ANCHORS])
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


def _document(comparison: Comparison, runner: Runner) -> dict[str, Json]:
    table, session = comparison.table, comparison.session
    fitted = comparison.fitted
    return {
        "format": FORMAT,
        "version": VERSION,
        "measured_unix_s": time.time(),
        "dtype": table.identity.dtype,
        **comparison.figures(),
        "session_calibration": None if fitted is None else asdict(fitted),
        "pace": comparison.pace,
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
