"""The cosine schedule against its closed form and its properties."""

import itertools
import math

import pytest

from pnas_tf.training.schedules import cosine_with_warmup


def test_closed_form():
    rates = [cosine_with_warmup(step, steps=110, warmup_steps=10, peak=0.4) for step in range(110)]
    assert rates[:10] == pytest.approx([0.04 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(0.4) and rates[60] == pytest.approx(0.2)
    assert rates[10 + 25] == pytest.approx(0.2 * (1 + math.sqrt(0.5))) and rates[
        10 + 75
    ] == pytest.approx(0.2 * (1 - math.sqrt(0.5)))
    assert all(a > b > 0 for a, b in itertools.pairwise(rates[10:]))
    assert rates[-1] < 1e-3 * 0.4
    assert sum(rates[10:]) / 100 == pytest.approx(
        0.2, rel=0.02
    )  # the mean of a cosine from peak to 0


def test_no_warmup_starts_at_the_peak():
    assert cosine_with_warmup(0, steps=5, warmup_steps=0, peak=0.05) == 0.05


def test_warmup_only():
    assert [cosine_with_warmup(step, steps=2, warmup_steps=2, peak=1.0) for step in range(2)] == [
        0.5,
        1.0,
    ]
