"""A file of runs, one JSON line each, so that a killed or disconnected session loses nothing it
has measured.

The first line holds device and settings; a log of others is refused. One whose last run is older
than a day is put aside: a device of then is not the device of now. Knows nothing of the schedule.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pnas_tf.devices.record import Device, ModelRun, Settings
from pnas_tf.devices.record_file import check_same
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks
from pnas_tf.io.serialization import record_of, to_json
from pnas_tf.run.progress import silent

FORMAT: Final = "pnas_tf/visits"
VERSION: Final = 2
MAX_AGE_S = 86_400.0


@dataclass(frozen=True)
class _Head:
    """The first line."""

    format: Literal["pnas_tf/visits"]
    version: Literal[2]
    device: Device
    settings: Settings


@dataclass(frozen=True)
class _Row:
    """One line after the first."""

    model: str
    sha256: str
    visit: ModelRun


class ResumeLog:
    """runs: (model name, sha256, run) read from `path` when it was opened. path None: kept
    nowhere.

    One process at a time has it, until `close`; another one gets a UserError. say: takes a line
    where an old log is put aside, as `path` with ".old" behind it. clock: seconds since 1970.
    """

    def __init__(
        self,
        path: Path | None,
        device: Device,
        settings: Settings,
        *,
        say: Callable[[str], None] = silent,
        clock: Callable[[], float] = time.time,
    ):
        self.path = path
        self.runs: list[tuple[str, str, ModelRun]] = []
        self._held: locks.Lock | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._held = _held(path)
        try:
            whole = _whole_lines(path)
            if whole:
                self._read(whole, device, settings)
            age_s = clock() - max((run.started_unix_s for *_, run in self.runs), default=clock())
            if age_s > MAX_AGE_S:
                say(
                    f"the runs from before are {age_s / 86_400:.0f} days old: measuring begins anew"
                )
                atomic.write_bytes(path.with_name(f"{path.name}.old"), b"".join(whole))
                self.runs.clear()
            if not whole or age_s > MAX_AGE_S:
                self._write_line(_Head(FORMAT, VERSION, device, settings), mode="w")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Another process may go on from here."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def append(self, name: str, sha256: str, run: ModelRun) -> None:
        """Writes one run; the system has it when this returns, so killing the process loses
        nothing."""
        if self.path is not None:
            self._write_line(_Row(name, sha256, run), mode="a")

    def _read(self, lines: list[bytes], device: Device, settings: Settings) -> None:
        where = str(self.path)
        fix = f"Go on with the same device and settings, or delete {where} to start anew."
        again = f"delete {where} to start anew"
        documents = [
            atomic.parse_json(
                line, what="resume log", where=f"{where}, line {number}", made_by=again
            )
            for number, line in enumerate(lines, 1)
        ]
        head = record_of(_Head, documents[0], where=f"{where}, line 1", fix=fix)
        what = f"unfinished session in {where}"
        check_same(head.device, device, what=f"{what}: device", fix=fix)
        check_same(head.settings, settings, what=f"{what}: settings", fix=fix)
        for number, document in enumerate(documents[1:], 2):
            row = record_of(_Row, document, where=f"{where}, line {number}", fix=again)
            self.runs.append((row.model, row.sha256, row.visit))
        # A line cut by a kill must not run into the next one.
        with open(where, "r+b") as stream:
            stream.truncate(sum(len(line) for line in lines))

    def _write_line(self, row: _Head | _Row, *, mode: Literal["a", "w"]) -> None:
        assert self.path is not None
        with open(self.path, mode, encoding="utf-8") as stream:
            stream.write(json.dumps(to_json(row), allow_nan=False) + "\n")


def _held(path: Path) -> locks.Lock:
    lock = locks.try_lock(path)
    if lock is None:
        raise UserError(
            f"session {path} is being measured",
            expected="one process that measures these models on this device",
            received="another one holds the file",
            fix="Wait for it to end; the table is then built from what it measured.",
        )
    return lock


def _whole_lines(path: Path) -> list[bytes]:
    """The lines that end in a newline; a last line without one was being written when the session
    was killed."""
    if not path.exists():
        return []
    content = atomic.read_bytes(path, what="resume log", made_by=f"delete {path} to start anew")
    return [line + b"\n" for line in content.split(b"\n")[:-1]]
