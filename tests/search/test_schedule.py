"""When weights and alpha are trained, and how fast."""

import itertools

import numpy as np
import pytest

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.search.schedule import SearchSchedule

STEPS = 4  # an epoch


def schedule(warmup, joint, **options):
    return SearchSchedule(SearchConfig(**options), warmup, warmup + joint, STEPS)


@pytest.mark.parametrize(("warmup", "joint"), [(0, 2), (3, 2)])
def test_the_published_schedule(warmup, joint):
    """Cosine to zero in each phase by step; architecture steps every arch_interval weight steps,
    none before arch_start_epoch."""
    rates = {"warmup_learning_rate": 0.05, "search_learning_rate": 0.025}
    plan = schedule(warmup, joint, arch_interval=2, arch_start_epoch=1, **rates)
    steps = range((warmup + joint) * STEPS)
    found = [plan.learning_rate(step) for step in steps]
    for phase, initial in ((found[: STEPS * warmup], 0.05), (found[STEPS * warmup :], 0.025)):
        cosine = 0.5 * initial * (1 + np.cos(np.pi * np.arange(len(phase)) / max(1, len(phase))))
        np.testing.assert_allclose(phase, cosine, rtol=1e-12)
    due = [plan.architecture_steps_after(step) for step in steps]
    assert due == [0] * STEPS * (warmup + 1) + [0, 1, 0, 1]
    assert [plan.phase(each) for each in range(warmup + joint)] == (
        ["warmup"] * warmup + ["joint"] * joint
    )


def test_steps_of_reinforce_are_spread_over_an_epoch():
    for spread in (1, 3, 4, 10):
        plan = schedule(0, 2, algorithm="reinforce", rl_steps_per_epoch=spread, arch_start_epoch=0)
        due = [plan.architecture_steps_after(step) for step in range(2 * STEPS)]
        assert sum(due[:STEPS]) == sum(due[STEPS:]) == spread
        assert max(due) - min(due) <= 1


def test_a_search_that_never_trains_alpha_is_refused_and_no_other():
    """Against counting: the architecture steps of every schedule of up to 3 + 3 epochs."""
    for warmup, joint, interval, start in itertools.product((0, 3), (1, 3), range(1, 26), range(3)):
        first = (warmup + start) * STEPS
        due = [step for step in range(first, (warmup + joint) * STEPS) if not (step + 1) % interval]
        options = {"arch_interval": interval, "arch_start_epoch": start}
        if due:
            schedule(warmup, joint, **options)
        else:
            with pytest.raises(UserError, match="architecture steps within the"):
                schedule(warmup, joint, **options)
            schedule(warmup, joint, algorithm="one_shot", **options)
