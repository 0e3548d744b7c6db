"""Visits to models on a far device with the stock `benchmark_model`: place, cool down, run, read,
and try again where that helps.

Shared by Android and ssh devices, which differ only in their connection and in what they tell of
themselves. The schedule of visits is that of devices/session.py. Source: the tool's public README.
"""

from __future__ import annotations

import re
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime, parse_profile
from pnas_tf.devices.benchmark_tool.output import ToolReport, parse_report
from pnas_tf.devices.connection import CommandResult, Connection, RemoteStore
from pnas_tf.devices.cores import taskset_mask
from pnas_tf.devices.failures import (
    DelegateNotUsed,
    DeviceLost,
    GarbledOutput,
    MissingBinary,
    RunKilled,
    RunTimedOut,
    TooCoarse,
    ToolFailed,
    VisitFailed,
)
from pnas_tf.devices.record import Device, Settings, Visit
from pnas_tf.devices.thermal import SCRIPT as HEAT_SCRIPT
from pnas_tf.devices.thermal import Heat, parse_heat
from pnas_tf.io import atomic

DELEGATE_FLAGS = {
    "xnnpack": "--use_xnnpack=true",
    "none": "--use_xnnpack=false",
    "gpu": "--use_gpu=true",
    "nnapi": "--use_nnapi=true",
}
Self = TypeVar("Self", bound="ToolRunner")
_AFTER_LINE = "pnas_tf-after"
_NOT_FOUND, _NOT_EXECUTABLE, _TIMED_OUT, _FIRST_SIGNAL = 127, 126, 124, 128
_WRONG_BINARY = re.compile(
    r"not executable: \S+ ELF|CANNOT LINK EXECUTABLE|Exec format error|cannot execute binary"
)


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds, and how often to try."""

    run_s: float = 400.0  # one run; the tool itself stops each of its two phases after 150 s
    return_s: float = 120.0  # a device that was pulled out to come back
    cool_down_s: float = 300.0  # a throttled device to cool down
    poll_s: float = 5.0  # between two looks at a hot device
    attempts: int = 3  # runs of one visit


class ToolRunner:
    """A `Runner` (devices/session.py) for one far device.

    One visit gives one sample: the median of its invocations where the tool prints one, else their
    mean, with the tool's other figures beside it.

    Args:
        connection: the line to the device.
        config: threads, delegate and benchmark_binary: a file on this computer, which is copied
            over, or an absolute path there.
        device: its record; processes are held to its `cores`, () for none.
        remote_folder: absolute path there, for models and the binary.
        patience: how long to wait for what.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        connection: Connection,
        config: DeviceConfig,
        *,
        device: Device,
        remote_folder: str,
        patience: Patience = Patience(),
        sleep: Callable[[float], None] = time.sleep,
    ):
        self.device = device
        self._connection, self._store = connection, RemoteStore(connection, remote_folder)
        self._binary, self._delegate = config.benchmark_binary, config.delegate
        self._threads = config.threads
        self._patience, self._sleep = patience, sleep
        self._last_heat = Heat()
        self._has_timeout = False
        self.settings = Settings(
            "benchmark_model", self._find_binary(), config.delegate, config.threads
        )
        self._last_heat = self.heat()

    def visit(self, model: Path, *, warmups: int, invocations: int) -> Visit:
        """Warm-ups and timed invocations of one model.

        Waits for a device that went away, cools down a throttled one, and repeats runs that were
        killed, garbled or throttled. Raises VisitFailed when one model fails for good, DeviceLost
        when the device does not come back, DeviceRefused when nothing can run there.
        """
        for attempt in range(1, self._patience.attempts + 1):
            is_last = attempt == self._patience.attempts
            try:
                self._cool_down()
                visit = self._visit_once(model, warmups=warmups, invocations=invocations)
                if not visit.throttling or is_last:
                    return visit
            except DeviceLost:
                if is_last:
                    raise
                self._connection.wait_until_back(timeout_s=self._patience.return_s)
                self._store.forget()
            except (VisitFailed, MissingBinary):
                if is_last:
                    raise
                self._store.forget()  # somebody may have emptied the folder there
        raise AssertionError("every attempt returns, raises or is followed by another")

    def profile(self, model: Path, *, invocations: int = 20) -> tuple[OperatorTime, ...]:
        """Mean time of each operator in ms, in the order in which they ran. Raises GarbledOutput
        where the tool prints none."""
        result = self._run(
            model, warmups=2, invocations=invocations, options=["--enable_op_profiling=true"]
        )
        self._report_of(result)
        operators = parse_profile(result.output)
        if not operators:
            raise GarbledOutput(
                "this benchmark_model prints no per-operator profile",
                received=result.output.strip()[-200:],
                fix="Use a build with profiling (the stock nightly builds have it).",
            )
        return operators

    def heat(self) -> Heat:
        """Thermal status, temperature and clocks now."""
        return parse_heat(self._connection.run(HEAT_SCRIPT).output)

    def close(self) -> None:
        """Ends the connection; the files stay on the device for the next run. May be called
        twice."""
        self._connection.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _visit_once(self, model: Path, *, warmups: int, invocations: int) -> Visit:
        started = time.time()
        result = self._run(model, warmups=warmups, invocations=invocations, options=[])
        output, _, heat_text = result.output.partition(_AFTER_LINE)
        report = self._report_of(CommandResult(result.exit_code, output))
        self._last_heat = parse_heat(heat_text)
        return _as_visit(report, started, self._last_heat, self.device.cores)

    def _run(
        self, model: Path, *, warmups: int, invocations: int, options: list[str]
    ) -> CommandResult:
        binary = self._place_binary()
        graph = self._store.place(model)
        words = [
            binary,
            f"--graph={graph}",
            f"--num_threads={self._threads}",
            f"--warmup_runs={warmups}",
            "--warmup_min_secs=0",
            f"--num_runs={invocations}",
            "--min_secs=0",
            DELEGATE_FLAGS[self._delegate],
            *options,
        ]
        if self._has_timeout:  # ours may be cut off with the line, this one ends the run there
            words = ["timeout", str(int(self._patience.run_s)), *words]
        if self.device.cores:
            words = ["taskset", taskset_mask(self.device.cores), *words]
        script = (
            f"{shlex.join(words)}\nended=$?\necho\necho {_AFTER_LINE}\n{HEAT_SCRIPT}\nexit $ended"
        )
        return self._connection.run(script, timeout_s=self._patience.run_s + 30.0)

    def _report_of(self, result: CommandResult) -> ToolReport:
        """Reads a finished run. Raises the VisitFailed or MissingBinary that its exit code or
        output tells of."""
        last_words = result.output.strip()[-300:]
        if result.exit_code in (_NOT_FOUND, _NOT_EXECUTABLE) or _WRONG_BINARY.search(result.output):
            raise MissingBinary(
                f"benchmark_model does not run on {self._connection.name}", received=last_words
            )
        if result.exit_code == _TIMED_OUT:
            raise RunTimedOut(f"a run on {self._connection.name} did not end", received=last_words)
        if result.exit_code > _FIRST_SIGNAL:
            raise RunKilled(
                f"a run on {self._connection.name} was killed by {_signal_name(result.exit_code)}",
                received=last_words,
            )
        try:
            report = parse_report(
                result.output
            )  # its own words for a failure are better than an exit code
        except GarbledOutput:
            if result.exit_code == 0:
                raise
        if result.exit_code != 0:
            raise ToolFailed(
                f"benchmark_model ended with exit code {result.exit_code}", received=last_words
            )
        if any(
            name.lower().replace("_", "") == self._delegate for name in report.delegates_not_used
        ):
            raise DelegateNotUsed(
                f"delegate {self._delegate} took no node of the model",
                received="the tool ran it without",
            )
        return report

    def _cool_down(self) -> None:
        waited_s = 0.0
        while self._last_heat.is_throttled and waited_s < self._patience.cool_down_s:
            self._sleep(self._patience.poll_s)
            waited_s += self._patience.poll_s
            self._last_heat = self.heat()

    def _place_binary(self) -> str:
        local = Path(self._binary)
        return self._store.place(local, executable=True) if local.is_file() else self._binary

    def _find_binary(self) -> str:
        """Sees that there is a binary; returns its identity: the first 12 digits of its SHA-256, or
        "unknown"."""
        self._has_timeout = self._connection.run("command -v timeout").exit_code == 0
        local = Path(self._binary)
        if self._binary and local.is_file():
            return atomic.sha256_of(local)[:12]
        if not self._binary.startswith("/"):
            raise MissingBinary(
                "no benchmark_model to run", received=f"--benchmark_binary={self._binary}"
            )
        path = shlex.quote(self._binary)
        seen = self._connection.run(f"[ -x {path} ] || exit 3\nsha256sum < {path} 2>/dev/null")
        if seen.exit_code == 3:
            raise MissingBinary(
                f"no executable {self._binary}, neither here nor on {self._connection.name}",
                received="no such file",
            )
        return seen.output.split()[0][:12] if seen.output.split() else "unknown"


def _as_visit(
    report: ToolReport, started_unix_s: float, heat: Heat, cores: tuple[int, ...]
) -> Visit:
    statistic, value_us = report.inference.best()
    if value_us <= 0:
        raise TooCoarse(
            "the model is faster than benchmark_model can print",
            received=f"{statistic} 0 {report.unit_printed}",
        )
    named = {
        name: getattr(report.inference, f"{name}_us")
        for name in ("first", "min", "max", "avg", "std", "p5", "median", "p95")
    }
    warmup = report.warmup.avg_us if report.warmup is not None else None
    return Visit(
        samples_ns=(value_us * 1000.0,),
        warmups_ns=(warmup * 1000.0,) if warmup else (),
        statistic=statistic,
        count=report.inference.count,
        aggregates_ns={name: us * 1000.0 for name, us in named.items() if us is not None},
        started_unix_s=started_unix_s,
        temperature_c=heat.temperature_c,
        frequency_mhz=heat.clock_mhz(cores),
        throttling=heat.complaint,
    )


def _signal_name(exit_code: int) -> str:
    number = exit_code - _FIRST_SIGNAL
    return (
        signal.Signals(number).name
        if number in {item.value for item in signal.Signals}
        else f"signal {number}"
    )
