"""A refusal leaves a run folder as it was: the records of settings and steps are given back when a
step made nothing. Knows nothing of what steps do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact

_RECORDS = (Artifact.CONFIG, Artifact.STEPS)


@contextlib.contextmanager
def unless_refused(folder: Path, made: Sequence[str]) -> Iterator[None]:
    """Within it, a UserError before any of `made` (files and folders of this folder) has changed
    takes back what was recorded, so that the command which it advises is not refused for it."""
    before = _state(folder, made)
    records = {name: _content(folder / name) for name in _RECORDS}
    try:
        yield
    except UserError:
        if _state(folder, made) == before:
            with contextlib.suppress(OSError):  # a full disk must not hide what was refused
                _give_back(folder, records)
        raise


def _give_back(folder: Path, records: dict[Artifact, bytes | None]) -> None:
    for name, content in records.items():
        if content is None:
            (folder / name).unlink(missing_ok=True)
        elif content != _content(folder / name):
            atomic.write_bytes(folder / name, content)


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _state(folder: Path, names: Sequence[str]) -> dict[Path, tuple[int, int]]:
    """Every file with its size and time."""
    files = [
        path for name in names for path in (folder / name, *sorted((folder / name).rglob("*")))
    ]
    facts = {path: path.stat() for path in files if path.is_file()}
    return {path: (fact.st_size, fact.st_mtime_ns) for path, fact in facts.items()}
