"""How far a long piece of work is and how long it will take: on the terminal's live line, or as a
plain line now and then.

Time is the monotonic clock's, so a clock that is set back or forth moves no estimate. Knows nothing
of the work.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from pnas_tf.run.terminal import (
    FIRST_LINE_S,
    LINE_INTERVAL_S,
    TERMINAL,
    Voice,
    columns_of_terminal,
)

Item = TypeVar("Item")
LIVE_INTERVAL_S = 0.5
_BAR = 10  # signs
_MARK_INTERVAL_S, _WINDOW_S = (
    2.0,
    60.0,
)  # what is left is judged by the pace of the last minute, since phases differ


class Progress:
    """A context manager over `total` units of work, `done` of which an earlier call did.

    what: names the work. say: takes the lines for the user; None, and a `Voice`, show them on the
    terminal.
    """

    def __init__(
        self, what: str, total: int, *, done: int = 0, say: Callable[[str], None] | None = None
    ):
        self.what, self.total, self.done = what, total, done
        self._say = None if say is None or isinstance(say, Voice) else say
        self._of = say.name if isinstance(say, Voice) else ""
        self._started = time.monotonic()
        self._marks: deque[tuple[float, int]] = deque()
        self._due = self._started + (LIVE_INTERVAL_S if self._say is None else FIRST_LINE_S)
        self._figures: Mapping[str, str] = {}

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._say is None:
            TERMINAL.rest()

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take at the latest pace; None before two units are done, since
        the first one compiles and warms up, and when all are."""
        pace = self._units_per_s()
        return None if pace is None or self.done >= self.total else (self.total - self.done) / pace

    @property
    def is_due(self) -> bool:
        """Whether the next update will be shown: figures that cost something are worth
        gathering."""
        due = time.monotonic() >= self._due
        return due and (self._say is not None or TERMINAL.is_due(self._started))

    def update(self, units: int = 1, *, figures: Mapping[str, str] | None = None) -> None:
        """`units` more are done. figures: shown beside the estimate."""
        now = time.monotonic()
        self.done += units
        self._figures = figures or self._figures
        if not self._marks or now - self._marks[-1][0] >= _MARK_INTERVAL_S:
            self._marks.append((now, self.done))
        while len(self._marks) > 1 and now - self._marks[1][0] >= _WINDOW_S:
            self._marks.popleft()
        if not self.is_due:
            return
        if self._say is None:
            self._due = now + LIVE_INTERVAL_S
            TERMINAL.show(self._live(), plain=self._plain())
        elif self.done < self.total:
            self._due = now + LINE_INTERVAL_S
            self._say(self._plain())

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted when the next one is asked for."""
        for item in items:
            yield item
            self.update()

    def _units_per_s(self) -> float | None:
        if not self._marks:
            return None
        then, before = self._marks[0]
        elapsed_s = time.monotonic() - then
        return (self.done - before) / elapsed_s if self.done > before and elapsed_s > 0 else None

    @property
    def _percent(self) -> int:
        return 100 * self.done // max(1, self.total)

    @property
    def _names(self) -> str:
        """Stage, work and device, each once."""
        stage = TERMINAL.stage if self._say is None else ""
        work = "" if stage.endswith(self.what) else self.what
        return ", ".join(each for each in (stage, work, self._of) if each)

    def _plain(self) -> str:
        estimate = "" if self.left_s is None else f", about {_roughly(self.left_s)} left"
        line = f"{self._names}: {self.done} of {self.total} ({self._percent} %){estimate}"
        return ", ".join([line, *(f"{name} {value}" for name, value in self._figures.items())])

    def _live(self) -> str:
        """As much as the terminal has columns for, the bar going first and the figures from the
        last one on."""
        filled = _BAR * self.done // max(1, self.total)
        head = f"{self._names} {self._percent:3} %"
        left = "" if self.left_s is None else f"  {_roughly(self.left_s)} left"
        bar = f" [{'#' * filled}{'.' * (_BAR - filled)}]"
        figures = [f"{name} {value}" for name, value in self._figures.items()]
        room = columns_of_terminal() - 1
        for count in range(len(figures), -1, -1):
            rest = f"{left}{'  ' if count else ''}{', '.join(figures[:count])}"
            for middle in (bar, ""):
                if len(head + middle + rest) <= room:
                    return head + middle + rest
        return head[:room]


def silent(line: str) -> None:
    """`say` of a piece of work that nobody watches."""


def _roughly(seconds: float) -> str:
    """An estimate in as few figures as it is worth: they would change with every step."""
    if seconds < 90:
        return f"{5 * max(1, round(seconds / 5))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else duration(60 * minutes)


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
