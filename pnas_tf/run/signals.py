"""SIGTERM, Ctrl-C, a closed terminal and what batch systems send before they kill, as a wish that a
loop reads between steps. Knows nothing of the loop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGXCPU, signal.SIGUSR1, signal.SIGUSR2),
)

_ASKED = b"\nstopping: a checkpoint is written first; Ctrl-C again stops at once, without\n"


class Stopped(KeyboardInterrupt):
    """Work was asked to stop, wrote a checkpoint and ends; the same command continues it."""


@contextlib.contextmanager
def going_on(argument: str, place: object) -> Iterator[None]:
    """Work in Python that the same call continues only where `place`, the value of `argument`, is a
    folder of the caller's: Stopped within it says so where that is None."""
    try:
        yield
    except Stopped as stop:
        if place is not None:
            raise
        raise Stopped(f"stopped; with {argument}=FOLDER the same call would go on") from stop


def once(number: int) -> None:
    """Ignores further ones of a signal that comes each second until the process ends."""
    if number == signal.SIGXCPU:
        signal.signal(number, signal.SIG_IGN)


class StopRequest:
    """A context manager: within it the first of SIGNALS sets `asked`; a second one ends the process
    as usual.

    A signal that is ignored, as SIGHUP under nohup, stays so. Outside the main thread, where Python
    handles no signals, `asked` stays False.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.asked = True
        if number == signal.SIGINT:  # by the system's call: a handler may interrupt a print
            with contextlib.suppress(OSError):
                os.write(2, _ASKED)
        self._restore()
        once(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
