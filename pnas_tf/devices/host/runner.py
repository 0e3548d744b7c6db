"""Runner of this computer: the LiteRT interpreter in a child process pinned to cores of its own.

A model or delegate that crashes or hangs costs one measurement: the child is started anew. So it is
in every round, as on devices where every run starts a program. Knows how to reach the runtime,
nothing of schedules or blocks.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.failures import DeviceRefused, RunFailed, RunKilled, RunTimedOut
from pnas_tf.devices.host.cores import CoreChoice, choose_cores, read_host_cores
from pnas_tf.devices.record import Device, ModelRun, Settings
from pnas_tf.errors import UserError
from pnas_tf.io import Json
from pnas_tf.io.json_child import JsonChild
from pnas_tf.io.serialization import record_of
from pnas_tf.run.processors import cpu_quota
from pnas_tf.run.progress import silent

RUNTIME = "ai-edge-litert"
DELEGATES = ("xnnpack", "none")


class ModelRefused(RunFailed):
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
        cores: to be held to; None: `host.cores` chooses among those this process may use; empty:
            none.
        timeout_s: for one run.
        memory_limit_bytes: loaded models kept in the child.
        say: takes lines for the user.

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
        say: Callable[[str], None] = silent,
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
        choice = own_cores(threads) if cores is None else CoreChoice(cores)
        self._cores = list(choice.cores)
        self._setup: dict[str, Json] = {
            "threads": threads,
            "xnnpack": delegate == "xnnpack",
            "memory_limit_bytes": memory_limit_bytes,
        }
        self._timeout_s = timeout_s
        self._child: JsonChild | None = None
        self._used = False
        self.pin_error = ""
        self._start()
        if choice.note:
            say(choice.note)
        if self.pin_error:
            say(f"processes are not held to cores {choice.cores}: {self.pin_error}")
        self.device = host_device(() if self.pin_error else tuple(self._cores))
        self.settings = Settings(RUNTIME, metadata.version(RUNTIME), delegate, threads)

    def begin_round(self) -> None:
        """A new process for the next run, where this one has made any: where a model lies in memory
        moves its time by up to 4 % for as long as it lies there."""
        if self._used:
            self.close()

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        """One run. Raises RunFailed when the model is refused, crashes or does not end in
        time."""
        child = self._child or self._start()
        self._used = True
        answer = self._ask(
            child,
            {"path": str(Path(model).absolute()), "warmups": warmups, "invocations": invocations},
            what=f"measurement of {model}",
        )
        if "error" in answer:
            raise ModelRefused(f"measurement of {model}", received=str(answer["error"])[:1000])
        return record_of(ModelRun, answer, where="the measuring process", fix="Measure again.")

    def close(self) -> None:
        """Ends the child process."""
        if self._child is not None:
            self._child.stop()
            self._child = None
        self._used = False

    def __enter__(self) -> HostRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> JsonChild:
        child = JsonChild("pnas_tf.devices.host.worker")
        try:
            command = {"cores": self._cores, **self._setup}
            answer = self._ask(child, command, what="LiteRT on this computer")
            self.pin_error = str(answer["pin_error"])
        except RunFailed as error:
            raise RuntimeBroken("LiteRT on this computer", received=error.received) from error
        self._child = child
        return child

    def _ask(self, child: JsonChild, command: Mapping[str, Json], *, what: str) -> dict[str, Json]:
        try:
            return child.ask(command, timeout_s=self._timeout_s)
        except TimeoutError as error:
            self._child = None
            raise RunTimedOut(what, received=f"no answer for {self._timeout_s:g} s") from error
        except EOFError as error:
            self._child = None
            raise RunKilled(what, received=str(error)) from error


def own_cores(threads: int) -> CoreChoice:
    """Of those that this process may use; none where the system cannot tell."""
    if not hasattr(os, "sched_getaffinity"):
        return CoreChoice(())
    choice, quota = choose_cores(threads, read_host_cores(os.sched_getaffinity(0))), cpu_quota()
    if quota is None or quota >= threads:
        return choice
    short = (
        f"{threads} thread{'s' * (threads > 1)} on a quota of {quota:g} cores (cgroup): the system "
        "stops them for a part of each period, and figures vary"
    )
    return CoreChoice(choice.cores, "; ".join(filter(None, (choice.note, short))))


def host_device(cores: tuple[int, ...]) -> Device:
    """This computer, as far as it tells."""
    return Device(
        kind="host",
        model=_machine(),
        processor=processor(),
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
    model = _sysctl("hw.model")  # "Mac14,2"
    return f"{model} ({platform.machine()})" if model else platform.machine()


def processor() -> str:
    """What this computer's processor calls itself, with family and model where it says them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        named = _sysctl("machdep.cpu.brand_string")  # "Apple M2"
        return named or platform.processor() or platform.machine()
    facts = dict(
        line.replace("\t", "").split(": ", 1) for line in text.splitlines() if ": " in line
    )

    def told(*names: str) -> str:
        return ", ".join(f"{name} {facts[name]}" for name in names if name in facts)

    if "model name" not in facts:
        return told("CPU implementer", "CPU part") or platform.machine()
    family = told("cpu family", "model")
    return facts["model name"].strip() + (f" ({family})" if family else "")


def _sysctl(name: str) -> str:
    """What a Mac says of itself; "" on other systems."""
    if platform.system() != "Darwin":
        return ""
    try:
        told = subprocess.run(["sysctl", "-n", name], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.decode("utf-8", "replace").strip()[:200]


def _operating_system() -> str:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.version()}"[:100]
