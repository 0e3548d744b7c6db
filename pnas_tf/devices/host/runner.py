"""Runner of this computer: the LiteRT interpreter in a child process pinned to cores of its own.

A model or delegate that crashes or hangs costs one measurement: the child is started anew. So it is
before a second visit to a model, as on devices where every visit starts a program. Knows how to
reach the runtime, nothing of schedules or blocks.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.failures import DeviceRefused, RunKilled, RunTimedOut, VisitFailed
from pnas_tf.devices.record import Device, Settings, Visit
from pnas_tf.errors import UserError
from pnas_tf.io.json_child import JsonChild

RUNTIME = "ai-edge-litert"
DELEGATES = ("xnnpack", "none")


class ModelRefused(VisitFailed):
    """The runtime says that the file is no model it can run."""

    expected_text = "a .tflite model that the LiteRT interpreter loads and runs"
    fix_text = "Export it again; where only a delegate refuses it, measure with --delegate=none."


class RuntimeBroken(DeviceRefused):
    """The child process does not even start."""

    expected_text = "a child process with the LiteRT runtime"
    fix_text = "Try `python -c 'import ai_edge_litert.interpreter'` in the same environment."


class HostRunner:
    """Runs models on this computer.

    Where the system allows no pinning, `device.cores` is empty and `pin_error` says why.

    Args:
        config: threads of the interpreter, and delegate: "xnnpack" or "none".
        cores: to be held to; None: the last `threads` of those this process may use (the first one
            takes most interrupts); empty: none.
        timeout_s: for one visit.
        memory_limit_bytes: loaded models kept in the child.

    Raises:
        UserError: an unknown delegate or thread count.
        DeviceRefused: the runtime cannot be started.
    """

    def __init__(
        self,
        config: DeviceConfig = DeviceConfig(),
        *,
        cores: tuple[int, ...] | None = None,
        timeout_s: float = 120.0,
        memory_limit_bytes: int = 2 * 2**30,
    ):
        threads, delegate = config.threads, config.delegate
        if delegate not in DELEGATES:
            raise UserError(
                "delegate of the host",
                expected=f"one of {DELEGATES}",
                received=repr(delegate),
                fix="Choose one.",
            )
        if not 1 <= threads <= 1024:
            raise UserError(
                "threads of the interpreter",
                expected="1 to 1024",
                received=str(threads),
                fix="Choose e.g. 1.",
            )
        self._cores = list(_own_cores(threads) if cores is None else cores)
        self._setup = {
            "threads": threads,
            "xnnpack": delegate == "xnnpack",
            "memory_limit_bytes": memory_limit_bytes,
        }
        self._timeout_s = timeout_s
        self._child: JsonChild | None = None
        self._visited: set[Path] = set()
        self.pin_error = ""
        self._start()
        self._device = host_device(() if self.pin_error else tuple(self._cores))
        self._settings = Settings(RUNTIME, metadata.version(RUNTIME), delegate, threads)

    @property
    def device(self) -> Device:
        return self._device

    @property
    def settings(self) -> Settings:
        return self._settings

    def visit(self, model: Path, *, warmups: int, invocations: int) -> Visit:
        """One visit. Raises VisitFailed when the model is refused, crashes or does not end in
        time."""
        if model in self._visited:
            # Where a model lies in memory moves its time by up to 4 % for as long as it lies there:
            # a new place a round.
            self.close()
        child = self._child or self._start()
        self._visited.add(model)
        answer = self._ask(
            child,
            {"path": str(Path(model).absolute()), "warmups": warmups, "invocations": invocations},
            what=f"measurement of {model}",
        )
        if "error" in answer:
            raise ModelRefused(f"measurement of {model}", received=answer["error"][:1000])
        return Visit(
            samples_ns=tuple(answer["samples_ns"]),
            warmups_ns=tuple(answer["warmups_ns"]),
            started_unix_s=answer["started_unix_s"],
            frequency_mhz=answer["frequency_mhz"],
            temperature_c=answer["temperature_c"],
        )

    def close(self) -> None:
        """Ends the child process."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        self._visited.clear()

    def __enter__(self) -> HostRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> JsonChild:
        child = JsonChild("pnas_tf.devices.host.worker")
        try:
            self.pin_error = self._ask(
                child, {"cores": self._cores, **self._setup}, what="LiteRT on this computer"
            )["pin_error"]
        except VisitFailed as error:
            raise RuntimeBroken("LiteRT on this computer", received=error.received) from error
        self._child = child
        return child

    def _ask(self, child: JsonChild, command: dict[str, Any], *, what: str) -> dict[str, Any]:
        try:
            return child.ask(command, timeout_s=self._timeout_s)
        except TimeoutError as error:
            self._child = None
            raise RunTimedOut(what, received=f"no answer for {self._timeout_s:g} s") from error
        except EOFError as error:
            self._child = None
            raise RunKilled(what, received=str(error)) from error


def _own_cores(threads: int) -> list[int]:
    """The last `threads` cores that this process may use; none where the system cannot tell or has
    no more than asked."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    return sorted(os.sched_getaffinity(0))[-threads:]


def host_device(cores: tuple[int, ...]) -> Device:
    """This computer, as far as it tells."""
    return Device(
        kind="host",
        model=_machine(),
        processor=_processor(),
        cores=cores,
        os=_operating_system(),
        build=platform.release(),
    )


def _machine() -> str:
    for name in ("/sys/class/dmi/id/product_name", "/proc/device-tree/model"):
        try:
            text = Path(name).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
        except OSError:
            continue
        if text:
            return f"{text} ({platform.machine()})"
    return platform.machine()


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(
        line.replace("\t", "").split(": ", 1) for line in text.splitlines() if ": " in line
    )
    if "model name" in facts:
        family = ", ".join(
            f"{name} {facts[name]}" for name in ("cpu family", "model") if name in facts
        )
        return (
            f"{facts['model name'].strip()} ({family})" if family else facts["model name"].strip()
        )
    part = ", ".join(
        f"{name} {facts[name]}" for name in ("CPU implementer", "CPU part") if name in facts
    )
    return part or platform.machine()


def _operating_system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.version()}"[:100]
