"""The schedule on a device made of arithmetic: order, counts, repeats, failures, resuming,
drift."""

import dataclasses
import itertools
import time
from pathlib import Path

import pytest
from fake_runner import DEVICE, SETTINGS, FakeRunner

from pnas_tf.devices.failures import DeviceUnplugged, RunKilled
from pnas_tf.devices.record import Device, ModelFacts
from pnas_tf.devices.resume_log import MAX_AGE_S
from pnas_tf.devices.schedule import Schedule
from pnas_tf.devices.session import ModelFile, measure
from pnas_tf.errors import UserError

NAMES = [f"model_{letter}" for letter in "abcdefgh"]
MODELS = {
    name: ModelFile(Path(name), ModelFacts(name, 1, "float32", (1, 8, 8, 3))) for name in NAMES
}


@pytest.fixture(autouse=True)
def model_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        Path(name).write_bytes(b"model")


@pytest.fixture
def reference(tmp_path) -> Path:
    path = tmp_path / "sentinel"
    path.write_bytes(b"model")
    return path


def session(runner, **arguments):
    schedule = arguments.pop("schedule", Schedule(min_run_ms=0))
    return measure(MODELS, runner, schedule, **arguments)


def test_rounds_are_interleaved_shuffled_and_have_the_sentinel_beside_every_run(reference):
    runner = FakeRunner(lambda model, runs: 1.0)
    session(runner, reference=reference)
    rounds = [
        [name for name, _, _ in runner.log[start : start + 17]]
        for start in range(0, len(runner.log), 17)
    ]
    assert len(rounds) == 8
    for one in rounds:
        assert set(one[0::2]) == {"sentinel"} and sorted(one[1::2]) == NAMES
    # Of 8! orders one comes twice with probability 28 / 8! = 7e-4, and two do with 2.5e-7.
    assert len({tuple(one) for one in rounds}) >= 7


def test_every_run_is_warmed_up_and_every_model_gets_its_invocations():
    runner = FakeRunner(lambda model, runs: 1.0)
    found = session(
        runner, schedule=Schedule(min_invocations=25, warmups=3, rounds=4, min_run_ms=0)
    ).measurements
    assert all(warmups == 3 for _, warmups, _ in runner.log)
    assert all(
        entry.invocations == 28 and len(entry.runs) == 4 for entry in found.values()
    )  # 25 in 4 runs: 7 each
    assert all(run.warmups_ns == (2e6,) * 3 for entry in found.values() for run in entry.runs)


def test_fast_models_get_longer_runs():
    found = session(
        FakeRunner(lambda model, runs: 0.5), schedule=Schedule(min_run_ms=20)
    ).measurements
    assert [run.invocations for run in found["model_a"].runs] == [3] + [40] * 7


def test_uncertain_models_alone_are_repeated_up_to_the_limit():
    wobble = itertools.cycle([1.0, 1.2, 0.8])
    runner = FakeRunner(lambda model, runs: next(wobble) if model.name == "model_c" else 1.0)
    found = session(runner, schedule=Schedule(rounds=6, extra_rounds=5, min_run_ms=0)).measurements
    assert len(found["model_c"].runs) == 11
    assert all(len(found[name].runs) == 6 for name in NAMES if name != "model_c")


def test_a_state_that_stands_in_all_runs_is_no_reason_to_repeat_and_a_passing_one_is():
    class Throttled(FakeRunner):
        def run(self, model, **options):
            run = super().run(model, **options)
            stands = model.name == "model_c"
            now = model.name == "model_d" and len(self.log) < 2 * len(NAMES)
            return dataclasses.replace(run, throttling="light" if stands or now else "")

    runner = Throttled(lambda model, runs: 1.0)
    found = session(runner, schedule=Schedule(rounds=6, extra_rounds=5, min_run_ms=0)).measurements
    assert {name: len(entry.runs) for name, entry in found.items()} == {
        name: 11 if name == "model_d" else 6 for name in NAMES
    }
    assert found["model_c"].problems == ("throttling: light",)  # and it is told


def test_a_failing_model_costs_only_itself():
    def latency_ms(model, runs):
        if model.name == "model_d":
            raise RunKilled("run of model_d", received="signal 11")
        return 1.0

    result = session(FakeRunner(latency_ms))
    assert sorted(result.measurements) == sorted(set(NAMES) - {"model_d"})
    assert "signal 11" in result.failures["model_d"]


def test_a_model_that_fails_once_is_measured_all_the_same():
    failed = []

    def latency_ms(model, runs):
        if model.name == "model_d" and not failed:
            failed.append(model)
            raise RunKilled("run of model_d", received="signal 9")
        return 1.0

    result = session(FakeRunner(latency_ms))
    assert result.measurements["model_d"].invocations >= 20 and not result.failures


def test_a_lost_device_loses_no_run(tmp_path):
    def until(limit):
        def latency_ms(model, runs):
            if runs > limit:
                raise DeviceUnplugged("device", received="gone")
            return 1 + NAMES.index(model.name)

        return latency_ms

    log = tmp_path / "log.jsonl"
    with pytest.raises(DeviceUnplugged):
        session(FakeRunner(until(19)), resume_log=log)
    with open(log, "ab") as stream:
        stream.write(b'{"model": "model_a", "sha')  # cut by a kill
    rest = FakeRunner(until(10**6))
    found = session(rest, resume_log=log).measurements
    assert len(rest.log) == 8 * len(NAMES) - 19
    assert {name: entry.median_ms for name, entry in found.items()} == {
        name: 1 + number for number, name in enumerate(NAMES)
    }
    assert all(len(entry.runs) == 8 for entry in found.values())
    assert session(FakeRunner(until(0)), resume_log=log).measurements == found  # nothing left to do


def test_a_log_of_another_device_is_refused(tmp_path):
    log = tmp_path / "log.jsonl"
    session(FakeRunner(lambda model, runs: 1.0), resume_log=log)
    with pytest.raises(UserError, match="processor"):
        other = Device("host", "machine", "another", (1,), "system", "build")
        session(FakeRunner(lambda model, runs: 1.0, device=other), resume_log=log)


@pytest.mark.parametrize(("age_s", "is_old"), [(MAX_AGE_S - 60, False), (3 * MAX_AGE_S, True)])
def test_a_log_goes_on_for_a_day_and_is_put_aside_then(tmp_path, age_s, is_old):
    """Weeks later the same models would be told without a run, as they were then."""
    log, lines = tmp_path / "log.jsonl", []

    class Earlier(FakeRunner):
        def run(self, model, *, warmups, invocations):
            found = super().run(model, warmups=warmups, invocations=invocations)
            return dataclasses.replace(found, started_unix_s=time.time() - age_s)

    session(Earlier(lambda model, runs: 1.0), resume_log=log)
    before, later = log.read_bytes(), FakeRunner(lambda model, runs: 2.0)
    found = session(later, resume_log=log, progress=lines.append)
    assert len(later.log) == (8 * len(NAMES) if is_old else 0)
    assert {entry.median_ms for entry in found.measurements.values()} == {2.0 if is_old else 1.0}
    assert [line for line in lines if "3 days old" in line] == lines[:is_old]
    assert [path.read_bytes() for path in tmp_path.glob("*.old")] == [before] * is_old
    again = FakeRunner(lambda model, runs: 3.0)
    session(again, resume_log=log)
    assert again.log == []


def test_runs_of_changed_models_are_not_taken_from_a_log(tmp_path):
    log = tmp_path / "log.jsonl"
    session(FakeRunner(lambda model, runs: 1.0), resume_log=log)
    other = ModelFile(Path("model_a"), ModelFacts("new", 1, "float32", (1, 8, 8, 3)))
    runner = FakeRunner(lambda model, runs: 7.0)
    schedule = Schedule(min_run_ms=0)
    found = measure({**MODELS, "model_a": other}, runner, schedule, resume_log=log)
    assert {name for name, _, _ in runner.log} == {"model_a"} and found.measurements[
        "model_a"
    ].median_ms == 7


def test_drift_is_shared_out_by_interleaving_and_removed_by_the_sentinel(reference):
    def drifting(model, runs):  # every run the device gets 1 % slower
        return (2.0 if model.name == "sentinel" else 1.0 + NAMES.index(model.name)) * 1.01**runs

    result = session(FakeRunner(drifting), reference=reference)
    reference_ms = result.reference_ms
    factors = [
        result.measurements[name].corrected_ms(reference_ms) / (1 + NAMES.index(name))
        for name in NAMES
    ]
    # The sentinel stands one run before a model and one behind it: their mean is half of (1 % of
    # 1 %) above the drift between them, where the whole drift is 290 %.
    assert max(factors) / min(factors) < 1.001
    assert all("drift" in "".join(result.measurements[name].problems) for name in NAMES)


def test_every_run_carries_the_sentinel_beside_it(reference):
    seen: list[float] = []

    def latency_ms(model, runs):
        if model.name == "sentinel":
            seen.append(float(len(seen) + 1))
            return seen[-1]
        return seen[-1] + 0.5

    found = session(
        FakeRunner(latency_ms),
        reference=reference,
        schedule=Schedule(min_run_ms=0, extra_rounds=0, noisy_rounds=0),
    )
    assert found.correction == "beside"
    for entry in found.measurements.values():
        assert all(run.sentinel_ns == run.median_ns for run in entry.runs)
        assert entry.corrected_ms(3.0) == pytest.approx(
            3.0
        )  # every run took as long as its sentinel


@pytest.mark.parametrize(
    "field", ["min_invocations", "rounds", "max_failures", "max_run_invocations"]
)
def test_schedules_without_sense_are_refused(field):
    with pytest.raises(UserError, match=field):
        Schedule(**{field: 0})


@pytest.mark.parametrize("fails", [{1}, {1, 10}, {1, 3}, set(range(1, 200))])
def test_a_reference_model_that_fails_costs_its_own_run(reference, fails, caplog):
    """Others are measured as without it. Where it fails twice in a row the round goes on without
    it; that it never ran is said."""

    def latency_ms(model, runs):
        if model.name == "sentinel" and runs in fails:
            raise RunKilled("sentinel", received="signal 9")
        return 2.0

    runner = FakeRunner(latency_ms)
    found = session(runner, reference=reference)
    assert set(found.measurements) == set(NAMES) and not found.failures
    told = [line for line in caplog.messages if "reference model does not run" in line]
    gone = len(fails) > 100
    assert len(told) == gone and all("signal 9" in line for line in told)
    for name, entry in found.measurements.items():
        assert len(entry.runs) == 8 and found.latency_ms(name) == 2.0
    assert (found.reference_ms is None) == gone
    tries = [name for name, _, _ in runner.log].count("sentinel")
    if gone:  # once a round, and once more in the first
        assert tries == 8 + 1
    elif fails == {1, 3}:  # its first two runs
        assert tries == 2 + 7 * 9


def test_device_and_settings_stand_in_every_record():
    found = session(FakeRunner(lambda model, runs: 1.0)).measurements
    assert all((entry.device, entry.settings) == (DEVICE, SETTINGS) for entry in found.values())


@pytest.mark.parametrize("which", ["model_d", "sentinel"])
def test_a_file_that_vanishes_is_an_error_and_no_failed_measurement_and_the_session_goes_on(
    tmp_path, reference, which
):
    """As a failed measurement the table would be complete without the block, for good."""

    def latency_ms(model, runs):
        if runs == 20:
            (tmp_path / which).unlink()
        if not model.exists():
            raise RunKilled("measurement", received="no such file")
        return 1.0

    runner = FakeRunner(latency_ms)
    with pytest.raises(UserError, match=f"{which} is gone"):
        session(runner, reference=reference, resume_log=tmp_path / "log")
    (tmp_path / which).write_bytes(b"model")
    again = FakeRunner(lambda model, runs: 1.0)
    found = session(again, reference=reference, resume_log=tmp_path / "log")
    assert not found.failures and all(len(entry.runs) == 8 for entry in found.measurements.values())
    assert (
        len([name for name, _, _ in again.log if name == "model_a"]) < 8
    )  # what was measured is kept


def test_a_session_that_another_process_measures_is_refused_and_free_when_it_ends(tmp_path):
    """Two builds of one table with one cache: their runs would run into each other's."""

    def latency_ms(model, runs):
        if runs == 5:
            with pytest.raises(UserError, match="is being measured"):
                session(FakeRunner(lambda model, runs: 1.0), resume_log=tmp_path / "log")
        return 1.0

    assert not session(FakeRunner(latency_ms), resume_log=tmp_path / "log").failures
    (tmp_path / "log").unlink()
    assert not session(FakeRunner(lambda model, runs: 1.0), resume_log=tmp_path / "log").failures
