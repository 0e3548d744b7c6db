"""A device made of arithmetic, whose blocks take what its kinds of work cost: what calibration
makes of it can be checked against the truth."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
from fake_runner import DEVICE, SETTINGS, FakeRunner

from pnas_tf.config import CalibrateConfig, ConversionConfig, LatencyConfig
from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.devices.schedule import Schedule
from pnas_tf.devices.session import Session
from pnas_tf.errors import UserError
from pnas_tf.latency import block_prices, calibrate
from pnas_tf.latency.calibrate import Knowledge, knowledge_of
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.measure_sources import CALL, MeasurementSetup
from pnas_tf.latency.op_features import FEATURES, features_of
from pnas_tf.latency.prior import Prior, learn_prior
from pnas_tf.latency.prior_sources import source_of_table
from pnas_tf.latency.table import LatencyTable
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.mbconv import proxyless, tiny

SPACE = tiny()
NEWER = dataclasses.replace(SETTINGS, runtime_version="2.0")
CONFIG = LatencyConfig(latency_rewrites=("none",))
UNIT = np.array([features_of([block]) for block in SPACE.distinct_blocks().values()]).mean(axis=0)
UNIT = np.where(UNIT > 0, UNIT, 1)
OUTSIDE = [random_architecture(SPACE, seed=900_000 + each) for each in range(30)]


def device_prices(seed):
    """Coefficients of one device: a scale times a draw."""
    generator = np.random.default_rng(seed)
    draw = np.exp(0.3 * generator.standard_normal(len(FEATURES)))
    return np.exp(generator.normal(0, 0.5)) * 0.05 * draw / UNIT


class Arithmetic:
    """Stands where `measure_sources` stands: latency = features . prices, blocks alone 6 % faster.
    asked: the names of each session."""

    def __init__(self, prices, *, settings=SETTINGS):
        self.prices, self.settings, self.asked = prices, settings, []

    def __call__(self, sources, setup, *, dtype, rewrites, with_call=False):
        self.asked.append(sorted(sources))
        times = {name: self.latency_ms(each) for name, each in sources.items()}
        if with_call:
            times[CALL] = 1e-6
        facts = ModelFacts("sha", 10, dtype, (1, 8, 8, 8), rewrites)
        measured = {
            name: Measurement(DEVICE, self.settings, facts, (ModelRun((ms * 1e6,) * 3),) * 3)
            for name, ms in times.items()
        }
        return Session(measured, {}, None)

    def latency_ms(self, source):
        if isinstance(source, Architecture):
            return float(features_of(source.blocks) @ self.prices)
        return float(features_of([source]) @ self.prices) / 1.06

    def error_percent(self, table):
        """Of networks measured nowhere."""
        truth = np.array([self.latency_ms(each) for each in OUTSIDE])
        found = np.array([table.predict_ms(each) for each in OUTSIDE])
        return float(np.abs(found / truth - 1).mean() * 100)


@pytest.fixture
def calibrated(monkeypatch, tmp_path):
    """calibrated(device, few, known) -> table."""

    def run(device, few, known=Knowledge()):
        monkeypatch.setattr(calibrate, "measure_sources", device)
        monkeypatch.setattr(block_prices, "measure_sources", device)
        runner = FakeRunner(lambda path, runs: 1.0, settings=device.settings)
        conversion = ConversionConfig(model_cache=str(tmp_path))
        setup = MeasurementSetup(runner, Schedule(), conversion)
        return calibrate.calibrate(SPACE, setup, CONFIG, few, known, seed=0)

    return run


def full_table(device):
    """Every block measured alone, without calibration but with the true factor in each entry."""
    identity = Identity(DEVICE, device.settings, "float32", ())
    facts = ModelFacts("sha", 10, "float32", (1, 8, 8, 8), ())
    entries = {
        key: Measurement(
            DEVICE,
            device.settings,
            facts,
            (ModelRun((float(features_of([block]) @ device.prices) * 1e6,) * 3),),
        )
        for key, block in SPACE.distinct_blocks().items()
    }
    return LatencyTable(identity, entries, space=SPACE)


@pytest.fixture(scope="module", autouse=True)
def smaller_pool():
    """Networks to choose from, few enough for a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibrate, "_POOL", 60)
        patch.setattr(calibrate, "_TYPICAL", 20)
        yield


@pytest.fixture(scope="module")
def prior():
    return learn_prior(
        [
            source_of_table(f"device {seed}", full_table(Arithmetic(device_prices(seed))))
            for seed in range(8)
        ],
        other_runtime=False,
    )


def test_with_a_prior_five_networks_do_and_without_more_are_needed(calibrated, prior):
    device = Arithmetic(device_prices(100))
    taught = calibrated(device, CalibrateConfig(), Knowledge(prior))
    assert len(device.asked[0]) == 5
    alone = calibrated(Arithmetic(device.prices), CalibrateConfig(measurements=5))
    errors = device.error_percent(taught), device.error_percent(alone)
    assert errors[0] < 0.5 * errors[1]
    assert taught.few_shot.expected_error_percent == prior.expected_error_percent(5)
    assert alone.few_shot.expected_error_percent is None
    assert "5 networks without a prior" in " ".join(alone.warnings())


def test_a_prior_is_asked_about_networks_like_those_that_will_be_searched(prior):
    space = proxyless()

    def share_of_one_op(networks):
        """Mean and its standard error of how much of a network is its most frequent op."""
        found = [max(Counter(network.ops).values()) / len(network.ops) for network in networks]
        return float(np.mean(found)), float(np.std(found) / len(found) ** 0.5)

    taught, alone = (
        share_of_one_op(calibrate.networks_to_choose_from(space, known, seed=0).values())
        for known in (Knowledge(prior), Knowledge())
    )
    typical = share_of_one_op(random_architecture(space, seed=each) for each in range(200))
    # Five standard errors: wrong once in a million.
    assert abs(taught[0] - typical[0]) < 5 * np.hypot(taught[1], typical[1])
    assert alone[0] - taught[0] > 5 * np.hypot(taught[1], alone[1])


def test_a_table_from_few_networks_says_so_everywhere_and_survives_its_file(calibrated, tmp_path):
    device = Arithmetic(device_prices(101))
    table = calibrated(device, CalibrateConfig(measurements=20))
    table.check_covers(SPACE)
    assert table.few_shot.error_basis == "leave-one-out"
    assert table.few_shot.expected_error_percent is not None
    for words in (table.describe(), table.warnings()[0]):
        assert "estimated from 20 measured networks by op kinds" in words
    again = LatencyTable.load(table.save(tmp_path / "table.json"))
    assert again.few_shot == table.few_shot and again.space == SPACE
    for network in OUTSIDE:
        assert again.predict_ms(network) == table.predict_ms(network)
        total = sum(again.few_shot.prices[b.key].latency_ms for b in network.blocks if b.layers)
        assert again.predict_ms(network) == pytest.approx(total)


def test_more_measurements_go_on_where_it_stopped(calibrated, prior):
    device = Arithmetic(device_prices(102))
    few = calibrated(device, CalibrateConfig(measurements=3), Knowledge(prior))
    more = calibrated(device, CalibrateConfig(measurements=8), Knowledge(prior, before=few))
    assert len(device.asked) == 2 and len(device.asked[1]) == 5
    assert set(few.few_shot.networks) < set(more.few_shot.networks)
    once = calibrated(Arithmetic(device.prices), CalibrateConfig(measurements=8), Knowledge(prior))
    assert once.few_shot.networks.keys() == more.few_shot.networks.keys()
    assert once.few_shot.prices == more.few_shot.prices
    other = Arithmetic(device.prices, settings=dataclasses.replace(SETTINGS, threads=2))
    calibrated(other, CalibrateConfig(measurements=4), Knowledge(prior, before=few))
    assert len(other.asked[0]) == 4  # of other settings: nothing to go on from


def test_it_measures_until_the_error_is_small_enough(calibrated):
    device = Arithmetic(device_prices(103))
    table = calibrated(device, CalibrateConfig(measurements=10, max_error_percent=1e-9))
    assert len(table.few_shot.networks) == calibrate.MAX_MEASUREMENTS
    eased = calibrated(device, CalibrateConfig(measurements=10, max_error_percent=90.0))
    assert len(eased.few_shot.networks) == 10


def test_blocks_measured_alone_take_their_own_price(calibrated, prior):
    device = Arithmetic(device_prices(104))
    before = calibrated(device, CalibrateConfig(), Knowledge(prior))
    table = calibrated(device, CalibrateConfig(blocks=12), Knowledge(prior))
    measured = [key for key, price in table.few_shot.prices.items() if price.measured]
    assert len(measured) == 12 == len(table.entries)
    blocks = SPACE.distinct_blocks()
    for key in measured:  # 6 % longer within a network than alone
        truth = float(features_of([blocks[key]]) @ device.prices)
        assert table.share_ms(key) == pytest.approx(truth, rel=0.03)
    assert device.error_percent(table) < device.error_percent(before)
    assert "and 12 measured blocks" in table.describe()


def test_an_old_table_of_a_slower_version_needs_one_factor(calibrated):
    device = Arithmetic(device_prices(105))
    old = full_table(device)
    newer = Arithmetic(
        1.7 * device.prices, settings=dataclasses.replace(SETTINGS, runtime_version="2.0")
    )
    table = calibrated(newer, CalibrateConfig(), Knowledge(old=old))
    assert len(newer.asked[0]) == 3
    assert table.few_shot.method == "factor" and newer.error_percent(table) < 0.01
    assert table.identity.settings.runtime_version == "2.0"


def test_an_old_table_that_does_not_carry_is_told(calibrated):
    device = Arithmetic(device_prices(106))
    other = Arithmetic(
        device.prices * np.where(["depthwise 7" in name for name in FEATURES], 20, 1)
    )
    for count, words in ((3, "may not carry over"), (10, "does not carry over")):
        table = calibrated(
            other, CalibrateConfig(measurements=count), Knowledge(old=full_table(device))
        )
        assert words in " ".join(table.warnings())


def test_an_old_table_of_another_number_format_is_refused(calibrated, tmp_path):
    path = full_table(Arithmetic(device_prices(107))).save(tmp_path / "old.json")
    few = CalibrateConfig(old_table=str(path))
    assert knowledge_of(few, SPACE, dtype="float32").old is not None
    with pytest.raises(UserError, match=r"--old_table=.*old\.json") as refusal:
        knowledge_of(few, SPACE, dtype="int8")
    assert "one of float32" in refusal.value.received


def test_what_was_amiss_with_the_few_networks_is_among_the_doubts(calibrated):
    table = calibrated(Arithmetic(device_prices(101)), CalibrateConfig(measurements=20))
    assert not any("unstable" in words for words in table.warnings())
    name, network = next(iter(table.few_shot.networks.items()))
    first, *rest = network.measurement.runs
    hot = (dataclasses.replace(first, throttling="severe"), *rest)
    mixed = dataclasses.replace(network.measurement, runs=hot)
    networks = {**table.few_shot.networks, name: dataclasses.replace(network, measurement=mixed)}
    few = dataclasses.replace(table.few_shot, networks=networks)
    told = dataclasses.replace(table, few_shot=few).warnings()
    assert f"unstable: '{name}': throttling: severe" in told


def test_a_prior_is_of_one_runtime_and_number_format(calibrated, prior, tmp_path):
    newer = Arithmetic(device_prices(108), settings=NEWER)
    with pytest.raises(UserError, match="prior for a latency table") as refusal:
        calibrated(newer, CalibrateConfig(), Knowledge(prior))
    assert "no better than a line in MACs" in refusal.value.received and not newer.asked
    table = calibrated(newer, CalibrateConfig(other_runtime=True), Knowledge(prior))
    assert any("learnt from another runtime" in words for words in table.warnings())
    path = prior.save(tmp_path / "prior.json")
    with pytest.raises(UserError, match="int8"):
        knowledge_of(CalibrateConfig(prior=(str(path),)), SPACE, dtype="int8")
    with pytest.raises(UserError, match="at least two"):
        learn_prior([source_of_table("one", full_table(newer))], other_runtime=False)


def test_a_prior_survives_its_file_and_tells_its_sources(prior, tmp_path):
    again = Prior.load(prior.save(tmp_path / "prior.json"))
    assert again.sources == prior.sources and len(again.sources) == 8
    np.testing.assert_array_equal(again.population.covariance, prior.population.covariance)
    assert again.held_out_percent == prior.held_out_percent and set(prior.held_out_percent) >= {
        3,
        5,
    }
    assert prior.expected_error_percent(7) == prior.held_out_percent[5]


def test_networks_that_no_kinds_of_work_explain_are_flagged(calibrated):
    class Restless(Arithmetic):
        def latency_ms(self, source):
            noise = np.random.default_rng(abs(hash(source.ops)) % 2**32).normal()
            return super().latency_ms(source) * float(np.exp(0.3 * noise))

    table = calibrated(Restless(device_prices(109)), CalibrateConfig(measurements=12))
    assert any("does not fit" in words for words in table.warnings())
