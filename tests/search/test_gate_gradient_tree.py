"""Gate gradients on a graph of tree cells against a brute-force oracle: explicit gates, autodiff of
the relaxed objective."""

import kinks
import numpy as np
import pytest
import tensorflow as tf
from reference_path import block_output, expected, softmaxes

from pnas_tf.config import SearchConfig
from pnas_tf.search import sampling
from pnas_tf.search.gate_gradient import GateSample, architecture_gradient, sample_gates
from pnas_tf.space.ops import Identity
from pnas_tf.space.tree_cells import TREE_EDGES, TreeCellSpace
from pnas_tf.supernet.supernet import Supernet

SPACE = TreeCellSpace(
    "tree",
    8,
    3,
    start_width=8,
    added_width=0,
    stages=1,
    cells=1,
    head_width=8,
    candidates=TREE_EDGES,
    merges=("add", "concat"),
)


class LinearObjective:
    """2 cross-entropy + sum_b <p_b, l_b>."""

    def __init__(self, latencies):
        self.latencies = latencies

    def partials(self, cross_entropy, probabilities):
        value = 2 * cross_entropy + sum(
            np.dot(p, latency) for p, latency in zip(probabilities, self.latencies)
        )
        return value, 2.0, self.latencies


@pytest.fixture(scope="module")
def supernet():
    net = Supernet(SPACE, SearchConfig(alpha_scale=1.0, weights_init="he_fout"), seed=3)
    generator = np.random.default_rng(0)
    for variable in net.named_variables().values():  # away from the symmetric start
        variable.assign_add(0.1 * generator.standard_normal(variable.shape).astype(np.float32))
    return net


@pytest.fixture(scope="module")
def batch(supernet):
    """Images of which no sample brings an activation near a kink."""

    def drawn(seed):
        generator = np.random.default_rng([1, seed])
        images = tf.constant(generator.standard_normal((4, 8, 8, 3)), tf.float32)
        labels = tf.constant(generator.integers(0, 3, 4))
        for mode in ("two_path", "full"):
            for sample in samples(supernet, mode):
                oracle(supernet, sample, images, labels)
        return images, labels

    return kinks.first_away(drawn, least=kinks.LEAST / 4)[1]


OBJECTIVE = LinearObjective(
    [np.random.default_rng([2, index]).uniform(size=7) for index in range(12)]
)


def oracle(supernet, sample, images, labels):
    """d objective / d alpha by autodiff through sum_j g_j o_j(x), g one-hot in value and
    softmax(alpha) in derivative.

    The tree is written out by hand for its one cell, so that a wrong topology or a gradient of a
    shared input shows.
    """
    alphas = [
        tf.constant(alpha.numpy()[list(considered)])
        for alpha, considered in zip(supernet.alphas, sample.considered)
    ]

    def fixed(name, x):
        return block_output(supernet.fixed[name], x)

    with tf.GradientTape() as tape:
        for alpha in alphas:
            tape.watch(alpha)
        q = [tf.nn.softmax(alpha) for alpha in alphas]

        def edge(index, x):
            considered, active, p = sample.considered[index], sample.active[index], q[index]
            g = (
                tf.constant([1.0 if j == active else 0.0 for j in considered])
                + p
                - tf.stop_gradient(p)
            )
            candidates = supernet.mixed_ops[index].candidates
            return sum(
                g[n] * block_output(candidates[j], x if j == active else tf.stop_gradient(x))
                for n, j in enumerate(considered)
            )

        def level_3(first, x):  # split and concatenate
            return tf.concat([edge(first, x[..., :2]), edge(first + 1, x[..., 2:])], -1)

        def level_2(first, x):  # replicate and add
            return level_3(first + 1, edge(first, x)) + level_3(first + 4, edge(first + 3, x))

        stem = fixed("stem", images)
        reduced = fixed("cell_00_reduce", stem)
        groups = (
            fixed("cell_00_group_0", reduced[..., :4]),
            fixed("cell_00_group_1", reduced[..., 4:]),
        )
        cell = tf.concat([level_2(0, groups[0]), level_2(6, groups[1])], -1)
        x = tf.pad(stem, [[0, 0], [0, 0], [0, 0], [0, 24]]) + fixed("cell_00_expand", cell)
        cross_entropy = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, fixed("head", x))
        )
        loss = 2 * cross_entropy + sum(
            expected(p, latency, alpha, considered)
            for p, latency, alpha, considered in zip(
                q, OBJECTIVE.latencies, supernet.alphas, sample.considered
            )
        )
    gradients = []
    for considered, gradient in zip(sample.considered, tape.gradient(loss, alphas)):
        whole = np.zeros(7)
        whole[list(considered)] = gradient.numpy()
        gradients.append(whole)
    return float(loss), gradients


def samples(supernet, mode):
    """Five drawn samples (fixed seeds), and one with Identity active everywhere: its output is its
    input."""
    alphas = [alpha.numpy() for alpha in supernet.alphas]
    drawn = [
        sample_gates(alphas, mode, sampling.generator_at(seed, "gates", 0)) for seed in range(5)
    ]
    identity = TREE_EDGES.index(Identity())
    considered = tuple(
        (identity, 1 + index % 6) if mode == "two_path" else tuple(range(7)) for index in range(12)
    )
    q = tuple(sampling.softmax(alpha[list(pair)]) for alpha, pair in zip(alphas, considered))
    return [*drawn, GateSample(considered, q, (identity,) * 12, softmaxes(supernet), mode)]


@pytest.mark.parametrize("mode", ["two_path", "full", "full_recompute"])
@pytest.mark.slow
def test_equals_brute_force(supernet, batch, mode):
    before = {name: variable.numpy() for name, variable in supernet.named_variables().items()}
    for sample in samples(supernet, mode):
        ours = architecture_gradient(supernet, sample, *batch, objective=OBJECTIVE)
        value, theirs = oracle(supernet, sample, *batch)
        assert ours.objective == pytest.approx(value, rel=1e-5)
        assert max(np.abs(gate).max() for gate in ours.gate) > 1e-2
        for left, right in zip(ours.alpha, theirs):
            np.testing.assert_allclose(left, right, atol=1e-5)
    for name, variable in supernet.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)
