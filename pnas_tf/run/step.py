"""A step of a run as data: what it takes, reads, writes and calls. Knows no step.

From these follow its identity, under which it is skipped when it is complete (`Step.inputs`), the
flags of its program, its place in the pipeline and its row in docs/running.md.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.progress import duration
from pnas_tf.run.settings import Configs, fixed_of, remaking_of
from pnas_tf.run.terminal import TERMINAL


class Folder(Protocol):
    """A run folder: one that this process holds, or that of a chief whom it follows."""

    @property
    def path(self) -> Path: ...

    def __truediv__(self, name: str) -> Path: ...

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
        """Does `work` unless it was done with these inputs. Returns whether it was done now."""


@dataclass(frozen=True)
class Job:
    """One step in one folder. configs: of the classes that the step lists, and no others. to_come:
    names that steps before it are still to look at."""

    folder: Folder
    configs: Configs
    to_come: frozenset[str] = field(default=frozenset(), kw_only=True)

    def has(self, name: str) -> bool:
        """Whether this file is there already, as the steps before leave it."""
        return name not in self.to_come and (self.folder / name).exists()


@dataclass(frozen=True)
class Demand:
    """One whole batch. split: "train", "validation" or both, "combined". flag: of the option that
    sets its `images`; None: as many as
    fit."""

    split: str
    flag: str
    images: int | None


JobT = TypeVar("JobT", bound=Job)


@dataclass(frozen=True)
class Step(Generic[JobT]):
    """Something that a run does once for the same inputs.

    Attributes:
        name: in steps.json.
        configs: classes of options that it takes; the fixed and remaking ones of them are part of
            its identity.
        run: the work.
        writes: names that `run` leaves in the folder.
        reads: files that it works from; they count by content.
        identity: JSON of what no option and no file says: the pixels of a dataset, a space.
        remade_by: JSON of what options of `indirect` classes that remake say; a change of it asks
            for a new result, as theirs does.
        check: refuses what cannot be done, as far as that is known now. It is called before the
            steps that come before it too, when `Job.has` their files not yet: they may be made
            anew.
        begin: looks at the inputs and says what the user should know of them, also when the step is
            skipped.
        summary: what came of it, in one line for the terminal, from the files that it has written.
        report: says what the step left, also when it was skipped. Returns the exit status.
        wanted: whether these options ask for it.
        asked_by: the options that do, or that make it use all of `configs`; "": nobody has to ask.
        unused: classes of `configs` that make no difference with these options.
        indirect: classes of `configs` that count by what `identity` says alone: any values that
            give the same identity are the same.
        demands: the batches that the images must suffice for; they are looked at before the first
            step.
        always: whether it runs even if it is complete.
        partial: files and folders that stopped work continues from.
        together: whether all workers of a cluster do it; else the chief alone does.
    """

    name: str
    configs: tuple[type, ...]
    run: Callable[[JobT], None]
    writes: Callable[[JobT], Sequence[str]]
    reads: Callable[[JobT], Sequence[Path]] = lambda _: ()
    identity: Callable[[JobT], object] = lambda _: None
    remade_by: Callable[[JobT], Mapping[str, object]] = lambda _: {}
    check: Callable[[JobT], object] = lambda _: None
    begin: Callable[[JobT], None] = lambda _: None
    summary: Callable[[JobT], str] = lambda _: "done"
    report: Callable[[JobT], int] = lambda _: 0
    wanted: Callable[[JobT], bool] = lambda _: True
    asked_by: str = ""
    unused: Callable[[JobT], Sequence[type]] = lambda _: ()
    indirect: tuple[type, ...] = ()
    demands: Callable[[JobT], Sequence[Demand]] = lambda _: ()
    always: Callable[[JobT], bool] = lambda _: False
    partial: tuple[str, ...] = ()
    together: bool = False

    def settings(self, job: JobT) -> list[object]:
        """The config objects that matter with these options."""
        unused = self.unused(job)
        return [job.configs[kind] for kind in self.configs if kind not in unused]

    def inputs(self, job: JobT) -> dict[str, object]:
        """What the step's result depends on, for `digest_of`."""
        settings = [each for each in self.settings(job) if type(each) not in self.indirect]
        return {
            "options": {type(config).__name__: fixed_of(config) for config in settings},
            "remakes": {
                type(config).__name__: options
                for config in settings
                if (options := remaking_of(config))
            }
            | dict(self.remade_by(job)),
            "files": [(_label(path, job.folder.path), path) for path in self.reads(job)],
            "identity": self.identity(job),
        }

    def perform(self, job: JobT) -> int:
        """Does the step, unless it is complete. Returns the exit status."""
        self.begin(job)
        started = time.monotonic()
        done = job.folder.step(
            self.name,
            inputs=self.inputs(job),
            outputs=self.writes(job),
            work=lambda: self.run(job),
            partial=self.partial,
            always=self.always(job),
        )
        if done:
            TERMINAL.end(f"{self.summary(job)} ({duration(time.monotonic() - started)})")
        return self.report(job)


def digest_of(inputs: object) -> str:
    """64 hex digits that stand for `canonical` inputs. Raises UserError as that does."""
    return hashlib.sha256(json.dumps(_canonical(inputs), sort_keys=True).encode()).hexdigest()


def canonical(inputs: Mapping[str, object]) -> dict[str, object]:
    """The inputs of a step as JSON holds them: Paths are there by their content. Raises UserError
    when such a file is gone."""
    return {str(key): _canonical(item) for key, item in inputs.items()}


def _canonical(value: object) -> object:
    if isinstance(value, Path):
        if not value.is_file():  # without it the record would speak of a file that nobody knows
            raise UserError(
                f"{value} is gone",
                expected="the file that this step works from",
                received="no such file",
                fix="Bring it back, or give the same command again: the step that makes it then "
                "runs again.",
            )
        return {"sha256": atomic.sha256_of(value)}
    if isinstance(value, Mapping):
        return canonical(value)
    return [_canonical(item) for item in value] if isinstance(value, list | tuple) else value


def _label(path: Path, folder: Path) -> str:
    """Files of the run by their place in it, others by their name: both may be moved."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
