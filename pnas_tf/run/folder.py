"""One folder a run: its settings, its finished steps, and a lock. Knows nothing of what the steps
do.

A step is skipped when it finished before with the same inputs and its outputs are still what it
wrote. Settings that a folder was made with do not change under it: another value is refused, naming
both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks

CONFIG, STEPS, LOCK = "config.json", "steps.json", ".lock"


class RunFolder:
    """A run folder held by this process; use it as a context manager.

    Raises UserError when another process holds it (with its pid) or when it cannot be made or
    written.
    """

    follows = False  # another process writes it; see `run_follower`

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._lock: locks.Lock | None = None
        self._made: list[Path] = []
        self._settings: dict[str, Any] = {}

    def __enter__(self) -> RunFolder:
        # Innermost first, as they go again when nothing came of the call.
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self._made = missing
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path / LOCK)
            # Only ours is swept: --run_dir may be any folder of the user's.
            if (self.path / CONFIG).exists():
                atomic.sweep(self.path, deep=True)
        except OSError as error:
            self.__exit__()
            raise UserError(
                f"run folder {self.path} cannot be used",
                expected="a folder that can be made and written",
                received=f"{error.strerror}",
                fix="Choose another --run_dir, mend its permissions, or free space on its disk.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            # A disk that has become read-only meanwhile must not hide what the call came to.
            with contextlib.suppress(OSError):
                if not (self.path / STEPS).exists():  # refused before any work
                    (self.path / LOCK).unlink()
            self._lock.release()
            self._lock = None
        if not (self.path / STEPS).exists():
            self._leave_no_trace()

    def _leave_no_trace(self) -> None:
        """Removes the folders that this call made, as far as they are empty."""
        for folder in self._made:
            if folder.is_dir():
                if any(folder.iterdir()):
                    break
                folder.rmdir()
        self._made = []

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def settle(
        self, configs: Sequence[Any], *, borrowed: Mapping[type, Collection[str]] | None = None
    ) -> None:
        """Takes the settings for the steps to come. Raises UserError when the folder was made with
        others.

        configs: config dataclasses. borrowed: of these classes only the named options count, those
        that the user gave: a program that needs another step's options does not settle them for
        that step. Options marked `fixed=False` may change from call to call; `run_dir` is where the
        folder happens to be and is not recorded. config.json is written when the first step starts,
        so that input refused before any work leaves no trace.
        """
        stored = read_config(self.path)
        for config in configs:
            section = stored.setdefault(type(config).__name__, {})
            for field in dataclasses.fields(config):
                value = _plain(getattr(config, field.name))
                counts = (
                    borrowed is None
                    or type(config) not in borrowed
                    or field.name in borrowed[type(config)]
                )
                if field.name == "run_dir" or not counts:
                    continue
                if (
                    field.metadata.get("fixed", True)
                    and field.name in section
                    and section[field.name] != value
                ):
                    raise UserError(
                        f"run folder {self.path} was made with another --{field.name}",
                        expected=repr(section[field.name]),
                        received=repr(value),
                        fix="Choose another --run_dir, or leave the flag out to keep the folder's "
                        "value.",
                    )
                section[field.name] = value
        self._settings = stored

    def step(
        self,
        name: str,
        *,
        inputs: Mapping[str, Any],
        outputs: Sequence[str],
        work: Callable[[], Any],
        partial: Sequence[str] = (),
    ) -> bool:
        """Runs `work` unless the step is complete. Returns whether it ran.

        inputs: JSON values, Paths (files count by content) and config dataclasses (their fixed
        options count). outputs: names in the folder that `work` leaves behind. partial: files and
        folders that `work` continues from when it was stopped; they go when the inputs have
        changed.
        """
        digest = digest_of(inputs)
        done = self.steps().get(name, {})
        if self.is_complete(name, digest, outputs):
            print(f"{name}: complete, skipped")
            return False
        if done.get("inputs") != digest:
            for leftover in partial:
                shutil.rmtree(self.path / leftover) if (self.path / leftover).is_dir() else (
                    self.path / leftover
                ).unlink(missing_ok=True)
        if read_config(self.path) != self._settings:
            atomic.write_json(
                self.path / CONFIG, {"format": "pnas_tf/config", "version": 1, **self._settings}
            )
        spent = (
            done.get("spent_s", 0.0)
            if done.get("inputs") == digest and "outputs" not in done
            else 0.0
        )
        started = time.monotonic()
        self._record(name, {"inputs": digest, "spent_s": spent})
        try:
            work()
        except BaseException:
            with contextlib.suppress(
                OSError
            ):  # what stopped the work may be a full disk, and is what the caller must hear
                self._record(
                    name,
                    {"inputs": digest, "spent_s": round(spent + time.monotonic() - started, 3)},
                )
            raise
        missing = [output for output in outputs if not (self.path / output).exists()]
        if missing:
            raise RuntimeError(f"step {name} left out {missing}")
        record = {
            "inputs": digest,
            "outputs": {output: atomic.sha256_of(self.path / output) for output in outputs},
            "duration_s": round(spent + time.monotonic() - started, 3),
        }
        self._record(name, record)
        return True

    def is_complete(self, name: str, digest: str, outputs: Sequence[str]) -> bool:
        """Whether a step with these inputs has finished and its outputs are what it wrote."""
        done = self.steps().get(name, {})
        return (
            done.get("inputs") == digest
            and "outputs" in done
            and all(self._unchanged(output, done["outputs"].get(output)) for output in outputs)
        )

    def steps(self) -> dict[str, Any]:
        """Steps by name: digest of the inputs; of finished ones also of the outputs, and
        duration_s, that of runs which were stopped included; of others spent_s, what such runs
        took. What a killed run took is not known."""
        if not (self.path / STEPS).exists():
            return {}
        document = atomic.read_document(
            self.path / STEPS,
            format="pnas_tf/steps",
            version=1,
            what="list of steps",
            made_by="delete it; every step then runs again",
        )
        steps = document.get("steps")
        if not isinstance(steps, dict) or not all(
            isinstance(entry, dict)
            and isinstance(entry.get("outputs", {}), dict)
            and isinstance(entry.get("spent_s", 0.0), (int, float))
            for entry in steps.values()
        ):
            raise UserError(
                f"list of steps {self.path / STEPS} is corrupt",
                expected="an object for each step",
                received=repr(steps)[:200],
                fix="Delete it; every step then runs again.",
            )
        return steps

    def _record(self, name: str, record: dict[str, Any]) -> None:
        atomic.write_json(
            self.path / STEPS,
            {"format": "pnas_tf/steps", "version": 1, "steps": {**self.steps(), name: record}},
        )

    def _unchanged(self, output: str, sha256: str | None) -> bool:
        path = self.path / output
        return sha256 is not None and path.is_file() and atomic.sha256_of(path) == sha256


def read_config(path: str | os.PathLike) -> dict[str, Any]:
    """The settings recorded in a run folder, {config class name: {field: value}}; empty for a new
    folder."""
    path = Path(path) / CONFIG
    if not path.exists():
        return {}
    document = atomic.read_document(
        path,
        format="pnas_tf/config",
        version=1,
        what="run settings",
        made_by="choose another --run_dir, or delete the folder",
    )
    sections = {
        name: section for name, section in document.items() if name not in ("format", "version")
    }
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(
                f"{name} of run settings {path}",
                expected="an object, the options of this group",
                received=repr(section)[:200],
                fix="Choose another --run_dir, or delete the folder.",
            )
    return sections


def _lock(path: Path) -> locks.Lock:
    """Raises UserError naming the process that holds the lock already. The number that a killed
    run left in the file refuses nobody."""
    lock = locks.try_lock(path)
    if lock is None:
        holder = locks.holder_of(path)
        raise UserError(
            f"run folder {path.parent} is in use",
            expected="one process at a time",
            received=f"held by pid {holder}",
            fix=f"Wait for process {holder} to end, or choose another --run_dir.",
        )
    try:
        lock.name_holder()
    except OSError:
        lock.release()
        raise
    return lock


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def digest_of(inputs: Mapping[str, Any]) -> str:
    """64 hex digits that stand for the inputs of a step."""

    def canonical(value: Any) -> Any:
        if isinstance(value, Path):
            if (
                not value.is_file()
            ):  # read a moment ago: without it the record would speak of a file that nobody knows
                raise UserError(
                    f"{value} is gone",
                    expected="the file that this step works from",
                    received="no such file",
                    fix="Bring it back, or give the same command again: the step that makes it "
                    "then runs again.",
                )
            return {"sha256": atomic.sha256_of(value)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {
                field.name: canonical(getattr(value, field.name))
                for field in dataclasses.fields(value)
                if field.name != "run_dir" and field.metadata.get("fixed", True)
            }
        if isinstance(value, Mapping):
            return {str(key): canonical(item) for key, item in value.items()}
        return [canonical(item) for item in value] if isinstance(value, list | tuple) else value

    return hashlib.sha256(json.dumps(canonical(inputs), sort_keys=True).encode()).hexdigest()
