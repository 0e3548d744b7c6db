"""What was learnt gives the networks to compare: as many as were asked for, near the budget."""

import numpy as np
import pytest

from pnas_tf.config import DeriveConfig
from pnas_tf.search.budgets import Budget
from pnas_tf.search.choice_program import Bound
from pnas_tf.search.derive import path_of
from pnas_tf.search.file_limits import FileLimits
from pnas_tf.search.learnt import Learnt
from pnas_tf.search.quantities import macs_quantity, parameters_quantity
from pnas_tf.space.registry import named_space

SPACE = named_space("tiny", classes=10)
MACS, PARAMETERS = macs_quantity(SPACE), parameters_quantity(SPACE)
SLOWEST = MACS.range[1]


def found(most, *others, fraction=0.95):
    """MACs of the networks to compare by probabilities that favour small ones, and the least that
    was asked."""
    probabilities = [
        np.exp(-3 * np.asarray(choice) / np.max(choice)) if np.max(choice) else np.ones(len(choice))
        for choice in MACS.choices
    ]
    learnt = Learnt(SPACE, [each / each.sum() for each in probabilities])
    limits = FileLimits([(Budget("macs", most), Bound(MACS, most)), *others])
    config = DeriveConfig(derive_networks=8, min_latency_fraction=fraction)
    networks, least = learnt.candidates(limits, config, None)
    return [MACS.of(path_of(network)) for network in networks], least


@pytest.mark.parametrize("times", [1.0, 1.02, 1.2, 100.0])
def test_a_budget_beyond_the_slowest_network_is_the_slowest_networks(times):
    values, least = found(times * SLOWEST)
    assert least == pytest.approx(0.95 * SLOWEST)
    assert len(values) == 8 and min(values) >= least


@pytest.mark.parametrize("part", [0.5, 0.7, 1.2])
def test_a_budget_that_never_binds_changes_nothing(part):
    never = Budget("parameters", 1e12), Bound(PARAMETERS, 1e12)
    values, least = found(part * SLOWEST, never)
    assert least == found(part * SLOWEST)[1] and len(values) == 8 and min(values) >= least


def test_a_budget_that_binds_leaves_a_range_that_can_be_used():
    most = float(np.mean(PARAMETERS.range)) / 2
    values, least = found(SLOWEST, (Budget("parameters", most), Bound(PARAMETERS, most)))
    assert len(values) == 8 and 0 < least < 0.9 * SLOWEST and min(values) >= least


def test_where_nothing_lies_in_the_range_as_many_are_compared():
    """Below the least network but one there is that one alone."""
    values, least = found(SLOWEST, fraction=1.0)
    assert values == [SLOWEST] and least == SLOWEST
    budget = SLOWEST * (1 - 1e-5)  # no network takes as much to a millionth
    values, least = found(budget, fraction=1 - 1e-6)
    assert len(values) == 8 and max(values) < least
