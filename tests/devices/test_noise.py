"""Noise that is taken out, on devices whose truth is known: drift, waits, stolen time, a reference
model that is noisy itself."""

import dataclasses
import math
import random
import time
from pathlib import Path

import pytest
from fake_runner import FakeRunner

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.drift_correction import (
    AROUND,
    BESIDE,
    NONE,
    WIDTHS,
    correct,
    noise_floor_percent,
)
from pnas_tf.devices.failures import RunKilled
from pnas_tf.devices.host import disturbances, worker
from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.devices.schedule import Schedule, schedule_for
from pnas_tf.devices.session import ModelFile, measure

TRUTH_MS = {f"model_{number:02d}": 1.0 + 0.37 * number for number in range(20)}
REFERENCE_MS = 2.0
QUIET = Schedule(min_run_ms=0, rounds=8, extra_rounds=0, noisy_rounds=0)


class NoisyDevice(FakeRunner):
    """A device whose time goes on with every run. pace: seconds -> times as slow; noise: a factor
    for one run of a model; waits, disturbed: of a run, from its number and invocations."""

    def __init__(self, pace=lambda s: 1.0, noise=lambda name: 1.0, **options):
        self.waits = options.pop("waits", lambda number, count: ())
        self.disturbed = options.pop("disturbed", lambda number: "")
        super().__init__(lambda model, runs: 1.0, **options)
        self.pace, self.noise, self.now_s = pace, noise, 0.0

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        self.log.append((model.name, warmups, invocations))
        truth_ms = TRUTH_MS.get(model.name, REFERENCE_MS)
        factor = self.noise(model.name)
        waits_ns = self.waits(len(self.log), invocations)
        samples = []
        for _ in range(warmups + invocations):
            taken_ms = truth_ms * factor * self.pace(self.now_s)
            self.now_s += taken_ms / 1e3
            samples.append(taken_ms * 1e6)
        timed = samples[warmups:]
        if waits_ns:
            timed = [sample + waited for sample, waited in zip(timed, waits_ns, strict=True)]
        return ModelRun(
            tuple(timed),
            started_unix_s=time.time(),
            waited_ns=tuple(waits_ns),
            disturbed=self.disturbed(len(self.log)),
        )


@pytest.fixture(autouse=True)
def model_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (*TRUTH_MS, "sentinel"):
        Path(name).write_bytes(b"model")


def session(device, schedule=QUIET, **options):
    models = {
        name: ModelFile(Path(name), ModelFacts(name, 1, "float32", (1, 8, 8, 3)))
        for name in TRUTH_MS
    }
    return measure(models, device, schedule, reference=Path("sentinel"), **options)


def errors(latencies_ms) -> list[float]:
    """Of each model against the truth, the common factor taken out, as fractions."""
    ratios = [latencies_ms[name] / truth for name, truth in TRUTH_MS.items()]
    middle = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return [abs(ratio / middle - 1) for ratio in ratios]


def raw_and_corrected(found) -> tuple[list[float], list[float]]:
    raw = {name: entry.raw_median_ms for name, entry in found.measurements.items()}
    return errors(raw), errors({name: found.latency_ms(name) for name in found.measurements})


@pytest.mark.parametrize("period_s", [1.0, 5.0])
def test_drift_within_a_round_is_taken_out(period_s):
    """A round takes 1.2 s. Between two runs of the reference model lies at most 0.09 s of one
    model's run: a sine of 25 % and 1 s bends by 25 % (2 pi 0.09 / 1)^2 / 8 = 1 % there, and its
    slope within the reference model's own 8 ms adds as much; four times that is far below the
    drift."""
    found = session(NoisyDevice(lambda s: 1 + 0.25 * math.sin(2 * math.pi * s / period_s)))
    raw, corrected = raw_and_corrected(found)
    assert found.correction in (BESIDE, AROUND)
    assert max(corrected) < 0.04 and max(corrected) < max(raw) / 2


def test_a_burst_that_slows_some_rounds_is_taken_out():
    found = session(NoisyDevice(lambda s: 1.6 if 1.0 < s % 3.7 < 2.5 else 1.0))
    raw, corrected = raw_and_corrected(found)
    assert sum(corrected) / len(corrected) < 0.02 < sum(raw) / len(raw)
    assert found.noise_percent < noise_floor_percent(list(found.measurements.values()))


def test_a_noisy_reference_model_corrects_nothing_on_a_device_that_does_not_drift():
    """12 % on every run of the reference model, 0.1 % on the others'. Corrected medians of 8 runs
    would differ by halves by some 5 %, plain ones by 0.1 %."""
    generator = random.Random(0)
    device = NoisyDevice(
        noise=lambda name: generator.gauss(1, 0.12 if name == "sentinel" else 0.001)
    )
    found = session(device)
    assert found.correction == NONE and found.correct_to_ms is None
    assert max(raw_and_corrected(found)[1]) < 0.002
    assert found.noise_percent < 0.3 and "not corrected" in found.describe()
    assert all(run.sentinel_ns for entry in found.measurements.values() for run in entry.runs)


def made_up_session(generator) -> tuple[dict[str, Measurement], list[tuple[str, ModelRun]]]:
    """Runs of a device that drifts somehow, of models and a reference model that feel it
    somehow."""
    names, sequence, pace = ["a", "b", "c"], [], 0.0
    walk, own = generator.choice([0.0, 0.02, 0.1]), generator.choice([0.0, 0.01, 0.1])
    feels = {name: generator.uniform(-0.5, 1.5) for name in names}
    for _ in range(generator.randint(1, 9)):
        for name in generator.sample(names, 3):
            for kind in ("sentinel", name):
                pace += generator.gauss(0, walk)
                noise = generator.gauss(0, own)
                time_ns = 1e6 * math.exp(feels.get(kind, 1.0) * pace + noise)
                sequence.append((kind, ModelRun((time_ns,))))
    origin = (Device("host", "m", "p"), Settings("r", "1", "none", 1), None)
    runs = {
        kind: tuple(run for name, run in sequence if name == kind) for kind in [*names, "sentinel"]
    }
    return {kind: Measurement(*origin, found) for kind, found in runs.items()}, sequence


@pytest.mark.parametrize("seed", range(60))
def test_halves_of_a_session_never_agree_less_than_without_correction(seed):
    measurements, sequence = made_up_session(random.Random(seed))
    plain = noise_floor_percent([measurements[name] for name in "abc"])
    found = correct(measurements, sequence, "sentinel")
    if plain is None:
        assert (found.correction, found.noise_percent) == (NONE, None)
        return
    assert found.noise_percent <= plain
    reference_ms = None if found.correction == NONE else found.reference_ms
    again = noise_floor_percent(list(found.measurements.values()), reference_ms=reference_ms)
    assert again == pytest.approx(found.noise_percent)


def test_the_reference_model_of_a_run_is_that_on_both_sides():
    sequence = [("sentinel", ModelRun((float(ns),))) for ns in (1, 2, 4, 8)]
    for place in (1, 3, 5):  # s a s a s a s
        sequence.insert(place, ("a", ModelRun((1e6,))))
    origin = (Device("host", "m", "p"), Settings("r", "1", "none", 1), None)
    of = {
        kind: Measurement(*origin, tuple(run for name, run in sequence if name == kind))
        for kind in ("a", "sentinel")
    }
    runs = correct(of, sequence, "sentinel").measurements["a"].runs
    assert [run.sentinel_ns for run in runs] == [1.5, 3.0, 6.0] and WIDTHS[BESIDE] == 1


def test_waits_for_a_core_are_taken_out_and_the_clocks_time_is_kept():
    """Two of three invocations wait for one to four times what the model takes."""
    generator = random.Random(1)

    def waits(number, count):
        return [generator.choice([0, 1e6, 4e6]) * generator.random() for _ in range(count)]

    found = session(NoisyDevice(waits=waits))
    raw, corrected = raw_and_corrected(found)
    assert max(corrected) < 1e-9 < 0.05 < max(raw)
    for name, entry in found.measurements.items():
        assert found.latency_ms(name) == pytest.approx(TRUTH_MS[name])
        assert entry.raw_median_ms > TRUTH_MS[name] and entry.stable


def test_runs_that_the_hypervisor_robbed_are_repeated_and_left_out():
    """Every seventh run takes three times as long, and the system says so."""
    robbed = 7
    device = NoisyDevice(disturbed=lambda number: "40 % stolen" if number % robbed == 0 else "")
    device.noise = lambda name: 3.0 if len(device.log) % robbed == 0 else 1.0
    found = session(device)
    assert max(raw_and_corrected(found)[1]) < 1e-9
    for name, entry in found.measurements.items():
        assert found.latency_ms(name) == pytest.approx(TRUTH_MS[name])
        assert len(entry.runs) <= 8 * (1 + QUIET.max_repeated)
    used = sum(len(entry.used_runs) for entry in found.measurements.values())
    assert used > 8 * len(TRUTH_MS) * (1 - 1 / robbed)  # more than without repeats


def test_a_device_that_is_always_robbed_is_measured_in_bounded_time_and_says_so():
    found = session(NoisyDevice(disturbed=lambda number: "40 % stolen"))
    runs = [len(entry.runs) for entry in found.measurements.values()]
    assert 8 < max(runs) <= 8 * (1 + QUIET.max_repeated)
    assert not any(entry.stable for entry in found.measurements.values())
    assert "disturbed: 100%" in found.measurements["model_00"].problems[0]


def test_a_noisy_session_takes_more_rounds_up_to_the_limit_and_a_quiet_one_none():
    generator = random.Random(2)
    schedule = dataclasses.replace(QUIET, extra_rounds=2, noisy_rounds=5)
    loud = session(NoisyDevice(noise=lambda name: generator.gauss(1, 0.2)), schedule)
    assert loud.noise_percent > schedule.max_noise_percent
    assert max(len(entry.runs) for entry in loud.measurements.values()) == schedule.most_rounds
    quiet = session(NoisyDevice(), schedule)
    assert {len(entry.runs) for entry in quiet.measurements.values()} == {8}


def test_a_reference_model_that_fails_costs_its_own_runs(caplog):
    class Broken(NoisyDevice):
        def run(self, model, **options):
            if model.name == "sentinel":
                self.log.append((model.name, 0, 0))
                raise RunKilled("run of the reference model", received="signal 11")
            return super().run(model, **options)

    device = Broken()
    found = session(device)
    assert not found.failures and set(found.measurements) == set(TRUTH_MS)
    assert (found.reference, found.correction) == (None, NONE)
    assert sum(name == "sentinel" for name, _, _ in device.log) == QUIET.rounds + 1  # once a round
    assert "the reference model does not run" in caplog.text and "signal 11" in caplog.text


def test_a_session_read_from_its_log_is_the_same_session(tmp_path):
    log = tmp_path / "log.jsonl"
    first = session(NoisyDevice(lambda s: 1 + 0.2 * math.sin(s)), resume_log=log)
    nothing_left = NoisyDevice()
    assert session(nothing_left, resume_log=log) == first and not nothing_left.log
    assert first.correction != NONE


def test_a_far_device_runs_its_reference_model_at_most_half_as_often():
    device = NoisyDevice(device=Device("android", "phone", "chip"))
    session(device, schedule_for(DeviceConfig(), device, seed=0))
    sentinels = sum(name == "sentinel" for name, _, _ in device.log)
    rounds = 4
    assert sentinels == rounds * (len(TRUTH_MS) // 2 + 1)
    for before, between, behind in zip(device.log, device.log[1:], device.log[2:], strict=False):
        assert "sentinel" in {name for name, _, _ in (before, between, behind)}


def test_what_a_thread_slept_is_a_wait_and_what_it_worked_is_not():
    """True whatever else runs: a thread's own clock stands while others have its core."""

    class Interpreter:
        def __init__(self, invoke):
            self.invoke = invoke

    class Loaded:
        threads, cores = 1, ()

        def __init__(self, invoke):
            self.model = Interpreter(invoke)

        def get(self, path):
            return self.model

    def work():
        end_ns = time.thread_time_ns() + 3_000_000
        while time.thread_time_ns() < end_ns:
            pass

    def measured(invoke) -> ModelRun:
        told = worker.run(Loaded(invoke), path="", warmups=1, invocations=5)
        return ModelRun(tuple(told["samples_ns"]), waited_ns=tuple(told["waited_ns"]))

    slept, worked = (
        measured(lambda: time.sleep(0.02) or work()),
        measured(work),
    )
    assert all(waited > 19e6 for waited in slept.waited_ns)
    for run in (slept, worked):  # what the kernel does for others may be booked on one of five
        assert 3e6 <= min(run.net_ns) <= 3.3e6


def test_waits_are_told_by_a_fine_clock_alone(monkeypatch):
    assert disturbances.waits([100, 1000, 1000], [100, 999, 400]) == [0, 0, 600]
    assert disturbances.waits([100, 1000], [105, 997]) == []
    assert disturbances.waits([100, 1000], [0, 400]) == []  # it did not tick in the first
    coarse = dataclasses.make_dataclass("Info", ["resolution"])(0.0156)
    monkeypatch.setattr(time, "get_clock_info", lambda name: coarse)
    assert disturbances.waits([100, 1000], [100, 400]) == []


@pytest.mark.parametrize(
    ("stolen_s", "invocations", "words"),
    [
        (0.0, None, ""),
        (0.1, None, "10% of the time stolen by other machines"),
        (None, None, ""),
        (0.0, 30, ""),
        (0.0, 29, "preempted 3 times in 29 invocations"),
        (7.0, 9, "preempted 3 times in 9 invocations, 100% of the time stolen by other machines"),
    ],
)
def test_what_the_counters_say(stolen_s, invocations, words):
    before = disturbances.Counters(10.0, 4, 5.0)
    after = disturbances.Counters(11.0, 7, None if stolen_s is None else 5.0 + stolen_s)
    assert disturbances.words(before, after, invocations=invocations) == words


@pytest.mark.parametrize("waited", [(1.0, 2.0), (-1.0,), (5.0,)])
def test_waits_that_are_none_of_the_samples_are_refused(waited):
    with pytest.raises(ValueError):
        ModelRun((5.0,), waited_ns=waited)
