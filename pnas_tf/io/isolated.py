"""Files that C++ libraries read are read first in a child process, where a crash, a hang or a flood
of memory harms nothing.

The child is started once, kept for the life of this process and ends with it. It checks .tflite
models (`tflite`), HDF5 weights (`hdf5`) and PyTorch checkpoints (`pytorch`); quarantine_worker.py
says what it does with them. Knows nothing of networks.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from pnas_tf.errors import UserError

# processor seconds for one file, five times as many where it is run; the largest published network
# takes 0.1
CPU_S = 30
TIMEOUT_S = 600.0  # by the clock, should the child sleep


def inspect(
    kind: str, content: bytes, *, where: str, expected: str, fix: str, **options: Any
) -> Any:
    """What the child found in `content`.

    kind: "tflite", "hdf5" or "pytorch". where: the file's name in errors. options: see
    quarantine_worker.py. Raises UserError when the child refuses the content, dies of it or does
    not end.
    """
    with _lock:
        try:
            answer = _child().ask(
                {"kind": kind, "cpu_s": CPU_S * (5 if options.get("run") else 1), **options},
                content,
            )
        except (EOFError, TimeoutError) as error:
            raise UserError(
                f"{where} is harmful", expected=expected, received=str(error), fix=fix
            ) from error
    if "error" in answer:
        raise UserError(
            f"{where} is corrupt, truncated or of another kind",
            expected=expected,
            received=answer["error"][:300],
            fix=fix,
        )
    return answer["found"]


class _Child:
    """The process behind `inspect`."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        # -m finds this package wherever the parent has it from; no HDF5 plugin is loaded because a
        # file asks for it.
        paths = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "HDF5_PLUGIN_PRELOAD": "::",
        }
        self.owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pnas_tf.io.isolated_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            start_new_session=True,
        )
        self._replies: queue.Queue[bytes] = queue.Queue()
        assert self._process.stdout is not None
        threading.Thread(
            target=_forward, args=(self._process.stdout, self._replies), daemon=True
        ).start()

    @property
    def alive(self) -> bool:
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, command: dict[str, Any], content: bytes) -> dict[str, Any]:
        """Raises EOFError with how the process ended, or TimeoutError; it is gone then."""
        assert self._process.stdin is not None
        words = json.dumps(command).encode()
        try:
            self._process.stdin.write(struct.pack("<QQ", len(words), len(content)) + words)
            self._process.stdin.write(content)
            self._process.stdin.flush()
            reply = self._replies.get(timeout=TIMEOUT_S)
        except BrokenPipeError:
            reply = b""
        except queue.Empty:
            self.stop()
            raise TimeoutError(f"reading it took more than {TIMEOUT_S:.0f} s") from None
        except BaseException:  # interrupted: its answer would be taken for the next file's
            self.stop()
            raise
        if not reply:
            code = self._process.wait()
            self._errors.seek(0)
            words = self._errors.read()[-300:]
            self.stop()
            how = (
                f"was killed by {signal.Signals(-code).name}"
                if code < 0
                else f"ended with exit status {code}"
            )
            raise EOFError(
                f"the process that read it {how}: {words.decode('utf-8', 'replace').strip()}"
            )
        return json.loads(reply)

    def stop(self) -> None:
        """Kills the process and waits for it."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        self._errors.close()


_lock = threading.Lock()
_running: list[_Child] = []


def _child() -> _Child:
    if not _running or not _running[0].alive:
        _running[:] = [_Child()]
    return _running[0]


@atexit.register
def _stop() -> None:
    if _running and _running[0].owner == os.getpid():
        _running.pop().stop()


def _forward(replies: IO[bytes], target: queue.Queue[bytes]) -> None:
    with replies:
        for line in replies:
            target.put(line)
    target.put(b"")
