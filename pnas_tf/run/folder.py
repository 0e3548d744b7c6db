"""One folder a run: its settings, its finished steps, and a lock. Knows nothing of what the steps
do.

A step is skipped when it finished before with the same inputs and its outputs are still what it
wrote. What took more than a minute to make is never deleted: other inputs, and other values of
options that something depends on, are refused by name, or asked for with --restart; the old result
then moves to a folder old-N within this one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks
from pnas_tf.run.changes import changed_inputs, differences, only_remaking
from pnas_tf.run.layout import Artifact, old_folder
from pnas_tf.run.progress import duration
from pnas_tf.run.records import OpenedFolder, StepRecord, dependents, read_steps, write_steps
from pnas_tf.run.settings import Settings, read_config, write_config
from pnas_tf.run.step import canonical, digest_of
from pnas_tf.run.terminal import DETAILS, TERMINAL, say


class RunFolder(OpenedFolder):
    """A run folder held by this process; use it as a context manager.

    Raises UserError when another process holds it (with its pid) or when it cannot be made or
    written.
    """

    def __init__(self, path: str | os.PathLike):
        super().__init__(path)
        self._lock: locks.Lock | None = None
        self._made: list[Path] = []
        self._noted: list[Path] = []
        self._settings: Settings = {}
        self._old: Path | None = None  # where results of this call's changes went
        self.worked_on: list[str] = []  # steps of this call that were not complete
        self.written: list[str] = []  # by them

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
        TERMINAL.leave_log()
        return self

    def __exit__(self, kind: object = None, *_: object) -> None:
        if kind is None and self._settings and (self.path / Artifact.STEPS).exists():
            write_config(self.path, self._settings)  # also where every step was complete
            TERMINAL.keep_log(self.path)
        if self._lock is not None:
            # A disk that has become read-only meanwhile must not hide what the call came to.
            with contextlib.suppress(OSError):
                if not (self.path / Artifact.STEPS).exists():  # refused before any work
                    (self.path / Artifact.LOCK).unlink()
            self._lock.release()
            self._lock = None
        for path in self._noted:
            path.unlink(missing_ok=True)
        if not (self.path / Artifact.STEPS).exists():
            TERMINAL.drop_log(self.path)
            self._leave_no_trace()

    def _leave_no_trace(self) -> None:
        """Removes what this call made: its files, and the folders as far as they are empty."""
        for path in self._made:
            if path.is_dir():
                if any(path.iterdir()):
                    break
                path.rmdir()
            elif path.is_file():
                path.unlink()
        self._made = []

    def note(self, name: str, write: Callable[[Path], object]) -> Path:
        """Writes a file by `write` before a step of this call has begun; it goes again when none
        does."""
        path = self / name
        if not path.exists():
            self._noted.append(path)
        write(path)
        return path

    def move_aside(self, name: str, files: Sequence[str]) -> None:
        """Into old-N, files and folders to which another call gives the place. name: of the step
        that made them, here or elsewhere."""
        record = self.steps().get(name, StepRecord("unknown"))
        self._move_aside(name, dataclasses.replace(record, partial=tuple(files)))

    def settle(self, configs: Iterable[object]) -> None:
        """Takes the settings for the steps to come. They are written when the first step starts, or
        a call ends in which none had to, so that refused input leaves no trace.

        Raises:
            UserError: something was made with others and --restart is not given, or by an earlier
                version.
        """
        self._settings = self._settled(configs)

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
            partial: files and folders that `work` continues from when it was stopped.
            always: does it even if it is complete.

        Returns:
            Whether it was done.

        Raises:
            UserError: the inputs are others than those of a result that took long, and nobody
                asked for that.
        """
        self._noted.clear()
        made_from, done = canonical(inputs), self.steps().get(name)
        digest = digest_of(inputs)
        if done is None:  # nobody knows of what the files are that a step of this name left
            self._move_aside(name, StepRecord(digest, partial=(*map(str, outputs), *partial)))
        elif done.inputs != digest:
            self._give_way(name, made_from)
            done = None
        if done and not always and done.is_complete(digest, outputs, self.path):
            if done.superseded:  # what it was made from came out the same
                self._record(name, dataclasses.replace(done, superseded=False))
            TERMINAL.skip(name)
            return False
        write_config(self.path, self._settings)
        TERMINAL.keep_log(self.path)
        TERMINAL.begin(continues=any((self / each).exists() for each in partial))
        self.worked_on.append(name)
        spent_s = (done.spent_s if done else None) or 0.0
        begun = StepRecord(digest, made_from, spent_s=spent_s, partial=tuple(map(str, partial)))
        self._finish(name, begun, outputs, self._timed(name, begun, work))
        return True

    def _finish(self, name: str, begun: StepRecord, outputs: Sequence[str], took_s: float) -> None:
        """Records what the work left. Raises RuntimeError where that is not all."""
        missing = [output for output in outputs if not (self / output).exists()]
        if missing:
            raise RuntimeError(f"step {name} left out {missing}")
        made = {str(output): atomic.sha256_of(self / output) for output in outputs}
        self._record(
            name, dataclasses.replace(begun, outputs=made, spent_s=None, duration_s=took_s)
        )
        for output in outputs:
            DETAILS(f"wrote {self / output}")
        self.written += map(str, outputs)

    def _timed(self, name: str, begun: StepRecord, work: Callable[[], object]) -> float:
        """Does `work` with its record beside it. Returns the seconds of all its attempts, which
        the record holds where this one is stopped."""
        spent_s, started = begun.spent_s or 0.0, time.monotonic()
        self._record(name, dataclasses.replace(begun, running=True))
        try:
            work()
        except BaseException:
            # What stopped the work may be a full disk, and is what the caller must hear.
            with contextlib.suppress(OSError):
                self._record(name, dataclasses.replace(begun, spent_s=_since(started, spent_s)))
            raise
        return _since(started, spent_s)

    def steps(self) -> dict[str, StepRecord]:
        """As `read_steps`."""
        return read_steps(self.path)

    def _give_way(self, name: str, made_from: Mapping[str, object]) -> None:
        """Makes room for a step with other inputs: moves its result aside where it, or what was
        made from it, took long. Raises UserError where that was not asked for."""
        steps = self.steps()
        record, later = steps[name], dependents(name, steps)
        asked = self._restart or record.superseded or only_remaking(record.made_from, made_from)
        costly = [each for each in (name, *later) if steps[each].is_costly(self.path)]
        if costly and not asked:
            took = ", ".join(f"{each}: {duration(steps[each].took_s)}" for each in costly)
            raise changed_inputs(
                name,
                str(self.path),
                made=f"took {took}",
                changes=differences(record.made_from, made_from),
                old=str(self._old or old_folder(self.path)),
            )
        if costly:
            self._move_aside(name, record)
            steps = self.steps()
        else:
            self._clear(record.partial)
        if asked:
            superseded = {each: dataclasses.replace(steps[each], superseded=True) for each in later}
            write_steps(self.path, {**steps, **superseded})

    def _move_aside(self, name: str, record: StepRecord) -> None:
        """Into old-N, with the settings and the record that it was made with."""
        left = record.left(self.path)
        if not left:
            return
        if self._old is None or any((self._old / each).exists() for each in left):
            self._old = old_folder(self.path)
            write_config(self._old, read_config(self.path))
        for each in left:
            if (self / each).exists():  # it may have gone with the folder that it is in
                (self._old / each).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self / each, self._old / each)
        write_steps(self._old, {**read_steps(self._old), name: record})
        write_steps(self.path, {each: one for each, one in self.steps().items() if each != name})
        say(f"{name}: the old result is in {self._old}")

    def _clear(self, names: Sequence[str]) -> None:
        for name in names:
            if (self / name).is_dir():
                shutil.rmtree(self / name)
            else:
                (self / name).unlink(missing_ok=True)

    def _record(self, name: str, record: StepRecord) -> None:
        write_steps(self.path, {**self.steps(), name: record})


def _since(started: float, before_s: float) -> float:
    """Seconds since a moment of the monotonic clock, and `before_s` more."""
    return round(before_s + time.monotonic() - started, 3)


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
