"""One folder a run: its settings, its finished steps, and a lock. Knows nothing of what the steps
do.

A step is skipped when it finished before with the same inputs and its outputs are still what it
wrote. Settings that a folder was made with do not change under it: another value is refused, naming
both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.run.layout import Artifact
from pnas_tf.run.settings import OLD_LAYOUT, Settings, with_settings, write_config
from pnas_tf.run.step import digest_of

_FORMAT, _VERSION = "pnas_tf/steps", 2  # 1: inputs listed by hand


@dataclass(frozen=True)
class StepRecord:
    """What steps.json says of a step.

    inputs: digest of its inputs. outputs: of a finished one, file -> SHA-256. duration_s: of a
    finished one, runs that were stopped included. spent_s: of another, what such runs took; what a
    killed one took is not known.
    """

    inputs: str
    outputs: Mapping[str, str] | None = None
    duration_s: float | None = None
    spent_s: float | None = None

    def is_complete(self, digest: str, outputs: Sequence[str], folder: Path) -> bool:
        """Whether it finished with these inputs, and its outputs are what it wrote."""
        if self.inputs != digest or self.outputs is None:
            return False
        return all(_holds(folder / name, self.outputs.get(name)) for name in outputs)


def read_steps(folder: Path) -> dict[str, StepRecord]:
    """Steps by name; empty for a new folder.

    Raises:
        UserError: the file is damaged, or of an earlier version.
    """
    path = folder / Artifact.STEPS
    if not path.exists():
        return {}
    document = atomic.read_document(
        path, format=_FORMAT, version=_VERSION, what="list of steps", made_by=OLD_LAYOUT
    )
    steps, fix = document.get("steps"), "Delete it; every step then runs again."
    if not isinstance(steps, dict):
        raise UserError(
            f"list of steps {path} is corrupt",
            expected="an object for each step",
            received=repr(steps)[:200],
            fix=fix,
        )
    return {
        name: record_of(StepRecord, entry, where=f"{path}, {name}", fix=fix)
        for name, entry in steps.items()
    }


class RunFolder:
    """A run folder held by this process; use it as a context manager.

    Raises UserError when another process holds it (with its pid) or when it cannot be made or
    written.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._lock: int | None = None
        self._made: list[Path] = []
        self._settings: Settings = {}

    def __enter__(self) -> RunFolder:
        # Innermost first, as they go again when nothing came of the call.
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self._made = missing
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = _lock(self.path / Artifact.LOCK)
            # Only ours is swept: --run_dir may be any folder of the user's.
            if (self.path / Artifact.CONFIG).exists():
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
                if not (self.path / Artifact.STEPS).exists():  # refused before any work
                    (self.path / Artifact.LOCK).unlink()
            os.close(self._lock)
            self._lock = None
        if not (self.path / Artifact.STEPS).exists():
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

    def settle(self, configs: Iterable[object]) -> None:
        """Takes the settings for the steps to come. They are written when the first step starts, so
        that input refused before any work leaves no trace.

        Raises:
            UserError: the folder was made with others, or by an earlier version.
        """
        self._settings = with_settings(self.path, configs)
        self.steps()

    def step(
        self,
        name: str,
        *,
        inputs: Mapping[str, object],
        outputs: Sequence[str],
        work: Callable[[], object],
        partial: Sequence[str] = (),
        always: bool = False,
    ) -> bool:
        """Does `work` unless the step is complete.

        Args:
            name: in steps.json.
            inputs: JSON values and Paths, whose files count by content.
            outputs: names in the folder that `work` leaves behind.
            work: called without arguments.
            partial: files and folders that `work` continues from when it was stopped; they go when
                the inputs have changed.
            always: does it even if it is complete.

        Returns:
            Whether it was done.
        """
        digest, done = digest_of(inputs), self.steps().get(name)
        if done and not always and done.is_complete(digest, outputs, self.path):
            print(f"{name}: complete, skipped")
            return False
        if done is None or done.inputs != digest:
            self._clear(partial)
            done = StepRecord(digest)
        write_config(self.path, self._settings)
        spent_s, started = done.spent_s or 0.0, time.monotonic()
        self._record(name, StepRecord(digest, spent_s=spent_s))
        try:
            work()
        except BaseException:
            # What stopped the work may be a full disk, and is what the caller must hear.
            with contextlib.suppress(OSError):
                self._record(name, StepRecord(digest, spent_s=_since(started, spent_s)))
            raise
        missing = [output for output in outputs if not (self / output).exists()]
        if missing:
            raise RuntimeError(f"step {name} left out {missing}")
        made = {str(output): atomic.sha256_of(self / output) for output in outputs}
        self._record(name, StepRecord(digest, made, duration_s=_since(started, spent_s)))
        for output in outputs:
            print(f"wrote {self / output}")
        return True

    def steps(self) -> dict[str, StepRecord]:
        """As `read_steps`."""
        return read_steps(self.path)

    def _clear(self, names: Sequence[str]) -> None:
        for name in names:
            if (self / name).is_dir():
                shutil.rmtree(self / name)
            else:
                (self / name).unlink(missing_ok=True)

    def _record(self, name: str, record: StepRecord) -> None:
        steps = {
            step: {key: part for key, part in dataclasses.asdict(entry).items() if part is not None}
            for step, entry in {**self.steps(), name: record}.items()
        }
        atomic.write_json(
            self.path / Artifact.STEPS, {"format": _FORMAT, "version": _VERSION, "steps": steps}
        )


def _since(started: float, before_s: float) -> float:
    """Seconds since a moment of the monotonic clock, and `before_s` more."""
    return round(before_s + time.monotonic() - started, 3)


def _holds(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and path.is_file() and atomic.sha256_of(path) == sha256


def _lock(path: Path) -> int:
    """The descriptor that holds the lock. Raises UserError naming the process that holds it
    already.

    The lock is the kernel's and ends with its process however that ends, so a killed run leaves
    none that could be stale: the pid in the file is only told to others, and one that was left
    there, or has gone to another process since, refuses nobody.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is_at(
                descriptor, path
            ):  # removed by a refused call between our opening and locking it
                os.close(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise UserError(
                f"run folder {path.parent} is in use",
                expected="one process at a time",
                received=f"held by pid {holder}",
                fix=f"Wait for process {holder} to end, or choose another --run_dir.",
            ) from error
        except OSError:
            os.close(descriptor)
            raise
        return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    """The pid in a lock file. For a moment it may be missing, or that of the holder before, who is
    dead: the next one is writing."""
    for _ in range(20):
        text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        if text.isdigit() and _lives(int(text)):
            return text
        time.sleep(0.05)
    return text or "unknown"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
