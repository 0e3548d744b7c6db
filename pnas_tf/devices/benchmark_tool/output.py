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
from dataclasses import dataclass, replace

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
    rf"^Inference timings in us: Init: ({_NUMBER}), First inference: ({_NUMBER}), "
    rf"Warmup \(avg\): ({_NUMBER}), Inference \(avg\): ({_NUMBER})\s*$"
)
_SUMMARY_2019 = re.compile(
    rf"^Average inference timings in us: (?:Warmup: ({_NUMBER}), )?(?:Init: ({_NUMBER}), )?"
    rf"(?:First inference: ({_NUMBER}), )?no stats: ({_NUMBER})"
)
_MILLISECONDS = re.compile(
    r"^(Model initialization|First "
    rf"inference|Warmup|Inference)\s*(?:\((\w+)\))?:\s+({_NUMBER})(?: ms)?"
    rf"(?: \((\d{{1,12}}) runs?\))?\s*(?:#.*)?$"
)
_DELEGATED = re.compile(
    r"Replacing (\d{1,9}) out of (\d{1,9}) node\(s\) with delegate \(([^)]*)\) node, yielding "
    r"(\d{1,9}) partitions"
)
_MEMORY = re.compile(
    rf"^(?:Peak memory footprint|Memory footprint delta from the start of the tool) \(MB\): "
    rf"init=({_NUMBER}) overall=({_NUMBER})"
)
_FOOTPRINT = re.compile(rf"^(Init|Overall) footprint:\s+({_NUMBER}) MB")
_NOT_EXECUTED = re.compile(
    r"Though (\S+) delegate is explicitly applied, the model graph will not be executed"
)
_FAILED = re.compile(r"^Benchmarking failed\.?$|^Error: benchmark failed", re.IGNORECASE)
# the tool prints six digits, LiteRT two decimals; a larger gap between two of its lines is a
# mixed-up output
_PRECISION = 0.01


@dataclass(frozen=True)
class RunStatistics:
    """One phase (warm-up or timed) of one run: the number of invocations and its aggregates in
    microseconds; absent is None."""

    count: int
    first_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    avg_us: float | None = None
    std_us: float | None = None
    p5_us: float | None = None
    median_us: float | None = None
    p95_us: float | None = None

    def best(self) -> tuple[str, float]:
        """The statistic that resists outliers best among those printed: ("median", us), else
        ("mean", us)."""
        if self.median_us is not None:
            return "median", self.median_us
        if self.avg_us is not None:
            return "mean", self.avg_us
        raise GarbledOutput("benchmark_model printed no average", received=repr(self))


@dataclass(frozen=True)
class Delegation:
    """How much of the graph a delegate took: `nodes` of `total`, in `partitions` pieces."""

    delegate: str
    nodes: int
    total: int
    partitions: int


@dataclass(frozen=True)
class ToolReport:
    """Everything read from one run of the tool. Times in microseconds, memory in MB as printed."""

    inference: RunStatistics
    warmup: RunStatistics | None = None
    init_us: float | None = None
    first_inference_us: float | None = None
    delegations: tuple[Delegation, ...] = ()
    delegates_not_used: tuple[str, ...] = ()
    memory_init_mb: float | None = None
    memory_overall_mb: float | None = None
    unit_printed: str = "us"


def parse_report(output: str) -> ToolReport:
    """Reads one run's whole output.

    Raises ToolFailed when the tool itself says that it failed, GarbledOutput when its lines are
    missing, cut or contradict each other. A number is never guessed.
    """
    lines = [strip_prefix(line) for line in lines_of(output)]
    if any(_FAILED.match(text) for _, text in lines):
        raise ToolFailed("benchmark_model says: Benchmarking failed.", received=_complaints(lines))
    phases = [phase for _, text in lines if (phase := _read_phase(text)) is not None]
    fine = _fine_timings(lines)
    coarse = _coarse_timings(lines)
    if fine is None and coarse is None:
        raise GarbledOutput(
            "the output of benchmark_model has no result line", received=_tail(lines)
        )
    report = _combine(phases, fine, coarse, lines)
    return replace(report, **_surroundings(lines))


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
    count, values = (
        int(match.group(1)),
        {name: float(value) for name, value in _PAIR.findall(match.group(2))},
    )
    if count == 0:
        return RunStatistics(0)
    if (
        "avg" not in values and "curr" in values
    ):  # all invocations took the same time, or there was one
        same = values["curr"]
        values = {"first": same, "min": same, "max": same, "avg": same, "std": 0.0, **values}
    return RunStatistics(
        count,
        **{
            f"{name}_us": values[name]
            for name in ("first", "min", "max", "avg", "std", "p5", "median", "p95")
            if name in values
        },
    )


def _fine_timings(lines: list[tuple[str, str]]) -> dict[str, float | None] | None:
    found: dict[str, float | None] | None = None
    for _, text in lines:
        if match := _SUMMARY.match(text):
            found = dict(zip(("init", "first", "warmup", "inference"), map(float, match.groups())))
        elif match := _SUMMARY_2019.match(text):
            found = dict(
                zip(
                    ("warmup", "init", "first", "inference"),
                    (None if value is None else float(value) for value in match.groups()),
                )
            )
    return found


def _coarse_timings(
    lines: list[tuple[str, str]],
) -> dict[tuple[str, str], tuple[float, int | None]] | None:
    """{(what, statistic): (microseconds, runs)} of the LiteRT tools' summary in milliseconds."""
    found = {}
    for _, text in lines:
        if match := _MILLISECONDS.match(text):
            what, statistic, value, runs = match.groups()
            found[what, statistic or ""] = (float(value) * 1000.0, int(runs) if runs else None)
    return found if ("Inference", "avg") in found else None


def _combine(
    phases: list[RunStatistics],
    fine: dict[str, float | None] | None,
    coarse: dict[tuple[str, str], tuple[float, int | None]] | None,
    lines: list[tuple[str, str]],
) -> ToolReport:
    inference: RunStatistics | None
    if phases:
        inference, warmup, unit = phases[-1], (phases[-2] if len(phases) > 1 else None), "us"
    elif coarse is not None:
        inference, warmup, unit = (
            _coarse_phase(coarse, "Inference"),
            _coarse_phase(coarse, "Warmup"),
            "ms",
        )
    else:
        raise GarbledOutput(
            "the output of benchmark_model has a summary but no count= line", received=_tail(lines)
        )
    if inference is not None and not all(
        map(math.isfinite, (v for v in vars(inference).values() if v is not None))
    ):
        raise GarbledOutput("benchmark_model printed no finite time", received=_tail(lines))
    if inference is None or inference.count < 1:
        raise GarbledOutput("benchmark_model timed no invocation", received=_tail(lines))
    stated = fine["inference"] if fine is not None else coarse["Inference", "avg"][0]  # type: ignore[index]
    slack = _PRECISION * (stated or 0.0) + (10.0 if fine is None else 1.0)
    if inference.avg_us is None or stated is None or abs(inference.avg_us - stated) > slack:
        raise GarbledOutput(
            "two lines of one benchmark_model run contradict each other",
            received=f"count= line: avg {inference.avg_us} us; summary: {stated} us",
        )
    if fine is not None:
        return ToolReport(inference, warmup, fine["init"], fine["first"], unit_printed=unit)
    assert coarse is not None
    init = coarse.get(("Model initialization", ""))
    first = coarse.get(("Warmup", "first")) or coarse.get(("First inference", ""))
    return ToolReport(inference, warmup, init and init[0], first and first[0], unit_printed=unit)


def _coarse_phase(
    coarse: dict[tuple[str, str], tuple[float, int | None]], what: str
) -> RunStatistics | None:
    if (what, "avg") not in coarse:
        return None
    values = {
        f"{name}_us": coarse[what, name][0]
        for name in ("first", "min", "max", "avg", "std", "p5", "median", "p95")
        if (what, name) in coarse
    }
    return RunStatistics(coarse[what, "avg"][1] or 0, **values)


def _surroundings(lines: list[tuple[str, str]]) -> dict:
    """Delegation and memory, which stand beside the timings in every format."""
    delegations, unused, memory = [], [], {}
    for _, text in lines:
        if match := _DELEGATED.search(text):
            nodes, total, delegate, partitions = match.groups()
            delegations.append(Delegation(delegate, int(nodes), int(total), int(partitions)))
        elif match := _NOT_EXECUTED.search(text):
            unused.append(match.group(1))
        elif match := _MEMORY.match(text):
            memory = {
                "memory_init_mb": float(match.group(1)),
                "memory_overall_mb": float(match.group(2)),
            }
        elif match := _FOOTPRINT.match(text):
            memory[f"memory_{match.group(1).lower()}_mb"] = float(match.group(2))
    return {"delegations": tuple(delegations), "delegates_not_used": tuple(unused), **memory}


def _complaints(lines: list[tuple[str, str]]) -> str:
    told = [
        text
        for severity, text in lines
        if text and (severity == "ERROR" or re.search(r"fail|error", text, re.IGNORECASE))
    ]
    return " / ".join(told[-4:])


def _tail(lines: list[tuple[str, str]]) -> str:
    return " / ".join([text for _, text in lines if text.strip()][-4:])[-400:] or "nothing"
