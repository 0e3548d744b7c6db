"""What steps.json says of the steps of a run: what each was made from, what it left, and what it
took. Knows nothing of what the steps do."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pnas_tf.config import RunConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.run.layout import Artifact, run_dir_option
from pnas_tf.run.settings import OLD_LAYOUT, Settings, with_settings

_FORMAT, _VERSION = "pnas_tf/steps", 3  # 1: inputs listed by hand; 2: digests of them alone
CHEAP_S = 60.0  # what took longer to make is never deleted unasked


@dataclass(frozen=True)
class StepRecord:
    """One step.

    Attributes:
        inputs: digest of what it was made from.
        made_from: that itself, readable: "options", "remakes", "files", "identity".
        outputs: of a finished one, file -> SHA-256.
        duration_s: of a finished one, runs that were stopped included.
        spent_s: of another, what such runs took; what a killed one took is not known.
        partial: files and folders that stopped work goes on from.
        running: whether it is at work, or was killed.
        superseded: whether the user has asked for other inputs: it then gives way without a
            question.
    """

    inputs: str
    made_from: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[str, str] | None = None
    duration_s: float | None = None
    spent_s: float | None = None
    partial: tuple[str, ...] = ()
    running: bool = False
    superseded: bool = False

    def is_complete(self, digest: str, outputs: Sequence[str], folder: Path) -> bool:
        """Whether it finished with these inputs, and its outputs are what it wrote."""
        if self.inputs != digest or self.outputs is None:
            return False
        return all(_holds(folder / name, self.outputs.get(name)) for name in outputs)

    def left(self, folder: Path) -> list[str]:
        """What there is of it in the folder, outer folders first."""
        names = {*(self.outputs or ()), *self.partial}
        return sorted(name for name in names if (folder / name).exists())

    @property
    def took_s(self) -> float:
        """As far as it is known."""
        return self.duration_s or self.spent_s or 0.0

    def is_costly(self, folder: Path) -> bool:
        """Whether it took more than `CHEAP_S` to make what there is of it, or nobody knows."""
        return bool(self.left(folder)) and (self.running or self.took_s > CHEAP_S)

    @property
    def files(self) -> Iterator[str]:
        """Labels of the files that it was made from."""
        listed = self.made_from.get("files")
        for entry in listed if isinstance(listed, list) else ():
            yield str(entry[0])


def check_made_of(folder: Path, steps: Sequence[str], files: Sequence[str]) -> None:
    """Raises UserError where one of these files is another than such a step was made from: what the
    step left is of an earlier network."""
    records = read_steps(folder)
    for name in steps:
        for label in _earlier(folder, records[name], files) if name in records else ():
            raise UserError(
                f"{folder} is not finished",
                expected=f"step {name} made from the {label} that is there",
                received=f"made from an earlier {label}",
                fix=f"Go on: pnas {name} {run_dir_option(folder)}, and what follows it.",
            )


def is_current(
    name: str, record: StepRecord | None, folder: Path, *, made_of: Sequence[str]
) -> bool:
    """Whether file `name` of the folder is what a step left when it last ran, and none of `made_of`
    is another than it was made from. Of a step without a record nobody knows otherwise."""
    if record is None:
        return True
    return name in (record.outputs or ()) and not _earlier(folder, record, made_of)


def _earlier(folder: Path, record: StepRecord, files: Sequence[str]) -> list[str]:
    """Those of `files` that are others now than the step was made from."""
    listed = record.made_from.get("files")
    digests: dict[str, list[str]] = {}
    for entry in listed if isinstance(listed, list) else ():
        match entry:
            case [str(label), {"sha256": str(digest)}]:
                digests.setdefault(label, []).append(digest)
    return [
        label
        for label in files
        # A pretrained run's may be called the same.
        if label in digests and not any(_holds(folder / label, each) for each in digests[label])
    ]


def check_owner(name: str, outputs: Sequence[str], folder: Path) -> None:
    """Raises UserError where another step has made a file of this folder that step `name` writes: a
    network is either searched there or given."""
    for other, record in read_steps(folder).items():
        taken = [output for output in outputs if output in (record.outputs or {})]
        if taken and other != name:
            raise UserError(
                f"step {name} in run folder {folder}",
                expected=f"a folder without the {taken[0]} of another step",
                received=f"that of step {other}",
                fix="Choose another --run_dir.",
            )


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


def write_steps(folder: Path, steps: Mapping[str, StepRecord]) -> None:
    """What `read_steps` reads; fields that say nothing are left out."""
    blank = StepRecord("")
    entries = {
        name: {
            part.name: getattr(entry, part.name)
            for part in dataclasses.fields(entry)
            if getattr(entry, part.name) != getattr(blank, part.name)
        }
        for name, entry in steps.items()
    }
    atomic.write_json(
        folder / Artifact.STEPS, {"format": _FORMAT, "version": _VERSION, "steps": entries}
    )


def dependents(name: str, steps: Mapping[str, StepRecord]) -> list[str]:
    """The steps that were made from what step `name` left, and from what those left."""
    found, made = [name], set(steps[name].outputs or ())
    while True:
        more = [
            other
            for other, record in steps.items()
            if other not in found and not made.isdisjoint(record.files)
        ]
        if not more:
            return found[1:]
        found += more
        made |= {output for other in more for output in steps[other].outputs or ()}


def held_options(folder: Path) -> Settings:
    """The options that something which was made depends on: config class -> {option: value}."""
    held: Settings = {}
    for record in read_steps(folder).values():
        is_made = record.outputs is not None and bool(record.left(folder))
        options = record.made_from.get("options")
        if (is_made or record.is_costly(folder)) and isinstance(options, dict):
            for kind, values in options.items():
                held.setdefault(kind, {}).update(values)
    return held


def _holds(path: Path, sha256: str | None) -> bool:
    return sha256 is not None and path.is_file() and atomic.sha256_of(path) == sha256


class OpenedFolder:
    """A run folder and the settings of a call in it, whether this process holds it or follows the
    chief that does."""

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._restart = False

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def _settled(self, configs: Iterable[object]) -> Settings:
        """Raises UserError where something in the folder was made with others and --restart is not
        given, or by an earlier version."""
        configs = list(configs)
        self._restart = any(each.restart for each in configs if isinstance(each, RunConfig))
        return with_settings(self.path, configs, self.held)

    @property
    def held(self) -> Settings:
        """Options with values that something which was made depends on; none with --restart."""
        return {} if self._restart else held_options(self.path)
