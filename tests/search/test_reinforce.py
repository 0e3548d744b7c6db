"""REINFORCE: reward, baseline and gradient in closed form, and the device in the loop."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from fake_runner import DEVICE, SETTINGS, FakeRunner

from pnas_tf.config import SearchConfig
from pnas_tf.devices.failures import ToolFailed
from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.devices.schedule import Schedule
from pnas_tf.devices.session import Session
from pnas_tf.errors import UserError
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.search import reinforce, sampling
from pnas_tf.search.api import _measured
from pnas_tf.search.device_latency import MeasuredLatency
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.quantities import macs_quantity, parameters_quantity
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.reinforce import absolute_reward, policy_gradient, power_reward
from pnas_tf.search.targets import Target
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

ALPHAS = [np.array([0.3, -0.2, 0.5]), np.array([-0.4, 0.1]), np.array([0.0, 1.0, -1.0])]
SPACE = MBConvSpace(
    "micro",
    8,
    4,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 1, 1),),
    head_width=8,
    candidates=(MBConv(1, 1), MBConv(3, 1)),
    stem_stride=2,
)


def reward_of(path):
    """Some reward with interactions between the blocks."""
    return 1.0 / (1.0 + path[0] + 2.0 * path[1] * path[2]) + 0.1 * path[2]


def paths_and_probabilities(alphas):
    probabilities = [sampling.softmax(alpha) for alpha in alphas]
    for path in itertools.product(*(range(len(p)) for p in probabilities)):
        yield path, float(np.prod([p[chosen] for p, chosen in zip(probabilities, path)]))


def expected_reward(alphas):
    return sum(
        probability * reward_of(path) for path, probability in paths_and_probabilities(alphas)
    )


def exact_gradient():
    """d(-E[R]) / d alpha by central differences of the enumerated expectation: knows nothing of
    log-probabilities."""
    gradient = []
    for block, alpha in enumerate(ALPHAS):
        gradient.append(np.zeros(len(alpha)))
        for index in range(len(alpha)):
            ends = []
            for sign in (1, -1):
                moved = [values.copy() for values in ALPHAS]
                moved[block][index] += sign * 1e-5
                ends.append(expected_reward(moved))
            gradient[block][index] = -(ends[0] - ends[1]) / 2e-5
    return gradient


@pytest.mark.parametrize("baseline", [0.0, 0.4, 7.0])
def test_the_expectation_of_the_estimate_is_the_policy_gradient(baseline, monkeypatch):
    """All 18 paths, each with its probability: exact, whatever the baseline. No statistics."""
    total = [np.zeros(len(alpha)) for alpha in ALPHAS]
    for path, probability in paths_and_probabilities(ALPHAS):
        monkeypatch.setattr(reinforce.sampling, "sample_path", lambda *_, path=path: path)
        result = policy_gradient(
            ALPHAS,
            reward_of,
            networks=1,
            baseline=baseline,
            decay=0.9,
            generator=np.random.default_rng(0),
        )
        for part, gradient in zip(total, result.alpha):
            part += probability * gradient
    for part, exact in zip(total, exact_gradient()):
        np.testing.assert_allclose(part, exact, atol=1e-9)


def test_a_step_of_several_networks_is_the_mean_of_its_networks():
    result = policy_gradient(
        ALPHAS,
        reward_of,
        networks=7,
        baseline=0.3,
        decay=0.9,
        generator=sampling.generator_at(1, "gates", 0),
    )
    assert len(result.paths) == 7 and result.rewards == tuple(
        reward_of(path) for path in result.paths
    )
    for block, alpha in enumerate(ALPHAS):
        one_hot = np.eye(len(alpha))
        mean = np.mean(
            [
                (value - 0.3) * (sampling.softmax(alpha) - one_hot[path[block]])
                for path, value in zip(result.paths, result.rewards)
            ],
            axis=0,
        )
        np.testing.assert_allclose(result.alpha[block], mean, atol=1e-12)
        assert abs(result.alpha[block].sum()) < 1e-12  # softmax does not see a shift of all alphas


def test_the_baseline_is_a_moving_average_taken_before_it_moves():
    baseline, means = None, []
    for step in range(5):
        result = policy_gradient(
            ALPHAS,
            reward_of,
            networks=3,
            baseline=baseline,
            decay=0.8,
            generator=sampling.generator_at(2, "gates", step),
        )
        means.append(np.mean(result.rewards))
        baseline = result.baseline
        # b_n = 0.8^n m_0 + 0.2 sum_k 0.8^(n-k) m_k; the first mean stands in for the baseline that
        # there is not.
        weights = [0.8**step, *(0.2 * 0.8 ** (step - number) for number in range(1, step + 1))]
        assert baseline == pytest.approx(np.dot(weights, means), rel=1e-12)


def test_equal_rewards_move_nothing():
    result = policy_gradient(
        ALPHAS,
        lambda _: 0.7,
        networks=4,
        baseline=None,
        decay=0.9,
        generator=np.random.default_rng(0),
    )
    assert all(
        np.abs(gradient).max() < 1e-15 for gradient in result.alpha
    ) and result.baseline == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("accuracy", "latency", "target", "w", "expected"),
    [
        (0.8, 50.0, 50.0, 0.07, 0.8),
        (0.8, 100.0, 50.0, 1.0, 0.4),
        (0.8, 25.0, 50.0, 0.5, 0.8 * 2**0.5),
        (0.0, 9.0, 3.0, 0.1, 0.0),
        (0.5, 123.0, 7.0, 0.0, 0.5),
    ],
)
def test_reward_closed_form(accuracy, latency, target, w, expected):
    for combination in ("sum", "worst"):
        found = power_reward(accuracy, [latency / target], exponent=w, combination=combination)
        assert found == pytest.approx(expected, rel=1e-12)


def test_every_target_has_a_ratio_of_its_own():
    macs, parameters = macs_quantity(SPACE), parameters_quantity(SPACE)
    path = (1,)
    both = SearchTargets(
        (
            Target(macs, 1e4),
            Target(parameters, 500.0),
        ),
        SearchConfig(),
    )
    assert both.latency_ratios(path) == pytest.approx(
        (macs.of(path) / 1e4, parameters.of(path) / 500.0)
    )
    seen = []
    measured = SearchTargets(
        (Target(macs, 10.0),), SearchConfig(), measured=lambda path: seen.append(path) or 25.0
    )
    assert measured.latency_ratios(path) == (2.5,) and seen == [path]


@pytest.mark.parametrize(
    ("ratios", "combination", "penalty"),
    [
        ((2.0, 0.5), "sum", 1.5),
        ((2.0, 0.5), "worst", 1.0),  # their product is 1: too slow and too fast do not cancel
        ((0.5, 0.9), "sum", 0.6),
        ((0.5, 0.9), "worst", 0.5),  # below both targets, the farther one is the worse
        ((1.0, 1.0), "sum", 0.0),
        ((1.0, 1.0), "worst", 0.0),
        ((1.3,), "sum", 0.3),
        ((0.8, 1.1, 1.05), "worst", 0.2),
    ],
)
def test_absolute_reward_of_several_devices_closed_form(ratios, combination, penalty):
    assert absolute_reward(0.9, ratios, weight=0.1, combination=combination) == pytest.approx(
        0.9 - 0.1 * penalty, rel=1e-12
    )


@pytest.mark.parametrize("combination", ["sum", "worst"])
def test_absolute_reward_takes_the_term_of_the_gradient_objective(combination):
    """One-hot probabilities: the expected value is the path's own, so accuracy stands where
    -cross-entropy does."""
    macs, parameters = macs_quantity(SPACE), parameters_quantity(SPACE)
    config = SearchConfig(combination=combination, regulariser="absolute", regulariser_lambda=0.3)
    both = SearchTargets(
        (Target(macs, 1.7 * macs.of((0,))), Target(parameters, 0.6 * parameters.of((0,)))), config
    )
    for path in ((0,), (1,)):
        found = absolute_reward(0.0, both.latency_ratios(path), weight=0.3, combination=combination)
        one_hot = [
            np.eye(len(choice.candidates))[active]
            for choice, active in zip(SPACE.choice_blocks, path)
        ]
        assert -found == pytest.approx(
            both.objective.value(0.0, both.objective.expected(one_hot)), rel=1e-12
        )


def test_power_reward_of_several_devices_closed_form():
    assert power_reward(0.8, (2.0, 4.0), exponent=1.0, combination="sum") == pytest.approx(0.1)
    assert power_reward(0.8, (2.0, 4.0), exponent=1.0, combination="worst") == pytest.approx(0.2)


def fake_table():
    identity = Identity(DEVICE, SETTINGS, "float32", ())
    return LatencyTable(identity, {})


def measured_latency(folder, runner):
    schedule = Schedule(rounds=2, extra_rounds=0, noisy_rounds=0, min_invocations=4)
    return MeasuredLatency(SPACE, fake_table(), runner=runner, schedule=schedule, folder=folder)


def test_a_quiet_session_gives_the_tables_pace_without_the_reference_models_noise(
    tmp_path, monkeypatch
):
    """The reference model takes twice what it took for the table, and scatters; the network takes
    10 ms all the time."""
    facts = ModelFacts("sha", 10, "float32", (1, 8, 8, 8))
    runs = tuple(ModelRun((10e6,), sentinel_ns=ms * 1e6) for ms in (1.0, 1.2, 5.0))
    entry, reference = (
        Measurement(DEVICE, SETTINGS, facts, each) for each in (runs, (ModelRun((2e6,)),))
    )
    session = Session({"network": entry}, {}, reference, "none", 0.0)
    monkeypatch.setattr("pnas_tf.search.device_latency.measure_sources", lambda *_, **__: session)
    measured = measured_latency(tmp_path, FakeRunner(lambda model, _: 1.0))
    measured.table = dataclasses.replace(measured.table, sentinel_ms=1.0)
    assert measured((0,)) == pytest.approx(5.0)


@pytest.mark.slow
def test_the_device_measures_each_architecture_once_also_after_a_restart(tmp_path):
    sizes = {}

    def latency_ms(model, _):
        return sizes.setdefault(model.stat().st_size, 1.0 + len(sizes))

    runner = FakeRunner(latency_ms)
    measured = measured_latency(tmp_path, runner)
    first = measured((0,))
    visits = len(runner.log)
    assert visits and first > 0
    assert measured((0,)) == first and len(runner.log) == visits
    second = measured((1,))
    assert second != first and len(runner.log) > visits

    # Killed and started again: nothing is measured anew, even though the device would now say
    # something else.
    restarted = FakeRunner(lambda model, _: 99.0)
    again = measured_latency(tmp_path, restarted)
    assert (again((0,)), again((1,))) == (first, second) and not restarted.log
    assert again((2,)) == pytest.approx(99.0) and restarted.log  # Zero: a network like any other


def test_figures_of_another_space_device_or_table_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(MeasuredLatency, "_measure", lambda *_: 1.0)
    runner, table = FakeRunner(lambda *_: 1.0), fake_table()
    schedule = Schedule(rounds=2)

    def made(space=SPACE, table=table, runner=runner):
        return MeasuredLatency(space, table, runner=runner, schedule=schedule, folder=tmp_path)

    made()((0,))
    assert made()((0,)) == 1.0
    other = SimpleNamespace(
        device=dataclasses.replace(runner.device, model="another"), settings=runner.settings
    )
    for name, changed in (
        ("space", {"space": SPACE.with_width(2.0)}),
        ("device", {"runner": other}),
        ("table", {"table": dataclasses.replace(table, sentinel_ms=2.0)}),
    ):
        with pytest.raises(UserError, match="cannot be gone on with") as refused:
            made(**changed)
        assert refused.value.received == f"those of another {name}"


def test_a_search_opens_the_device_and_closes_it(tmp_path, monkeypatch):
    runner = FakeRunner(lambda model, _: 1.0)
    monkeypatch.setattr("pnas_tf.devices.registry.runner_for", lambda config, say: runner)
    closed = []
    monkeypatch.setattr(FakeRunner, "close", lambda self: closed.append(self))
    recipe = SearchRecipe(SearchConfig(algorithm="reinforce", rl_latency="device"))
    with _measured(SPACE, fake_table(), recipe, tmp_path) as measured:
        assert measured((0,)) > 0 and not closed
    assert closed == [runner]


def test_a_network_that_fails_is_an_error_and_never_a_number(tmp_path):
    def fail(model, _):
        if not model.name.startswith("sentinel"):
            raise ToolFailed("the model", received="it crashed")
        return 1.0

    with pytest.raises(UserError, match="could not be measured"):
        measured_latency(tmp_path, FakeRunner(fail))((0,))
    assert not (tmp_path / "measured_paths.json").exists()


def test_a_corrupt_record_of_measurements_is_refused(tmp_path):
    (tmp_path / "measured_paths.json").write_text('{"format": "pnas_tf/measured_paths", "vers')
    with pytest.raises(UserError, match="corrupt or truncated"):
        measured_latency(tmp_path, FakeRunner(lambda *_: 1.0))


@pytest.mark.parametrize("combination", ["sum", "worst"])
def test_absolute_reward_is_largest_on_the_target(combination):
    below, on, above = (
        absolute_reward(0.9, [ratio], weight=0.1, combination=combination)
        for ratio in (0.5, 1.0, 1.5)
    )
    assert on == 0.9 and below == above == pytest.approx(0.85)
