"""Sampling and the two-path rescale: frequencies against closed forms, unsampled probabilities
unchanged."""

import numpy as np
import pytest

from pnas_tf.config import SearchConfig
from pnas_tf.search import sampling
from pnas_tf.search.alpha_adam import AlphaAdam


def test_softmax_and_entropy_closed_forms():
    np.testing.assert_allclose(
        sampling.softmax(np.log([1.0, 2.0, 5.0])), [0.125, 0.25, 0.625], rtol=1e-14
    )
    np.testing.assert_allclose(sampling.softmax(np.array([1000.0, 1000.0])), [0.5, 0.5])
    assert sampling.entropy([np.full(7, 1 / 7), np.array([1.0, 0.0])]) == pytest.approx(
        np.log(7) / 2
    )


def test_pairs_have_the_frequencies_of_drawing_without_replacement():
    """20,000 draws against P{i, j} = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j).

    Each of 6 frequencies may be off by 5 standard deviations: false-failure rate below 4e-6; the
    seed is fixed besides.
    """
    p = np.array([0.1, 0.2, 0.3, 0.4])
    generator = np.random.default_rng(0)
    draws = 20_000
    counts = np.zeros((4, 4))
    for _ in range(draws):
        i, j = sampling.sample_pair(p, generator)
        assert i != j
        counts[min(i, j), max(i, j)] += 1
    for i in range(4):
        for j in range(i + 1, 4):
            chance = p[i] * p[j] / (1 - p[i]) + p[i] * p[j] / (1 - p[j])
            assert abs(counts[i, j] / draws - chance) < 5 * np.sqrt(chance * (1 - chance) / draws)


def test_fair_paths_take_each_candidate_once_in_every_round_of_its_block():
    sizes = [3, 4, 1, 4]
    paths = [sampling.fair_path(sizes, seed=2, step=step) for step in range(24)]
    for block, size in enumerate(sizes):
        taken = [path[block] for path in paths]
        rounds = [taken[start : start + size] for start in range(0, 24, size)]
        assert all(sorted(one) == list(range(size)) for one in rounds)
        assert size == 1 or len(set(map(tuple, rounds))) > 1  # in another order each time
    assert [path[1] for path in paths] != [path[3] for path in paths]  # blocks apart


def test_paths_of_a_supernet_without_alpha_are_uniform_whatever_alpha_is():
    """4,000 draws; each of 3 frequencies may be off by 5 standard deviations (4e-6)."""
    skewed = [np.array([0.98, 0.01, 0.01])]
    counts = np.zeros(3)
    for step in range(4000):
        counts[sampling.weight_path(skewed, "uniform", seed=0, step=step)[0]] += 1
    assert (abs(counts / 4000 - 1 / 3) < 5 * np.sqrt(2 / 9 / 4000)).all()
    by_alpha = [sampling.weight_path(skewed, sampling.BY_ALPHA, seed=0, step=s) for s in range(99)]
    assert by_alpha.count((0,)) > 80  # below it once in 10^16
    fair = [sampling.weight_path(skewed, "fair", seed=0, step=step)[0] for step in range(3)]
    assert sorted(fair) == [0, 1, 2]


def test_pairs_of_decided_and_of_single_blocks():
    generator = np.random.default_rng(0)
    assert sampling.sample_pair(np.array([1.0]), generator) == (0, 0)
    decided = [sampling.sample_pair(np.array([0.0, 1.0, 0.0]), generator) for _ in range(20)]
    assert {first for first, _ in decided} == {1} and {second for _, second in decided} == {0, 2}


def test_unsampled_probabilities_stay_over_1000_random_steps():
    generator = np.random.default_rng(5)
    alpha = generator.normal(0, 1, 7)
    optimizer = AlphaAdam([7], SearchConfig(arch_learning_rate=0.1))
    for _ in range(1000):
        before = sampling.softmax(alpha)
        pair = sampling.sample_pair(before, generator)
        stepped = optimizer.updated(
            0, alpha, generator.normal(0, 10.0 ** generator.integers(-6, 3), 7), pair
        )
        alpha = sampling.rescale(alpha, stepped, pair)
        unsampled = [index for index in range(7) if index not in pair]
        np.testing.assert_allclose(
            sampling.softmax(alpha)[unsampled], before[unsampled], atol=1e-6, rtol=0
        )
        np.testing.assert_allclose(
            sampling.softmax(alpha)[list(pair)].sum(), before[list(pair)].sum(), atol=1e-12
        )


def test_unsampled_adam_state_does_not_move():
    optimizer = AlphaAdam(
        [5], SearchConfig(arch_learning_rate=0.1, arch_beta_1=0.5, arch_weight_decay=0.1)
    )
    alpha = optimizer.updated(0, np.arange(5.0), np.ones(5), range(5))
    state = optimizer.state()
    again = optimizer.updated(0, alpha, np.ones(5), [1, 3])
    for values, name in ((optimizer.state()[key], key) for key in state):
        np.testing.assert_array_equal(values[[0, 2, 4]], state[name][[0, 2, 4]])
        assert (values[[1, 3]] != state[name][[1, 3]]).all()
    np.testing.assert_array_equal(again[[0, 2, 4]], alpha[[0, 2, 4]])


def test_adam_is_keras_adam_when_all_are_sampled():
    import tf_keras as keras

    generator = np.random.default_rng(2)
    start, gradients = generator.normal(size=6), generator.normal(size=(20, 6))
    ours, optimizer = (
        start.copy(),
        AlphaAdam([6], SearchConfig(arch_learning_rate=0.01, arch_beta_1=0.3, arch_beta_2=0.99)),
    )
    for gradient in gradients:
        ours = optimizer.updated(0, ours, gradient, range(6))
    import tensorflow as tf

    variable = tf.Variable(start, dtype=tf.float64)
    reference = keras.optimizers.legacy.Adam(0.01, beta_1=0.3, beta_2=0.99, epsilon=1e-30)
    for gradient in gradients:
        reference.apply_gradients([(tf.constant(gradient), variable)])
    np.testing.assert_allclose(ours, variable.numpy(), rtol=1e-6)


def test_random_numbers_of_a_step_need_only_the_step():
    first = [sampling.generator_at(7, "path", step).random(3).tolist() for step in range(5)]
    assert first == [sampling.generator_at(7, "path", step).random(3).tolist() for step in range(5)]
    assert len({tuple(row) for row in first}) == 5
    assert first[0] != sampling.generator_at(7, "gates", 0).random(3).tolist()
    assert first[0] != sampling.generator_at(8, "path", 0).random(3).tolist()
