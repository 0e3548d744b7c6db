"""Reads what TensorFlow Lite's `benchmark_model` prints, from its 2019 form to today's LiteRT
tools. Pure text in, numbers out.

The tool prints aggregates only: count, first, min, max, mean, deviation, and since 2022 the 5th,
50th and 95th percentile. Microseconds are the unit of its classic lines; the newer LiteRT tools
print milliseconds with two decimals, which are read only where no finer line stands. Knows nothing
of devices. Source: the tool's public README, its issue threads, and the layout of
tensorflow/core/util/stats_calculator.h.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pnas_tf.devices.failures import GarbledOutput, ToolFailed

MAX_OUTPUT = 4 * 2**20  # characters; a profile of 2,000 ops has 1 MB
_MAX_LINE = 2000  # real ones have 200; patterns take quadratic time on endless ones
_NUMBER = r"[-+]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][-+]?\d{1,3})?"
_LOGCAT = re.compile(
    r"^(?:\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+\d+\s+\d+\s+)?[VDIWEF][ /][\w.]+\s*(?:\(\s*\d+\))?\s*:\s?"
)
_SEVERITY = re.compile(r"^(INFO|VERBOSE|WARNING|ERROR|FATAL):\s?")
_SOURCE_LINE = re.compile(
    r"^\[[\w./-]+:\d+\]\s?"
)  # LiteRT: [./litert/tools/benchmark_litert_model.h:88]

_COUNT = re.compile(rf"^count=(\d{{1,12}})((?:\s+\w+={_NUMBER}|\s*\(all same\))*)\s*$")
_PAIR = re.compile(rf"(\w+)=({_NUMBER})")
_SUMMARY = re.compile(
    rf"^Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
    rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): ({_NUMBER})\s*$"
)
_SUMMARY_2019 = re.compile(
    rf"^Average inference timings in us: (?:Warmup: {_NUMBER}, )?(?:Init: {_NUMBER}, )?"
    rf"(?:First inference: {_NUMBER}, )?no stats: ({_NUMBER})"
)
_MILLISECONDS = re.compile(
    rf"^(Warmup|Inference)\s*\((\w+)\):\s+({_NUMBER})(?: ms)?"
    rf"(?: \((\d{{1,12}}) runs?\))?\s*(?:#.*)?$"
)
_NOT_EXECUTED = re.compile(
    r"Though (\S+) delegate is explicitly applied, the model graph will not be executed"
)
_FAILED = re.compile(r"^Benchmarking failed\.?$|^Error: benchmark failed", re.IGNORECASE)
# the tool prints six digits, LiteRT two decimals; a larger gap between two of its lines is a
# mixed-up output
_PRECISION = 0.01


STATISTICS = ("first", "min", "max", "avg", "std", "p5", "median", "p95")


@dataclass(frozen=True)
class RunStatistics:
    """One phase (warm-up or timed) of one run: the number of invocations, and those of `STATISTICS`
    that the tool printed, in microseconds."""

    count: int
    us: Mapping[str, float]

    def best(self) -> tuple[str, float]:
        """The statistic that resists outliers best among those printed: ("median", us), else
        ("mean", us)."""
        if "median" in self.us:
            return "median", self.us["median"]
        if "avg" in self.us:
            return "mean", self.us["avg"]
        raise GarbledOutput("benchmark_model printed no average", received=repr(self))


@dataclass(frozen=True)
class ToolReport:
    """What one run of the tool tells. unit_printed: of its finest line, "us" or "ms"."""

    inference: RunStatistics
    warmup: RunStatistics | None
    delegates_not_used: tuple[str, ...]
    unit_printed: str


def parse_report(output: str) -> ToolReport:
    """Reads one run's whole output.

    Raises:
        ToolFailed: the tool itself says that it failed.
        GarbledOutput: its lines are missing, cut or contradict each other. A number is never
            guessed.
    """
    lines = [strip_prefix(line) for line in lines_of(output)]
    if any(_FAILED.match(text) for _, text in lines):
        raise ToolFailed("benchmark_model says: Benchmarking failed.", received=_complaints(lines))
    phases = [phase for _, text in lines if (phase := _read_phase(text)) is not None]
    stated_us = _summary_us(lines)
    coarse = _coarse_phases(lines)
    if stated_us is None and "Inference" not in coarse:
        raise GarbledOutput(
            "the output of benchmark_model has no result line", received=_tail(lines)
        )
    unit = "us" if phases else "ms"
    if not phases:
        phases = [coarse[name] for name in ("Warmup", "Inference") if name in coarse]
    if not phases:
        raise GarbledOutput(
            "the output of benchmark_model has a summary but no count= line", received=_tail(lines)
        )
    inference = phases[-1]
    _check(inference, stated_us, coarse.get("Inference"), lines)
    unused = tuple(
        match.group(1) for _, text in lines if (match := _NOT_EXECUTED.search(text)) is not None
    )
    return ToolReport(inference, phases[-2] if len(phases) > 1 else None, unused, unit)


def lines_of(output: str) -> list[str]:
    """The lines, long ones cut. Raises GarbledOutput where a device talks without end."""
    if len(output) > MAX_OUTPUT:
        raise GarbledOutput(
            "the output of benchmark_model is too long",
            received=f"{len(output)} characters, beginning {output[:100]!r}",
        )
    return [line[:_MAX_LINE] for line in output.splitlines()]


def strip_prefix(line: str) -> tuple[str, str]:
    """(severity or "", text) of a printed line without logcat, severity and source-file
    prefixes."""
    text = _LOGCAT.sub("", line.rstrip("\r\n"), count=1)
    severity = ""
    if match := _SEVERITY.match(text):
        severity, text = match.group(1), text[match.end() :]
    return severity, _SOURCE_LINE.sub("", text, count=1)


def _read_phase(text: str) -> RunStatistics | None:
    match = _COUNT.match(text)
    if match is None:
        return None
    values = {name: float(value) for name, value in _PAIR.findall(match.group(2))}
    if "avg" not in values and "curr" in values:  # all took the same time, or there was one
        same = dict.fromkeys(("first", "min", "max", "avg"), values["curr"])
        values = {**same, "std": 0.0, **values}
    printed = {name: values[name] for name in STATISTICS if name in values}
    return RunStatistics(int(match.group(1)), printed)


def _summary_us(lines: list[tuple[str, str]]) -> float | None:
    """The average of the last summary line in microseconds."""
    found = None
    for _, text in lines:
        if match := _SUMMARY.match(text) or _SUMMARY_2019.match(text):
            found = float(match.group(1))
    return found


def _coarse_phases(lines: list[tuple[str, str]]) -> dict[str, RunStatistics]:
    """ "Warmup" and "Inference" of the LiteRT tools' summary in milliseconds, where it gives an
    average."""
    values: dict[str, dict[str, float]] = {}
    runs: dict[str, int] = {}
    for _, text in lines:
        if match := _MILLISECONDS.match(text):
            phase, statistic, value, count = match.groups()
            values.setdefault(phase, {})[statistic] = float(value) * 1000.0
            if statistic == "avg":
                runs[phase] = int(count or 0)
    return {
        phase: RunStatistics(
            runs[phase], {name: found[name] for name in STATISTICS if name in found}
        )
        for phase, found in values.items()
        if phase in runs
    }


def _check(
    inference: RunStatistics,
    stated_us: float | None,
    coarse: RunStatistics | None,
    lines: list[tuple[str, str]],
) -> None:
    """Raises GarbledOutput where the timed phase is empty, not finite, or another than its summary
    says."""
    if not all(map(math.isfinite, inference.us.values())):
        raise GarbledOutput("benchmark_model printed no finite time", received=_tail(lines))
    if inference.count < 1:
        raise GarbledOutput("benchmark_model timed no invocation", received=_tail(lines))
    slack_us = 1.0
    if stated_us is None:
        assert coarse is not None
        stated_us, slack_us = coarse.us["avg"], 10.0
    average = inference.us.get("avg")
    if average is None or abs(average - stated_us) > _PRECISION * stated_us + slack_us:
        raise GarbledOutput(
            "two lines of one benchmark_model run contradict each other",
            received=f"count= line: avg {average} us; summary: {stated_us} us",
        )


def _complaints(lines: list[tuple[str, str]]) -> str:
    told = [
        text
        for severity, text in lines
        if text and (severity == "ERROR" or re.search(r"fail|error", text, re.IGNORECASE))
    ]
    return " / ".join(told[-4:])


def _tail(lines: list[tuple[str, str]]) -> str:
    return " / ".join([text for _, text in lines if text.strip()][-4:])[-400:] or "nothing"
