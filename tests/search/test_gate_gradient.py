"""Gate gradients against a brute-force oracle: all candidates, explicit gates, autodiff of the
relaxed objective."""

import dataclasses
import itertools

import kinks
import numpy as np
import pytest
import tensorflow as tf
from reference_path import block_output, expected, first_choice_input, logits, softmaxes

from pnas_tf.config import SearchConfig
from pnas_tf.search import sampling
from pnas_tf.search.gate_gradient import GateSample, architecture_gradient, sample_gates
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.supernet.supernet import Supernet

SPACE = MBConvSpace(
    "oracle",
    8,
    3,
    stem_width=4,
    first_width=4,
    stages=(Stage(4, 2, 1), Stage(6, 1, 2)),
    head_width=8,
    candidates=(MBConv(3, 2), MBConv(5, 1)),
)
BATCH = 6
EPS = float(np.finfo(np.float32).eps)


class QuadraticObjective:
    """cross-entropy^2 + sum_b <p_b, l_b>^2: nonlinear in both, so that a dropped factor shows."""

    def __init__(self, latencies):
        self.latencies = latencies

    def __call__(self, cross_entropy, probabilities):
        return cross_entropy**2 + sum(
            tf.reduce_sum(p * latency) ** 2 for p, latency in zip(probabilities, self.latencies)
        )

    def partials(self, cross_entropy, probabilities):
        products = [np.dot(p, latency) for p, latency in zip(probabilities, self.latencies)]
        value = cross_entropy**2 + sum(product**2 for product in products)
        return (
            value,
            2 * cross_entropy,
            [2 * product * latency for product, latency in zip(products, self.latencies)],
        )


@pytest.fixture(scope="module")
def supernet():
    net = Supernet(SPACE, SearchConfig(alpha_scale=1.0, weights_init="he_fout"), seed=3)
    generator = np.random.default_rng(0)
    for (
        variable
    ) in net.named_variables().values():  # away from the symmetric start, biases and betas included
        variable.assign_add(0.1 * generator.standard_normal(variable.shape).astype(np.float32))
    return net


@pytest.fixture(scope="module")
def batch(supernet):
    """Images of which no path brings an activation near a kink."""
    paths = list(itertools.product(*(range(len(op.candidates)) for op in supernet.mixed_ops)))

    def images_of(seed):
        images = np.random.default_rng(seed).standard_normal((BATCH, 8, 8, 3))
        images = tf.constant(images, tf.float32)
        for path in paths:
            logits(supernet, images, path=path)
        return images

    seed, images = kinks.first_away(images_of)
    return images, tf.constant(np.random.default_rng([seed, 1]).integers(0, 3, BATCH))


OBJECTIVE = QuadraticObjective(
    [np.array([1.0, 2.0, 0.0]), np.array([0.5, 3.0, 0.0]), np.array([2.0, 1.0])]
)


def oracle(supernet, sample, images, labels):
    """d objective / d alpha by autodiff through sum_j g_j o_j(x), g one-hot in value and
    softmax(alpha) in derivative; the expected latency is all candidates' in value, and the
    considered ones' in derivative."""
    alphas = [
        tf.constant(np.array(alpha)[list(considered)], tf.float64)
        for alpha, considered in zip(supernet.alphas, sample.considered)
    ]
    with tf.GradientTape() as tape:
        for alpha in alphas:
            tape.watch(alpha)
        q = [tf.nn.softmax(alpha) for alpha in alphas]
        x = first_choice_input(supernet, images)
        for mixed_op, considered, active, p in zip(
            supernet.mixed_ops, sample.considered, sample.active, q
        ):
            one_hot = tf.constant([1.0 if j == active else 0.0 for j in considered])
            g = one_hot + tf.cast(p, tf.float32) - tf.stop_gradient(tf.cast(p, tf.float32))
            # An inactive gate is 0, so nothing flows back through its output; stop_gradient says it
            # without the rounding.
            outputs = [
                block_output(mixed_op.candidates[j], x if j == active else tf.stop_gradient(x))
                for j in considered
            ]
            mixed = sum(g[n] * output for n, output in enumerate(outputs))
            x = x + mixed if mixed_op.candidates[0].block.shortcut else mixed
        logits = block_output(supernet.fixed["head"], x)
        cross_entropy = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        )
        loss = tf.cast(cross_entropy, tf.float64) ** 2 + sum(
            expected(p, latency, alpha, considered) ** 2
            for p, latency, alpha, considered in zip(
                q, OBJECTIVE.latencies, supernet.alphas, sample.considered
            )
        )
    gradients = []
    for mixed_op, considered, gradient in zip(
        supernet.mixed_ops, sample.considered, tape.gradient(loss, alphas)
    ):
        whole = np.zeros(len(mixed_op.candidates))
        whole[list(considered)] = gradient.numpy()
        gradients.append(whole)
    return float(loss), gradients


def every_sample(supernet, mode):
    """All samples that `mode` can draw on the small network."""
    per_block = []
    for alpha in supernet.alphas:
        count = alpha.shape[0]
        subsets = (
            list(itertools.combinations(range(count), 2))
            if mode == "two_path"
            else [tuple(range(count))]
        )
        per_block.append([(subset, active) for subset in subsets for active in subset])
    for choice in itertools.product(*per_block):
        considered = tuple(subset for subset, _ in choice)
        probabilities = tuple(
            sampling.softmax(np.array(alpha)[list(subset)])
            for alpha, subset in zip(supernet.alphas, considered)
        )
        active = tuple(active for _, active in choice)
        yield GateSample(considered, probabilities, active, softmaxes(supernet), mode)


@pytest.mark.parametrize("mode", ["two_path", "full", "full_recompute"])
@pytest.mark.slow
def test_equals_brute_force_for_every_sample(supernet, batch, mode):
    samples = list(every_sample(supernet, mode))
    assert len(samples) == {"two_path": 72, "full": 18, "full_recompute": 18}[mode]
    for sample in samples:
        ours = architecture_gradient(supernet, sample, *batch, objective=OBJECTIVE)
        value, theirs = oracle(supernet, sample, *batch)
        assert ours.objective == pytest.approx(value, rel=1e-5)
        for left, right in zip(ours.alpha, theirs):
            np.testing.assert_allclose(left, right, atol=1e-5)


def test_recompute_equals_full(supernet, batch):
    """A sum of n products, in whatever order, is off by less than n / 2 float32 eps of their
    absolute values' sum: n is 6 images of 8 x 8 x 6 numbers, gate gradients are of the order of
    1, and eps alone is what is seen."""
    for sample in every_sample(supernet, "full"):
        full, again = (
            architecture_gradient(
                supernet, dataclasses.replace(sample, mode=mode), *batch, objective=OBJECTIVE
            )
            for mode in ("full", "full_recompute")
        )
        for left, right in zip(full.gate, again.gate):
            scale = max(1.0, np.abs(right).max())
            np.testing.assert_allclose(left, right, rtol=0, atol=64 * EPS * scale)


def test_two_path_points_the_same_way_as_full_on_average(supernet, batch):
    """Mean cosine similarity over the full expectation, not a sample: every pair and active path
    with its probability.

    Nothing is drawn, so the test cannot fail by chance (false-failure rate 0). Of ten initial
    supernets (alpha_scale 1) the cosine is 0.976 to 0.997; rounding moves it by 1e-6.
    """
    expectations = []
    for mode in ("two_path", "full"):
        total = [np.zeros(alpha.shape[0]) for alpha in supernet.alphas]
        for sample in every_sample(supernet, mode):
            chance = 1.0
            for alpha, considered, q, active in zip(
                supernet.alphas, sample.considered, sample.probabilities, sample.active
            ):
                p = sampling.softmax(alpha.numpy())
                if mode == "two_path":
                    i, j = considered
                    chance *= p[i] * p[j] / (1 - p[i]) + p[j] * p[i] / (1 - p[j])
                chance *= q[considered.index(active)]
            gradient = architecture_gradient(supernet, sample, *batch, objective=OBJECTIVE)
            for sum_, part in zip(total, gradient.alpha):
                sum_ += chance * part
        expectations.append(np.concatenate(total))
    two_path, full = expectations
    cosine = two_path @ full / np.linalg.norm(two_path) / np.linalg.norm(full)
    assert cosine > 0.9


def test_weights_and_statistics_are_untouched(supernet, batch):
    before = {name: variable.numpy() for name, variable in supernet.named_variables().items()}
    for seed, mode in enumerate(("two_path", "full", "full_recompute")):
        sample = sample_gates(
            [alpha.numpy() for alpha in supernet.alphas],
            mode,
            sampling.generator_at(seed, "gates", 0),
        )
        architecture_gradient(supernet, sample, *batch, objective=OBJECTIVE)
    for name, variable in supernet.named_variables().items():
        np.testing.assert_array_equal(variable.numpy(), before[name], err_msg=name)


def test_sampled_zero_keeps_the_latency_gradient(supernet, batch):
    """With Zero active everywhere the gates still see their latencies (the original drops this
    term)."""
    zero = len(SPACE.candidates)
    considered = ((0, zero), (1, zero), (0, 1))
    q = tuple(
        sampling.softmax(np.array(alpha)[list(pair)])
        for alpha, pair in zip(supernet.alphas, considered)
    )
    sample = GateSample(considered, q, (zero, zero, 0), softmaxes(supernet), "two_path")
    assert isinstance(SPACE.choice_blocks[0].candidates[zero], Zero)
    gradient = architecture_gradient(supernet, sample, *batch, objective=OBJECTIVE)
    _, theirs = oracle(supernet, sample, *batch)
    assert gradient.gate[0][1] == 0.0
    assert abs(gradient.alpha[0][0]) > 1e-3
    np.testing.assert_allclose(gradient.alpha[0], theirs[0], atol=1e-5)


def test_loss_serves_several_class_counts_in_one_process():
    from pnas_tf.search.weight_step import cross_entropy

    generator = np.random.default_rng(0)
    for classes in (10, 2, 3, 2):
        logits, labels = (
            generator.standard_normal((4, classes)).astype(np.float32),
            generator.integers(0, classes, 4).astype(np.int32),
        )
        targets = np.eye(classes)[labels] * 0.9 + 0.1 / classes
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        expected = -(targets * log_p).sum(axis=1).mean()
        loss, gradient = cross_entropy(tf.constant(logits), tf.constant(labels), tf.constant(0.1))
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(gradient, (np.exp(log_p) - targets) / 4, atol=1e-6)
