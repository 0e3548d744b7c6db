"""A child process that answers one line of JSON with another.

What C++ libraries do to it (crashes, hangs, floods of memory) harms nobody else. Knows nothing of
what is asked.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from pnas_tf.io.serialization import Json

_WAIT_S = 1.0
_ROOT = Path(__file__).resolve().parents[2]  # holds the package: a checkout, or site-packages
# Our children compute on the CPU: a card that this process holds would have no memory for them.
WITHOUT_GPU = {"CUDA_VISIBLE_DEVICES": "-1", "HIP_VISIBLE_DEVICES": "-1"}
# The working folder off the path, where a user's own inspect.py would hide the library's.
WITHOUT_FOLDER = "import sys; sys.path[:] = filter(None, sys.path)\n"
_START = WITHOUT_FOLDER + "import runpy; runpy.run_module({module!r}, None, '__main__')"


class JsonChild:
    """A process that runs a module of ours and ends with this process, or when it is stopped.

    Args:
        module: dotted name of the module that it runs as a program.
        environment: variables that it gets besides ours.
    """

    def __init__(self, module: str, *, environment: Mapping[str, str] | None = None):
        self.owner = os.getpid()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        paths = [str(_ROOT), os.environ.get("PYTHONPATH", "")]
        found = {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(module=module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **WITHOUT_GPU, **found, **(environment or {})},
            start_new_session=True,
        )
        self._replies: queue.Queue[bytes] = queue.Queue()
        assert self._process.stdout is not None
        # A thread, since pipes have no time limit that works on every system.
        threading.Thread(
            target=_forward, args=(self._process.stdout, self._replies), daemon=True
        ).start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, and is this process's own: a fork has none of its parent's children."""
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(
        self, command: Mapping[str, Json], content: bytes = b"", *, timeout_s: float
    ) -> dict[str, Json]:
        """The answer to a command.

        Args:
            command: a JSON object, sent as one line.
            content: bytes that follow the line; the command says how many.
            timeout_s: seconds in which this process is not stopped itself, as by Ctrl-Z.

        Raises:
            TimeoutError: no answer in time. The process is gone then.
            EOFError: it ended instead; the text says how, with its last words.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n" + content)
            self._process.stdin.flush()
            reply = self._answer(timeout_s)
        except BrokenPipeError:
            reply = b""
        except queue.Empty:
            self.stop()
            raise TimeoutError from None
        except BaseException:  # interrupted: its answer would be taken for the next command's
            self.stop()
            raise
        if not reply:
            raise EOFError(self._ending())
        return json.loads(reply)

    def _answer(self, timeout_s: float) -> bytes:
        """Raises queue.Empty. A wait in which this process stood still counts as one of many."""
        waits = max(1, math.ceil(timeout_s / _WAIT_S))
        for _ in range(waits - 1):
            with contextlib.suppress(queue.Empty):
                return self._replies.get(timeout=timeout_s / waits)
        return self._replies.get(timeout=timeout_s / waits)

    def stop(self) -> None:
        """Kills the process and waits for it."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._errors.close()

    def _ending(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode("utf-8", "replace").strip()[-500:]
        self.stop()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return f"the process was {how}" + (f", its last words: {words}" if words else "")


def _forward(replies: IO[bytes], target: queue.Queue[bytes]) -> None:
    with replies:
        for line in replies:
            target.put(line)
    target.put(b"")
