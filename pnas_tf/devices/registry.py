"""From the value of --device to a runner, and several devices at once.

Runners are imported when asked for. Knows nothing of schedules or tables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool.dialect import DELEGATE_FLAGS
from pnas_tf.devices.failures import DeviceError
from pnas_tf.devices.record import Device, ModelRun, Settings
from pnas_tf.errors import UserError, closest
from pnas_tf.run.progress import silent

if TYPE_CHECKING:
    from pnas_tf.devices.schedule import Runner

Result = TypeVar("Result")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What one device gave: a result, or the error that ended its work. Neither where another one
    could not be opened."""

    result: Result | None = None
    error: UserError | None = None


def split_devices(devices: str) -> tuple[str, ...]:
    """The single names of a --device value. Raises UserError on an unknown kind, an empty name or
    one named twice."""
    names = tuple(name.strip() for name in devices.split(","))
    for name in names:
        kind = name.partition(":")[0]
        if kind not in _KINDS or not _KINDS[kind].is_named_by(name):
            raise UserError(
                f"--device={devices}",
                expected=", ".join(form for kind in _KINDS.values() for form in kind.forms)
                + "; several with commas between",
                received=repr(name),
                fix=_meant(name),
            )
    if len(set(names)) < len(names) or (
        "android" in names and any(name.startswith("android:") for name in names)
    ):
        raise UserError(
            f"--device={devices}",
            expected="every device once",
            received=", ".join(names),
            fix="Name each device once.",
        )
    return names


def _meant(name: str) -> str:
    if name.lower() in ("host", "android", "tflm"):
        return f"Write --device={name.lower()}"
    if meant := closest(name.partition(":")[0], _KINDS):
        return f"Write --device={meant}{''.join(name.partition(':')[1:])}"
    if "@" in name and ":" not in name:
        return f"Write --device=ssh:{name}"
    return "Leave it out to measure on this computer, or see docs/devices.md."


def runner_for(config: DeviceConfig, *, say: Say = silent) -> Runner:
    """Opens one device.

    Args:
        config: its `device` is "host", "android" (the only one attached), "android:SERIAL",
            "ssh:USER@HOST" or "ssh:USER@HOST:PORT".
        say: takes lines of the device for the user, with its name before each.

    Returns:
        The runner; `close` it.

    Raises:
        UserError: the options name no device or several; among them every DeviceRefused.
    """
    names = split_devices(config.device)
    if len(names) != 1:
        raise UserError(
            f"--device={config.device}",
            expected="one device for this step",
            received=f"{len(names)} devices",
            fix="Call it once for each device, or use a step that measures several at once "
            "(pnas benchmark).",
        )
    if config.delegate not in DELEGATE_FLAGS:
        raise UserError(
            f"--delegate={config.delegate}",
            expected=f"one of {', '.join(DELEGATE_FLAGS)}",
            received=config.delegate,
            fix="Choose one.",
        )
    kind, _, address = config.device.strip().partition(":")
    return _KINDS[kind].open(address, config, say)


def _host(_: str, config: DeviceConfig, say: Say) -> Runner:
    from pnas_tf.devices.host.runner import HostRunner

    return HostRunner(config, say=lambda line: say(f"host: {line}"))


def _android(serial: str, config: DeviceConfig, say: Say) -> Runner:
    from pnas_tf.devices.android.runner import AndroidRunner

    return AndroidRunner(serial, config, say=say)


def _tflm(_: str, config: DeviceConfig, say: Say) -> Runner:
    from pnas_tf.devices.tflm import NAME, NoLatency

    raise NoLatency("latency of a model", received=f"--device={NAME}, which times nothing")


def _ssh(address: str, config: DeviceConfig, say: Say) -> Runner:
    from pnas_tf.devices.ssh.board import ssh_runner

    return ssh_runner(address, config, say=say)


@dataclass(frozen=True)
class _Kind:
    """A kind of device. open: called with the address, "" where none is given, and what
    takes lines for the user. forms: how --device
    may name it."""

    open: Callable[[str, DeviceConfig, Say], Runner]
    forms: tuple[str, ...]

    def is_named_by(self, name: str) -> bool:
        """Whether `name` has an address where some form has one, and none where none does."""
        colon, address = name.partition(":")[1:]
        return colon in {form.partition(":")[1] for form in self.forms} and bool(colon) == bool(
            address
        )


# The one list of them; see docs/howto/extend.md.
_KINDS = {
    "host": _Kind(_host, ("host",)),
    "android": _Kind(_android, ("android", "android:SERIAL")),
    "ssh": _Kind(_ssh, ("ssh:USER@HOST[:PORT]",)),
    "tflm": _Kind(_tflm, ("tflm",)),
}


def on_each_device(
    config: DeviceConfig,
    work: Callable[[str, Runner], Result],
    *,
    open_runner: Callable[[DeviceConfig], Runner] = runner_for,
) -> Mapping[str, Outcome[Result]]:
    """Does work on every device at the same time, one thread each; devices do not share a
    processor.

    Args:
        config: its `device` names the devices, with commas between.
        work: called with the name and the runner of each.
        open_runner: makes the runner of one device.

    Returns:
        Name -> outcome: a device that fails costs its own result and no other's. Where one cannot
        be opened no work begins, and the outcomes hold the errors alone.

    Raises:
        KeyboardInterrupt: after the runs that are under way. Other exceptions of `work` come
            after all devices have ended.
    """
    names = split_devices(config.device)
    stop = threading.Event()

    def opened(name: str) -> Runner | UserError:
        try:
            runner = open_runner(dataclasses.replace(config, device=name))
        except UserError as error:
            return error
        closing.callback(runner.close)
        return runner if len(names) == 1 else _Stoppable(runner, stop)

    one = functools.partial(_outcome, work)
    # one alone in the main thread, which signals reach in the middle of a run
    with contextlib.ExitStack() as closing, ThreadPoolExecutor(max_workers=len(names)) as pool:
        each = map if len(names) == 1 else pool.map
        try:
            runners = list(each(opened, names))
            ready = [runner for runner in runners if not isinstance(runner, UserError)]
            if len(ready) == len(names):
                return dict(zip(names, each(one, names, ready)))
            refusals = (found if isinstance(found, UserError) else None for found in runners)
            return {name: Outcome(error=refusal) for name, refusal in zip(names, refusals)}
        except KeyboardInterrupt:
            stop.set()
            raise


def _outcome(work: Callable[[str, Runner], Result], name: str, runner: Runner) -> Outcome[Result]:
    try:
        return Outcome(result=work(name, runner))
    except DeviceError as error:
        return Outcome(error=error)
    finally:
        runner.close()


@dataclass(frozen=True)
class _Stoppable:
    """A runner that begins no run after `stop` is set, so that its thread ends."""

    runner: Runner
    stop: threading.Event

    @property
    def device(self) -> Device:
        return self.runner.device

    @property
    def settings(self) -> Settings:
        return self.runner.settings

    def begin_round(self) -> None:
        self.runner.begin_round()

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        if self.stop.is_set():
            raise KeyboardInterrupt
        return self.runner.run(model, warmups=warmups, invocations=invocations)

    def close(self) -> None:
        self.runner.close()

    def __getattr__(self, name: str) -> object:
        """What some runners can do besides, such as `profile`."""
        found = getattr(self.runner, name)
        if name != "run_hot":
            return found

        def run_hot(*arguments: object, **options: object) -> object:
            if self.stop.is_set():
                raise KeyboardInterrupt
            return found(*arguments, **options)

        return run_hot
