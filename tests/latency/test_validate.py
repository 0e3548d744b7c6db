"""Agreement figures against numpy and closed forms; the whole validation on a device that is affine
by construction."""

import dataclasses
import json
import random

import numpy as np
import pytest
from fake_runner import FakeRunner

from pnas_tf.config import ConversionConfig, LatencyConfig
from pnas_tf.devices.drift_correction import noise_floor_percent
from pnas_tf.devices.failures import RunKilled
from pnas_tf.devices.record import Measurement, ModelRun
from pnas_tf.devices.schedule import Schedule
from pnas_tf.errors import UserError
from pnas_tf.latency import measure_sources, validate
from pnas_tf.latency.agreement import agreement
from pnas_tf.latency.build import build_latency_table
from pnas_tf.latency.few_shot import FewShot, MeasuredNetwork, Price
from pnas_tf.latency.measure_sources import MeasurementSetup
from pnas_tf.latency.table import LatencyTable
from pnas_tf.report.validation_plot import plot_validation
from pnas_tf.report.validation_text import (
    read_validation,
    validation_lines,
    validation_warnings,
    validation_words,
)
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.tflite.rewrites.choice import REWRITES

SPACE = tiny()
SCHEDULE = Schedule(rounds=3, extra_rounds=0, noisy_rounds=0, min_invocations=6, min_run_ms=0)
_random = random.Random(0)
BLOCK_MS = {key: _random.uniform(0.5, 2) for key in SPACE.distinct_blocks()}
CALL_MS = 0.25  # on top for every model of one block


def network_ms(network: Architecture) -> float:
    """The made-up device: 1.1 times the sum of its blocks, and 0.7 ms."""
    return 1.1 * sum(BLOCK_MS[block.key] for block in network.blocks if block.layers) + 0.7


class MadeUp:
    """Stands in for conversion: a file holds the milliseconds that its model takes."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, sources, config, **_):
        paths = {}
        for name, source in sources.items():
            paths[name] = self.folder / f"{name.replace(' ', '_').replace('=', '')}.tflite"
            latency_ms = (
                network_ms(source)
                if isinstance(source, Architecture)
                else CALL_MS + BLOCK_MS[source.key]
            )
            paths[name].write_text(json.dumps([name, latency_ms]))
        return paths


def runner(factor=lambda runs: 1.0):
    def latency_ms(path, runs):
        return stored(path)[1] * factor(runs)

    return FakeRunner(latency_ms)


def stored(path):
    """(name, ms) of a made-up model or of one of the fixed two."""
    kind = path.stem.split("_")[0]
    fixed = {"sentinel": 1.0, "call": CALL_MS}
    return (kind, fixed[kind]) if kind in fixed else json.loads(path.read_text())


@pytest.fixture
def made_up(tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(measure_sources, "convert_models", MadeUp(tmp_path / "models"))
    return tmp_path


def make_setup(folder, device=None) -> MeasurementSetup:
    return MeasurementSetup(device or runner(), SCHEDULE, ConversionConfig(model_cache=str(folder)))


def make_table(folder, *, device=None, **options) -> LatencyTable:
    setup = make_setup(folder, device)
    table = build_latency_table(SPACE, setup, LatencyConfig(**options), seed=0)
    setup.forget_sessions()
    return table


def held_out(count, space=SPACE):
    return validate.held_out_architectures(space, count=count, seed=0)


def run(table, folder, *, factor=lambda runs: 1.0, count=12):
    networks = held_out(count)
    setup = make_setup(folder, runner(factor))
    document = validate.validate(table, networks, setup)
    setup.forget_sessions()
    return document


def test_agreement_is_what_numpy_says():
    generator = np.random.default_rng(0)
    measured = generator.uniform(5, 15, 50)
    predicted = measured * generator.normal(1.02, 0.06, 50)
    errors = (predicted - measured) / measured * 100
    found = agreement(list(predicted), list(measured))
    assert found.networks == 50
    assert found.bias_percent == pytest.approx(errors.mean())
    assert found.mape_percent == pytest.approx(np.abs(errors).mean())
    assert found.rmse_ms == pytest.approx(np.sqrt(np.mean((predicted - measured) ** 2)))
    assert found.within_5_percent == pytest.approx(100 * np.mean(np.abs(errors) <= 5))
    assert found.within_10_percent == pytest.approx(100 * np.mean(np.abs(errors) <= 10))
    ranks = [np.argsort(np.argsort(values)) for values in (predicted, measured)]
    assert found.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])
    pairs = [(i, j) for i in range(50) for j in range(i)]
    signs = [np.sign((predicted[i] - predicted[j]) * (measured[i] - measured[j])) for i, j in pairs]
    assert found.kendall == pytest.approx(np.mean(signs))


def test_agreement_of_equal_values_has_no_ranks():
    found = agreement([2.0, 2.0], [1.0, 2.0])
    assert (found.spearman, found.kendall, found.bias_percent, found.mape_percent) == (
        None,
        None,
        50.0,
        50.0,
    )
    with pytest.raises(UserError):
        agreement([1.0], [1.0])


def test_noise_floor_is_the_difference_between_halves():
    origin = (runner().device, runner().settings, None)
    noisy = Measurement(*origin, tuple(ModelRun((ms * 1e6,)) for ms in (1.0, 1.1, 1.0, 1.1)))
    calm = Measurement(*origin, tuple(ModelRun((1e6,)) for _ in range(4)))
    assert noise_floor_percent([noisy], reference_ms=None) == pytest.approx(100 * 0.1 / 1.05)
    assert noise_floor_percent([noisy, calm], reference_ms=None) == pytest.approx(50 * 0.1 / 1.05)
    assert noise_floor_percent([], reference_ms=None) is None


def test_an_affine_device_is_built_and_predicted_exactly(made_up):
    table = make_table(made_up)
    assert (table.calibration.slope, table.calibration.intercept_ms) == (
        pytest.approx(1.1),
        pytest.approx(0.7),
    )
    assert {key: table.latency_ms(key) for key in BLOCK_MS} == pytest.approx(
        {key: CALL_MS + ms for key, ms in BLOCK_MS.items()}
    )
    assert {key: table.share_ms(key) for key in BLOCK_MS} == pytest.approx(
        BLOCK_MS
    ) and table.call_ms == pytest.approx(CALL_MS)
    document = run(table, made_up)
    assert document["networks"] == 12 and document["dtype"] == "float32"
    for figure in ("bias_percent", "mape_percent", "rmse_ms", "noise_floor_mape_percent"):
        assert document[figure] == pytest.approx(0, abs=1e-9)
    assert (document["spearman"], document["kendall"]) == (pytest.approx(1), pytest.approx(1))
    assert document["within_5_percent"] == document["within_10_percent"] == 100
    assert document["macs_only"]["mape_percent"] > 3  # random block times follow MACs badly
    assert len(document["pairs"]) == 12 and len(document["worst"]) == 5
    networks = held_out(12)
    for row in document["worst"]:
        assert sum(block["latency_ms"] for block in row["blocks"]) == pytest.approx(
            table.sum_ms(networks[row["name"]])
        )
    assert document["warnings"] == []


def test_a_table_that_lost_a_calibration_network_is_paced_by_the_others(made_up):
    table = make_table(made_up)
    networks = [each for number, each in enumerate(table.calibration.networks) if number != 3]
    lesser = dataclasses.replace(
        table, calibration=dataclasses.replace(table.calibration, networks=tuple(networks))
    )
    document = run(lesser, made_up)
    assert document["warnings"] == []
    assert document["mape_percent"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("names", [[], ["a"], ["calibration_2000000000"], ["calibration_0003"]])
def test_calibration_networks_of_unknown_names_are_none(made_up, names):
    table = make_table(made_up)
    first = table.calibration.networks[0]
    edited = tuple(dataclasses.replace(first, name=name) for name in names)
    calibration = dataclasses.replace(table.calibration, networks=edited)
    edited_table = dataclasses.replace(table, calibration=calibration)
    assert validate._calibration_set(edited_table, SPACE) == {}
    (warning,) = run(edited_table, made_up)["warnings"]
    assert "are not of this space" in warning


def test_too_few_calibration_networks_measured_is_said_as_that(made_up):
    table = make_table(made_up)
    lost = [each.name for each in table.calibration.networks[2:]]

    def latency_ms(path, runs):
        name, known = stored(path)
        if name in lost:
            raise RunKilled("run", received="signal 11")
        return known

    device = FakeRunner(latency_ms)
    document = validate.validate(table, held_out(4), make_setup(made_up, device))
    assert document["session_calibration"] is None
    (warning,) = document["warnings"]
    assert "fewer than 3 of the table's calibration networks could be measured" in warning


def test_a_device_faster_with_more_macs_spoils_the_baseline_alone(made_up, monkeypatch):
    macs = property(lambda network: int(1e9 / network_ms(network)))
    table = make_table(made_up)
    monkeypatch.setattr(Architecture, "macs", macs)
    document = run(table, made_up)
    assert document["mape_percent"] == pytest.approx(0, abs=1e-9)
    assert document["session_calibration"]["slope"] == pytest.approx(1.1)
    assert document["macs_only"]["mape_percent"] > 5


def test_without_a_line_through_the_calibration_networks_all_is_measured_anew(made_up):
    """Networks take less the slower their blocks are."""
    table = make_table(made_up)

    def latency_ms(path, runs):
        return 100 / stored(path)[1]

    with pytest.raises(UserError, match="latency calibration"):
        validate.validate(table, held_out(4), make_setup(made_up, FakeRunner(latency_ms)))
    assert not list(made_up.glob("session_*"))


def test_figures_are_of_the_session_and_what_is_unknown_is_not_0(made_up, monkeypatch):
    setup = make_setup(made_up)
    table = build_latency_table(SPACE, setup, LatencyConfig(), seed=7)
    setup.forget_sessions()
    sessions = []

    def kept(*sources, **options):
        sessions.append(measure_sources.measure_sources(*sources, **options))
        return sessions[-1]

    monkeypatch.setattr(validate, "measure_sources", kept)
    generator = random.Random(0)
    document = run(table, made_up, factor=lambda runs: generator.uniform(1.0, 1.1))
    assert document["session_calibration"]["seed"] == 7
    raw = [entry.raw for entry in sessions[0].measurements.values()]
    assert document["uncorrected_noise_percent"] == noise_floor_percent(raw) > 0
    once = dataclasses.replace(SCHEDULE, rounds=1)
    setup = dataclasses.replace(make_setup(made_up), schedule=once)
    document = validate.validate(table, held_out(3), setup)
    assert document["noise_floor_mape_percent"] is None
    found = read_validation(validate.save(made_up / "validation.json", document))
    assert validation_words(found).endswith("noise floor unknown")
    assert any(
        "session: unknown (by the clock unknown)" in line for line in validation_lines(found)
    )
    assert not any("proves nothing" in line for line in validation_warnings(found))


def test_a_device_that_has_become_slower_shows_in_the_stored_calibration_only(made_up):
    """All models but the sentinel take 20 % longer than when the table was built."""
    table = make_table(made_up)
    slower = FakeRunner(
        lambda path, runs: (
            1.0 if path.name.startswith("sentinel") else 1.2 * json.loads(path.read_text())[1]
        )
    )
    document = validate.validate(
        table,
        held_out(12),
        make_setup(made_up, slower),
    )
    assert document["mape_percent"] == pytest.approx(0, abs=1e-9)
    assert document["stored_calibration"]["bias_percent"] == pytest.approx((1 / 1.2 - 1) * 100)


def few_table(table, *, networks=("typical_000", "typical_001")):
    """Of the same prices, from few networks: 1.1 times the blocks, the 0.7 ms in the stem's."""
    stem = SPACE.fixed_blocks()[0].key
    prices = {key: Price(1.1 * ms + 0.7 * (key == stem), 0.1) for key, ms in BLOCK_MS.items()}
    measured = next(iter(table.entries.values()))
    drawn = {
        name: MeasuredNetwork(random_architecture(SPACE, seed=71 + number).ops, measured)
        for number, name in enumerate(networks)
    }
    few = FewShot("op kinds", "", drawn, prices)
    return dataclasses.replace(table, entries={}, calibration=None, few_shot=few, space=SPACE)


def test_a_table_from_few_networks_is_paced_by_its_own_networks(made_up):
    """Networks take 20 % longer than when it was made, which the reference model does not tell."""
    table = few_table(make_table(made_up))
    slower = FakeRunner(
        lambda path, runs: stored(path)[1] * (1.0 if path.name.startswith("sentinel") else 1.2)
    )
    document = validate.validate(table, held_out(12), make_setup(made_up, slower))
    assert document["mape_percent"] == pytest.approx(0, abs=1e-9)
    assert document["uncorrected"]["mape_percent"] == pytest.approx(0, abs=1e-9)
    assert document["pace"] == pytest.approx(1.2) and document["session_calibration"] is None
    assert document["stored_calibration"]["bias_percent"] == pytest.approx((1 / 1.2 - 1) * 100)
    assert set(table.few_shot.networks) <= set(document["measurements"])
    first = told(document, made_up)
    assert first.startswith("table times 1.200, its own networks' factor")
    document.pop("pace")  # as earlier versions wrote it
    assert told(document, made_up).startswith("as stored in the table, with the pace")


def told(document, folder):
    """The headline's line."""
    found = read_validation(validate.save(folder / "validation.json", document))
    return list(validation_lines(found))[1]


@pytest.mark.parametrize("why", ["are not of this space", "fewer than 1"])
def test_a_table_from_few_networks_without_them_says_that_it_is_as_stored(made_up, why):
    whole = make_table(made_up)
    table = few_table(whole)
    if "space" in why:
        table = dataclasses.replace(table, space=dataclasses.replace(SPACE, name="other"))

    def latency_ms(path, runs):
        name, known = stored(path)
        if name.startswith("typical"):
            raise RunKilled("run", received="signal 11")
        return 1.2 * known

    document = validate.validate(table, held_out(4), make_setup(made_up, FakeRunner(latency_ms)))
    assert document["pace"] is None and any(why in line for line in document["warnings"])
    assert document["bias_percent"] == document["stored_calibration"]["bias_percent"]
    assert told(document, made_up).startswith("as stored in the table, with the pace")
    document = run(whole, made_up)
    assert told(document, made_up).startswith("table and calibration of the measuring session")


def test_ten_networks_of_a_table_tell_its_pace(made_up):
    names = [f"typical_{number:03d}" for number in range(14)]
    table = few_table(make_table(made_up), networks=names)
    assert list(validate._calibration_set(table, SPACE)) == names[:10]


def test_drift_that_the_sentinel_shares_is_corrected_in_stored_predictions(made_up):
    """Everything, the sentinel too, takes 20 % longer than when the table was built."""
    document = run(make_table(made_up), made_up, factor=lambda runs: 1.2)
    assert document["stored_calibration"]["bias_percent"] == pytest.approx((1 / 1.2 - 1) * 100)
    assert document["stored_drift_corrected"]["mape_percent"] == pytest.approx(0, abs=1e-9)


def test_drift_that_the_networks_do_not_share_is_not_corrected(made_up):
    """The sentinel alone takes 20 % longer: the calibration networks know better."""
    table = make_table(made_up)
    slower = FakeRunner(
        lambda path, runs: stored(path)[1] * (1.2 if path.name.startswith("sentinel") else 1.0)
    )
    document = validate.validate(table, held_out(12), make_setup(made_up, slower))
    assert document["drift"] == 1
    assert document["stored_drift_corrected"] == document["stored_calibration"]


def test_both_figures_are_told_and_a_noisy_comparison_proves_nothing(made_up):
    """Runs take 1.0 or 1.3 times as long by turns that the sentinel does not share: noise."""
    table, generator = make_table(made_up), random.Random(0)

    def latency_ms(path, runs):
        known = stored(path)[1]
        is_fixed = path.name.startswith("sentinel")
        return known if is_fixed else known * generator.choice([1.0, 1.3])

    document = validate.validate(table, held_out(12), make_setup(made_up, FakeRunner(latency_ms)))
    assert document["noise_floor_mape_percent"] > 5
    path = validate.save(made_up / "validation.json", document)
    found = read_validation(path)
    assert any("this comparison proves nothing" in line for line in validation_warnings(found))
    assert any("by the clock, nothing taken out" in line for line in validation_lines(found))
    words = validation_words(found)
    assert f"within {found.headline.mape_percent:.1f} % on average" in words
    path.write_text(json.dumps({**document, "version": 1}))
    with pytest.raises(UserError, match="version"):
        read_validation(path)


def test_held_out_networks_are_none_of_the_calibration(made_up):
    table = make_table(made_up)
    drawn = set(held_out(40).values())
    assert len(drawn) == 40 and not drawn & set(validate._calibration_set(table, SPACE).values())


def test_uncalibrated_tables_predict_sums_and_say_so(made_up):
    table = make_table(made_up, calibration_networks=0)
    document = run(table, made_up)
    assert any("uncalibrated" in warning for warning in document["warnings"])
    assert document["session_calibration"] is None and document["bias_percent"] < -9


def test_tables_of_another_space_are_refused(made_up):
    table = make_table(made_up)
    with pytest.raises(UserError, match="does not cover"):
        validate.validate(
            table,
            held_out(2, tiny(resolution=64)),
            make_setup(made_up),
        )


@pytest.mark.parametrize("count", [-1, 1, 2])
def test_too_few_networks_to_calibrate_are_refused_before_measuring(made_up, count):
    device = runner()
    with pytest.raises(UserError, match="calibration"):
        make_table(made_up, device=device, calibration_networks=count)
    assert device.log == []


def test_a_model_that_fails_is_missing_with_its_reason_and_the_rest_stands(made_up):
    victim = next(key for key in BLOCK_MS if "k7_e6" in key)

    def latency_ms(path, runs):
        name, known = stored(path)
        if name == victim:
            raise RunKilled("run", received="signal 11")
        return known

    table = make_table(made_up, device=FakeRunner(latency_ms))
    assert set(table.failures) == {victim} and len(table.entries) == len(BLOCK_MS) - 1
    with pytest.raises(UserError, match="signal 11"):
        table.latency_ms(victim)


def test_the_document_is_json_and_is_drawn(made_up):
    document = run(make_table(made_up), made_up)
    path = validate.save(made_up / "validation.json", document)
    assert json.loads(path.read_text())["format"] == "pnas_tf/validation"
    assert plot_validation(document, made_up / "plot.png").read_bytes()[:4] == b"\x89PNG"
    (made_up / "link.png").hardlink_to(made_up / "plot.png")
    (made_up / "plot.png").write_bytes(b"older")
    plot_validation(document, made_up / "plot.png")
    assert (made_up / "link.png").read_bytes() == b"older"  # replaced whole, never written in place


def test_a_killed_build_goes_on_where_it_was(made_up):
    class Killed(Exception):
        pass

    def until(limit):
        def factor(runs):
            if runs > limit:
                raise Killed
            return 1.0

        return runner(factor)

    with pytest.raises(Killed):
        make_table(made_up, device=until(60), latency_rewrites=REWRITES)
    rest = runner()
    table = make_table(made_up, device=rest, latency_rewrites=REWRITES)
    models = len(BLOCK_MS) + 10 + 1  # and that of a call
    assert (
        len([name for name, _, _ in rest.log if not name.startswith("sentinel")]) == 3 * models - 30
    )  # every other of the 60 was the sentinel's
    assert table.calibration.slope == pytest.approx(1.1)
    assert not list(made_up.glob("session_*"))  # a finished build leaves no journal
