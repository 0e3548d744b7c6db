"""A file of visits, one JSON line each, so that a killed or disconnected session loses nothing it
has measured.

The first line holds device and settings; a journal of others is refused. Knows nothing of the
schedule.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pnas_tf.devices.record import Device, Settings, Visit, check_same, from_json, to_json
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks
from pnas_tf.io.serialization import record_of

FORMAT, VERSION = "pnas_tf/visits", 1


@dataclass(frozen=True)
class _Row:
    """One line after the first."""

    model: str
    sha256: str
    visit: Any


class Journal:
    """visits: (model name, sha256, visit) read from `path` when it was opened. path None: kept
    nowhere.

    One process at a time has it, until `close`; another one gets a UserError.
    """

    def __init__(self, path: Path | None, device: Device, settings: Settings):
        self.path = path
        self.visits: list[tuple[str, str, Visit]] = []
        self._held: locks.Lock | None = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._held = _held(path)
        whole = _whole_lines(path)
        if whole:
            self._read(whole, device, settings)
        else:
            self._write_line(
                {
                    "format": FORMAT,
                    "version": VERSION,
                    "device": to_json(device),
                    "settings": to_json(settings),
                },
                mode="w",
            )

    def close(self) -> None:
        """Another process may go on from here."""
        if self._held is not None:
            self._held.release()
            self._held = None

    def append(self, name: str, sha256: str, visit: Visit) -> None:
        """Writes one visit; the system has it when this returns, so killing the process loses
        nothing."""
        if self.path is not None:
            self._write_line({"model": name, "sha256": sha256, "visit": to_json(visit)}, mode="a")

    def _read(self, lines: list[bytes], device: Device, settings: Settings) -> None:
        where = str(self.path)
        fix = f"Go on with the same device and settings, or delete {where} to start anew."
        again = f"delete {where} to start anew"
        head, *rows = [
            atomic.parse_json(line, what="journal", where=f"{where}, line {number}", made_by=again)
            for number, line in enumerate(lines, 1)
        ]
        if not isinstance(head, dict) or (head.get("format"), head.get("version")) != (
            FORMAT,
            VERSION,
        ):
            raise UserError(
                f"{where} is no journal of visits",
                expected=str((FORMAT, VERSION)),
                received=repr(head)[:200],
                fix=f"Delete {where}.",
            )
        check_same(
            from_json(Device, head.get("device"), where=where),
            device,
            what=f"unfinished session in {where}: device",
            fix=fix,
        )
        check_same(
            from_json(Settings, head.get("settings"), where=where),
            settings,
            what=f"unfinished session in {where}: settings",
            fix=fix,
        )
        entries = [
            record_of(_Row, row, where=f"{where}, line {number}", fix=again)
            for number, row in enumerate(rows, 2)
        ]
        self.visits = [
            (row.model, row.sha256, from_json(Visit, row.visit, where=f"{where}, line {number}"))
            for number, row in enumerate(entries, 2)
        ]
        # A line cut by a kill must not run into the next one.
        with open(where, "r+b") as stream:
            stream.truncate(sum(len(line) for line in lines))

    def _write_line(self, row: dict, *, mode: str) -> None:
        assert self.path is not None
        with open(self.path, mode, encoding="utf-8") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")


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
    content = atomic.read_bytes(path, what="journal", made_by=f"delete {path} to start anew")
    return [line + b"\n" for line in content.split(b"\n")[:-1]]
