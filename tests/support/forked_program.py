"""Runs a step in a process of its own, forked from a server that has TensorFlow
imported already.

The process is as real as one that the shell starts: own arguments, streams, signals and exit
status. Only the 5 s of imports are shared.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

# Whose whole way takes half a minute.
SPACE = MBConvSpace(
    "small",
    8,
    10,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 1, 1), Stage(16, 1, 2)),
    head_width=16,
    candidates=(MBConv(3, 1), MBConv(3, 6)),
    stem_stride=1,
)
# The one server of a test process: there can be no second one with other modules.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pnas_tf.search.loop",
        "pnas_tf.search.objective",
        "pnas_tf.training.loop",
        "pnas_tf.search.supernet_weights",
        "pnas_tf.tflite.export",
        "pnas_tf.data.dataset",
        "pnas_tf.report.page",
        "tensorflow_datasets",
        "pnas_tf.steps.programs",
        "pnas_tf.cli.program",
        "pnas_tf.search.api",
        "pnas_tf.latency.build",
        "pnas_tf.devices.host.runner",
        "pnas_tf.report.summary",
        "tensorboard.summary.v2",
    ]
)


@dataclass(frozen=True)
class Ended:
    status: int
    output: str


@dataclass(frozen=True)
class Signal:
    """A signal that the process sends itself, so that it never comes when the process has ended.

    number: of the signal. prints: it comes `later_s` after the process has printed this; or files:
    when there are as many files as `count` of this pattern, from the root.
    """

    number: int
    prints: str = ""
    later_s: float = 0.0
    files: str = ""
    count: int = 1

    def send(self):
        os.kill(os.getpid(), self.number)

    def arm(self):
        """Called by the process that is to get it."""
        if self.files:
            threading.Thread(target=self._watch, daemon=True).start()
        else:
            sys.stdout, sys.stderr = (_Heard(stream, self) for stream in (sys.stdout, sys.stderr))

    def _watch(self):
        pattern = self.files.lstrip("/")
        while len(list(Path("/").glob(pattern))) < self.count:
            time.sleep(0.005)
        self.send()


class _Heard:
    """A stream that sends a signal when a certain text has been written to it."""

    def __init__(self, stream, of):
        self._stream, self._signal, self._sent, self._line = stream, of, False, ""

    def write(self, text):
        written = self._stream.write(text)
        self._line = (self._line + text)[-10_000:]
        if not self._sent and self._signal.prints in self._line:
            self._sent = True
            self._stream.flush()
            if self._signal.later_s:
                threading.Timer(self._signal.later_s, self._signal.send).start()
            else:
                self._signal.send()
        return written

    def __getattr__(self, name):
        return getattr(self._stream, name)


def start(name, arguments, *, log, cwd, signalled=None):
    """The process, which prints all details. signalled: a Signal that it sends itself."""
    process = SERVER.Process(
        target=_work,
        args=(name, [*map(str, arguments), "--verbose"], str(log), str(cwd), signalled),
    )
    process.start()
    return process


def wait_until_paused(process, *, log):
    """Until the process has sent itself SIGSTOP."""
    while True:
        assert process.is_alive(), Path(log).read_text()
        shown = subprocess.run(
            ["ps", "-o", "state=", "-p", str(process.pid)], capture_output=True, text=True
        )
        if shown.stdout.strip().startswith("T"):
            return
        time.sleep(0.01)


def go_on(process):
    """Ends the pause."""
    os.kill(process.pid, signal.SIGCONT)


def run(name, *arguments, cwd):
    """Ended with the exit status and everything that was printed to either stream."""
    log = Path(cwd) / ".log"
    process = start(name, arguments, log=log, cwd=cwd)
    process.join(1800)
    output = log.read_text()
    log.unlink()
    return Ended(process.exitcode, output)


def _work(name, arguments, log, cwd, signalled=None):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115 (the process's own)
    os.chdir(cwd)
    sys.argv = [f"tools/{name}.py", *arguments]
    from pnas_tf.cli.main import run
    from pnas_tf.devices import schedule

    schedule.ROUNDS_OF_FEW = (3, 0)  # what a test of programs proves is no latency
    if signalled:
        signalled.arm()
    run(name)


def contents(folder):
    """Name -> bytes of every file of a run, but for the lock and the log."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name not in (".lock", "log.txt")
    }


def assert_refused(ended, *words):
    """Exit status 2, a message in four parts that holds all `words`, and no traceback."""
    assert ended.status == 2, ended.output
    for word in ("expected:", "received:", "what to do:", *words):
        assert word in ended.output, ended.output
    assert "Traceback" not in ended.output
