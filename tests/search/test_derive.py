"""Derivation against brute force over every network of small spaces."""

import dataclasses
import itertools

import numpy as np
import pytest

from pnas_tf.errors import UserError
from pnas_tf.search.choice_program import Bound
from pnas_tf.search.derive import (
    architecture_of,
    best_few,
    log_probability,
    most_probable,
    path_of,
    preference_of,
)
from pnas_tf.search.path_list import LENGTHS
from pnas_tf.search.quantities import Quantity, macs_quantity
from pnas_tf.space.mbconv import MBConvSpace, Stage, proxyless
from pnas_tf.space.ops import MBConv, Zero

SPACE = MBConvSpace(
    "small",
    16,
    4,
    8,
    8,
    (Stage(8, 2, 1), Stage(16, 3, 2)),
    16,
    (MBConv(3, 3), MBConv(5, 3), MBConv(7, 6)),
)

# Of the lists that networks are taken from: those of the package, which hold every network here;
# two networks, then the solver; the solver alone.
EVERY_WAY = pytest.mark.parametrize(
    "lengths",
    [
        pytest.param(LENGTHS, id="list"),
        pytest.param((2,), id="turns", marks=pytest.mark.slow),
        pytest.param((), id="solver", marks=pytest.mark.slow),
    ],
)

SHARPNESS = (1e-7, 0.001, 1.0, 6.0)  # from a search that has hardly begun to one that has decided


def few_within(space, probabilities, *, quantity, budget, at_least=-np.inf, count):
    bound = Bound(quantity, budget, at_least)
    return best_few(space, preference_of(space, probabilities), bounds=[bound], count=count)


def most_probable_within(*where, **bounds):
    return few_within(*where, **bounds, count=1)[0]


@pytest.fixture
def taken_from(lengths, monkeypatch):
    monkeypatch.setattr("pnas_tf.search.choice_program.LENGTHS", lengths)


def random_problem(
    seed: int, *, sharpness: float = 1.0, grid: float | None = None, surprises: bool = False
):
    """Path probabilities and a calibrated latency for SPACE; grid rounds the latencies, so that
    many networks tie. surprises: every third network takes 0.3 ms more than its blocks say."""
    generator = np.random.default_rng(seed)
    sizes = [len(choice.candidates) for choice in SPACE.choice_blocks]
    probabilities = [np.exp(sharpness * generator.normal(size=size)) for size in sizes]
    choices = [generator.uniform(0.01, 1, size) for size in sizes]
    if grid:
        choices = [np.ceil(choice / grid) * grid for choice in choices]
    for choice, block in zip(choices, SPACE.choice_blocks):
        if Zero() in block.candidates:
            choice[block.candidates.index(Zero())] = 0.0
    known = Quantity("latency", "ms", 0.3, tuple(choices), 1.05, 0.02)

    def exact(path):
        return known.of(path) + 0.3 * (sum(path) % 3 == 0)

    return [p / p.sum() for p in probabilities], dataclasses.replace(
        known, exact=exact if surprises else None
    )


def every_path():
    return itertools.product(*(range(len(choice.candidates)) for choice in SPACE.choice_blocks))


def brute_force(probabilities, quantity, budget, at_least=-np.inf) -> float | None:
    """The largest log-probability of any network within the bounds."""
    fitting = [path for path in every_path() if at_least <= quantity.of(path) <= budget]
    return max(
        (log_probability(architecture_of(SPACE, path), probabilities) for path in fitting),
        default=None,
    )


@EVERY_WAY
@pytest.mark.parametrize("seed", range(12))
def test_budgeted_derivation_equals_brute_force(seed, taken_from):
    probabilities, quantity = random_problem(
        seed,
        sharpness=SHARPNESS[seed % 4],
        grid=(None, 0.25)[seed % 2],
        surprises=seed % 3 == 0,
    )
    low, high = quantity.range
    # Random budgets, and those that some network meets exactly: there a tolerance would let the
    # wrong one through.
    generator = np.random.default_rng(seed)
    exact = [quantity.of(path) for path in itertools.islice(every_path(), 3, None, 97)]
    for budget in [
        *generator.uniform(low, high, 4),
        *exact,
        *(value * (1 - 1e-9) for value in exact),
        low,
        high,
    ]:
        best = brute_force(probabilities, quantity, budget)
        if best is None:
            with pytest.raises(UserError):
                most_probable_within(SPACE, probabilities, quantity=quantity, budget=budget)
            continue
        derived = most_probable_within(SPACE, probabilities, quantity=quantity, budget=budget)
        assert quantity.of(path_of(derived)) <= budget
        assert log_probability(derived, probabilities) == pytest.approx(
            best, abs=1e-6 * SHARPNESS[seed % 4]
        )


@EVERY_WAY
@pytest.mark.parametrize("seed", range(6))
def test_budget_that_must_be_used_equals_brute_force(seed, taken_from):
    probabilities, quantity = random_problem(seed, grid=(None, 0.25)[seed % 2])
    low, high = quantity.range
    refused = 0
    for budget in np.linspace(low, high, 7):
        for at_least in (budget, 0.9999 * budget, 0.95 * budget, budget + 0.1):
            best = brute_force(probabilities, quantity, budget, at_least)
            if best is None:
                refused += 1
                with pytest.raises(UserError, match="fits the budget"):
                    most_probable_within(
                        SPACE, probabilities, quantity=quantity, budget=budget, at_least=at_least
                    )
                continue
            derived = most_probable_within(
                SPACE, probabilities, quantity=quantity, budget=budget, at_least=at_least
            )
            assert at_least <= quantity.of(path_of(derived)) <= budget
            assert log_probability(derived, probabilities) == pytest.approx(best, abs=1e-8)
    assert 7 <= refused < 28


@pytest.mark.slow
@EVERY_WAY
@pytest.mark.parametrize("seed", range(4))
def test_the_most_probable_few_equal_brute_force(seed, taken_from):
    """In order, each network once, and all that there are where more are wanted."""
    probabilities, quantity = random_problem(
        seed, sharpness=SHARPNESS[seed], grid=(None, 0.25)[seed % 2]
    )
    low, high = quantity.range
    least, budget = low + 0.50 * (high - low), low + 0.55 * (high - low)
    fitting = [path for path in every_path() if least <= quantity.of(path) <= budget]
    networks: dict[
        tuple[tuple[int, str], ...], float
    ] = {}  # ops that are not skipped, stage by stage: the best of their placements
    for architecture in (architecture_of(SPACE, path) for path in fitting):
        kept = tuple(
            (choice.stage, op.key)
            for choice, op in zip(SPACE.choice_blocks, architecture.ops)
            if op != Zero()
        )
        networks[kept] = max(
            log_probability(architecture, probabilities), networks.get(kept, -np.inf)
        )
    expected = sorted(networks.values(), reverse=True)
    assert 20 < len(expected) < len(fitting)
    for count in (1, 20, len(expected) + 1):
        found = few_within(
            SPACE, probabilities, quantity=quantity, budget=budget, at_least=least, count=count
        )
        assert len(found) == len({one.computation for one in found}) == min(count, len(expected))
        scores = [log_probability(one, probabilities) for one in found]
        np.testing.assert_allclose(
            scores, expected[: len(scores)], rtol=0, atol=1e-6 * SHARPNESS[seed]
        )


def test_a_generous_budget_changes_nothing():
    probabilities, quantity = random_problem(3)
    assert most_probable_within(
        SPACE, probabilities, quantity=quantity, budget=1e9
    ) == most_probable(SPACE, probabilities)


def test_probability_falls_as_the_budget_tightens():
    probabilities, quantity = random_problem(4)
    low, high = quantity.range
    scores = [
        log_probability(
            most_probable_within(SPACE, probabilities, quantity=quantity, budget=budget),
            probabilities,
        )
        for budget in np.linspace(low, high, 15)
    ]
    assert scores == sorted(scores)


def test_most_probable_is_the_argmax_of_each_block():
    probabilities, _ = random_problem(5)
    best = max(
        every_path(), key=lambda path: log_probability(architecture_of(SPACE, path), probabilities)
    )
    assert path_of(most_probable(SPACE, probabilities)) == best


def test_budget_below_the_fastest_says_what_the_fastest_takes():
    probabilities, quantity = random_problem(6)
    least = min(quantity.of(path) for path in every_path())
    with pytest.raises(UserError, match="fits the budget") as caught:
        most_probable_within(SPACE, probabilities, quantity=quantity, budget=least * 0.99)
    assert f"{least:.4g} ms" in caught.value.expected
    at_least = most_probable_within(SPACE, probabilities, quantity=quantity, budget=least)
    assert quantity.of(path_of(at_least)) == least


def test_fastest_and_slowest_are_the_ends_of_the_space():
    for seed in range(5):
        _, quantity = random_problem(seed)
        every = [quantity.of(path) for path in every_path()]
        ends = (
            quantity.of(quantity.fastest),
            quantity.of(quantity.slowest),
        )
        assert ends == quantity.range == (min(every), max(every))


def test_ops_without_probability_are_taken_only_when_nothing_else_fits():
    probabilities, quantity = random_problem(7)
    quick = quantity.fastest
    for p, index in zip(probabilities, quick):
        p[index] = 0.0
    derived = most_probable_within(
        SPACE, probabilities, quantity=quantity, budget=quantity.of(quick) + 1e-6
    )
    assert path_of(derived) == quick and log_probability(derived, probabilities) == -np.inf


def test_the_imagenet_space_is_solved_and_macs_are_a_budget_too():
    space = proxyless()
    generator = np.random.default_rng(8)
    probabilities = [
        generator.dirichlet(np.ones(len(choice.candidates))) for choice in space.choice_blocks
    ]
    macs = macs_quantity(space)
    budget = float(np.mean(macs.range)) * 0.6
    derived = most_probable_within(space, probabilities, quantity=macs, budget=budget)
    assert derived.macs <= budget
    # Upper bound by Lagrangian relaxation, an independent argument: for any multiplier m >= 0 the
    # best score is at most sum_b max_i (ln p_i - m F_i) + m * budget. The gap is at most that of
    # one block's swap.
    score = log_probability(derived, probabilities)
    room = budget - macs.fixed
    bound = min(
        sum(np.max(np.log(p) - m * choice) for p, choice in zip(probabilities, macs.choices))
        + m * room
        for m in np.linspace(0, 2e-6, 4000)
    )
    assert score <= bound + 1e-9 and bound - score < 0.5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda p: p[:-1],
        lambda p: [*p[:-1], p[-1][:2]],
        lambda p: [-p[0], *p[1:]],
        lambda p: [p[0] * np.nan, *p[1:]],
    ],
    ids=["block", "candidate", "sign", "nan"],
)
def test_unsuitable_probabilities_are_refused(spoil):
    probabilities, quantity = random_problem(9)
    for derive in (
        lambda p: most_probable(SPACE, p),
        lambda p: most_probable_within(SPACE, p, quantity=quantity, budget=9.0),
    ):
        with pytest.raises(UserError, match="path probabilities"):
            derive(spoil(probabilities))
