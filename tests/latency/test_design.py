"""The networks that say most, against all choices of networks."""

import itertools
import math

import numpy as np
from test_transfer import features, population

from pnas_tf.latency.design import design


def left_variance(teacher, pool, chosen):
    """Of the targets, relative: by inverting the covariance of all that is measured."""
    prior = teacher.with_free_scale()
    rows = pool[list(chosen)]
    noise = np.diag((teacher.noise * (rows @ teacher.mean)) ** 2)
    left = prior - prior @ rows.T @ np.linalg.inv(rows @ prior @ rows.T + noise) @ rows @ prior
    relative = pool / (pool @ teacher.mean)[:, None]
    return float(np.einsum("ti,ij,tj->", relative, left, relative))


def test_each_choice_of_the_design_is_the_best_of_all():
    teacher, pool = population(), features(12, 12)
    chosen = design(teacher, pool, pool, 4)
    for number in range(4):
        before = chosen[:number]
        rest = [each for each in range(12) if each not in before]
        best = min(rest, key=lambda each: left_variance(teacher, pool, [*before, each]))
        assert chosen[number] == best
    pairs = {
        pair: left_variance(teacher, pool, pair) for pair in itertools.combinations(range(12), 2)
    }
    ratio = left_variance(teacher, pool, chosen[:2]) / min(pairs.values())
    assert ratio < 1 / (1 - 1 / math.e)  # greedy against exhaustive
    again = design(teacher, pool, pool, 4, chosen=chosen[:2])
    assert again == chosen
