"""The log of a run folder: every line that was told, with its details and its time.

Knows nothing of what a person reads of it (`run.terminal`).
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from pathlib import Path


class LogFile(logging.Handler):
    """Keeps lines until it knows the file. A log that cannot be written stops nobody."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        self._command = f"\n{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n"
        self._lines: list[str] = []
        self._path: Path | None = None
        self._made = False

    def open(self, path: Path) -> None:
        """The command, what was kept until now, and all that follows, goes to the end of that
        file."""
        self._path, self._made = path, not path.exists()
        self._lines.insert(0, self._command)
        self._write()

    def leave(self) -> None:
        """Keeps what follows until it knows the next file."""
        self._path = None

    def drop(self) -> None:
        """Writes no more, and takes the file back if this process began it."""
        if self._path is not None and self._made:
            self._path.unlink(missing_ok=True)
        self.leave()

    def keep(self, words: str) -> None:
        """A line that no logger told."""
        self.handle(logging.makeLogRecord({"msg": words, "levelname": "END"}))

    def emit(self, record: logging.LogRecord) -> None:
        self._lines += [f"{line}\n" for line in (self.format(record), *details_of(record))]
        if self._path is not None:
            self._write()

    def _write(self) -> None:
        assert self._path is not None
        text, self._lines = "".join(self._lines), []
        with (
            contextlib.suppress(OSError),
            open(self._path, "a", encoding="utf-8", errors="backslashreplace") as log,
        ):
            log.write(text)


def details_of(record: logging.LogRecord) -> list[str]:
    """The lines of a record that stand in the log alone."""
    return [f"    {line}" for line in getattr(record, "details", ())]
