"""SIGTERM and Ctrl-C as a wish that a loop reads between steps. Knows nothing of the loop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Stopped(KeyboardInterrupt):
    """Work was asked to stop, wrote a checkpoint and ends; the same command continues it."""


class StopRequest:
    """A context manager: within it the first SIGTERM or SIGINT sets `asked`; a second one ends the process as usual.

    Outside the main thread, where Python handles no signals, `asked` stays False.
    """

    def __init__(self) -> None:
        self.asked = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
