"""bfloat16 is tried in a process of its own, and refused where that fails or dies."""

import pytest
import tensorflow as tf
from half_precision import _convolves

from pnas_tf.config import DistributionConfig
from pnas_tf.errors import UserError
from pnas_tf.training import bfloat16
from pnas_tf.training.distribution import start


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """A computer without a GPU, on which nothing has been tried."""
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    bfloat16._fault.cache_clear()
    yield
    bfloat16._fault.cache_clear()


@pytest.mark.slow
def test_the_trial_says_what_this_process_finds():
    assert (bfloat16._fault() == "") == _convolves("bfloat16")


@pytest.mark.parametrize(
    "trial, words",
    [
        ("import os; os.kill(os.getpid(), 4)", "status -4"),
        ("raise SystemExit('no convolution here')", "status 1: no convolution here"),
    ],
    ids=["killed by its processor", "an error"],
)
def test_a_trial_that_fails_is_a_refusal_before_any_work(monkeypatch, trial, words):
    monkeypatch.setattr(bfloat16, "_TRIAL", trial)
    with pytest.raises(UserError, match="mixed_precision=bfloat16") as error:
        start(DistributionConfig(mixed_precision="bfloat16"))
    assert words in error.value.received and "Leave it out" in error.value.fix


def test_other_precisions_are_not_tried(monkeypatch):
    monkeypatch.setattr(bfloat16, "_TRIAL", "raise SystemExit(1)")
    for precision in ("none", "float16"):
        assert start(DistributionConfig(mixed_precision=precision)).options.mixed_precision
