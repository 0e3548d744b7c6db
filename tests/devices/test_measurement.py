"""The record: derived figures against closed forms and numpy; nothing of different origin
merges."""

import dataclasses
import json

import numpy as np
import pytest

from pnas_tf.config import DeviceConfig
from pnas_tf.devices import record_file
from pnas_tf.devices.delegation import Delegation
from pnas_tf.devices.record import (
    Device,
    Measurement,
    ModelFacts,
    ModelRun,
    Settings,
)
from pnas_tf.devices.record_file import check_same, same_origin
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import to_json

DEVICE = Device("host", "machine", "processor", (1,), "system", "build", "serial")
SETTINGS = Settings("runtime", "1.0", "xnnpack", 1)
MODEL = ModelFacts("ab" * 32, 1000, "float32", (1, 8, 8, 3), ("split_depthwise",))


def record(*runs: ModelRun, **changed) -> Measurement:
    return Measurement(
        changed.get("device", DEVICE),
        changed.get("settings", SETTINGS),
        changed.get("model", MODEL),
        runs,
    )


def steady(*medians_ms: float, **facts) -> Measurement:
    return record(*(ModelRun((ms * 1e6,) * 4, **facts) for ms in medians_ms))


def test_derived_figures_are_those_of_numpy():
    times = np.random.default_rng(3).uniform(1e6, 3e6, 37)
    entry = record(
        ModelRun(tuple(times[:20]), (9e9,)), ModelRun(tuple(times[20:]), (9e9,))
    )  # warm-ups count nowhere
    assert entry.median_ms == pytest.approx(np.median(times) / 1e6)
    assert entry.p10_ms == pytest.approx(np.quantile(times, 0.1) / 1e6)
    assert entry.p90_ms == pytest.approx(np.quantile(times, 0.9) / 1e6)
    assert entry.spread == pytest.approx(
        (np.quantile(times, 0.9) - np.quantile(times, 0.1)) / np.median(times)
    )
    assert entry.invocations == 37


def test_relative_error_is_the_medians_standard_error():
    assert steady(1.0, 1.0, 1.0, 1.0).relative_error == 0
    assert steady(0.9, 1.0, 1.1).relative_error == pytest.approx(1.2533 * 1.4826 * 0.1 / 3**0.5)
    assert steady(1.0, 1.0).relative_error == float("inf")


def test_relative_error_covers_the_true_median():
    # 400 simulated sessions of 16 runs; 95 % intervals from a robust scale of 16 values cover
    # 93.4 % in the long run, with a standard error of 1.24 %: 4.5 of them above and 6.8 below, so
    # one seed in 290,000 is outside.
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        entry = steady(*(1 + 0.02 * generator.standard_normal(16)))
        covered += abs(entry.median_ms - 1) < 1.96 * entry.relative_error
    assert 0.85 <= covered / 400 <= 0.99


def test_an_aggregate_counts_the_invocations_behind_it():
    entry = record(ModelRun((2e6,), statistic="median", count=50, aggregates_ns={"p95": 3e6}))
    assert entry.invocations == 50 and entry.median_ms == 2


def test_drift_that_the_sentinel_shares_is_taken_out():
    truth, slowdown = 5.0, (1.0, 1.1, 1.25, 0.9)
    runs = [ModelRun((truth * factor * 1e6,) * 3, sentinel_ns=2e6 * factor) for factor in slowdown]
    assert record(*runs).corrected_ms(2.0) == pytest.approx(truth)
    assert record(*runs).corrected_ms(4.0) == pytest.approx(
        2 * truth
    )  # in the terms of a session half as fast
    assert steady(5.0).corrected_ms(2.0) == 5.0
    assert record(*runs).corrected_ms(None) == record(*runs).median_ms


@pytest.mark.parametrize("part", ["device", "settings", "model"])
def test_records_of_different_origin_are_told_apart_whatever_the_field(part):
    mine = {"device": DEVICE, "settings": SETTINGS, "model": MODEL}[part]
    for field in dataclasses.fields(mine):
        if not field.compare:  # told apart by another: a tool's whole digest by its beginning
            assert dataclasses.replace(mine, **{field.name: "x"}) == mine
            continue
        value = getattr(mine, field.name)
        other_value = (
            (*value, "x")
            if isinstance(value, tuple)
            else value + 1
            if isinstance(value, int)
            else value + "x"
        )
        other = dataclasses.replace(mine, **{field.name: other_value})
        with pytest.raises(UserError) as refusal:
            check_same(mine, other, what=part)
        if part != "model":
            with pytest.raises(UserError, match=field.name):
                same_origin([steady(1.0), record(ModelRun((1e6,)), **{part: other})])
        assert field.name in refusal.value.what
        assert repr(value) in refusal.value.expected and repr(other_value) in refusal.value.received


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        (record(ModelRun((1e6,) * 8 + (9e6,) * 3)), "spread"),
        (steady(1.0, 1.0, 1.1, 1.1), "drift"),
        (
            record(ModelRun((1e6,), frequency_mhz=2800.0), ModelRun((1e6,), frequency_mhz=1900.0)),
            "clock",
        ),
        (record(ModelRun((1e6,), throttling="status 3 (severe)")), "throttling: status 3"),
    ],
)
def test_unstable_records_say_why(entry, word):
    assert not entry.stable and any(problem.startswith(word) for problem in entry.problems)


def test_steady_records_have_no_problems():
    assert steady(1.0, 1.01, 0.99, 1.0, frequency_mhz=2000.0).stable


def test_files_keep_raw_values_and_refuse_mixtures(tmp_path):
    entries = {
        "a": steady(1.0, 2.0, sentinel_ns=3e5, temperature_c=41.5),
        "b": record(ModelRun((7.5e5,), statistic="mean", count=9)),
    }
    path = record_file.save_measurements(tmp_path / "latency.json", entries)
    assert record_file.load_measurements(path) == entries
    mixed = {
        **entries,
        "c": record(ModelRun((1e6,)), settings=dataclasses.replace(SETTINGS, threads=4)),
    }
    with pytest.raises(UserError, match="threads"):
        record_file.save_measurements(tmp_path / "mixed.json", mixed)
    assert not (tmp_path / "mixed.json").exists()


GPU = dataclasses.replace(SETTINGS, delegate="gpu", partial_delegation=True)


def test_a_time_that_is_partly_the_cpus_says_so_and_is_not_unstable_for_it(tmp_path):
    runs = [
        ModelRun((1e6,), delegation=part)
        for part in (Delegation(30, 66, 7), Delegation(30, 66, 7), Delegation(66, 66, 1), None)
    ]
    mixed = record(*runs, settings=GPU)
    assert mixed.partly == "partly on the CPU: gpu executed 30 of 66 ops, 7 partitions"
    assert mixed.stable and record(*runs[2:], settings=GPU).partly == ""
    assert record(*runs).partly == ""  # what XNNPACK leaves runs on the CPU as well
    path = record_file.save_measurements(tmp_path / "latency.json", {"a": mixed})
    assert record_file.load_measurements(path) == {"a": mixed}
    with pytest.raises(UserError, match="partial_delegation"):  # never merged with pure ones
        pure = dataclasses.replace(GPU, partial_delegation=False)
        same_origin([mixed, record(*runs, settings=pure)])


def test_files_without_delegation_are_read_and_impossible_counts_are_not(tmp_path):
    plain = record_file.save_measurements(tmp_path / "plain.json", {"a": steady(1.0)})
    assert "deleg" not in plain.read_text().replace('"delegate": "xnnpack"', "")
    told = record(ModelRun((1e6,), delegation=Delegation(30, 66, 7)), settings=GPU)
    path = record_file.save_measurements(tmp_path / "latency.json", {"a": told})
    for other in ("-30", "67", '"30"', "30.5"):
        (tmp_path / "odd.json").write_text(path.read_text().replace('"ops": 30', f'"ops": {other}'))
        with pytest.raises(UserError):
            record_file.load_measurements(tmp_path / "odd.json")


def test_damaged_files_are_refused(tmp_path):
    path = record_file.save_measurements(tmp_path / "latency.json", {"a": steady(1.0)})
    text = path.read_text()
    for broken in (
        text[:-20],
        text.replace('"samples_ns"', '"sample_ns"'),
        text.replace("pnas_tf/measurements", "other"),
        text.replace('"threads"', '"threats"'),
        text.replace("1000000.0", "-1.0"),
        text.replace("1000000.0", "NaN"),
    ):
        assert broken != text
        path.write_text(broken)
        with pytest.raises(UserError):
            record_file.load_measurements(path)


def test_disturbed_runs_are_left_out_where_half_or_more_are_calm():
    calm = [ModelRun((ms * 1e6,), sentinel_ns=1e6) for ms in (1.0, 1.1, 1.2, 1.3)]
    robbed = [ModelRun((9e6,), sentinel_ns=1e6, disturbed="40 % stolen") for _ in range(5)]
    entry = record(*calm, *robbed[:4])
    assert (entry.median_ms, entry.corrected_ms(1.0)) == (pytest.approx(1.15),) * 2
    assert entry.raw_median_ms == pytest.approx((1.3 + 9) / 2) and entry.invocations == 8
    assert record(*calm, *robbed).median_ms == 9


def test_files_of_the_version_before_are_read(tmp_path):
    path = record_file.save_measurements(tmp_path / "latency.json", {"a": steady(1.0, 2.0)})
    text = path.read_text()
    assert '"version": 2' in text and "waited" not in text and "disturbed" not in text
    path.write_text(text.replace('"version": 2', '"version": 1'))
    assert record_file.load_measurements(path) == {"a": steady(1.0, 2.0)}
    waited = record(ModelRun((2e6, 3e6), waited_ns=(0.0, 1e6), disturbed="preempted 2 times"))
    path = record_file.save_measurements(tmp_path / "waited.json", {"a": waited})
    assert record_file.load_measurements(path) == {"a": waited}
    assert (waited.median_ms, waited.raw_median_ms) == (2.0, 2.5)


@pytest.mark.parametrize("samples", [(), (0.0,), (-1.0,)])
def test_no_time_is_no_measurement(samples):
    with pytest.raises(ValueError):
        ModelRun(samples)


def test_files_of_the_most_invocations_can_be_read():
    """Of 300 models, more than any space of ours has blocks; each sample with its wait."""
    bound = next(
        each for each in dataclasses.fields(DeviceConfig) if each.name == "min_invocations"
    )
    most = int(bound.metadata["at_most"])
    run = ModelRun((12_345_678.0,) * most, waited_ns=(123_456.0,) * most)
    indented = len(json.dumps([[[[to_json(run)]]]], indent=1))
    assert 300 * indented < atomic.MAX_DOCUMENT_BYTES
