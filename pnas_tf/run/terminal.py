"""What a person reads while a program works: one live line, a line when a stage ends, warnings in
few words. The rest goes to the run folder's log.txt, and to the terminal with --verbose.

Everything that is told goes through the logger "pnas_tf": INFO is a detail, RESULT a line to read,
WARNING what the reader must know, with `extra={"details": lines}` for the log alone. Here are the
two readers of that logger. Knows nothing of what is told.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pnas_tf.run.layout import Artifact
from pnas_tf.run.log_file import LogFile, details_of

RESULT = 25  # between INFO and WARNING
logging.addLevelName(RESULT, "RESULT")
LOGGER = logging.getLogger("pnas_tf")
# Between two lines of progress where no line can be drawn anew, and before the first one.
LINE_INTERVAL_S, FIRST_LINE_S = 60.0, 20.0
_SMALLEST_COLUMNS = 20
_UNIT = re.compile(r"(?<=\d) (?=[%A-Za-z]{1,3}\b|%)")  # a figure stays beside it
_LAID_OUT = re.compile(r"^ |  |\b(pip|pnas|npm) ")


class Voice:
    """Takes details, line by line, of what is called `name`. A `Progress` that is given one as its
    `say` is shown on the live line instead."""

    def __init__(self, name: str = ""):
        self.name = name

    def __call__(self, line: str) -> None:
        LOGGER.info("%s", f"{self.name}: {line}" if self.name else line)


DETAILS = Voice()


def say(line: str) -> None:
    """A line that everybody reads, on standard output."""
    LOGGER.log(RESULT, "%s", line)


def warn(meaning: str, details: Sequence[str] = ()) -> None:
    """meaning: one line, what it means for the reader; told once. details: for the log."""
    LOGGER.warning("%s", meaning, extra={"details": tuple(details)})


class Terminal(logging.Handler):
    """The two streams of the process, which have one owner."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._drawn = 0
        self.verbose = self.quiet = False
        self._forget()

    def _forget(self) -> None:
        self.stage = ""  # what is worked on, before every line of progress
        self._log: LogFile | None = None
        self._place: Path | None = None  # of the log
        self._skipped: list[str] = []
        self._begun = False
        self._told: set[str] = set()
        self._next_line_s = 0.0

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Within it lines of the library are told and kept; without it warnings alone are, in
        Python's way."""
        before, modes = (LOGGER.level, LOGGER.propagate), (self.verbose, self.quiet)
        self._log = LogFile()
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        LOGGER.addHandler(self._log)
        LOGGER.addHandler(self)
        try:
            yield
            self._tell_skipped()
        finally:
            self.wipe()
            LOGGER.removeHandler(self)
            LOGGER.removeHandler(self._log)
            LOGGER.setLevel(before[0])
            LOGGER.propagate = before[1]
            self.verbose, self.quiet = modes
            self._forget()

    def keep_log(self, folder: Path) -> None:
        """From here on, and of what was told since `leave_log`, everything stands in the folder's
        log.txt."""
        if self._log is not None and self._place != folder / Artifact.LOG:
            self._place = folder / Artifact.LOG
            self._log.open(self._place)

    def leave_log(self) -> None:
        """What is told from here on is the next folder's: a call may work on several."""
        if self._log is not None:
            self._log.leave()
            self._place = None

    def close_with(self, words: str) -> None:
        """Makes room for words that the program ends with, which stand in the log too."""
        self._begun = False
        self.wipe()
        self._tell_skipped()
        if self._log is not None:
            self._log.keep(words)

    def drop_log(self, folder: Path) -> None:
        """Takes back the log of a folder, if this process began it: it is no run folder after
        all."""
        if self._log is not None and self._place == folder / Artifact.LOG:
            self._log.drop()
            self._place = None

    def emit(self, record: logging.LogRecord) -> None:
        """Prints what this person wants to read of it."""
        line = record.getMessage()
        if record.levelno >= logging.WARNING:
            if line in self._told:
                return
            self._told.add(line)
            more = f" (details: {self._place})" if details_of(record) and self._place else ""
            self._print(f"WARNING {line}{more}", error=True)
        elif self.verbose or (record.levelno >= RESULT and not self.quiet):
            self._print(line)

    def skip(self, name: str) -> None:
        """A step that was complete; told in one line with others."""
        LOGGER.info("%s: complete, skipped", name)
        if self._log is not None and not self.verbose:
            self._skipped.append(name)

    def begin(self, *, continues: bool) -> None:
        """The stage's work begins, or goes on where it was stopped."""
        self._begun = bool(self.stage)
        self._tell_skipped()
        if self.stage and (continues or not can_redraw()):
            say(f"{self.stage}: begins{' where it was stopped' * continues}")
        self.rest()
        self._next_line_s = time.monotonic() + FIRST_LINE_S

    def end(self, summary: str) -> None:
        """What came of a stage, where it had to be worked on."""
        begun, self._begun = self._begun, False
        if begun:
            say(f"{self.stage}: {summary}")

    @contextlib.contextmanager
    def stages(self) -> Iterator[None]:
        """Within it `stage` is set; afterwards there is no further one, whatever ended it."""
        try:
            yield
            self._tell_skipped()
        finally:
            self.stage, self._begun = "", False

    def show(self, text: str, *, plain: str) -> None:
        """Draws the live line. plain: for streams that cannot redraw, now and then; see
        `is_due`."""
        if self.quiet:
            return
        if can_redraw():
            self.acquire()  # devices are measured in threads
            try:
                line = text[: columns_of_terminal() - 1]
                sys.stderr.write("\r" + line.ljust(self._drawn))
                sys.stderr.flush()
                self._drawn = len(line)
            finally:
                self.release()
        else:
            self._next_line_s = time.monotonic() + LINE_INTERVAL_S
            with contextlib.suppress(OSError, ValueError, AttributeError):
                print(plain, file=sys.stderr, flush=True)

    def is_due(self, started_s: float) -> bool:
        """Whether `show` would show more than it has, of work that began then."""
        now = time.monotonic()
        return can_redraw() or now >= max(self._next_line_s, started_s + FIRST_LINE_S)

    def rest(self) -> None:
        """No progress to show just now, as where something is loaded or compiled."""
        self.wipe()
        if self._begun and can_redraw():
            self.show(f"{self.stage}  ...", plain="")

    def wipe(self) -> None:
        """Takes the live line away, before anything else is printed."""
        drawn, self._drawn = self._drawn, 0
        if drawn:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.write("\r" + " " * drawn + "\r")
                sys.stderr.flush()

    def _print(self, line: str, *, error: bool = False) -> None:
        self.wipe()
        stream = sys.stderr if error else sys.stdout
        text = "\n".join(_folded(part, stream) for part in line.split("\n"))
        try:
            print(_writable(text, stream), file=stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError as problem:  # as of `> FILE` on a full disk
            name = f"standard {'error' if error else 'output'}"
            raise OSError(problem.errno, problem.strerror, name) from problem
        self.rest()

    def _tell_skipped(self) -> None:
        names, self._skipped = self._skipped, []
        if names:
            say(f"complete, skipped: {', '.join(names)}")


def _folded(line: str, stream: TextIO | None) -> str:
    """Broken between words where a terminal would break within them. What its author has laid out,
    and what somebody may copy, stays."""
    room = columns_of_terminal() - 1
    if len(line) <= room or _LAID_OUT.search(line) or not _is_terminal(stream):
        return line
    held = _UNIT.sub("\0", line)
    return textwrap.fill(
        held, room, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    ).replace("\0", " ")


def _writable(text: str, stream: TextIO | None) -> str:
    """With a mark for signs that a stream would refuse, as those of a user's own program in Python
    do; programs of ours open theirs otherwise."""
    if stream is None or getattr(stream, "errors", None) != "strict":
        return text
    return text.encode(stream.encoding, "replace").decode(stream.encoding)


def can_redraw() -> bool:
    """Whether standard error is a terminal that can draw a line anew. That of `!pnas` in a notebook
    says so of itself, and the notebook keeps each drawing."""
    in_notebook = "JPY_PARENT_PID" in os.environ
    return _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb" and not in_notebook


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def columns_of_terminal() -> int:
    """Of the terminal behind standard error; $COLUMNS before what it says itself."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return max(_SMALLEST_COLUMNS, int(os.environ["COLUMNS"]))
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, AttributeError, ValueError):
        columns = shutil.get_terminal_size().columns
    return max(_SMALLEST_COLUMNS, columns or 80)


TERMINAL = Terminal()
