"""Calibration: exact on what is affine, its held-out error against a brute-force refit, and
networks that span the space."""

import dataclasses
import json

import numpy as np
import pytest

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import record_of
from pnas_tf.latency.calibration import (
    Calibration,
    CalibrationNetwork,
    calibration_architectures,
    fit,
)
from pnas_tf.space.mbconv import proxyless, tiny


def rows(sums, measured):
    return [
        CalibrationNetwork(f"n{number}", float(total), float(value))
        for number, (total, value) in enumerate(zip(sums, measured))
    ]


def test_an_affine_device_is_recovered_exactly():
    sums = [3.0, 4.0, 5.5, 9.0]
    found = fit(rows(sums, [1.07 * total + 0.2 for total in sums]))
    assert (found.slope, found.intercept_ms) == (pytest.approx(1.07), pytest.approx(0.2))
    assert found.held_out_mape_percent == pytest.approx(0, abs=1e-9)
    assert found.apply(100.0) == pytest.approx(107.2)


def test_the_line_minimises_relative_errors():
    generator = np.random.default_rng(1)
    sums = generator.uniform(2, 9, 12)
    measured = (1.1 * sums + 0.3) * generator.normal(1, 0.05, 12)
    found = fit(rows(sums, measured))
    # Oracle: least squares of (a x + b) / y against 1.
    oracle, *_ = np.linalg.lstsq(
        np.stack([sums / measured, 1 / measured], 1), np.ones(12), rcond=None
    )
    assert (found.slope, found.intercept_ms) == (pytest.approx(oracle[0]), pytest.approx(oracle[1]))


def test_held_out_error_is_that_of_refits_without_each_network():
    generator = np.random.default_rng(2)
    sums = generator.uniform(2, 9, 10)
    measured = (1.1 * sums + 0.3) * generator.normal(1, 0.05, 10)
    errors = []
    for left in range(10):
        keep = np.arange(10) != left
        a, b = np.linalg.lstsq(
            np.stack([sums[keep] / measured[keep], 1 / measured[keep]], 1), np.ones(9), rcond=None
        )[0]
        errors.append(abs(a * sums[left] + b - measured[left]) / measured[left] * 100)
    assert fit(rows(sums, measured)).held_out_mape_percent == pytest.approx(np.mean(errors))


def test_equal_sums_give_a_line_through_zero():
    found = fit(rows([2.0] * 4, [3.0] * 4))
    assert (found.slope, found.intercept_ms) == (pytest.approx(1.5), 0.0)


def test_what_no_line_describes_is_refused():
    with pytest.raises(UserError, match="calibration"):
        fit(rows([1.0, 2.0], [1.0, 2.0]))
    with pytest.raises(UserError, match="calibration"):
        fit(rows([1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0]))


def test_a_line_that_hangs_on_one_network_is_kept_and_its_error_told():
    """Without the long one the other two have no line; what is left is their mean."""
    found = fit(rows([1.0, 1.01, 2.0], [1.05, 1.04, 2.1]))
    assert found.slope > 0
    mean = np.average([1.05, 1.04], weights=[1.05**-2, 1.04**-2])
    assert found.held_out_mape_percent > 100 * (1 - mean / 2.1) / 3 > 16


def test_calibration_survives_json():
    found = fit(rows([3.0, 4.0, 5.0], [3.3, 4.4, 5.4]), seed=7)
    document = json.loads(json.dumps(dataclasses.asdict(found)))
    assert record_of(Calibration, document, where="here", fix="Build it again.") == found
    del document["networks"][1]["sum_ms"]
    with pytest.raises(UserError, match=r"here at \$\.networks\[1\]"):
        record_of(Calibration, document, where="here", fix="Build it again.")
    whole = dataclasses.asdict(found)
    for damage in ({"slope": 0.0}, {"slope": -1.0}, {"slope": 1e999}, {"intercept_ms": -1e999}):
        with pytest.raises(UserError, match="a line of"):
            record_of(
                Calibration,
                json.loads(json.dumps({**whole, **damage})),
                where="here",
                fix="Build it again.",
            )


@pytest.mark.parametrize("space", [tiny(), proxyless()], ids=["tiny", "proxyless"])
def test_calibration_networks_are_repeatable_and_span_the_space(space):
    networks = calibration_architectures(space, count=10, seed=0)
    assert networks == calibration_architectures(space, count=10, seed=0)
    assert networks != calibration_architectures(space, count=10, seed=1)
    assert (
        list(calibration_architectures(space, count=4, seed=0).items())
        == list(networks.items())[:4]
    )
    macs = [network.macs for network in networks.values()]
    assert max(macs) > 1.7 * min(macs)
