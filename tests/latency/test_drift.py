"""A measurement as it would have been when the table was built."""

import dataclasses

import pytest

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.latency.drift import at_table
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.table import LatencyTable

DEVICE, SETTINGS = Device("host", "a laptop", "a CPU", (0,)), Settings("LiteRT", "2", "none", 1)
TABLE = LatencyTable(Identity(DEVICE, SETTINGS, "float32", ()), {}, sentinel_ms=2.0)


def measurement(*runs, device=DEVICE, settings=SETTINGS):
    """runs: (ms of the model, ms of the reference model in the same round)."""
    made = tuple(
        ModelRun((model_ms * 1e6,), sentinel_ns=reference_ms and reference_ms * 1e6)
        for model_ms, reference_ms in runs
    )
    facts = ModelFacts("0" * 64, 1000, "float32", (1, 32, 32, 3))
    return Measurement(device, settings, facts, made)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_a_device_of_another_pace_gives_the_time_of_the_tables_session(factor):
    pace = (1.0, 1.1, 0.9, 1.0)  # also within the session
    found = at_table(measurement(*((10 * factor * p, 2 * factor * p) for p in pace)), TABLE)
    assert found.corrected_ms == pytest.approx(10.0)
    assert found.drift == pytest.approx(factor)
    assert found.noise_floor_percent == pytest.approx(0.0, abs=1e-9)


def test_within_the_session_the_reference_model_corrects_only_what_it_makes_agree_more():
    """The model takes the same every time, the reference model does not: scaled run by run, halves
    would differ by 40 %; what both took all in all tells the drift between the sessions."""
    found = at_table(measurement((10, 2), (10, 3), (10, 2), (10, 3)), TABLE)
    assert found.noise_floor_percent == 0
    assert (found.drift, found.corrected_ms) == (pytest.approx(1.25), pytest.approx(8.0))


def test_what_the_reference_model_does_not_explain_is_noise():
    found = at_table(measurement((10, 2), (11, 2), (10, 2), (11, 2)), TABLE)
    assert found.noise_floor_percent == pytest.approx(100 / 10.5)
    assert at_table(measurement((10, 2)), TABLE).noise_floor_percent is None


def test_nothing_is_said_of_another_device_or_without_a_reference_model():
    runs = ((10, 2), (10, 2))
    assert at_table(measurement(*runs), TABLE) is not None
    assert at_table(measurement((10, None), (10, None)), TABLE) is None
    assert at_table(measurement(*runs), dataclasses.replace(TABLE, sentinel_ms=None)) is None
    other = dataclasses.replace(DEVICE, model="another")
    assert at_table(measurement(*runs, device=other), TABLE) is None
    other = dataclasses.replace(SETTINGS, threads=2)
    assert at_table(measurement(*runs, settings=other), TABLE) is None
