"""Runs of models on a far device with the stock `benchmark_model`: place, cool down, run, read,
and try again where that helps.

Shared by Android and ssh devices, which differ only in their connection and in what they tell of
themselves. The schedule is that of devices/session.py. Source: the tool's public README.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool import dialect
from pnas_tf.devices.benchmark_tool.binary import ToolBinary
from pnas_tf.devices.benchmark_tool.delegate_log import DelegateLog, proven
from pnas_tf.devices.benchmark_tool.launch import AFTER_LINE, Launcher
from pnas_tf.devices.benchmark_tool.op_profile import OperatorTime, first_on_cpu, parse_profile
from pnas_tf.devices.benchmark_tool.verdict import FinishedRun, leaves_ops, report_of, run_of
from pnas_tf.devices.connection import RemoteStore, retry
from pnas_tf.devices.cooling import Cooling
from pnas_tf.devices.delegation import ACCELERATORS, Delegation
from pnas_tf.devices.device_lock import hold_device
from pnas_tf.devices.failures import (
    DeviceChanged,
    DeviceLost,
    GarbledOutput,
    MissingBinary,
    PartlyDelegated,
    RunFailed,
    RunKilled,
    UnknownFlag,
    WrongDelegate,
)
from pnas_tf.devices.record import Device, ModelRun, Settings
from pnas_tf.devices.thermal import SCRIPT as THERMAL_SCRIPT
from pnas_tf.devices.thermal import ThermalState, parse_thermal
from pnas_tf.run.progress import silent

Self = TypeVar("Self", bound="ToolRunner")
Say = Callable[[str], None]


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
        store: files on the device, models and the binary among them, and the line to it.
        config: threads, delegate, and what is taken of delegates.
        binary: what runs there.
        prepare: sets the device up and tells its record; called when it is opened, and again when
            it was away, since a restart undoes what it set. Processes are held to the record's
            `cores`, () for none.
        timeouts: how long to wait for what.
        say: takes lines for the user.
    """

    def __init__(
        self,
        store: RemoteStore,
        config: DeviceConfig,
        *,
        binary: ToolBinary,
        prepare: Callable[[Say], Device],
        timeouts: Timeouts = Timeouts(),
        say: Say = silent,
    ):
        self._store, self._connection = store, store.connection
        self._binary, self._prepare = binary, prepare
        self._config, self._timeouts = config, timeouts
        self._flags = self._first_flags = dialect.DELEGATE_FLAGS[config.delegate]
        self._profile_flags = dialect.PROFILE_FLAGS[0]
        self._left_ops: set[Path] = set()  # models that a tool did not run without the CPU
        self._profiles: dict[Path, tuple[OperatorTime, ...]] = {}
        self.cooling = Cooling(
            self.thermal, most_s=timeouts.cool_down_s, poll_s=timeouts.poll_s, say=say
        )
        self.settings = Settings(
            "benchmark_model",
            binary.sha256[:12] or "unknown",
            config.delegate,
            config.threads,
            config.partial_delegation and config.delegate in ACCELERATORS,
            binary_sha256=binary.sha256,
        )
        self._held = hold_device(store.connection.name)
        try:
            self.device = prepare(say)
            self.cooling.state = self.thermal()
        except BaseException:
            self.close()  # the device as it was
            raise
        self._launcher = Launcher(timeouts.run_s, self.device.cores, self._libraries)

    def begin_round(self) -> None:
        """Nothing: every run starts a program there."""

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        """Warm-ups and timed invocations of one model.

        Waits for a device that went away, cools down a throttled one, and repeats runs that were
        killed, garbled or throttled for a while. Raises RunFailed when one model fails for good
        or takes the device down in its last try too,
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
            except DeviceLost as error:
                self._come_back()
                if is_last:
                    raise RunKilled(
                        f"{self._connection.name} went away in a run of this model, and came back",
                        received=error.received,
                    ) from error
            except (RunFailed, MissingBinary):
                if is_last:
                    raise
                self._store.forget()  # somebody may have emptied the folder there
        raise AssertionError("every attempt returns, raises or is followed by another")

    def run_hot(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        """As `run`, but a hot device is not waited for and no run is made again."""
        return self._run_once(model, warmups=warmups, invocations=invocations)

    def profile(self, model: Path, *, invocations: int = 20) -> tuple[OperatorTime, ...]:
        """Mean time of each operator in ms, in the order in which they ran. Raises GarbledOutput
        where the tool prints none."""
        operators = parse_profile(self._profiled(model, invocations).output)
        if not operators:
            raise GarbledOutput(
                "this benchmark_model prints no per-operator profile",
                received="no table of ops in run order",
                fix="Use a build with profiling (the stock nightly builds have it).",
            )
        return operators

    def _profiled(self, model: Path, invocations: int) -> FinishedRun:
        """A run with the profile's flag of TensorFlow Lite's tool, else with LiteRT's."""
        refused: UnknownFlag | None = None
        own = self._first_flags if dialect.is_full(self._flags) else self._flags
        for flags in dict.fromkeys((self._profile_flags, *dialect.PROFILE_FLAGS)):
            try:
                given = (*own, *flags)
                finished = self._run_tool(model, warmups=2, invocations=invocations, flags=given)
                report_of(finished, self._connection.name)
            except UnknownFlag as error:
                refused = error
                continue
            self._profile_flags = flags
            return finished
        raise GarbledOutput(
            "this benchmark_model knows no per-operator profile",
            received=refused.received if refused else "",
            fix="Use a build with profiling (the stock nightly builds have it).",
        )

    def thermal(self) -> ThermalState:
        """Thermal status, temperature and clocks now."""
        return parse_thermal(self._connection.run(THERMAL_SCRIPT).output)

    def close(self) -> None:
        """Ends the connection; the files stay on the device for the next run. May be called
        twice."""
        self._connection.close()
        self._held.release()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _come_back(self) -> None:
        """Waits for a device that went away, and sets it up again. Raises DeviceLost where it stays
        away, DeviceChanged where it is not as it was."""
        self._connection.wait_until_back(timeout_s=self._timeouts.return_s)
        self._store.forget()
        # a phone answers before its services do
        retry(self._set_up, timeout_s=self._timeouts.return_s, on=(DeviceLost, DeviceChanged))
        self.cooling.state = self.thermal()

    def _set_up(self) -> None:
        found = self._prepare(silent)
        if found != self.device:
            raise DeviceChanged(
                f"{self._connection.name} is not as it was when it was opened",
                received=", ".join(
                    f"{name} {getattr(found, name)!r}, not {getattr(self.device, name)!r}"
                    for name in (field.name for field in fields(found))
                    if getattr(found, name) != getattr(self.device, name)
                ),
            )

    def _run_once(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        started = time.time()
        finished = self._run_known(model, warmups=warmups, invocations=invocations)
        ended = time.time()
        output, _, thermal_text = finished.output.partition(AFTER_LINE)
        report = report_of(replace(finished, output=output), self._connection.name)
        delegation = self._proven(report.delegates, model)
        self.cooling.state = thermal = parse_thermal(thermal_text)
        return replace(
            run_of(report, delegation, started_unix_s=started, ended_unix_s=ended),
            temperature_c=thermal.temperature_c,
            frequency_mhz=thermal.clock_mhz(self.device.cores),
            throttling=thermal.complaint,
        )

    def _proven(self, log: DelegateLog, model: Path) -> Delegation | None:
        """As `delegate_log.proven`; of a mixture with the first op that stayed on the CPU."""
        delegate, partial = self._config.delegate, self.settings.partial_delegation
        if model in self._left_ops:
            log = dialect.with_ops_left(log, delegate, self._profile_of(model))
        elif dialect.is_full(self._flags):
            log = replace(log, complete=log.complete | {delegate})
        try:
            part = proven(log, delegate, partial=partial)
        except PartlyDelegated as error:
            if log.first_refused:
                raise
            first = first_on_cpu(self._profile_of(model))
            told = f"{error.received}; the first op on the CPU: {first or 'not told'}"
            raise PartlyDelegated(error.what, received=told) from error
        if part is None or part.is_full or part.first_on_cpu or delegate not in ACCELERATORS:
            return part
        return replace(part, first_on_cpu=first_on_cpu(self._profile_of(model)))

    def _profile_of(self, model: Path) -> tuple[OperatorTime, ...]:
        """Of a mixture, by one run; () where the tool tells none."""
        if model not in self._profiles:
            try:
                self._profiles[model] = self.profile(model, invocations=1)
            except RunFailed:
                self._profiles[model] = ()
        return self._profiles[model]

    def _run_known(self, model: Path, *, warmups: int, invocations: int) -> FinishedRun:
        """A run with the delegate's flags in the tool's own words: where another form is the right
        one, that from now on, but for models of which it leaves an op."""
        counts, first = {"warmups": warmups, "invocations": invocations}, self._first_flags
        flags = first if model in self._left_ops else self._flags
        finished = self._run_tool(model, **counts, flags=flags)
        delegate, is_first = self._config.delegate, self._flags == first
        if is_first and (flags := dialect.other_flags(delegate, finished.output)):
            other = self._run_tool(model, **counts, flags=flags)
            if not dialect.are_taken(flags, other.output):
                return finished
            self._flags, finished = flags, other
        if leaves_ops(finished):
            self._left_ops.add(model)
            finished = self._run_tool(model, **counts, flags=first)
        return finished

    def _run_tool(
        self, model: Path, *, warmups: int, invocations: int, flags: tuple[str, ...]
    ) -> FinishedRun:
        given = [
            f"--graph={self._store.place(model)}",
            f"--num_threads={self._config.threads}",
            f"--warmup_runs={warmups}",
            "--warmup_min_secs=0",
            f"--num_runs={invocations}",
            "--min_secs=0",
            *flags,
        ]
        if self._libraries:
            given += [f"{flag}={self._libraries}" for flag in dialect.LIBRARY_FLAGS]
        script = self._launcher.script([self._binary.placed(self._store), *given])
        result = self._connection.run(script, timeout_s=self._timeouts.run_s + 30.0)
        return FinishedRun(result.exit_code, result.output, tuple(given))

    @property
    def _libraries(self) -> str:
        """The folder there with an NPU's libraries; "" for none."""
        return self._config.npu_libraries if self._config.delegate == "npu" else ""
