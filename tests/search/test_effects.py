"""The effect model against what it stands for: planted effects, refits by hand, brute force."""

import itertools
from itertools import pairwise

import numpy as np
import pytest
import scipy.stats

from pnas_tf.errors import UserError
from pnas_tf.search import effects as module
from pnas_tf.search import path_list
from pnas_tf.search.choice_program import Bound, solutions
from pnas_tf.search.derive import Preference, best_few, path_of
from pnas_tf.search.effects import Effects, agreement_of, fit_effects, rank_interval
from pnas_tf.search.quantities import Quantity, Shared
from pnas_tf.search.worth import worth_of_choices
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

SPACE = MBConvSpace(
    "small", 16, 4, 8, 8, (Stage(8, 2, 1), Stage(16, 2, 2)), 16, (MBConv(3, 3), MBConv(5, 3))
)
SIZES = [len(choice.candidates) for choice in SPACE.choice_blocks]
PATHS = list(itertools.product(*map(range, SIZES)))


def planted(generator, sizes=SIZES, pair=0.3):
    """(block effects, pair effects, path -> sum)."""
    blocks = [generator.normal(size=size) for size in sizes]
    pairs = [pair * generator.normal(size=shape) for shape in pairwise(sizes)]

    def total(path):
        own = sum(block[i] for block, i in zip(blocks, path))
        return 2.0 + own + sum(p[i, j] for p, (i, j) in zip(pairs, pairwise(path)))

    return blocks, pairs, total


def drawn(generator, count, sizes=SIZES):
    return [tuple(int(generator.integers(size)) for size in sizes) for _ in range(count)]


@pytest.mark.parametrize("seed", range(3))
def test_planted_effects_are_found_and_every_effect_is_a_mean_over_the_others(seed):
    generator = np.random.default_rng(seed)
    _, _, total = planted(generator)
    paths = drawn(generator, 300)
    found = fit_effects(paths, np.array([total(path) for path in paths]), sizes=SIZES)
    truth = np.array([total(path) for path in PATHS])
    predicted = np.array([found.of(path) for path in PATHS])
    np.testing.assert_allclose(predicted, truth, atol=0.02 * np.ptp(truth))
    assert found.agreement.paths == 75 and found.agreement.spearman > 0.99
    assert found.mean == pytest.approx(predicted.mean())
    for place, block in enumerate(found.blocks):
        means = [
            predicted[[path[place] == choice for path in PATHS]].mean()
            for choice in range(SIZES[place])
        ]
        np.testing.assert_allclose(block, means - predicted.mean(), atol=1e-9)
    for pair in found.pairs:
        np.testing.assert_allclose(np.sum(pair, axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(np.sum(pair, axis=1), 0, atol=1e-9)


def test_leaving_one_out_is_what_refits_give():
    generator = np.random.default_rng(4)
    features = generator.normal(size=(12, 5))
    losses = generator.normal(size=12)
    error, strength, _ = module._best_strength(features @ features.T, losses)

    def left_out(place):
        rest = np.arange(12) != place
        x, y = features[rest], losses[rest]
        centred = x - x.mean(0)
        weights = np.linalg.solve(
            centred.T @ centred + strength * np.eye(5), centred.T @ (y - y.mean())
        )
        return y.mean() + (features[place] - x.mean(0)) @ weights

    errors = [(losses[place] - left_out(place)) ** 2 for place in range(12)]
    assert error == pytest.approx(np.mean(errors))


def test_losses_that_choices_do_not_explain_are_not_ranked():
    """Of noise alone the held-out interval holds 0: in 1 of 20 draws it does not."""
    generator = np.random.default_rng(5)
    outside = 0
    for _ in range(12):
        paths = drawn(generator, 80)
        agreement = fit_effects(paths, generator.normal(size=80), sizes=SIZES).agreement
        outside += not agreement.low <= 0 <= agreement.high
    assert outside <= 5  # by chance once in 400 000 runs (binomial, 12 draws of 1 in 20)


def test_the_interval_covers_the_true_rank_correlation():
    """Of pairs of normal numbers, whose rank correlation is 6 / pi asin(r / 2). 95 % of 300
    intervals hold it; fewer than 270 happen by chance once in 10 000 runs."""
    generator, r, inside = np.random.default_rng(6), 0.7, 0
    truth = 6 / np.pi * np.arcsin(r / 2)
    for _ in range(300):
        x, y = generator.multivariate_normal([0, 0], [[1, r], [r, 1]], 60).T
        low, high = rank_interval(float(scipy.stats.spearmanr(x, y).statistic), 60)
        inside += low <= truth <= high
    assert inside >= 270
    assert agreement_of(np.zeros(9), np.arange(9.0)).spearman == 0.0


def test_a_loss_that_is_not_finite_is_refused():
    with pytest.raises(UserError, match="effect model"):
        fit_effects(PATHS[:20], np.array([np.nan, *np.ones(19)]), sizes=SIZES)


@pytest.mark.parametrize("seed", range(4))
def test_pairs_in_the_program_equal_brute_force(seed, monkeypatch):
    """Every network within a bound, in order."""
    generator = np.random.default_rng(seed)
    sizes = [3, 4, 2, 3]
    blocks, pairs, total = planted(generator, sizes, pair=1.0)
    choices = tuple(generator.uniform(0, 1, size) for size in sizes)
    quantity = Quantity("latency", "ms", 0.3, choices, 1.05, 0.02)
    every = list(itertools.product(*map(range, sizes)))
    most = float(np.quantile([quantity.of(path) for path in every], 0.1 + 0.1 * seed))
    wanted = sorted((path for path in every if quantity.of(path) <= most), key=total)[:12]
    preference = Preference.scaled(blocks, pairs)
    bounds = [Bound(quantity, most)]
    listed = list(path_list.first_paths(preference.blocks, bounds, preference.pairs)[0])
    assert listed[:12] == wanted[: len(listed)]
    for lengths in (path_list.LENGTHS, (3,), (1, 9)):  # the solver alone, as good as; and turns
        monkeypatch.setattr("pnas_tf.search.choice_program.LENGTHS", lengths)
        found = solutions(preference.blocks, bounds, pairs=preference.pairs)
        assert list(itertools.islice(found, len(wanted))) == wanted


@pytest.mark.parametrize("length", [4, 16, 4096])
def test_listed_paths_are_all_that_come_first_within_several_bounds(length):
    """Of 30 problems; short lists too: what they leave out costs more than what they hold."""
    generator, sizes, given = np.random.default_rng(length), [3, 4, 2, 4], 0
    every = list(itertools.product(*map(range, sizes)))
    for _ in range(30):
        blocks, pairs, total = planted(generator, sizes, pair=0.7)
        sums, peaks = (
            [tuple(generator.uniform(0, 1, size) for size in sizes) for _ in range(2)] for _ in "ab"
        )
        shared = (Shared(0.4, ((0, 1), (2, 0), (2, 1))),)
        quantities = [
            Quantity("q", "ms", 0.1, sums[0]),
            Quantity("r", "kB", 0.1, sums[1], 2.0, 0.3, peaks[0], fixed_peak=0.3, shared=shared),
        ]
        ends = [np.quantile([q.of(path) for path in every], [0.3, 0.6]) for q in quantities]
        bounds = [
            Bound(quantities[0], float(ends[0][1]), float(ends[0][0])),
            Bound(quantities[1], float(ends[1][1])),
        ]
        fitting = [path for path in every if all(bound.holds(path) for bound in bounds)]
        wanted = sorted(fitting, key=total)
        paths, are_all = path_list.first_paths(blocks, bounds, pairs, length=length)
        listed = [path for path in paths if all(bound.holds(path) for bound in bounds)]
        assert listed == wanted[: len(listed)] and (not are_all or listed == wanted)
        given += len(listed)
        assert are_all or length < 4096  # all of the space
    assert given


def test_the_best_by_an_effect_model_are_those_of_least_predicted_loss():
    generator = np.random.default_rng(7)
    _, _, total = planted(generator)
    paths = drawn(generator, 200)
    found = fit_effects(paths, np.array([total(path) for path in paths]), sizes=SIZES)
    best = [path_of(one) for one in best_few(SPACE, found.preference, bounds=[], count=3)]
    assert best[0] == min(PATHS, key=found.of)
    assert [found.of(path) for path in best] == sorted(found.of(path) for path in best)


def test_a_model_is_read_as_it_was_written(tmp_path):
    generator = np.random.default_rng(8)
    found = fit_effects(drawn(generator, 60), generator.normal(size=60), sizes=SIZES)
    rows = worth_of_choices(SPACE, found, {})
    assert [row["effect"] for row in rows] == [e for block in found.blocks for e in block]
    assert {row["macs"] for row in rows if row["op"] == "zero"} <= {0}
    path = found.save(tmp_path / "model.json", choices=rows)
    assert Effects.load(path, sizes=SIZES) == found
    with pytest.raises(UserError, match="as many numbers as candidates"):
        Effects.load(path, sizes=[*SIZES[:-1], SIZES[-1] + 1])
