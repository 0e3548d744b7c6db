"""How a program behaves towards the machine: it ends soon after it is asked to, and needs no
terminal, standard input or reader.

Knows nothing of what the program does: every file of ours is whole or absent at any moment, so it
may end anywhere.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pnas_tf.errors import UserError
from pnas_tf.io import locks
from pnas_tf.run.signals import SIGNALS, Stopped, once
from pnas_tf.run.terminal import TERMINAL

EXIT_INTERRUPTED = 130
_TEMPORARY = "pnas_tf-"
_INTERRUPTED = "interrupted; the same command continues from the last checkpoint"
_STOPPED = (
    "stopped in the middle of a long call; the same command continues from the last checkpoint"
)
# Waits for the first byte, then for the end of its parent, and kills it when that does not come.
_GUARD = """
import os, select, signal, sys, time
if os.read(0, 1):
    end = time.monotonic() + float(sys.argv[2])
    while (left := end - time.monotonic()) > 0:
        if select.select([0], [], [], left)[0] and not os.read(0, 1):
            sys.exit()
    if os.getppid() == int(sys.argv[1]):
        os.kill(int(sys.argv[1]), signal.SIGKILL)
        os.write(2, (sys.argv[3] + "\\n").encode())
"""
_held: list[
    locks.Lock | None
] = []  # on our temporary folder, until the process ends however it ends
GRACE_S = 8.0  # for a checkpoint; whoever asks waits 10 s in all


def stop_when_asked() -> None:
    """From here on a signal of SIGNALS raises Stopped in the main thread, and GRACE_S later the
    process is gone whatever it is doing.

    Loops that write checkpoints take the first signal themselves (`StopRequest`). Called once, from
    the main thread.
    """
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, _raise)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # Python's handlers, and threads too, wait for calls into C++ that hold the interpreter's lock:
    # a conversion takes 15 s. The byte that the system's handler writes does not wait, and a
    # process of its own reads it. It ends with this one.
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    subprocess.Popen(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _GUARD,
            str(os.getpid()),
            str(GRACE_S),
            f"{sys.argv[0]}: {_STOPPED}",
        ],
        stdin=reading,
        start_new_session=True,
    )  # Ctrl-C reaches the whole session
    os.close(reading)


def _raise(number: int, frame: FrameType | None) -> None:
    # Another one, as of Ctrl-C twice, would be raised out of what cleans up.
    for each in SIGNALS:
        if signal.getsignal(each) is _raise:
            signal.signal(each, _tell_and_end)
    once(number)
    # An exception that goes up through C++ which called back into Python, as tracing does, aborts
    # the process.
    while frame is not None:
        if f"{os.sep}tensorflow" in frame.f_code.co_filename:
            _tell_and_end()
        frame = frame.f_back
    raise Stopped


def say_last(words: object) -> None:
    """What the program ends with. Nobody may read, or the disk that it is written to be full: the
    exit status speaks."""
    with contextlib.suppress(OSError):
        TERMINAL.close_with(f"{sys.argv[0]}: {words}")
        print(f"{sys.argv[0]}: {words}", file=sys.stderr, flush=True)


def tell_interrupted() -> None:
    """Once, however often the program is asked to stop: further signals end what it still does
    without another word."""
    _answer(_wait)
    say_last(_INTERRUPTED)
    _answer(_end)


def _answer(handler: Callable[..., None]) -> None:
    for each in SIGNALS:
        if signal.getsignal(each) in (_raise, _tell_and_end, _wait):
            signal.signal(each, handler)


def _wait(*_: object) -> None:
    """For the words that are being said."""


def _tell_and_end(*_: object) -> None:
    # RuntimeError: the signal came in the middle of a print.
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        tell_interrupted()
    _end()


def _end(*_: object) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        sys.stdout.flush()
    if Path(tempfile.gettempdir()).name.startswith(_TEMPORARY):
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
    os._exit(EXIT_INTERRUPTED)


def keep_temporary_files_together() -> None:
    """Gives this process and its children a temporary folder of their own, and takes away those of
    killed ones.

    TensorFlow writes a file for every function that it traces and removes it when the process ends,
    which a killed one does not. Called before anything imports TensorFlow: what is registered first
    is done last at exit.
    """
    try:
        parent = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise UserError(
            "there is no folder for temporary files",
            expected="one that can be written, with space left",
            received=str(error),
            fix="Name one: export TMPDIR=FOLDER",
        ) from error
    for other in parent.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):  # another user's
            lock = locks.try_lock(other, create=False)
            if lock is not None:
                with lock:
                    if lock.exclusive:
                        shutil.rmtree(other)
    own = tempfile.mkdtemp(prefix=_TEMPORARY)
    _held.append(locks.try_lock(own, create=False))
    tempfile.tempdir = os.environ["TMPDIR"] = own
    atexit.register(shutil.rmtree, own, ignore_errors=True)


def open_standard_streams() -> None:
    """Gives closed standard streams (`<&-`, `>&-`) to the null device, and prints line by line, so
    that `| tee` shows lines as they come.

    A closed one would pass its number to the next file that is opened, and what C++ libraries print
    would end up in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 (its own)
        elif number and hasattr(stream, "reconfigure"):
            # A sign that the terminal has not, or a file name that is no text, ends no program.
            errors = "replace" if name == "stdout" else "backslashreplace"
            stream.reconfigure(line_buffering=True, errors=errors)
