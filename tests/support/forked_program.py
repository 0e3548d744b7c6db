"""Runs a step in a process of its own, forked from a server that has TensorFlow
imported already.

The process is as real as one that the shell starts: own arguments, streams, signals and exit
status. Only the 5 s of imports are shared.
"""

import multiprocessing
import os
import sys
from dataclasses import dataclass
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "pnas_tf.search.loop",
        "pnas_tf.search.supernet_weights",
        "pnas_tf.tflite.export",
        "pnas_tf.data.dataset",
        "pnas_tf.report.page",
        "tensorflow_datasets",
        "pnas_tf.steps.programs",
    ]
)


@dataclass(frozen=True)
class Ended:
    status: int
    output: str


def start(name, arguments, *, log, cwd):
    process = SERVER.Process(
        target=_work, args=(name, [str(argument) for argument in arguments], str(log), str(cwd))
    )
    process.start()
    return process


def run(name, *arguments, cwd):
    """Ended with the exit status and everything that was printed to either stream."""
    log = Path(cwd) / ".log"
    process = start(name, arguments, log=log, cwd=cwd)
    process.join(400)
    output = log.read_text()
    log.unlink()
    return Ended(process.exitcode, output)


def _work(name, arguments, log, cwd):
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115 (the process's own)
    os.chdir(cwd)
    sys.argv = [f"tools/{name}.py", *arguments]
    from pnas_tf.cli.main import run

    run(name)


def contents(folder):
    """Name -> bytes of every file of a run, but for the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def assert_refused(ended, *words):
    """Exit status 2, a message in four parts that holds all `words`, and no traceback."""
    assert ended.status == 2, ended.output
    for word in ("expected:", "received:", "what to do:", *words):
        assert word in ended.output, ended.output
    assert "Traceback" not in ended.output
