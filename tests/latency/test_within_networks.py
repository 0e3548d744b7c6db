"""Prices of a table's blocks sum to what the table predicts of networks."""

import dataclasses

import numpy as np
import pytest
from fake_runner import DEVICE, SETTINGS

from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.latency.calibration import Calibration, CalibrationNetwork
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.within_networks import factors, prices_ms
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.space.ops import Zero

SPACE = tiny()
FACTS = ModelFacts("sha", 10, "float32", (1, 8, 8, 8), ())
NETWORKS = tuple(CalibrationNetwork(f"n{ms}", ms, ms) for ms in (1.0, 2.0, 3.0))


def table(calibration):
    draw = np.random.default_rng(0).uniform(0.2, 1.0, len(SPACE.distinct_blocks()))
    entries = {
        key: Measurement(DEVICE, SETTINGS, FACTS, (ModelRun((ms * 1e6,) * 3),))
        for key, ms in zip(SPACE.distinct_blocks(), draw)
    }
    identity = Identity(DEVICE, SETTINGS, "float32", ())
    return LatencyTable(identity, entries, calibration=calibration, call_ms=0.05)


@pytest.mark.parametrize("calibration", [None, Calibration(1.1, 0.3, 1.0, NETWORKS)])
@pytest.mark.parametrize("line", [(1.0, 0.0), (0.7, -0.2)])
def test_prices_of_a_networks_blocks_are_the_line_of_its_prediction(calibration, line):
    one = table(calibration)
    slope, intercept_ms = line
    prices = prices_ms(one, SPACE, *factors(one, SPACE, slope, intercept_ms))
    for seed in range(10):
        network = random_architecture(SPACE, seed=seed)
        total = sum(prices[each.key] for each in network.blocks if not isinstance(each.op, Zero))
        assert total == pytest.approx(slope * one.predict_ms(network) + intercept_ms)


def test_blocks_that_take_no_longer_than_a_call_leave_the_intercept():
    idle = dataclasses.replace(table(Calibration(1.1, 0.3, 1.0, NETWORKS)), call_ms=9.0)
    assert factors(idle, SPACE) == (1.1, 1.0)
    assert set(prices_ms(idle, SPACE, *factors(idle, SPACE)).values()) == {0.0}
