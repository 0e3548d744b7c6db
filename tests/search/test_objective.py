"""Objectives against closed forms written out here, and against TensorFlow's automatic
differentiation."""

import math

import numpy as np
import pytest
import tensorflow as tf

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.errors import UserError
from pnas_tf.latency.calibration import Calibration
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.search.objective import RegularisedObjective, tempered_log
from pnas_tf.search.quantities import Quantity, latency_quantity, macs_quantity, parameters_quantity
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import proxyless, tiny

SIZES = (6, 7, 7, 3)


class Affine:
    slope, intercept_ms = 1.07, 0.03


class Table:
    """A latency table in memory: any positive number for each key."""

    def __init__(self, space, calibration=None):
        generator = np.random.default_rng(1)
        self.numbers = {key: float(generator.uniform(0.01, 2)) for key in space.distinct_blocks()}
        self.calibration = calibration

    def share_ms(self, key):
        return self.numbers[key]


def quantity(
    seed: int = 0,
    *,
    scale: float = 5.0,
    slope: float = 1.1,
    intercept: float = 0.2,
    fixed: float = 1.0,
) -> Quantity:
    generator = np.random.default_rng(seed)
    return Quantity(
        "latency",
        "ms",
        fixed * scale,
        tuple(generator.uniform(0, scale, size) for size in SIZES),
        slope,
        intercept,
    )


def softmaxes(seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(100 + seed)
    return [np.exp(a) / np.exp(a).sum() for a in (generator.normal(size=size) for size in SIZES)]


def objective(regulariser: str, targets, combination: str = "sum") -> RegularisedObjective:
    return RegularisedObjective(
        tuple(targets), regulariser, weight=0.2, exponent=0.3, slope=0.1, combination=combination
    )


def test_one_hot_probabilities_give_the_sum_exactly():
    for space in (tiny(), proxyless()):
        for calibration in (None, Affine()):
            table = Table(space, calibration)
            latency = latency_quantity(space, table)
            for seed in range(5):
                architecture = random_architecture(space, seed=seed)
                path = [
                    choice.candidates.index(op)
                    for choice, op in zip(space.choice_blocks, architecture.ops)
                ]
                total = sum(
                    table.numbers[block.key] for block in architecture.blocks if block.layers
                )
                expected = total if calibration is None else 1.07 * total + 0.03
                one_hot = [
                    np.eye(len(choice.candidates))[index]
                    for choice, index in zip(space.choice_blocks, path)
                ]
                assert (
                    latency.expected(one_hot)
                    == latency.of(path)
                    == pytest.approx(expected, rel=1e-12)
                )


def test_a_real_table_predicts_what_the_objective_expects():
    device, settings = Device("host", "laptop", "CPU"), Settings("LiteRT", "2.3.0", "xnnpack", 1)
    generator = np.random.default_rng(7)
    entries = {
        key: Measurement(
            device,
            settings,
            ModelFacts("0" * 64, 1, "float32", (1,)),
            (ModelRun((generator.uniform(1e4, 1e6),)),),
        )
        for key in tiny().distinct_blocks()
    }
    for calibration in (None, Calibration(1.07, 0.03, 2.0, ())):
        table = LatencyTable(
            Identity(device, settings, "float32", ()), entries, calibration=calibration
        )
        latency = latency_quantity(tiny(), table)
        for seed in range(5):
            architecture = random_architecture(tiny(), seed=seed)
            path = [
                choice.candidates.index(op)
                for choice, op in zip(tiny().choice_blocks, architecture.ops)
            ]
            assert latency.of(path) == pytest.approx(table.predict_ms(architecture), rel=1e-12)


def test_uniform_probabilities_give_the_mean_over_all_networks():
    q = quantity()
    uniform = [np.full(size, 1 / size) for size in SIZES]
    every = [
        q.of((a, b, c, d)) for a in range(6) for b in range(7) for c in range(7) for d in range(3)
    ]
    assert q.expected(uniform) == pytest.approx(np.mean(every), rel=1e-12)


def test_expectation_is_the_mean_over_sampled_networks():
    q, p = quantity(), softmaxes()
    weights = [
        (q.of((a, b, c, d)), p[0][a] * p[1][b] * p[2][c] * p[3][d])
        for a in range(6)
        for b in range(7)
        for c in range(7)
        for d in range(3)
    ]
    assert q.expected(p) == pytest.approx(
        sum(value * weight for value, weight in weights), rel=1e-12
    )


def test_macs_and_parameters_are_those_of_the_walk():
    for space in (tiny(), proxyless()):
        for seed in range(5):
            architecture = random_architecture(space, seed=seed)
            path = [
                choice.candidates.index(op)
                for choice, op in zip(space.choice_blocks, architecture.ops)
            ]
            assert macs_quantity(space).of(path) == architecture.macs
            assert parameters_quantity(space).of(path) == architecture.parameters


def through_softmax(slopes, alphas):
    """sum_j s_j p_j (delta_ij - p_i) of each block."""
    probabilities = [tf.nn.softmax(alpha).numpy() for alpha in alphas]
    return [p * (slope - np.dot(p, slope)) for p, slope in zip(probabilities, slopes)]


def test_gradient_by_probability_is_the_closed_form_and_automatic_differentiation():
    q = quantity()
    alphas = [tf.Variable(np.random.default_rng(2).normal(size=size)) for size in SIZES]
    with tf.GradientTape() as tape:
        expected = (
            q.slope
            * (
                q.fixed
                + sum(tf.reduce_sum(tf.nn.softmax(a) * c) for a, c in zip(alphas, q.choices))
            )
            + q.intercept
        )
    for by_tape, ours in zip(
        tape.gradient(expected, alphas), through_softmax(q.by_probability(), alphas)
    ):
        np.testing.assert_allclose(ours, by_tape.numpy(), rtol=1e-12, atol=1e-14)
        assert abs(ours.sum()) < 1e-12  # a shift of all alphas of a block changes nothing


@pytest.mark.parametrize("target", [20.0, 80.0, 150.0])
def test_published_formula_for_published_targets(target):
    for expected in (3.0, 10.0, 79.0, 80.0, 300.0):
        value = objective("multiplicative_log", [Target(quantity(), target)]).value(1.7, [expected])
        assert value == pytest.approx(
            0.2 * 1.7 * (math.log(expected) / math.log(target)) ** 0.3, rel=1e-14
        )
    macs = Target(Quantity("macs", "MACs", 0.0, (np.array([1.0]),)), 300e6)
    assert objective("multiplicative_log", [macs]).value(2.0, [582e6]) == pytest.approx(
        0.4 * (math.log(582e6) / math.log(300e6)) ** 0.3
    )


def test_additive_and_hinge_closed_forms():
    target = Target(quantity(), 80.0)
    for expected in (40.0, 80.0, 100.0):
        assert objective("additive_linear", [target]).value(1.7, [expected]) == pytest.approx(
            1.7 + 0.1 * (expected - 80) / 80
        )
        assert objective("hinge", [target]).value(1.7, [expected]) == pytest.approx(
            1.7 + 0.1 * max(0, (expected - 80) / 80)
        )
        assert objective("absolute", [target]).value(1.7, [expected]) == pytest.approx(
            1.7 + 0.1 * abs(expected - 80) / 80
        )


def test_on_target_the_term_is_neutral():
    target = Target(quantity(), 0.2)
    assert objective("multiplicative_log", [target]).value(1.5, [0.2]) == pytest.approx(
        0.2 * 1.5, rel=1e-14
    )
    assert (
        objective("additive_linear", [target]).value(1.5, [0.2])
        == objective("hinge", [target]).value(1.5, [0.2])
        == 1.5
    )


def test_tempered_log_is_the_logarithm_from_e_and_smooth_increasing_below():
    for x in np.geomspace(math.e, 1e10, 50):
        assert tempered_log(x) == math.log(x)
    grid = np.geomspace(1e-9, 1e9, 4000)
    values = np.array([tempered_log(x) for x in grid])
    assert (values > 0).all() and (np.diff(values) > 0).all()
    slopes = np.diff(values) / np.diff(grid)
    assert (np.diff(slopes) <= 1e-9).all()  # concave: no jump of the slope at e
    h = 1e-7
    assert (tempered_log(math.e + h) - tempered_log(math.e - h)) / (2 * h) == pytest.approx(
        1 / math.e, rel=1e-6
    )


def test_small_latencies_are_pulled_as_a_power_of_their_ratio():
    # Below e ms the term is (E / T) ** 0.3, so it depends on the ratio alone: the same at 0.2 ms
    # and at 2 ms.
    for target in (0.01, 0.2, 1.0, 2.0):
        value = objective("multiplicative_log", [Target(quantity(), target)]).value(
            1.0, [1.3 * target]
        )
        assert value == pytest.approx(0.2 * 1.3**0.3, rel=1e-12)


@pytest.mark.parametrize("combination", ["sum", "worst"])
@pytest.mark.parametrize(
    "regulariser", ["multiplicative_log", "additive_linear", "hinge", "absolute"]
)
@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
@pytest.mark.parametrize("devices", [1, 2, 3])
def test_partials_are_the_numeric_derivatives(regulariser, combination, scale, devices):
    probabilities, cross_entropy, step = softmaxes(), 1.3, 1e-6
    quantities = [quantity(seed, scale=scale, intercept=0.2 * scale) for seed in range(devices)]
    # One device above its target, the others below or far above.
    targets = [
        Target(q, q.expected(probabilities) * factor)
        for q, factor in zip(quantities, (0.7, 1.6, 0.4))
    ]
    goal = objective(regulariser, targets, combination)
    value, by_cross_entropy, by_probability = goal.partials(cross_entropy, probabilities)
    assert value == pytest.approx(
        goal.value(cross_entropy, goal.expected(probabilities)), rel=1e-14
    )
    ends = [goal.partials(cross_entropy + sign * step, probabilities)[0] for sign in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(by_cross_entropy, rel=1e-6)
    for block, gradient in enumerate(by_probability):
        for index in range(len(gradient)):
            moved = []
            for sign in (1, -1):
                p = [array.copy() for array in probabilities]
                p[block][index] += sign * step
                moved.append(goal.partials(cross_entropy, p)[0])
            assert (moved[0] - moved[1]) / (2 * step) == pytest.approx(
                gradient[index], rel=1e-5, abs=1e-8
            )


def test_whole_gradient_by_alpha_is_that_of_automatic_differentiation():
    q, cross_entropy = quantity(scale=20.0), 1.3
    alphas = [tf.Variable(np.random.default_rng(3).normal(size=size)) for size in SIZES]
    target = 60.0
    with tf.GradientTape() as tape:
        expected = (
            q.slope
            * (
                q.fixed
                + sum(tf.reduce_sum(tf.nn.softmax(a) * c) for a, c in zip(alphas, q.choices))
            )
            + q.intercept
        )
        value = 0.2 * cross_entropy * (tf.math.log(expected) / math.log(target)) ** 0.3
    probabilities = [tf.nn.softmax(alpha).numpy() for alpha in alphas]
    ours, _, by_probability = objective("multiplicative_log", [Target(q, target)]).partials(
        cross_entropy, probabilities
    )
    assert ours == pytest.approx(float(value), rel=1e-12)
    for by_tape, p, slope in zip(tape.gradient(value, alphas), probabilities, by_probability):
        np.testing.assert_allclose(p * (slope - p @ slope), by_tape.numpy(), rtol=1e-10, atol=1e-13)


def test_several_devices():
    fast, slow = Target(quantity(0), 10.0), Target(quantity(1), 50.0)
    both = [12.0, 90.0]  # 20 % and 80 % above
    ce = 1.1
    factors = [(math.log(e) / math.log(t)) ** 0.3 for e, t in zip(both, (10.0, 50.0))]
    assert objective("multiplicative_log", [fast, slow], "sum").value(ce, both) == pytest.approx(
        0.2 * ce * factors[0] * factors[1]
    )
    assert objective("multiplicative_log", [fast, slow], "worst").value(ce, both) == pytest.approx(
        0.2 * ce * max(factors)
    )
    assert objective("additive_linear", [fast, slow], "sum").value(ce, both) == pytest.approx(
        ce + 0.1 * (0.2 + 0.8)
    )
    assert objective("additive_linear", [fast, slow], "worst").value(ce, both) == pytest.approx(
        ce + 0.1 * 0.8
    )
    assert objective("hinge", [fast, slow], "sum").value(ce, [5.0, 90.0]) == pytest.approx(
        ce + 0.1 * 0.8
    )
    assert objective("hinge", [fast, slow], "worst").value(ce, [5.0, 40.0]) == ce


def test_one_device_twice_is_worst_of_itself():
    target = Target(quantity(), 10.0)
    for regulariser in ("multiplicative_log", "additive_linear", "hinge"):
        alone = objective(regulariser, [target]).partials(1.1, softmaxes())
        twice = objective(regulariser, [target, target], "worst").partials(1.1, softmaxes())
        assert alone[:2] == twice[:2]
        for left, right in zip(alone[2], twice[2]):
            np.testing.assert_array_equal(left, right)


def test_no_target_is_plain_cross_entropy():
    value, by_cross_entropy, by_probability = objective("multiplicative_log", []).partials(
        1.4, softmaxes()
    )
    assert (value, by_cross_entropy) == (1.4, 1.0) and not np.concatenate(by_probability).any()
    value, by_cross_entropy, by_probability = objective("none", [Target(quantity(), 3.0)]).partials(
        1.4, softmaxes()
    )
    assert (value, by_cross_entropy) == (1.4, 1.0) and not np.concatenate(by_probability).any()


def test_hinge_pulls_nothing_below_the_target():
    q = quantity()
    _, _, by_probability = objective("hinge", [Target(q, 1000.0)]).partials(1.4, softmaxes())
    assert not np.concatenate(by_probability).any()


def test_absolute_pulls_up_below_the_target_and_not_at_all_on_it():
    q = quantity()
    up, down = (
        objective("absolute", [Target(q, value)]).partials(1.4, softmaxes())[2]
        for value in (1000.0, 1e-3)
    )
    for mine, other, choice in zip(up, down, q.by_probability()):
        np.testing.assert_allclose(mine, -0.1 * choice / 1000.0)
        np.testing.assert_allclose(other, 0.1 * choice / 1e-3)
    on_target = Target(q, q.expected(softmaxes()))
    assert not np.concatenate(
        objective("absolute", [on_target]).partials(1.4, softmaxes())[2]
    ).any()


def test_refusals():
    for value in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="target of latency"):
            Target(quantity(), value)
    for bad in (
        dict(slope=0.0),
        dict(slope=-1.0),
        dict(intercept=float("nan")),
        dict(fixed=float("inf")),
    ):
        with pytest.raises(UserError, match="latency cannot be an objective"):
            quantity(**bad)
    with pytest.raises(UserError, match="unknown regulariser"):
        objective("mul#log", [])
    with pytest.raises(UserError, match="unknown combination"):
        objective("hinge", [], "mean")
    with pytest.raises(UserError, match="not positive"):
        objective("multiplicative_log", [Target(quantity(), 3.0)]).value(1.0, [-0.5])
