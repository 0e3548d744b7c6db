"""A measured latency beside a table's prediction, with the device's drift between the two sessions
taken out by the reference model. Arithmetic on records; measures nothing."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from pnas_tf.devices.drift_correction import helps, noise_floor_percent
from pnas_tf.devices.record import Measurement
from pnas_tf.latency.table import LatencyTable

DRIFT_PERCENT = 5.0


@dataclass(frozen=True)
class AtTable:
    """A measurement as it would have been when the table was built.

    Attributes:
        corrected_ms: the latency now over `drift`.
        drift: the reference model now over the reference model then; above 1 the device is slower.
        noise_floor_percent: by how much halves of the measurement differ; None of a single run.
    """

    corrected_ms: float
    drift: float
    noise_floor_percent: float | None


def at_table(measured: Measurement, table: LatencyTable) -> AtTable | None:
    """None where the two say nothing of each other's pace: another device or setting, or no
    reference model."""
    now_ns = [run.sentinel_ns for run in measured.runs if run.sentinel_ns]
    then_ms = table.sentinel_ms
    if not now_ns or not then_ms or table.identity.differences(measured.device, measured.settings):
        return None
    now_ms = statistics.median(now_ns) / 1e6
    plain = noise_floor_percent([measured])
    within = noise_floor_percent([measured], reference_ms=now_ms)
    # Within the session by the rule of `drift_correction`, to the table's session by the pace.
    is_corrected = helps(within, plain)
    latency_ms = measured.corrected_ms(now_ms if is_corrected else None)
    drift = now_ms / then_ms
    return AtTable(latency_ms / drift, drift, within if is_corrected else plain)
