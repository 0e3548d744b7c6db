"""Latency over minutes, on a device made of arithmetic whose clock drops as it gets hot."""

import itertools
import json

import pytest
from fake_runner import DEVICE, SETTINGS

from pnas_tf.devices import sustained
from pnas_tf.devices.failures import DeviceUnplugged, RunKilled
from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.devices.record_file import load_measurements, save_measurements
from pnas_tf.devices.session import ModelFile
from pnas_tf.devices.sustained import duration_of, points_of, sustain, trend_of
from pnas_tf.errors import UserError
from pnas_tf.report.figures import svg_of
from pnas_tf.report.sustained_plot import sustained_figure, sustained_rows

FAST_MHZ, SLOW_MHZ, HOT_AFTER_S = 2800.0, 1400.0, 180.0


class HeatingRunner:
    """8 ms an invocation at the full clock, which falls by half after three minutes of work. A
    break of 20 s cools it. clock: its own time. start_up_s: of a run, loading and compiling."""

    device, settings = DEVICE, SETTINGS

    start_up_s = 0.0

    def __init__(self, *, fails_at=(), now_s=1e9):
        self.now_s, self.work_s, self.fails_at = now_s, 0.0, set(fails_at)
        self.rested, self.hot, self.last_end_s = 0, 0, now_s

    def clock(self):
        return self.now_s

    def wait(self, seconds):
        self.now_s += seconds

    def run(self, model, *, warmups, invocations):
        self.rested += 1
        return self._run(warmups, invocations)

    def run_hot(self, model, *, warmups, invocations):
        self.hot += 1
        return self._run(warmups, invocations)

    def _run(self, warmups, invocations):
        if self.rested + self.hot in self.fails_at:
            raise RunKilled("a run", received="signal 9")
        if self.now_s - self.last_end_s > 20:
            self.work_s = 0.0
        begun = self.now_s
        self.now_s += self.start_up_s
        is_hot = self.work_s >= HOT_AFTER_S
        each_s = 0.016 if is_hot else 0.008
        self.now_s += each_s * invocations
        self.work_s += each_s * invocations
        self.last_end_s = self.now_s
        return ModelRun(
            (each_s * 1e9,) * invocations,
            (each_s * 1e9,) * warmups,
            started_unix_s=begun,
            ended_unix_s=self.now_s,
            frequency_mhz=SLOW_MHZ if is_hot else FAST_MHZ,
            temperature_c=95.0 if is_hot else 60.0,
            throttling="thermal status 3 (severe)" if is_hot else "",
        )

    def close(self):
        return


def models(*names):
    return {name: ModelFile(name, ModelFacts(name, 1, "float32", (1, 8, 8, 3))) for name in names}


def run(runner, tmp_path, *, names=("a",), duration_s=600.0, **arguments):
    log = tmp_path / "session.jsonl"
    return sustain(
        models(*names), runner, duration_s, resume_log=log, clock=runner.clock, **arguments
    )


def test_minute_1_is_not_minute_10(tmp_path):
    runner, lines = HeatingRunner(), []
    series = run(runner, tmp_path, progress=lines.append).measurements["a"]
    points, trend = points_of(series), trend_of(series)
    assert runner.rested == 1 and runner.hot == len(points) - 1  # it rests before the first alone
    assert 600 <= runner.now_s - 1e9 < 600 + 2 * sustained.RUN_S
    gaps = [b.minute - a.minute for a, b in itertools.pairwise(points)]
    assert max(gaps) * 60 <= 2 * sustained.RUN_S  # a slow run may have a fast one's count
    assert [point.latency_ms for point in points if point.minute < 3] == [
        8.0 for point in points if point.minute < 3
    ]
    assert {point.latency_ms for point in points if point.minute > 3.1} == {16.0}
    assert (trend.first_ms, trend.last_ms, trend.slowest_ms) == (8.0, 16.0, 16.0)
    assert trend.slowdown == 1.0 and trend.lowest_mhz == SLOW_MHZ and trend.throttled
    assert "(+100.0 %)" in trend.describe() and "1400 MHz" in trend.describe()
    assert len(lines) == 10 and "minute 10" in lines[-1] and "severe" in lines[-1]
    assert all(one.statistic == "median" and len(one.samples_ns) == 1 for one in series.runs)


def test_a_device_that_stays_cool_has_no_trend(tmp_path):
    series = run(HeatingRunner(), tmp_path, duration_s=120.0).measurements["a"]
    trend = trend_of(series)
    assert (trend.slowdown, trend.throttled, trend.lowest_mhz) == (0.0, False, FAST_MHZ)


@pytest.mark.parametrize("asleep", [(40,), (40, 70), ()])
def test_a_computer_that_sleeps_has_not_run_without_a_pause(tmp_path, asleep):
    """Suspended for an hour behind those runs: the last series is whole, as one that was not."""

    class Sleeping(HeatingRunner):
        def _run(self, warmups, invocations):
            found = super()._run(warmups, invocations)
            self.now_s += 3600.0 * (self.rested + self.hot in asleep)
            return found

    lines = []
    series = run(Sleeping(), tmp_path, progress=lines.append).measurements["a"]
    points, trend = points_of(series), trend_of(series)
    assert max(b.minute - a.minute for a, b in itertools.pairwise(points)) < 1
    assert (trend.first_ms, trend.last_ms) == (8.0, 16.0) and 10 <= points[-1].minute + 0.2 < 11
    assert sum("begins anew" in line for line in lines) == len(asleep)


def test_a_long_start_of_the_tool_is_no_break(tmp_path):
    """Loading and compiling for an accelerator may take longer than a break in which it cools."""
    runner, lines = HeatingRunner(), []
    runner.start_up_s = sustained.MAX_GAP_S + 2
    series = run(runner, tmp_path, progress=lines.append).measurements["a"]
    assert not any("begins anew" in line for line in lines) and runner.rested == 1
    runner.wait(600.0)
    assert run(runner, tmp_path).measurements["a"] == series and runner.rested == 1


@pytest.mark.parametrize("break_s", [5.0, 120.0])
def test_an_interrupted_series_goes_on_while_the_device_is_hot_and_else_begins_anew(
    tmp_path, break_s
):
    whole = run(HeatingRunner(), tmp_path / "whole", names=("a", "b")).measurements
    runner = HeatingRunner()
    plain = runner.run_hot

    def lost(model, **counts):
        if runner.now_s - 1e9 > 900:
            raise DeviceUnplugged("the cable", received="nothing")
        return plain(model, **counts)

    runner.run_hot = lost
    with pytest.raises(DeviceUnplugged):
        run(runner, tmp_path, names=("a", "b"))
    before, runner.run_hot = runner.rested, plain
    runner.wait(break_s)
    found = run(runner, tmp_path, names=("a", "b")).measurements
    assert found["a"] == whole["a"]  # what was done is not done again
    begun_anew = break_s > sustained.MAX_GAP_S
    assert runner.rested == before + begun_anew
    times = [point.minute for point in points_of(found["b"])]
    assert max(b - a for a, b in itertools.pairwise(times)) * 60 < sustained.MAX_GAP_S
    assert 10 - 0.3 < times[-1] < 10.3
    if begun_anew:  # a cool device again, as in a series without a break
        assert trend_of(found["b"]).first_ms == 8.0
        assert trend_of(found["b"]).slowdown == 1.0


def test_a_run_that_fails_is_passed_over_and_a_model_that_keeps_failing_costs_itself(tmp_path):
    once = run(HeatingRunner(fails_at={4}), tmp_path / "once")
    assert not once.failures and trend_of(once.measurements["a"]).slowdown == 1.0
    runner = HeatingRunner(fails_at=range(1, 4))
    found = run(runner, tmp_path, names=("a", "b"), duration_s=60.0)
    assert set(found.failures) == {"a"} and set(found.measurements) == {"b"}
    assert "signal 9" in found.failures["a"]


def test_the_plot_shows_clock_and_throttling_and_the_file_is_read_back(tmp_path):
    found = run(HeatingRunner(), tmp_path).measurements
    path = save_measurements(tmp_path / "sustained.json", found, duration_s=600.0)
    assert load_measurements(path) == found
    assert json.loads(path.read_text())["duration_s"] == 600.0
    svg = svg_of(sustained_figure(found))
    for words in ("latency, ms", "clock, MHz", "temperature", "throttling", "minutes without"):
        assert words in svg
    ((name, cells),) = sustained_rows(found)
    assert name == "a" and cells == ("8.00 ms", "16.0 ms", "+100.0%", "16.0 ms", "yes")
    plain = ModelRun((1e6,), started_unix_s=1.0)
    cool = {"b": Measurement(DEVICE, SETTINGS, ModelFacts("b", 1, "float32", ()), (plain,) * 3)}
    svg = svg_of(sustained_figure(cool))
    assert "clock" not in svg and "throttling" not in svg


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("90s", 90), ("1.5h", 5400), ("0.5 m", 30), ("24h", 86400)],
)
def test_durations(text, seconds):
    assert duration_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "-1m", "0s", "10 minutes", "25h", "nanm", "1e9s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(UserError, match="--sustained"):
        duration_of(text)
