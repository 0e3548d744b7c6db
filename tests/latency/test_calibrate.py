"""A device made of arithmetic, whose blocks take what its kinds of work cost: what calibration
makes of it can be checked against the truth."""

import dataclasses
import json
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
from pnas_tf.latency.estimate import Few, by_old_table, by_op_kinds
from pnas_tf.latency.few_shot import MeasuredNetwork
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.knowledge import Knowledge, knowledge_of, unsplit_doubt
from pnas_tf.latency.measure_sources import CALL, MeasurementSetup
from pnas_tf.latency.op_features import FEATURES, features_of
from pnas_tf.latency.prior import Prior, learn_prior
from pnas_tf.latency.prior_sources import source_of_table
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.taught import Taught
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.mbconv import proxyless, tiny
from pnas_tf.space.ops import MBConv

SPACE = tiny()
SMALL = dataclasses.replace(SPACE, candidates=(MBConv(3, 3),))  # without large kernels
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

    def run(device, few, known=Knowledge(), *, space=SPACE):
        monkeypatch.setattr(calibrate, "measure_sources", device)
        monkeypatch.setattr(block_prices, "measure_sources", device)
        runner = FakeRunner(lambda path, runs: 1.0, settings=device.settings)
        conversion = ConversionConfig(model_cache=str(tmp_path))
        setup = MeasurementSetup(runner, Schedule(), conversion)
        return calibrate.calibrate(space, setup, CONFIG, few, known, seed=0)

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
    settings = [dataclasses.replace(SETTINGS, threads=1 + seed) for seed in range(8)]
    devices = [Arithmetic(device_prices(seed), settings=each) for seed, each in enumerate(settings)]
    sources = [source_of_table(f"device {n}", full_table(each)) for n, each in enumerate(devices)]
    return learn_prior(sources, other_runtime=False)


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
    rewritten = dataclasses.replace(few.identity, rewrites=("split_depthwise",))
    other = Arithmetic(device.prices)
    calibrated(
        other,
        CalibrateConfig(measurements=4),
        Knowledge(prior, before=dataclasses.replace(few, identity=rewritten)),
    )
    assert len(other.asked[0]) == 4  # exported otherwise than is asked for now


def test_what_networks_were_chosen_by_does_not_matter_to_going_on(calibrated, prior):
    device = Arithmetic(device_prices(112))
    few = calibrated(device, CalibrateConfig(measurements=10))
    same = calibrated(device, CalibrateConfig(measurements=10), Knowledge(prior, before=few))
    assert len(device.asked) == 1 and same.few_shot.method == "prior"
    more = calibrated(device, CalibrateConfig(measurements=13), Knowledge(prior, before=few))
    assert [len(names) for names in device.asked] == [10, 3]
    assert len(more.few_shot.networks) == 13


def test_what_was_measured_before_keeps_its_age(calibrated):
    few = calibrated(Arithmetic(device_prices(113)), CalibrateConfig(measurements=3))
    old = dataclasses.replace(few, created_unix_s=few.created_unix_s - 200 * 86400)
    device = Arithmetic(device_prices(113))
    more = calibrated(device, CalibrateConfig(measurements=4), Knowledge(before=old))
    assert len(device.asked[0]) == 1 and "stale: built 200 days ago" in more.warnings()


class Quiet(Arithmetic):
    """With a reference model that scatters though the device does not: its sessions say that it
    helps nothing."""

    def __call__(self, sources, setup, **options):
        session = super().__call__(sources, setup, **options)
        generator = np.random.default_rng(len(self.asked))
        measured = {}
        for name, entry in session.measurements.items():
            beside = generator.uniform(0.5, 1.5, len(entry.runs))
            runs = zip(entry.runs, beside, strict=True)
            runs = tuple(dataclasses.replace(run, sentinel_ns=1e6 * ms) for run, ms in runs)
            measured[name] = dataclasses.replace(entry, runs=runs)
        facts = ModelFacts("sha", 10, "float32", (), ())
        reference = Measurement(DEVICE, self.settings, facts, (ModelRun((1e6,) * 3),))
        noise = 7.0 if len(self.asked) == 1 else 2.0
        return Session(measured, {}, reference, "none", noise)


def test_a_session_that_takes_no_drift_out_adds_no_noise_of_the_reference_model(calibrated):
    few = CalibrateConfig(measurements=12, blocks=5)
    quiet = calibrated(Quiet(device_prices(114)), few)
    assert quiet.few_shot.prices == calibrated(Arithmetic(device_prices(114)), few).few_shot.prices
    assert quiet.noise_percent == 7.0
    assert any("halves of the session differ by 7.0 %" in words for words in quiet.warnings())


def test_it_measures_until_the_error_is_small_enough(calibrated):
    device = Arithmetic(device_prices(103))
    table = calibrated(device, CalibrateConfig(measurements=10, max_error_percent=1e-9))
    assert len(table.few_shot.networks) == calibrate.MAX_MEASUREMENTS
    assert "--max_error_percent=1e-09 still" in " ".join(table.warnings())
    eased = calibrated(device, CalibrateConfig(measurements=10, max_error_percent=90.0))
    assert len(eased.few_shot.networks) == 10
    assert "--max_error_percent" not in " ".join(eased.warnings())


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


def test_blocks_that_were_measured_are_kept_and_the_rest_goes_on(calibrated):
    device = Arithmetic(device_prices(104))
    few = CalibrateConfig(measurements=10, blocks=5)
    first = calibrated(device, few)
    few = dataclasses.replace(few, blocks=12, max_error_percent=1e-9, measurements=40)
    more = calibrated(device, few, Knowledge(before=first))
    assert len(device.asked[-1]) == 12 - 5 and not set(device.asked[-1]) & set(first.entries)
    assert first.entries.items() < more.entries.items() and len(more.entries) == 12
    told = " ".join(more.few_shot.doubts)
    assert "before blocks were measured; what it is now, pnas validate tells" in told
    assert "leave-one-out, before blocks were measured)" in more.describe()
    asked = len(device.asked)
    same = calibrated(device, dataclasses.replace(few, blocks=0), Knowledge(before=more))
    assert len(device.asked) == asked
    assert same.few_shot.prices == more.few_shot.prices and same.entries == more.entries


def test_a_network_that_cannot_be_measured_gives_its_place_to_the_next(calibrated):
    class Refusing(Arithmetic):
        def __init__(self, prices, *, fails):
            super().__init__(prices)
            self.fails, self.tried = fails, []

        def __call__(self, sources, setup, **options):
            session = super().__call__(sources, setup, **options)
            lost = [name for name in sources if name not in self.tried][: self.fails]
            self.fails -= len(lost)
            self.tried += sources
            measured = {key: each for key, each in session.measurements.items() if key not in lost}
            return Session(measured, dict.fromkeys(lost, "signal 11"), None)

    device = Refusing(device_prices(117), fails=2)
    table = calibrated(device, CalibrateConfig(measurements=10))
    assert [len(names) for names in device.asked] == [10, 2]
    assert len(table.few_shot.networks) == 10 and set(table.failures) == set(device.tried[:2])
    told = [doubt for doubt in table.few_shot.doubts if "2 networks could not be" in doubt]
    assert "signal 11" in told[0]
    more = calibrated(device, CalibrateConfig(measurements=12), Knowledge(before=table))
    assert len(device.asked[2]) == 2 and not set(device.asked[2]) & set(table.failures)
    assert more.failures == table.failures and told[0] in more.few_shot.doubts
    for fails, measurements in ((3, 1), (10, 10)):
        device = Refusing(device_prices(117), fails=fails)
        with pytest.raises(UserError, match="calibration on") as refusal:
            calibrated(device, CalibrateConfig(measurements=measurements))
        assert "signal 11" in refusal.value.received


def test_blocks_that_fail_alone_are_told_and_keep_their_estimate(calibrated):
    class Failing(Arithmetic):
        def __call__(self, sources, setup, **options):
            session = super().__call__(sources, setup, **options)
            lost = [*sorted(sources)[:2], CALL] if options.get("with_call") else []
            measured = {key: each for key, each in session.measurements.items() if key not in lost}
            return Session(measured, dict.fromkeys(lost, "signal 11"), None)

    table = calibrated(Failing(device_prices(115)), CalibrateConfig(measurements=10, blocks=5))
    told = " ".join(table.few_shot.doubts)
    assert "2 blocks could not be measured alone" in told and told.count("signal 11") == 2
    assert "of a call" in told
    assert len(table.failures) == 2 and set(table.failures) <= set(SPACE.distinct_blocks())
    assert sum(price.measured for price in table.few_shot.prices.values()) == 3


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


def test_one_network_cannot_tell_whether_an_old_table_carries_over(calibrated):
    device = Arithmetic(device_prices(105))
    known = Knowledge(old=full_table(device))
    table = calibrated(device, CalibrateConfig(measurements=1), known)
    assert "one network cannot tell" in " ".join(table.few_shot.doubts)
    prices = table.few_shot.prices.values()
    assert all(price.deviation_ms == pytest.approx(0.06 * price.latency_ms) for price in prices)


def few_of(latency_ms, **run):
    """As many of `OUTSIDE`, measured."""
    facts = ModelFacts("sha", 10, "float32", (1, 8, 8, 8), ())
    networks = {
        f"network_{number}": MeasuredNetwork(
            network.ops, Measurement(DEVICE, SETTINGS, facts, (ModelRun((ms * 1e6,), **run),) * 3)
        )
        for number, (network, ms) in enumerate(zip(OUTSIDE, latency_ms))
    }
    return Few(SPACE, networks, np.array(latency_ms))


@pytest.mark.parametrize(
    "now_ms, method",
    [
        (lambda before, fixed: before + 0.5 * fixed, "line"),
        (lambda before, fixed: 2 * before.max() - before, "factor"),  # a slope below 0
        # more comes off than the blocks have that are in every network
        (lambda before, fixed: before - (fixed + before.min()) / 2, "factor"),
    ],
    ids=["sound", "falling", "below nothing"],
)
def test_a_line_is_taken_only_where_it_prices_every_block(now_ms, method):
    old = full_table(Arithmetic(device_prices(116)))
    before = np.array([old.predict_ms(network) for network in OUTSIDE])
    fixed = sum(old.share_ms(block.key) for block in SPACE.fixed_blocks())
    found = by_old_table(few_of(now_ms(before, fixed)), old)
    assert found.method == method
    if method == "line":
        priced = LatencyTable(old.identity, {}, space=SPACE, few_shot=found)
        predicted = [priced.predict_ms(network) for network in OUTSIDE]
        np.testing.assert_allclose(predicted, before + 0.5 * fixed, rtol=1e-6)


def test_a_device_that_was_disturbed_is_not_called_steady():
    noise = np.exp(0.5 * np.random.default_rng(1).standard_normal(len(OUTSIDE)))
    for run, cause in (({"disturbed": "steal"}, "scatter"), ({}, "are steady")):
        (told,) = by_op_kinds(few_of(noise, **run)).doubts
        assert "does not fit" in told and cause in told


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
    few, int8 = CalibrateConfig(old_table=str(path)), LatencyConfig(latency_dtype="int8")
    assert knowledge_of(few, SPACE, LatencyConfig()).old is not None
    with pytest.raises(UserError, match=r"--old_table=.*old\.json") as refusal:
        knowledge_of(few, SPACE, int8)
    assert "one of float32" in refusal.value.received
    with pytest.raises(UserError, match=r"--old_table=.*old\.json does not cover") as refusal:
        knowledge_of(few, tiny(resolution=64), LatencyConfig())
    assert "--run_dir" not in refusal.value.fix


def test_an_old_table_of_other_rewrites_is_refused_and_without_the_split_doubted(
    calibrated, tmp_path
):
    device = Arithmetic(device_prices(107))
    old = full_table(device)
    few = CalibrateConfig(old_table=str(old.save(tmp_path / "old.json")))
    for rewrites in (("auto",), ("none",)):
        knowledge_of(few, SPACE, LatencyConfig(latency_rewrites=rewrites))
    with pytest.raises(UserError, match=r"--old_table=.*old\.json") as refusal:
        knowledge_of(few, SPACE, LatencyConfig(latency_rewrites=("split_depthwise",)))
    assert "split_depthwise" in refusal.value.expected and "none" in refusal.value.received
    knowledge_of(few, SMALL, LatencyConfig(latency_rewrites=("split_depthwise",)))
    phone = dataclasses.replace(DEVICE, kind="android")
    there = dataclasses.replace(old.identity, device=phone)
    assert "without split_depthwise" in unsplit_doubt(old, there, SPACE)[0]
    assert unsplit_doubt(old, old.identity, SPACE) == ()
    split = dataclasses.replace(old.identity, rewrites=("split_depthwise",))
    assert unsplit_doubt(LatencyTable(split, {}, space=SPACE), there, SPACE) == ()
    entries = {key: dataclasses.replace(each, device=phone) for key, each in old.entries.items()}
    elsewhere = dataclasses.replace(old, identity=there, entries=entries)
    for known, doubted in ((old, False), (elsewhere, True)):
        found = calibrated(device, CalibrateConfig(), Knowledge(old=known)).few_shot
        assert any("without split_depthwise" in words for words in found.doubts) == doubted


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
    assert table.few_shot.expected_error_percent is None  # the prior's devices are others
    more = CalibrateConfig(other_runtime=True, max_error_percent=90.0)
    table = calibrated(newer, more, Knowledge(prior))
    assert (len(table.few_shot.networks), table.few_shot.error_basis) == (10, "leave-one-out")
    path = prior.save(tmp_path / "prior.json")
    with pytest.raises(UserError, match="int8"):
        int8 = LatencyConfig(latency_dtype="int8")
        knowledge_of(CalibrateConfig(prior=(str(path),)), SPACE, int8)
    with pytest.raises(UserError, match="at least two"):
        learn_prior([source_of_table("one", full_table(newer))], other_runtime=False)


def test_a_prior_of_the_cpu_is_of_another_accelerator_unless_told(calibrated, prior):
    for delegate, partial, found in (
        ("xnnpack", False, ""),
        ("gpu", False, "1.0 gpu"),
        ("gpu", True, "1.0 gpu in part"),
        ("npu", False, "1.0 npu"),
    ):
        settings = dataclasses.replace(SETTINGS, delegate=delegate, partial_delegation=partial)
        device = Arithmetic(device_prices(108), settings=settings)
        source = source_of_table("accelerated", full_table(device))
        slower = dataclasses.replace(SETTINGS, threads=9)
        other = full_table(Arithmetic(device_prices(1), settings=slower))
        others = [source_of_table("other", other), source]
        if not found:
            calibrated(device, CalibrateConfig(), Knowledge(prior))
            assert learn_prior(others, other_runtime=False).devices == 2
            continue
        with pytest.raises(UserError, match="prior for a latency table") as refusal:
            calibrated(device, CalibrateConfig(), Knowledge(prior))
        assert refusal.value.expected.endswith(found) and not device.asked
        with pytest.raises(UserError, match="accelerated among the sources"):
            learn_prior(others, other_runtime=False)
        assert len(learn_prior(others, other_runtime=True).runtimes) == 2


def test_large_kernels_that_a_prior_saw_in_another_form_are_told(calibrated, prior):
    space = dataclasses.replace(SPACE, candidates=(MBConv(7, 3),))
    identity = Identity(DEVICE, SETTINGS, "float32", ("split_depthwise",))
    sources = [
        dataclasses.replace(
            source_of_table("one", full_table(Arithmetic(device_prices(1)))),
            identity=dataclasses.replace(identity, settings=settings, rewrites=rewrites),
            networks=tuple(random_architecture(space, seed=seed) for seed in range(40)),
        )
        for settings, rewrites in ((SETTINGS, ()), (NEWER, ("split_depthwise",)))
    ]
    plain, mixed = (
        dataclasses.replace(prior, forms=tuple(sorted(forms)))
        for forms in (sources[0].forms, sources[0].forms | sources[1].forms)
    )
    assert plain.forms == ("no split_depthwise",)
    assert "with split_depthwise" in plain.forms_doubt(identity, space)[0]
    assert mixed.forms_doubt(identity, space) == ()
    assert plain.forms_doubt(dataclasses.replace(identity, rewrites=()), space) == ()
    assert prior.forms_doubt(identity, SMALL) == ()
    split = dataclasses.replace(prior, forms=("split_depthwise",))
    found = calibrated(Arithmetic(device_prices(108)), CalibrateConfig(), Knowledge(split)).few_shot
    assert "exported with no split_depthwise" in " ".join(found.doubts)
    assert found.expected_error_percent is None


def test_a_prior_prices_no_kind_of_work_that_none_of_its_networks_did(calibrated, prior):
    device, large = Arithmetic(device_prices(110)), tiny(resolution=96)
    with pytest.raises(UserError, match="prior for space 'tiny' at 96 px") as refusal:
        calibrated(device, CalibrateConfig(), Knowledge(prior), space=large)
    assert "no depthwise 3 MACs from 40 px" in refusal.value.received and not device.asked
    assert "no depthwise 3 MACs from 10 px" not in refusal.value.received
    calibrated(device, CalibrateConfig(measurements=3), space=large)  # its own networks do it


def test_a_prior_by_which_a_network_takes_no_time_is_refused_before_measuring(calibrated, prior):
    kinds = dataclasses.replace(prior.taught.kinds, mean=-prior.taught.kinds.mean)
    negative = dataclasses.replace(prior, taught=Taught(kinds, {}))
    device = Arithmetic(device_prices(110))
    with pytest.raises(UserError, match="a network by a prior"):
        calibrated(device, CalibrateConfig(), Knowledge(negative))
    assert not device.asked


@pytest.mark.parametrize(
    "damage",
    [
        {"held_out_percent": {"five": 3.0}},
        {"held_out_percent": {"5": -3.0}},
        {"unseen": ["sorcery"]},
        {"noise": 1.5},
        {"blocks": {"mbconv": {"mean": 0.1, "deviation": -0.1}}},
        {"covariance": (2 * np.ones((len(FEATURES),) * 2) - np.eye(len(FEATURES))).tolist()},
    ],
    ids=["no number", "negative", "unknown work", "noise", "block", "covariance"],
)
def test_a_damaged_prior_is_refused(prior, tmp_path, damage):
    path = prior.save(tmp_path / "prior.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(UserError, match=r"prior\.json"):
        Prior.load(path)


def test_a_prior_survives_its_file_and_tells_its_sources(prior, tmp_path):
    again = Prior.load(prior.save(tmp_path / "prior.json"))
    assert again.sources == prior.sources and len(again.sources) == 8 == again.devices
    assert again.unseen == prior.unseen != ()
    assert again.taught.blocks == prior.taught.blocks != {}
    np.testing.assert_array_equal(
        again.taught.population.covariance, prior.taught.population.covariance
    )
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
