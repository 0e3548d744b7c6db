"""How far a long piece of work is and how long it will take: a bar on a terminal, elsewhere a plain
line now and then.

A terminal that cannot redraw (TERM=dumb) counts as none. Time is the monotonic clock's, so a clock
that is set back or forth moves no estimate. Knows nothing of the work.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
FIRST_LINE_S, LINE_INTERVAL_S, BAR_INTERVAL_S = 10.0, 30.0, 0.5
_MARK_INTERVAL_S, _WINDOW_S = (
    2.0,
    60.0,
)  # what is left is judged by the pace of the last minute, since phases differ


class Progress:
    """A context manager over `total` units of work, `done` of which an earlier call did.

    what: names the work. say: takes the lines for the user; None prints them to standard error, or
    draws a bar there.
    """

    def __init__(
        self, what: str, total: int, *, done: int = 0, say: Callable[[str], None] | None = None
    ):
        self.what, self.total, self.done = what, total, done
        self._say = say
        self._bar = say is None and can_redraw()
        self._started = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque()
        self._due = self._started + (BAR_INTERVAL_S if self._bar else FIRST_LINE_S)
        self._figures = ""
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._wipe()

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at the latest pace; None before two units are done, since
        the first one compiles and warms up."""
        pace = self._units_per_s()
        return None if pace is None else (self.total - self.done) / pace

    @property
    def is_due(self) -> bool:
        """Whether the next update will be shown: figures that cost something are worth
        gathering."""
        return time.monotonic() >= self._due

    def update(self, units: int = 1, *, figures: Mapping[str, str] | None = None) -> None:
        """`units` more are done. figures: shown beside the estimate."""
        now = time.monotonic()
        self.done += units
        if figures:
            self._figures = ", ".join(f"{name} {value}" for name, value in figures.items())
        if not self._marks or now - self._marks[-1][0] >= _MARK_INTERVAL_S:
            self._marks.append((now, self.done))
        while len(self._marks) > 1 and now - self._marks[1][0] >= _WINDOW_S:
            self._marks.popleft()
        if now >= self._due and (self._bar or self.done < self.total):
            self._due = now + (BAR_INTERVAL_S if self._bar else LINE_INTERVAL_S)
            if self._bar:
                self._draw(now)
            else:
                self._tell()

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted when the next one is asked for."""
        for item in items:
            yield item
            self.update()

    def print(self, line: str) -> None:
        """Prints a line of results to standard output, past the bar."""
        self._wipe()
        print(line, flush=True)

    def _units_per_s(self) -> float | None:
        if not self._marks:
            return None
        then, before = self._marks[0]
        elapsed_s = time.monotonic() - then
        return (self.done - before) / elapsed_s if self.done > before and elapsed_s > 0 else None

    def _tell(self) -> None:
        left_s = self.left_s
        estimate = "" if left_s is None else f", about {duration(left_s)} left"
        line = (
            f"{self.what}: {self.done} of {self.total} "
            f"({100 * self.done // max(1, self.total)} %){estimate}"
        )
        line += f", {self._figures}" if self._figures else ""
        if self._say is not None:
            self._say(line)
        else:
            print(line, file=sys.stderr, flush=True)

    def _draw(self, now: float) -> None:
        columns = shutil.get_terminal_size().columns
        meter = tqdm.format_meter(
            self.done,
            self.total,
            now - self._started,
            ncols=columns - 1,
            prefix=self.what,
            unit="",
            rate=self._units_per_s(),
            postfix=self._figures,
            ascii="utf" not in (getattr(sys.stderr, "encoding", "") or "").lower(),
        )
        sys.stderr.write("\r" + meter.ljust(columns - 1))
        sys.stderr.flush()
        self._drawn = True

    def _wipe(self) -> None:
        if self._drawn:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()
            self._drawn = False


def silent(line: str) -> None:
    """`say` of a piece of work that nobody watches."""


def duration(seconds: float) -> str:
    """8 s, 2 min 10 s, 3 h 5 min, 2 days 3 h."""
    whole = max(0, round(seconds))
    for size, name, smaller, smaller_name in (
        (86400, "days", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // smaller} {smaller_name}"
    return f"{whole} s"


def can_redraw() -> bool:
    """Whether standard error is a terminal that can draw a line anew."""
    try:
        return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no standard error at all, or a closed one
        return False
