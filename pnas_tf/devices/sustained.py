"""A model's latency over minutes without a pause: what heat makes of the figure of a first minute.

Runs of one model behind one another until the time is over. The device may rest before the first
one alone; whether it throttles afterwards is what is looked for. Killed or disconnected it goes on
within half a minute; later the device has cooled, and the model begins anew. Knows `Runner`s, not
devices.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pnas_tf.devices.failures import RunFailed
from pnas_tf.devices.record import Measurement, ModelRun
from pnas_tf.devices.resume_log import ResumeLog
from pnas_tf.devices.schedule import Runner
from pnas_tf.devices.session import ModelFile
from pnas_tf.errors import UserError
from pnas_tf.run.progress import Progress, silent

RUN_S = 5.0  # of one run: short for a plot, long for starting a program
MAX_GAP_S = 30.0  # in a longer break a device cools
_PROBE = 10  # invocations of the first run, before its pace is known
_MAX_INVOCATIONS = 100_000
_MAX_FAILURES = 3  # in a row
_WINDOW_S = 60.0  # "the first minute", "the last minute"
_LINE_S = 60.0  # between lines for the user
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s?([smh])")
LONGEST_S = 86_400.0


def duration_of(text: str) -> float:
    """Seconds of "10m", "90s", "1.5h". Raises UserError on anything else, above a day, or 0."""
    match = _DURATION.fullmatch(text.strip())
    duration_s = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < duration_s <= LONGEST_S:
        raise UserError(
            f"--sustained={text}",
            expected="a duration of up to 24h, such as 10m, 90s or 1.5h",
            received=repr(text),
            fix="Choose e.g. --sustained=10m",
        )
    return duration_s


@dataclass(frozen=True)
class SustainedSession:
    """What one `sustain` gave. failures: model name -> why it has no series, or none to its end."""

    measurements: dict[str, Measurement]
    failures: dict[str, str]


@dataclass(frozen=True)
class Point:
    """One run of a series: when it began, in minutes, and what it took; what the device told then.

    Attributes: as of `ModelRun`.
    """

    minute: float
    latency_ms: float
    frequency_mhz: float | None
    temperature_c: float | None
    throttling: str


def points_of(series: Measurement) -> list[Point]:
    """The runs of a series over time."""
    begun = series.runs[0].started_unix_s
    return [
        Point(
            (run.started_unix_s - begun) / 60.0,
            run.median_ns / 1e6,
            run.frequency_mhz,
            run.temperature_c,
            run.throttling,
        )
        for run in series.runs
    ]


@dataclass(frozen=True)
class Trend:
    """A series in figures.

    Attributes:
        first_ms, last_ms: medians of the first and of the last minute (of a quarter of the series,
            where that is less).
        slowest_ms: of a run.
        lowest_mhz: of the clocks seen; None where none can be read.
        throttled: whether the device said so in any run.
    """

    first_ms: float
    last_ms: float
    slowest_ms: float
    lowest_mhz: float | None
    throttled: bool

    @property
    def slowdown(self) -> float:
        """By which fraction the last minute is slower than the first."""
        return self.last_ms / self.first_ms - 1

    def describe(self) -> str:
        """For a line on the screen."""
        clock = f", clock down to {self.lowest_mhz:.0f} MHz" if self.lowest_mhz else ""
        return (
            f"first minute {self.first_ms:.4g} ms, last minute {self.last_ms:.4g} ms "
            f"({100 * self.slowdown:+.1f} %), slowest run {self.slowest_ms:.4g} ms{clock}"
            + (", the device says that it throttles" if self.throttled else "")
        )


def trend_of(series: Measurement) -> Trend:
    """The figures of a series."""
    points = points_of(series)
    last = points[-1].minute
    window = min(_WINDOW_S / 60.0, last / 4)
    clocks = [point.frequency_mhz for point in points if point.frequency_mhz]
    return Trend(
        statistics.median(point.latency_ms for point in points if point.minute <= window),
        statistics.median(point.latency_ms for point in points if point.minute >= last - window),
        max(point.latency_ms for point in points),
        min(clocks, default=None),
        any(point.throttling for point in points),
    )


def sustain(
    models: Mapping[str, ModelFile],
    runner: Runner,
    duration_s: float,
    *,
    resume_log: Path,
    progress: Callable[[str], None] = silent,
    clock: Callable[[], float] = time.time,
) -> SustainedSession:
    """Runs every model for so long, one after the other.

    Args:
        models: name -> file.
        runner: the device.
        duration_s: of each model.
        resume_log: file that keeps every run; it is the caller's to delete.
        progress: called with a line a minute.
        clock: seconds since 1970.

    Raises:
        UserError: DeviceLost and DeviceRefused of the runner; what was run is in the log.
    """
    found: dict[str, Measurement] = {}
    failures: dict[str, str] = {}
    total_s = round(duration_s * len(models))
    opened = ResumeLog(resume_log, runner.device, runner.settings, say=progress, clock=clock)
    with (
        contextlib.closing(opened) as log,
        Progress("running without a pause", total_s, say=progress) as pace,
    ):
        for name, model in models.items():
            known = [
                run for label, sha256, run in log.runs if (label, sha256) == (name, _sha(model))
            ]
            series = _Series(name, model, runner, log, progress, pace)
            runs = _last_unbroken(known)
            if not _covers(runs, duration_s) and runs and clock() - _end_s(runs[-1]) > MAX_GAP_S:
                progress(f"{name}: begins anew, the device has had time to cool")
                runs = []
            try:
                series.run_until(runs, duration_s)
            except RunFailed as error:
                failures[name] = error.in_a_line
            if runs:
                found[name] = Measurement(runner.device, runner.settings, model.facts, tuple(runs))
    return SustainedSession(found, failures)


@dataclass(frozen=True)
class _Series:
    """The runs of one model behind one another."""

    name: str
    model: ModelFile
    runner: Runner
    log: ResumeLog
    say: Callable[[str], None]
    pace: Progress  # in seconds

    def run_until(self, runs: list[ModelRun], duration_s: float) -> None:
        """Adds to `runs` until they cover the time. Raises RunFailed after some in a row."""
        run_hot = getattr(self.runner, "run_hot", self.runner.run)
        failed, anew, told, counted_s = 0, 0, 0.0, 0
        while not _covers(runs, duration_s):
            run_once = run_hot if runs else self.runner.run  # rests before the first, where it can
            pace_s = runs[-1].median_ns / 1e9 if runs else RUN_S / _PROBE
            invocations = max(1, min(_MAX_INVOCATIONS, int(RUN_S / pace_s)))
            try:
                run = run_once(self.model.path, warmups=1, invocations=invocations)
            except RunFailed:
                failed += 1
                if failed >= _MAX_FAILURES:
                    raise
                continue
            failed = 0
            run = _compact(run)
            self.log.append(self.name, _sha(self.model), run)
            runs.append(run)
            if anew < _MAX_FAILURES and len(_last_unbroken(runs)) == 1 < len(runs):
                anew += 1  # the computer was suspended, or this process stopped
                del runs[:-1]
                self.say(f"{self.name}: begins anew after a break, in which the device has cooled")
            elapsed_s = _end_s(run) - runs[0].started_unix_s
            more_s = max(0, int(min(elapsed_s, duration_s)) - counted_s)
            self.pace.update(more_s, figures={self.name: _now(run, runs[0])})
            counted_s += more_s
            if elapsed_s // _LINE_S > told:
                told = elapsed_s // _LINE_S
                self.say(f"{self.name}: minute {elapsed_s / 60:.0f}: {_now(run, runs[0])}")


def _now(run: ModelRun, first: ModelRun) -> str:
    """A run in words."""
    facts = (
        f"{run.median_ns / 1e6:.4g} ms ({100 * (run.median_ns / first.median_ns - 1):+.1f} %)",
        f"{run.frequency_mhz:.0f} MHz" if run.frequency_mhz else "",
        f"{run.temperature_c:.0f} C" if run.temperature_c else "",
        run.throttling,
    )
    return ", ".join(words for words in facts if words)


def _compact(run: ModelRun) -> ModelRun:
    """With the median in place of its invocations: an hour of a fast model has tens of millions."""
    if run.statistic != "invocation":
        return run
    own_ns = run.net_ns
    return replace(
        run,
        samples_ns=(run.median_ns,),
        waited_ns=(),
        warmups_ns=run.warmups_ns[:1],
        statistic="median",
        count=len(own_ns),
        aggregates_ns={
            "min": min(own_ns),
            "p10": float(np.quantile(own_ns, 0.1)),
            "p90": float(np.quantile(own_ns, 0.9)),
            "max": max(own_ns),
        },
    )


def _end_s(run: ModelRun) -> float:
    """When a run ended, in seconds since 1970; where that is not kept, as far as its times tell."""
    return run.ended_unix_s or run.started_unix_s + run.invocations * run.median_ns / 1e9


def _covers(runs: Sequence[ModelRun], duration_s: float) -> bool:
    return bool(runs) and _end_s(runs[-1]) - runs[0].started_unix_s >= duration_s


def _last_unbroken(runs: Sequence[ModelRun]) -> list[ModelRun]:
    """The last of the series that longer breaks separate."""
    series: list[ModelRun] = []
    for run in runs:
        if series and run.started_unix_s - _end_s(series[-1]) > MAX_GAP_S:
            series = []
        series.append(run)
    return series


def _sha(model: ModelFile) -> str:
    return model.facts.sha256
