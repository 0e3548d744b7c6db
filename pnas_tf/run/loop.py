"""The loop of a search and of a training: epochs of steps, whole or continued (section 3.2).

Owns what both need: resuming, signals, checkpoints, the history, progress, TensorBoard, and that
processes which work together stop together. Knows nothing of what a step does; `Work` says that.

- A checkpoint is written at the end of an epoch, every `checkpoint_steps` steps, when the last one
  is `checkpoints.DUE_S` ago, and when a signal asks to stop. One from within an epoch goes when its
  epoch's end is saved, so that a run that was stopped ends with the files of one that was not.
- A signal is answered after the step at hand, be it the last one: a checkpoint, then `Stopped`.
- A step whose figures are not finite ends the run; its weights reach no checkpoint.
"""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import tensorflow as tf

from pnas_tf.config import RunConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks
from pnas_tf.run import layout
from pnas_tf.run.checkpoints import Checkpoint, Checkpoints
from pnas_tf.run.figures import NotFinite
from pnas_tf.run.progress import Progress
from pnas_tf.run.signals import Stopped, StopRequest
from pnas_tf.run.terminal import DETAILS

ALPHA, ALPHA_BUCKETS = "probabilities", 20  # softmax(alpha) of each block, in a search's rows
COLLECT_S = 30.0  # between collections, of which one takes 0.2 s

Row = dict[str, object]


class Work(Protocol):
    """What a `StepLoop` runs. Everything that it does must follow from (seed, step) and from what
    `state` gives.

    Attributes:
        name: of the progress bar and of TensorBoard's curves.
        epochs: of the whole work.
        steps_per_epoch: steps of each.
        header: what stands in history.json beside the epochs.
        causes: of figures that are not finite, for the user.
    """

    @property
    def name(self) -> str: ...
    @property
    def epochs(self) -> int: ...
    @property
    def steps_per_epoch(self) -> int: ...
    @property
    def header(self) -> Mapping[str, object]: ...
    @property
    def causes(self) -> str: ...

    def phase(self, epoch: int) -> str:
        """What the epoch is a part of, for the user."""

    def batches(self, epoch: int, start: int) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
        """The (images, labels) of an epoch from its step `start` on."""

    def take_step(self, step: int, images: tf.Tensor, labels: tf.Tensor) -> None:
        """Step number `step` of all. Raises NotFinite."""

    def figures(self) -> dict[str, str]:
        """The two or three running figures of the epoch that matter most, with their units; asked
        for when they are shown."""

    def end_epoch(self, epoch: int) -> Row:
        """Ends an epoch; returns its row of the history, JSON values."""

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """(arrays, JSON values) that `restore` continues from."""

    def restore(self, checkpoint: Checkpoint, where: str) -> None:
        """Takes a state back. Raises UserError, naming `where`, on one of other work."""


class Peers(Protocol):
    """The processes that work together."""

    @property
    def first(self) -> int:
        """0 in the one process that writes."""

    def total_of(self, numbers: Sequence[float]) -> np.ndarray:
        """The sums over all processes."""

    def drain(self) -> None:
        """Called before this process ends, when `total_of` was the last that it did."""


class StepLoop:
    """Runs `work` to its end, or continues it.

    Args:
        work: what a step does.
        folder: gets checkpoints/, history.json and TensorBoard's events/.
        peers: the processes that do this work together, each with a loop of its own.
        keep: checkpoints of epoch ends that stay.
        checkpoint_steps: steps between checkpoints within an epoch; None: by time alone.
        tensorboard: whether events are written.
    """

    def __init__(
        self,
        work: Work,
        folder: Path,
        *,
        peers: Peers,
        keep: int,
        checkpoint_steps: int | None,
        tensorboard: bool = RunConfig.tensorboard,
    ):
        self.work, self.folder, self.peers = work, folder, peers
        self.step = 0
        self.history: list[Row] = []
        self.total = work.epochs * work.steps_per_epoch
        self.checkpoints = Checkpoints(
            folder / layout.CHECKPOINTS,
            keep=keep,
            passing=lambda step: step % work.steps_per_epoch != 0,
        )
        self._checkpoint_steps, self._tensorboard = checkpoint_steps, tensorboard
        self._collected_s = time.monotonic()

    @property
    def writes(self) -> bool:
        """Whether this process writes the folder; the others only read it."""
        return self.peers.first == 0

    def run(self) -> None:
        """Takes all steps that are left.

        Raises:
            Stopped: on SIGTERM, SIGHUP or Ctrl-C, after a checkpoint.
            UserError: figures are not finite, the newest checkpoint is of other work, another
                process works in the folder, or the processes do not continue from one step.
        """
        with self._held():
            self._run()

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """Within it no other process may work in the folder; those that only read it may."""
        if not self.writes:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = locks.try_lock(self.folder.resolve(), create=False)
        if lock is None:
            raise UserError(
                f"folder {self.folder} is in use",
                expected="one process at a time",
                received="another that searches or trains in it",
                fix="Wait for it to end, or choose another folder.",
            )
        with lock:
            yield

    def _run(self) -> None:
        atomic.sweep(self.folder)
        self.restore()
        self._require_same_step()
        if self.step == self.total:
            return
        if self.step:
            DETAILS(f"{self.work.name} goes on from step {self.step} of {self.total}")
        writer = tf.summary.create_noop_writer()
        if self.writes and self._tensorboard:
            writer = tf.summary.create_file_writer(str(self.folder / layout.EVENTS))
        with (
            contextlib.closing(writer),
            writer.as_default(),
            StopRequest() as stop,
            Progress(self.work.name, self.total, done=self.step) as progress,
        ):
            while self.step < self.total:
                self._epoch(stop, progress)
                self._free_memory()
        if stop.asked:  # while the last epoch ended
            raise Stopped(f"stopped at the end, step {self.step}")

    def _epoch(self, stop: StopRequest, progress: Progress) -> None:
        epoch, start = divmod(self.step, self.work.steps_per_epoch)
        for images, labels in self.work.batches(epoch, start):
            try:
                self.work.take_step(self.step, images, labels)
            except NotFinite as error:
                raise self._refused(error) from error
            self.step += 1
            progress.update(figures=self._live(epoch) if progress.is_due else None)
            ends = self.step % self.work.steps_per_epoch == 0
            if ends:
                self._end_epoch(epoch)
            # Processes that work together stop together and read their variables together.
            asked, due = self.peers.total_of(
                [float(stop.asked), float(self.writes and self.checkpoints.is_due)]
            )
            periodic = self._checkpoint_steps and self.step % self._checkpoint_steps == 0
            if ends or asked or due or periodic:
                self.save()
            if asked:
                self.peers.drain()
                raise Stopped(
                    f"stopped at step {self.step}; a checkpoint is in {self.checkpoints.folder}"
                )

    def _live(self, epoch: int) -> dict[str, str]:
        return {**self.work.figures(), "epoch": f"{epoch + 1}/{self.work.epochs}"}

    def _end_epoch(self, epoch: int) -> None:
        row = self.work.end_epoch(epoch)
        self.history.append(row)
        figures = {name: value for name, value in row.items() if isinstance(value, float)}
        for name, value in figures.items():
            tf.summary.scalar(f"{self.work.name}/{name}", value, step=epoch)
        for block, probabilities in enumerate(cast("list[list[float]]", row.get(ALPHA, []))):
            # alpha but for a constant, which the softmax does not see
            alpha, name = np.log(probabilities), f"{self.work.name}/alpha/block_{block:02d}"
            tf.summary.histogram(name, alpha, step=epoch, buckets=ALPHA_BUCKETS)
        told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        DETAILS(f"{self.work.phase(epoch)} {epoch + 1}/{self.work.epochs}: {told}")

    def save(self) -> None:
        """Writes a checkpoint of everything, and history.json.

        Raises UserError where an array is not finite: a step that threw its weights away would
        leave the next one no finite loss, and such a checkpoint is not good.
        """
        arrays, state = self.work.state()
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise self._refused(NotFinite(f"'{name}' after the steps before", math.nan))
        if self.writes:
            self.checkpoints.save(
                self.step, arrays, {"step": self.step, "history": self.history, **state}
            )
            self._write_history()

    def restore(self) -> bool:
        """Continues from the newest good checkpoint; returns whether there was one. Raises
        UserError where it is of other work."""
        checkpoint = self.checkpoints.latest()
        if checkpoint is None:
            return False
        where = f"the newest checkpoint in {self.checkpoints.folder}"
        self.work.restore(checkpoint, where)
        self.step = checkpoint.value("step", int, where=where)
        self.history = list(checkpoint.value("history", tuple[Row, ...], where=where))
        if self.writes:
            self._write_history()
        return True

    def _write_history(self) -> None:
        atomic.write_json(
            self.folder / layout.HISTORY, {**self.work.header, "epochs": self.history}
        )

    def _require_same_step(self) -> None:
        total, processes = self.peers.total_of([self.step, 1.0])
        if total != self.step * processes:
            raise UserError(
                "the workers do not continue from one step",
                expected="one run folder for all",
                received=f"step {self.step} here, {total / processes:.1f} on the average",
                fix="Give all workers the same --run_dir on a disk that they share.",
            )

    def _refused(self, error: NotFinite) -> UserError:
        good = self.checkpoints.latest()
        return UserError(
            f"the loss of {error.what} {self.step} is not a finite number",
            expected="finite losses, weights and alpha",
            received=str(error.value),
            fix=f"Last good checkpoint: {f'step {good.step}' if good else 'none'} in "
            f"{self.checkpoints.folder}. Likely causes: {self.work.causes}.",
        )

    def _free_memory(self) -> None:
        """A tf.data pipeline, with the arrays it captured, hangs in cycles of references that
        Python finds only in a full collection, which it puts off ever longer in a process of
        TensorFlow's size: 2 MB an epoch on digits, a list of a million file names on ImageNet."""
        if time.monotonic() - self._collected_s >= COLLECT_S:
            gc.collect()
            self._collected_s = time.monotonic()
