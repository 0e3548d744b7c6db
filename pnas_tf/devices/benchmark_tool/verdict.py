"""What a finished run of benchmark_model is worth: its report, or the error that its exit code and
words tell of.

Knows nothing of the device, nor whether its delegate did the work (`delegate_log`). Source: exit
codes of POSIX shells.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from pnas_tf.devices.benchmark_tool.launch import TIMED_OUT
from pnas_tf.devices.benchmark_tool.output import ToolReport, parse_report, unconsumed_flags
from pnas_tf.devices.delegation import Delegation
from pnas_tf.devices.failures import (
    GarbledOutput,
    LauncherFailed,
    MissingBinary,
    RunKilled,
    RunTimedOut,
    TooCoarse,
    ToolFailed,
    UnknownFlag,
)
from pnas_tf.devices.record import ModelRun

_NOT_FOUND, _NOT_EXECUTABLE, _FIRST_SIGNAL = 127, 126, 128
_WRONG_BINARY = re.compile(
    r"not executable: \S+ ELF|CANNOT LINK EXECUTABLE|Exec format error|cannot execute binary"
)
_SOME_LEFT = re.compile(r"\bSome ops are not accelerated\b")
_LAUNCHER_WORDS = re.compile(r"^(?:\S{0,100}/)?taskset: .{0,300}", re.MULTILINE)


@dataclass(frozen=True)
class FinishedRun:
    """flags: those the tool was given."""

    exit_code: int
    output: str
    flags: tuple[str, ...]


def report_of(run: FinishedRun, device: str) -> ToolReport:
    """Reads a finished run.

    Args:
        run: what it printed.
        device: its name, for errors.

    Raises:
        UnknownFlag: the tool went on without a flag, so the figures are of something else.
        RunFailed, MissingBinary: as its exit code or output tells.
    """
    last_words = run.output.strip()[-300:]
    if run.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE) or _WRONG_BINARY.search(run.output):
        raise MissingBinary(f"benchmark_model does not run on {device}", received=last_words)
    _refuse_unknown_flags(run, device)
    if run.exit_code == TIMED_OUT:
        raise RunTimedOut(f"a run on {device} did not end", received=last_words)
    if run.exit_code > _FIRST_SIGNAL:
        raise RunKilled(
            f"a run on {device} was killed by {_signal_name(run.exit_code)}", received=last_words
        )
    try:
        report = parse_report(run.output)  # its own words for a failure are better than a code
    except GarbledOutput:
        if run.exit_code == 0:
            raise
    if run.exit_code != 0:
        _refuse_launcher(run, device)
        raise ToolFailed(
            f"benchmark_model ended with exit code {run.exit_code}", received=last_words
        )
    return report


def leaves_ops(run: FinishedRun) -> bool:
    """Whether the tool was told to stop where an op stays on the CPU, and did."""
    return run.exit_code != 0 and _SOME_LEFT.search(run.output) is not None


def run_of(
    report: ToolReport,
    delegation: Delegation | None,
    *,
    started_unix_s: float,
    ended_unix_s: float,
) -> ModelRun:
    """The run's record: one sample, the best aggregate that the tool printed. Raises TooCoarse
    where that is zero."""
    statistic, value_us = report.inference.best()
    if value_us <= 0:
        raise TooCoarse(
            "the model is faster than benchmark_model can print",
            received=f"{statistic} 0 {report.unit_printed}",
        )
    warmup_us = report.warmup.us.get("avg") if report.warmup is not None else None
    return ModelRun(
        samples_ns=(value_us * 1000.0,),
        warmups_ns=(warmup_us * 1000.0,) if warmup_us else (),
        statistic=statistic,
        count=report.inference.count,
        aggregates_ns={name: us * 1000.0 for name, us in report.inference.us.items()},
        started_unix_s=started_unix_s,
        ended_unix_s=ended_unix_s,
        delegation=delegation,
    )


def _refuse_unknown_flags(run: FinishedRun, device: str) -> None:
    names = {flag.partition("=")[0] for flag in run.flags}
    unknown = [word for word in unconsumed_flags(run.output) if word.partition("=")[0] in names]
    if unknown:
        raise UnknownFlag(
            f"the benchmark_model on {device} does not know {', '.join(unknown)}",
            received=f"Unconsumed cmdline flags: {' '.join(unknown)}",
        )


def _refuse_launcher(run: FinishedRun, device: str) -> None:
    words = _LAUNCHER_WORDS.search(run.output)
    if words is not None:
        raise LauncherFailed(f"benchmark_model was not started on {device}", received=words.group())


def _signal_name(exit_code: int) -> str:
    number = exit_code - _FIRST_SIGNAL
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
