"""Commands as a user types them, each in a process without TensorFlow.

A process that has imported what `pnas` imports before TensorFlow forks once a command: as fresh as
an interpreter that a shell starts, without half a second of imports. What must be seen of a real
start (the console script, the module path) has tests of its own.
"""

import atexit
import contextlib
import functools
import json
import os
import runpy
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PNAS = [sys.executable, "-c", "from pnas_tf.cli.main import main; main()"]


@dataclass(frozen=True)
class Ended:
    """loaded: whether TensorFlow was."""

    returncode: int
    stdout: str
    stderr: str
    loaded: bool


def typed(*words, cwd, file="", **environment):
    """`pnas WORDS`, or `python FILE WORDS`; environment: variables besides this process's own."""
    command = {"words": [str(word) for word in words], "cwd": str(cwd), "file": str(file)}
    command["environment"] = {**os.environ, **environment}
    return Ended(*_server().ask(command, timeout_s=1200))


def called(command, *, cwd, text=True, without=(), **environment):
    """The ended process of a fresh interpreter, as a shell starts it. without: names of variables
    that it does not get."""
    kept = {name: value for name, value in os.environ.items() if name not in without}
    paths = [environment.pop("PYTHONPATH", ""), str(ROOT)]
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment},
        capture_output=True,
        text=text,
        timeout=1200,
    )


@functools.cache
def _server():
    from pnas_tf.io.json_child import JsonChild

    paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    child = JsonChild("typed_commands", environment={"PYTHONPATH": paths})
    atexit.register(child.stop)
    return child


def _serve():
    import pnas_tf.cli.main
    import pnas_tf.cli.program
    import pnas_tf.latency.table
    import pnas_tf.steps.requests  # noqa: F401

    replies = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        command = json.loads(line)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            child = os.fork()
            if not child:
                _be(command, out.fileno(), errors.fileno())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            texts = []
            for stream in (out, errors):
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        told, _, loaded = texts[1].rpartition("\n")
        replies.write(json.dumps([status, texts[0], told, loaded == "loaded"]) + "\n")
        replies.flush()


def _be(command, out, errors):
    """Is the program, to its end. Its last line of standard error says whether it has loaded
    TensorFlow."""
    os.setsid()
    for descriptor, number in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (errors, 2)):
        os.dup2(descriptor, number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (the process's own)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv = [command["file"] or "pnas", *command["words"]]
    status = 1
    try:
        if command["file"]:
            runpy.run_path(command["file"], run_name="__main__")
        else:
            from pnas_tf.cli.main import main

            main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        sys.stderr.write("\nloaded" if "tensorflow" in sys.modules else "\nquick")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
