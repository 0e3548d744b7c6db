"""Reads what TensorFlow Lite's `benchmark_model` prints, from its 2019 form to today's LiteRT
tools. Pure text in, numbers out.

The tool prints aggregates only: count, first, min, max, mean, deviation, and since 2022 the 5th,
50th and 95th percentile. Microseconds are the unit of its classic lines; the newer LiteRT tools
print a unit beside two decimals, which are read only where no finer line stands. Knows nothing of
devices. Source: the tool's public README, its issue threads, and the layout of
tensorflow/core/util/stats_calculator.h.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pnas_tf.devices.benchmark_tool.delegate_log import DelegateLog, read_delegates
from pnas_tf.devices.benchmark_tool.log_lines import lines_of, strip_prefix
from pnas_tf.devices.failures import GarbledOutput, ToolFailed

_NUMBER = r"[-+]?(?:\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?:[eE][-+]?\d{1,3})?"

_COUNTED = re.compile("^count=")
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
_US_OF_UNIT = {"ns": 1e-3, "us": 1.0, "\u00b5s": 1.0, "\u03bcs": 1.0, "ms": 1e3, "s": 1e6}
_WITH_UNIT = re.compile(
    rf"^(Warmup|Inference)\s*\((\w+)\):\s+({_NUMBER})(?:\s?({'|'.join(_US_OF_UNIT)})\b)?"
    rf"(?: \((\d{{1,12}}) runs?\))?\s*(?:#.*)?$"
)
_UNCONSUMED = re.compile(r"\bUnconsumed cmdline flags: {0,9}(\S.*)$")
_LITERT = re.compile(r"= BENCHMARK RESULTS =|\bbenchmark_litert_model\b")
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
    """What one run of the tool tells. unit_printed: of its finest line."""

    inference: RunStatistics
    warmup: RunStatistics | None
    delegates: DelegateLog
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
    stated_us = _summary_us(lines)
    coarse = _coarse_phases(lines)
    if stated_us is None and "Inference" not in coarse:
        raise GarbledOutput(
            "the output of benchmark_model has no result line", received=_tail(lines)
        )
    unit = "us"
    phases: tuple[RunStatistics | None, RunStatistics] | None = _phases(lines)
    if phases is None and "Inference" in coarse:
        unit = coarse["Inference"].unit
        warmup = coarse["Warmup"].figures if "Warmup" in coarse else None
        phases = warmup, coarse["Inference"].figures
    if phases is None:
        raise GarbledOutput(
            "the output of benchmark_model has a summary but no count= line", received=_tail(lines)
        )
    _check(phases[1], stated_us, coarse.get("Inference"), lines)
    return ToolReport(phases[1], phases[0], delegates_of(output), unit)


def delegates_of(output: str) -> DelegateLog:
    """What one run's output says of delegates. Raises GarbledOutput on counts that cannot be."""
    return read_delegates([strip_prefix(line)[1] for line in lines_of(output)])


def is_of_litert(output: str) -> bool:
    """Whether LiteRT's own benchmark_model printed this, and not TensorFlow Lite's."""
    return any(_LITERT.search(line) for line in lines_of(output))


def unconsumed_flags(output: str) -> list[str]:
    """The flags that the tool says it does not know: it warns and goes on without them."""
    texts = (strip_prefix(line)[1] for line in lines_of(output))
    found = [match.group(1).split() for text in texts if (match := _UNCONSUMED.search(text))]
    return [word for words in found for word in words]


def _phases(lines: list[tuple[str, str]]) -> tuple[RunStatistics, RunStatistics] | None:
    """The warm-ups and the timed invocations; None where there is no count= line at all.

    The tool prints a line for each, count=0 where there were none: a single one may be either's,
    and one that cannot be read is nobody's. Raises GarbledOutput on these.
    """
    texts = [text for _, text in lines if _COUNTED.match(text)]
    if not texts:
        return None
    phases = [phase for text in texts[-2:] if (phase := _read_phase(text)) is not None]
    if len(phases) < 2:
        raise GarbledOutput(
            "the output of benchmark_model lacks one of its two count= lines, or has one that "
            "cannot be read",
            received=" / ".join(texts[-2:])[-400:],
        )
    return phases[0], phases[1]


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


@dataclass(frozen=True)
class _Coarse:
    """One phase of the LiteRT tools' summary, and the unit that it was printed in."""

    figures: RunStatistics
    unit: str


def _coarse_phases(lines: list[tuple[str, str]]) -> dict[str, _Coarse]:
    """ "Warmup" and "Inference" of the LiteRT tools' summary, where it gives an average.

    It prints milliseconds as a rule; a line without a unit, as that of the deviation, has that of
    the line before it.
    """
    values: dict[str, dict[str, float]] = {}
    runs: dict[str, int] = {}
    units: dict[str, str] = {}
    unit = "ms"
    for _, text in lines:
        if match := _WITH_UNIT.match(text):
            phase, statistic, value, unit_printed, count = match.groups()
            unit = unit_printed or unit
            values.setdefault(phase, {})[statistic] = float(value) * _US_OF_UNIT[unit]
            if statistic == "avg":
                runs[phase], units[phase] = int(count or 0), unit
    return {
        phase: _Coarse(
            RunStatistics(runs[phase], {name: found[name] for name in STATISTICS if name in found}),
            units[phase],
        )
        for phase, found in values.items()
        if phase in runs
    }


def _check(
    inference: RunStatistics,
    stated_us: float | None,
    coarse: _Coarse | None,
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
        stated_us = coarse.figures.us["avg"]
        slack_us = max(1.0, 0.01 * _US_OF_UNIT[coarse.unit])  # it prints two decimals
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
