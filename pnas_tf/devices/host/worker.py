"""The child process of the host runner: loads .tflite files into the LiteRT interpreter, runs and
times them.

One JSON object a line comes in on standard input, one goes out on what was standard output. A model
that crashes takes only this process with it. Started by `host`; imports no TensorFlow, and of this
project only what reads the system's counters.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

import psutil

from pnas_tf.devices.host import disturbances

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


class Models:
    """Loaded interpreters, the least recently used dropped when they hold more than
    `memory_limit_bytes` together. cores: that this process is held to."""

    def __init__(
        self, *, threads: int, xnnpack: bool, memory_limit_bytes: int, cores: Sequence[int] = ()
    ):
        self.threads, self.xnnpack, self.memory_limit_bytes = threads, xnnpack, memory_limit_bytes
        self.cores = cores
        self.loaded: OrderedDict[str, tuple[Interpreter, int]] = OrderedDict()

    def get(self, path: str) -> Interpreter:
        """The interpreter of `path`, its inputs filled. Raises ValueError or RuntimeError when it
        is no usable model."""
        if path in self.loaded:
            self.loaded.move_to_end(path)
            return self.loaded[path][0]
        before = _resident_bytes()
        interpreter = self._load(path)
        interpreter.invoke()  # the delegate packs weights now, so that the size is true
        size = max(_resident_bytes() - before, os.path.getsize(path))
        self.loaded[path] = (interpreter, size)
        while (
            len(self.loaded) > 1
            and sum(size for _, size in self.loaded.values()) > self.memory_limit_bytes
        ):
            self.loaded.popitem(last=False)
        return interpreter

    def _load(self, path: str) -> Interpreter:
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolver = (
            OpResolverType.AUTO
            if self.xnnpack
            else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        interpreter = Interpreter(
            model_path=path, num_threads=self.threads, experimental_op_resolver_type=resolver
        )
        interpreter.allocate_tensors()
        generator = np.random.default_rng(0)
        for detail in interpreter.get_input_details():
            if np.issubdtype(detail["dtype"], np.floating):
                values = generator.uniform(-1, 1, detail["shape"]).astype(detail["dtype"])
            else:
                bounds = np.iinfo(detail["dtype"])
                values = generator.integers(
                    max(bounds.min, -128), min(bounds.max, 255), detail["shape"]
                ).astype(detail["dtype"])
            interpreter.set_tensor(detail["index"], values)
        return interpreter


def run(models: Models, *, path: str, warmups: int, invocations: int) -> dict[str, object]:
    """Times of `warmups`, then `invocations` runs, in ns, with what they waited for a core, and
    clock and temperature behind them where readable."""
    interpreter = models.get(path)
    started, before = time.time(), disturbances.read()
    invoke, clock, own_clock = interpreter.invoke, time.perf_counter_ns, time.thread_time_ns
    times, own_times = [], []
    for _ in range(warmups + invocations):
        own_begin = own_clock()
        begin = clock()
        invoke()
        times.append(clock() - begin)
        own_times.append(own_clock() - own_begin)
    after, ended = disturbances.read(), time.time()
    clock_mhz = _frequency_mhz(models.cores)  # falls as soon as the model has ended
    alone = models.threads == 1  # with more, this thread waits for the others too
    return {
        "warmups_ns": times[:warmups],
        "samples_ns": times[warmups:],
        "waited_ns": disturbances.waits(times[warmups:], own_times[warmups:]) if alone else [],
        "disturbed": disturbances.words(before, after, invocations=None if alone else len(times)),
        "started_unix_s": started,
        "ended_unix_s": ended,
        "frequency_mhz": clock_mhz,
        "temperature_c": _temperature_c(),
    }


def pin(cores: list[int]) -> str:
    """Holds this process to `cores`. Returns why it could not, or ""."""
    if not cores:
        return ""
    try:
        os.sched_setaffinity(0, cores)
    except (AttributeError, OSError) as error:
        return str(error)
    return ""


def raise_priority() -> None:
    """Lets this process go before others on its cores, where the system allows it (usually to root
    alone).

    On a machine with five times more work than cores, medians varied by 1 % with it and by a factor
    of 3 without. Linux weighs whole sessions before processes (autogroup), so the session's
    priority is raised too; this process has its own.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        with open("/proc/self/autogroup", "w", encoding="ascii") as stream:
            stream.write("-20")
    except (
        AttributeError,
        OSError,
    ):  # other systems, and users without the right: measured with more noise
        return


def _resident_bytes() -> int:
    return psutil.Process().memory_info().rss


def _frequency_mhz(cores: Sequence[int], cpus: str = "/sys/devices/system/cpu") -> float | None:
    """The lowest clock among `cores`, to which this process is held; None where it is held to none,
    or where the system does not tell."""
    clocks = []
    for core in cores:
        try:
            with open(f"{cpus}/cpu{core}/cpufreq/scaling_cur_freq", encoding="ascii") as stream:
                clocks.append(int(stream.read()) / 1000.0)
        except (OSError, ValueError):
            return None
    return min(clocks, default=None)


def _temperature_c() -> float | None:
    """The hottest sensor; None where the system has none to read."""
    try:
        sensors = psutil.sensors_temperatures()
    except (AttributeError, OSError, RuntimeError):  # macOS has no such function
        return None
    values = [entry.current for entries in sensors.values() for entry in entries]
    return max(values, default=None)


def serve(commands: IO[str], replies: IO[str]) -> None:
    """Answers commands until standard input ends. The first one sets up the process."""
    models: Models | None = None
    for line in commands:
        command = json.loads(line)
        try:
            if models is None:
                cores = command.pop("cores")
                pin_error = pin(cores)
                raise_priority()
                models = Models(**command, cores=() if pin_error else cores)
                answer: dict[str, object] = {"pin_error": pin_error}
                gc.disable()  # a collection inside a timed run would be measured
            else:
                answer = run(models, **command)
        except (ValueError, RuntimeError, OSError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


def _main() -> None:
    # Delegates print to descriptor 1, so replies go to a copy of it and their words to standard
    # error.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, replies)


if __name__ == "__main__":
    _main()
