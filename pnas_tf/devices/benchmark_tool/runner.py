"""Runs of models on a far device with the stock `benchmark_model`: place, cool down, run, read,
and try again where that helps.

Shared by Android and ssh devices, which differ only in their connection and in what they tell of
themselves. The schedule is that of devices/session.py. Source: the tool's public README.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool.delegate_log import proven
from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime, parse_profile
from pnas_tf.devices.benchmark_tool.output import ToolReport, unconsumed_flags
from pnas_tf.devices.benchmark_tool.verdict import FinishedRun, report_of
from pnas_tf.devices.connection import Connection, RemoteStore
from pnas_tf.devices.cooling import Cooling
from pnas_tf.devices.cores import taskset_mask
from pnas_tf.devices.delegation import ACCELERATORS, Delegation
from pnas_tf.devices.failures import (
    DeviceLost,
    GarbledOutput,
    MissingBinary,
    RunFailed,
    TooCoarse,
    UnknownFlag,
    WrongDelegate,
)
from pnas_tf.devices.record import Device, ModelRun, Settings
from pnas_tf.devices.thermal import SCRIPT as THERMAL_SCRIPT
from pnas_tf.devices.thermal import ThermalState, parse_thermal
from pnas_tf.io import atomic
from pnas_tf.run.progress import silent

DELEGATE_FLAGS = {
    "xnnpack": "--use_xnnpack=true",
    "none": "--use_xnnpack=false",
    "gpu": "--use_gpu=true",
    "nnapi": "--use_nnapi=true",
}
# LiteRT's own tool names the processor instead, which its XNNPACK then executes for.
_LITERT_CPU = "--use_cpu=true"
_XNNPACK_RAN = re.compile(r"node\(s\) with delegate \(TfLiteXNNPackDelegate\)")
Self = TypeVar("Self", bound="ToolRunner")
_AFTER_LINE = "pnas_tf-after"
_PROFILING = "--enable_op_profiling=true"
# The second is BusyBox's before 1.30, which takes 400 in `timeout 400 ...` for a program.
_TIMEOUT_FORMS = ("timeout", "timeout -t")
_TRY_TIMEOUT = (
    "command -v timeout >/dev/null 2>&1 || exit 0\necho there\n"
    + "\n".join(
        f"{form} 20 true >/dev/null 2>&1 && {{ echo {form}; exit 0; }}" for form in _TIMEOUT_FORMS
    )
    + "\ntrue"
)


@dataclass(frozen=True)
class Timeouts:
    """How long to wait for what, in seconds, and how often to try."""

    run_s: float = 400.0  # one run; the tool itself stops each of its two phases after 150 s
    return_s: float = 120.0  # a device that was pulled out to come back
    cool_down_s: float = 300.0  # a throttled device to cool down, once
    poll_s: float = 5.0  # between two looks at a hot device
    attempts: int = 3  # tries of one run


class ToolRunner:
    """A `Runner` (devices/session.py) for one far device.

    One run gives one sample: the median of its invocations where the tool prints one, else their
    mean, with the tool's other figures beside it.

    Args:
        connection: the line to the device.
        config: threads, delegate and benchmark_binary: a file on this computer, which is copied
            over, or an absolute path there.
        device: its record; processes are held to its `cores`, () for none.
        remote_folder: absolute path there, for models and the binary.
        timeouts: how long to wait for what.
        say: takes lines for the user.
    """

    def __init__(
        self,
        connection: Connection,
        config: DeviceConfig,
        *,
        device: Device,
        remote_folder: str,
        timeouts: Timeouts = Timeouts(),
        say: Callable[[str], None] = silent,
    ):
        self.device = device
        self._connection, self._store = connection, RemoteStore(connection, remote_folder)
        self._config, self._timeouts = config, timeouts
        self._delegate_flag = DELEGATE_FLAGS[config.delegate]
        self._say = say
        self.cooling = Cooling(
            self.thermal, most_s=timeouts.cool_down_s, poll_s=timeouts.poll_s, say=say
        )
        version = self._find_binary()
        partial = config.partial_delegation and config.delegate in ACCELERATORS
        self.settings = Settings(
            "benchmark_model", version, config.delegate, config.threads, partial
        )
        self._timeout = self._usable_timeout()
        self.cooling.state = self.thermal()

    def begin_round(self) -> None:
        """Nothing: every run starts a program there."""

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        """Warm-ups and timed invocations of one model.

        Waits for a device that went away, cools down a throttled one, and repeats runs that were
        killed, garbled or throttled for a while. Raises RunFailed when one model fails for good,
        DeviceLost when the device does not come back, DeviceRefused when nothing can run there.
        """
        for attempt in range(1, self._timeouts.attempts + 1):
            is_last = attempt == self._timeouts.attempts
            try:
                self.cooling.wait()
                run = self._run_once(model, warmups=warmups, invocations=invocations)
                if is_last or not self.cooling.may_pass:
                    return run
            except WrongDelegate:
                raise
            except DeviceLost:
                if is_last:
                    raise
                self._connection.wait_until_back(timeout_s=self._timeouts.return_s)
                self._store.forget()
            except (RunFailed, MissingBinary):
                if is_last:
                    raise
                self._store.forget()  # somebody may have emptied the folder there
        raise AssertionError("every attempt returns, raises or is followed by another")

    def profile(self, model: Path, *, invocations: int = 20) -> tuple[OperatorTime, ...]:
        """Mean time of each operator in ms, in the order in which they ran. Raises GarbledOutput
        where the tool prints none."""
        try:
            finished = self._run_tool(
                model, warmups=2, invocations=invocations, options=[_PROFILING]
            )
            report_of(finished, self._connection.name)
        except UnknownFlag as error:
            raise GarbledOutput(
                "this benchmark_model knows no per-operator profile",
                received=error.received,
                fix="Use a build with profiling (the stock nightly builds have it).",
            ) from error
        operators = parse_profile(finished.output)
        if not operators:
            raise GarbledOutput(
                "this benchmark_model prints no per-operator profile",
                received=finished.output.strip()[-200:],
                fix="Use a build with profiling (the stock nightly builds have it).",
            )
        return operators

    def thermal(self) -> ThermalState:
        """Thermal status, temperature and clocks now."""
        return parse_thermal(self._connection.run(THERMAL_SCRIPT).output)

    def close(self) -> None:
        """Ends the connection; the files stay on the device for the next run. May be called
        twice."""
        self._connection.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run_once(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        started = time.time()
        finished = self._run_known(model, warmups=warmups, invocations=invocations)
        output, _, thermal_text = finished.output.partition(_AFTER_LINE)
        report = report_of(replace(finished, output=output), self._connection.name)
        partial = self.settings.partial_delegation
        delegation = proven(report.delegates, self._config.delegate, partial=partial)
        self.cooling.state = thermal = parse_thermal(thermal_text)
        return replace(
            _as_run(report, delegation, started),
            temperature_c=thermal.temperature_c,
            frequency_mhz=thermal.clock_mhz(self.device.cores),
            throttling=thermal.complaint,
        )

    def _run_known(self, model: Path, *, warmups: int, invocations: int) -> FinishedRun:
        """A run with the delegate's flag in the tool's own words: where the first is not known and
        LiteRT's is, that from now on."""
        counts = {"warmups": warmups, "invocations": invocations}
        finished = self._run_tool(model, **counts, options=[])
        flag = self._delegate_flag
        if flag != DELEGATE_FLAGS["xnnpack"] or flag not in unconsumed_flags(finished.output):
            return finished
        self._delegate_flag = _LITERT_CPU
        other = self._run_tool(model, **counts, options=[])
        if _XNNPACK_RAN.search(other.output) and not unconsumed_flags(other.output):
            return other
        self._delegate_flag = flag
        return finished

    def _run_tool(
        self, model: Path, *, warmups: int, invocations: int, options: list[str]
    ) -> FinishedRun:
        binary = self._place_binary()
        graph = self._store.place(model)
        flags = [
            f"--graph={graph}",
            f"--num_threads={self._config.threads}",
            f"--warmup_runs={warmups}",
            "--warmup_min_secs=0",
            f"--num_runs={invocations}",
            "--min_secs=0",
            self._delegate_flag,
            *options,
        ]
        words = [binary, *flags]
        if self._timeout:  # ours may be cut off with the line, this one ends the run there
            words = [*self._timeout, str(int(self._timeouts.run_s)), *words]
        if self.device.cores:
            words = ["taskset", taskset_mask(self.device.cores), *words]
        after = f"ended=$?\necho\necho {_AFTER_LINE}\n{THERMAL_SCRIPT}\nexit $ended"
        script = f"{shlex.join(words)}\n{after}"
        result = self._connection.run(script, timeout_s=self._timeouts.run_s + 30.0)
        return FinishedRun(result.exit_code, result.output, tuple(flags), self._timeout)

    def _place_binary(self) -> str:
        binary = self._config.benchmark_binary
        local = Path(binary)
        return self._store.place(local, executable=True) if local.is_file() else binary

    def _usable_timeout(self) -> tuple[str, ...]:
        """The words before the seconds of the device's own `timeout`; () where it cannot be
        used."""
        told = self._connection.run(_TRY_TIMEOUT).output.split("\n")
        for form in _TIMEOUT_FORMS:
            if form in told:
                return tuple(form.split())
        if "there" in told:
            self._say("its timeout command cannot be used: runs without end are ended from here")
        return ()

    def _find_binary(self) -> str:
        """Sees that there is a binary; returns its identity: the first 12 digits of its SHA-256, or
        "unknown"."""
        binary = self._config.benchmark_binary
        local = Path(binary)
        if binary and local.is_file():
            return atomic.sha256_of(local)[:12]
        if not binary.startswith("/"):
            raise MissingBinary(
                "no benchmark_model to run", received=f"--benchmark_binary={binary}"
            )
        path = shlex.quote(binary)
        seen = self._connection.run(f"[ -x {path} ] || exit 3\nsha256sum < {path} 2>/dev/null")
        if seen.exit_code == 3:
            raise MissingBinary(
                f"no executable {binary}, neither here nor on {self._connection.name}",
                received="no such file",
            )
        return seen.output.split()[0][:12] if seen.output.split() else "unknown"


def _as_run(report: ToolReport, delegation: Delegation | None, started_unix_s: float) -> ModelRun:
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
        delegation=delegation,
    )
