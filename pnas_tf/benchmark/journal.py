"""A file of visits, one JSON line each, so that a killed or disconnected session loses nothing it has measured.

The first line holds device and settings; a journal of others is refused. Knows nothing of the schedule.
"""

from __future__ import annotations

import json
from pathlib import Path

from pnas_tf.benchmark.measurement import Device, Settings, Visit, check_same, from_json, to_json
from pnas_tf.errors import UserError

FORMAT, VERSION = "pnas_tf/visits", 1


class Journal:
    """visits: (model name, sha256, visit) read from `path` when it was opened. path None: kept nowhere."""

    def __init__(self, path: Path | None, device: Device, settings: Settings):
        self.path = path
        self.visits: list[tuple[str, str, Visit]] = []
        if path is None:
            return
        whole = _whole_lines(path)
        if whole:
            self._read(whole, device, settings)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write_line({"format": FORMAT, "version": VERSION, "device": to_json(device), "settings": to_json(settings)},
                             mode="w")

    def append(self, name: str, sha256: str, visit: Visit) -> None:
        """Writes one visit; the system has it when this returns, so killing the process loses nothing."""
        if self.path is not None:
            self._write_line({"model": name, "sha256": sha256, "visit": to_json(visit)}, mode="a")

    def _read(self, lines: list[bytes], device: Device, settings: Settings) -> None:
        where = str(self.path)
        fix = f"Go on with the same device and settings, or delete {where} to start anew."
        try:
            head, *rest = [json.loads(line) for line in lines]
            if (head.get("format"), head.get("version")) != (FORMAT, VERSION):
                raise UserError(f"{where} is no journal of visits", expected=str((FORMAT, VERSION)), received=str(head)[:200],
                                fix=f"Delete {where}.")
            check_same(from_json(Device, head["device"], where=where), device, what=f"unfinished session in {where}: device", fix=fix)
            check_same(from_json(Settings, head["settings"], where=where), settings,
                       what=f"unfinished session in {where}: settings", fix=fix)
            self.visits = [(row["model"], row["sha256"], from_json(Visit, row["visit"], where=where)) for row in rest]
        except (json.JSONDecodeError, KeyError, AttributeError, TypeError) as error:
            raise UserError(f"journal {where} is corrupt", expected="one JSON object a line", received=str(error),
                            fix=f"Delete {where} to start anew.") from error
        # A line cut by a kill must not run into the next one.
        with open(where, "r+b") as stream:
            stream.truncate(sum(len(line) for line in lines))

    def _write_line(self, row: dict, *, mode: str) -> None:
        assert self.path is not None
        with open(self.path, mode, encoding="utf-8") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")


def _whole_lines(path: Path) -> list[bytes]:
    """The lines that end in a newline; a last line without one was being written when the session was killed."""
    if not path.exists():
        return []
    return [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
