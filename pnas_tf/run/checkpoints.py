"""Checkpoints: named arrays and a JSON state in one file, whole or absent. Knows nothing of what
they mean.

A checkpoint is an .npz without pickle that numpy alone can read: the arrays, the state as JSON
bytes, and a SHA-256 over both. It is written beside its place and renamed into it, so a process
killed at any moment leaves the last one as it was.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import re
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, npy
from pnas_tf.io.serialization import value_of

FORMAT, VERSION = "pnas_tf/checkpoint", 1
DUE_S = 300.0
_STATE, _DIGEST = "__state__", "__sha256__"
MAX_BYTES = 8 * 2**30
Value = TypeVar("Value")
_NAME = re.compile(r"step-(\d{10})\.npz")


@dataclass(frozen=True)
class Checkpoint:
    """arrays by name, and the JSON state they were saved with."""

    step: int
    arrays: dict[str, np.ndarray]
    state: dict[str, object]

    def array(self, name: str, *, shape: tuple[int, ...], where: str) -> np.ndarray:
        """An array of that shape and of finite numbers. Raises UserError naming it."""
        found = self.arrays.get(name)
        if found is None or found.shape != shape or not np.isfinite(found).all():
            received = (
                "none" if found is None else f"{list(found.shape)}, or a number that is not finite"
            )
            raise UserError(
                f"array '{name}' of {where}",
                expected=f"finite numbers of shape {list(shape)}",
                received=received,
                fix="Delete that checkpoint; the one before it is used.",
            )
        return found

    def value(self, name: str, hint: type[Value], *, where: str) -> Value:
        """An entry of the state, of a type that `serialization.value_of` knows. Raises UserError
        naming it."""
        return value_of(
            hint,
            self.state.get(name),
            what=f"'{name}' in the state of {where}",
            fix="Delete that checkpoint; the one before it is used.",
        )


class TornCheckpoint(UserError):
    """A checkpoint file that is not whole, or not ours."""

    def __init__(self, where: str, received: str):
        super().__init__(
            f"checkpoint {where} is damaged",
            expected="arrays and a state with their SHA-256, as this program writes them",
            received=received,
            fix="Delete it; the one before it is used.",
        )


class Checkpoints:
    """The checkpoints in `folder`, one file each; the `keep` newest stay. For one process at a
    time.

    passing: says of a step that its checkpoint goes, and counts for nothing, when a newer one is
    there that is not passing, as that of a stop within an epoch does at the epoch's end: a run that
    was stopped then ends with the files of one that was not.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        keep: int = 3,
        passing: Callable[[int], bool] = lambda step: False,
    ):
        if keep < 1:
            raise ValueError(f"keep is {keep}; at least one checkpoint must stay")
        self.folder, self.keep, self._passing = Path(folder), keep, passing
        self._saved_s = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the last one, or the beginning, is more than DUE_S ago: a kill then costs no more
        than that, however long an epoch is."""
        return time.monotonic() - self._saved_s > DUE_S

    def save(
        self, step: int, arrays: Mapping[str, np.ndarray], state: Mapping[str, object]
    ) -> Path:
        """Writes a checkpoint and removes those that it replaces. state: JSON values, no NaN.

        Raises OSError (disk full, read-only) or ValueError (an array of objects) with everything as
        it was before.
        """
        path = atomic.write_bytes(self.folder / f"step-{step:010d}.npz", _packed(arrays, state))
        atomic.sweep(self.folder)
        found = self._newest_first()
        passing, lasting = (
            [each for each in found if self._passing(each[0]) == whether]
            for whether in (True, False)
        )
        staying = lasting[: self.keep] + (passing[: self.keep] if found[0] in passing else [])
        for each in found:
            if each not in staying:
                each[1].unlink(missing_ok=True)
        self._saved_s = time.monotonic()
        return path

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None where there is none. Torn ones are passed over
        with a warning."""
        for step, path in self._newest_first():
            try:
                return read_checkpoint(path, step=step)
            except UserError as error:
                logging.getLogger(__name__).warning("passed over: %s", error)
        return None

    def _newest_first(self) -> list[tuple[int, Path]]:
        if not self.folder.is_dir():
            return []
        found = [
            (int(match[1]), path)
            for path in self.folder.iterdir()
            if (match := _NAME.fullmatch(path.name))
        ]
        return sorted(found, reverse=True)


def _packed(arrays: Mapping[str, np.ndarray], state: Mapping[str, object]) -> bytes:
    document = json.dumps(
        {"format": FORMAT, "version": VERSION, "state": dict(state)}, allow_nan=False
    )
    entries = {name: np.asarray(array) for name, array in arrays.items()}
    entries[_STATE] = np.frombuffer(document.encode(), np.uint8)
    entries[_DIGEST] = np.frombuffer(_digest(entries), np.uint8)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name, array in entries.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)
    return content.getvalue()


def read_checkpoint(path: str | os.PathLike, *, step: int = 0) -> Checkpoint:
    """The checkpoint in one file, without executing or decompressing anything. Raises UserError,
    naming the entry, when it is not whole or not ours."""
    where = str(path)
    content = atomic.read_bytes(
        path, what="checkpoint", made_by="the program that trains or searches", limit=MAX_BYTES
    )
    entries: dict[str, np.ndarray] = {}
    name = "the archive"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if info.compress_type != zipfile.ZIP_STORED:  # a few bytes can stand for gigabytes
                    raise TornCheckpoint(where, f"'{name}' is compressed")
                entries[name] = npy.array_of(archive.read(info))
    except atomic.BAD_ZIP as error:
        if isinstance(error, UserError):
            raise
        raise TornCheckpoint(where, f"{name}: {type(error).__name__}: {error}"[:300]) from error
    for needed in (_DIGEST, _STATE):
        if needed not in entries:
            raise TornCheckpoint(where, f"no entry {needed}")
    if entries.pop(_DIGEST).tobytes() != _digest(entries):
        raise TornCheckpoint(where, "its SHA-256 differs")
    document = atomic.parse_json(
        entries.pop(_STATE).tobytes(),
        what="state of checkpoint",
        where=where,
        made_by="the program that made it",
    )
    if (
        not isinstance(document, dict)
        or (document.get("format"), document.get("version")) != (FORMAT, VERSION)
        or not isinstance(document.get("state"), dict)
    ):
        raise TornCheckpoint(where, f"a state that is not of {FORMAT} {VERSION}")
    return Checkpoint(step, entries, document["state"])


def _digest(entries: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(entries):
        array = np.asarray(entries[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.digest()
