"""One measuring session, alike for all devices: shuffled interleaved rounds, warm-ups in every
run, a reference model in every round.

Interleaving spreads slow changes of the device over all models alike, the reference model shows and
corrects them. Measured on a shared 2-core machine: run-to-run variation of a median 1.6 %, of a
mean 8 to 20 %. Knows `Runner`s, not devices or blocks.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pnas_tf.devices.failures import RunFailed
from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.devices.resume_log import ResumeLog
from pnas_tf.devices.schedule import Runner, Schedule
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.progress import Progress, silent

REFERENCE = "sentinel"  # the reference model's name in resume logs


@dataclass(frozen=True)
class ModelFile:
    """A .tflite file to measure, with the facts that its record keeps."""

    path: Path
    facts: ModelFacts

    @classmethod
    def of(
        cls, path: Path, *, dtype: str, input_shape: tuple[int, ...], rewrites: tuple[str, ...]
    ) -> ModelFile:
        """The file with its facts; its size and hash are read.

        Args:
            path: the .tflite file.
            dtype: as export names number formats.
            input_shape: [batch, height, width, channels].
            rewrites: export rewrites in force.
        """
        digest = atomic.sha256_of(path)
        size_bytes = path.stat().st_size
        return cls(path, ModelFacts(digest, size_bytes, dtype, input_shape, rewrites))


@dataclass(frozen=True)
class Session:
    """What one `measure` gave. failures: model name -> why it has no measurement. reference: of
    the reference model, where there was one."""

    measurements: dict[str, Measurement]
    failures: dict[str, str]
    reference: Measurement | None

    @property
    def reference_ms(self) -> float | None:
        """Median of the reference model, which tells how fast the device was."""
        return None if self.reference is None else self.reference.median_ms

    @property
    def partly(self) -> dict[str, str]:
        """Model name -> which part of it the accelerator executed, where that is not all of it."""
        return {name: entry.partly for name, entry in self.measurements.items() if entry.partly}

    @property
    def unstable(self) -> dict[str, tuple[str, ...]]:
        """Model name -> what is wrong with its measurement, after all repeats."""
        return {name: entry.problems for name, entry in self.measurements.items() if entry.problems}


def measure(
    models: Mapping[str, ModelFile],
    runner: Runner,
    schedule: Schedule,
    *,
    reference: Path | None = None,
    resume_log: Path | None = None,
    progress: Callable[[str], None] = silent,
) -> Session:
    """Measures every model in one interleaved session.

    Args:
        models: name -> file.
        runner: the device.
        schedule: how long and in which order.
        reference: a fixed model run first in every round; its time is written into the round's
            runs.
        resume_log: file that keeps every run, so that a killed or disconnected session goes on
            where it was; it is the caller's to delete.
        progress: called with one line a round, and now and then with the time left.

    Raises:
        UserError: a file vanished; DeviceLost and DeviceRefused of the runner. All runs so far
            are in the resume log.
    """
    with contextlib.closing(ResumeLog(resume_log, runner.device, runner.settings)) as log:
        session = _Rounds(models, runner, schedule, reference, log)
        generator = random.Random(schedule.seed * 1_000_003 + len(log.runs))
        done = session.done()
        total = max(done, schedule.rounds * len(models))
        pace = Progress("runs", total, done=done, say=progress)
        for number in range(schedule.rounds + schedule.extra_rounds):
            due = session.due()
            if not due:
                break
            generator.shuffle(due)
            session.one_round(due, pace, progress)
            failed = f", {len(session.reasons)} with failures" if session.reasons else ""
            progress(f"round {number + 1}: {len(due)} models measured{failed}")
        return session.result()


class _Rounds:
    """What a session under way knows of each model, and which of them failed."""

    def __init__(
        self,
        models: Mapping[str, ModelFile],
        runner: Runner,
        schedule: Schedule,
        reference: Path | None,
        log: ResumeLog,
    ):
        self.models, self.runner, self.schedule, self.log = models, runner, schedule, log
        self.known: dict[str, Measurement] = {}
        self.failures: dict[str, int] = {}
        self.reasons: dict[str, str] = {}
        self._files = dict(models)
        if reference is not None:
            require_file(reference)
            self._files[REFERENCE] = ModelFile.of(
                reference, dtype="float32", input_shape=(), rewrites=()
            )
        for name, sha256, run in log.runs:
            if name in self._files and self._files[name].facts.sha256 == sha256:
                self._add(name, run)

    def done(self) -> int:
        """Runs of the regular rounds that an earlier call has made."""
        return sum(
            min(self.schedule.rounds, len(self.known[name].runs))
            for name in self.models
            if name in self.known
        )

    def due(self) -> list[str]:
        """The models of the next round."""
        return [
            name
            for name in self.models
            if self.failures.get(name, 0) < self.schedule.max_failures
            and self.schedule.wants(self.known.get(name))
        ]

    def one_round(self, due: list[str], pace: Progress, say: Callable[[str], None]) -> None:
        """Runs the reference model, then each model that is due."""
        reference_ns = self._reference_ns(say)
        for name in due:
            try:
                self._run(name, reference_ns)
            except RunFailed as error:
                require_file(self.models[name].path)
                self.failures[name] = self.failures.get(name, 0) + 1
                self.reasons[name] = str(error)
                continue
            if len(self.known[name].runs) <= self.schedule.rounds:  # repeats come on top
                pace.update()

    def _reference_ns(self, say: Callable[[str], None]) -> float | None:
        """Of one run of the reference model; None where there is none, or where it fails, which
        costs this run alone. Tried so often in a session as any model."""
        failed = self.failures.get(REFERENCE, 0)
        if REFERENCE not in self._files or failed >= self.schedule.max_failures:
            return None
        require_file(self._files[REFERENCE].path)
        try:
            return self._run(REFERENCE, None, at_least=8).median_ns
        except RunFailed as error:
            self.failures[REFERENCE] = failed + 1
            say(f"WARNING the reference model failed, drift is not corrected: {error}")
            return None

    def result(self) -> Session:
        """What came of it."""
        lost = {
            name: reason
            for name, reason in self.reasons.items()
            if name not in self.known or self.failures[name] >= self.schedule.max_failures
        }
        measured = {
            name: self.known[name]
            for name in self.models
            if name in self.known and name not in lost
        }
        return Session(measured, lost, self.known.get(REFERENCE))

    def _run(self, name: str, reference_ns: float | None, *, at_least: int = 1) -> ModelRun:
        model = self._files[name]
        invocations = max(at_least, self.schedule.invocations(self.known.get(name)))
        run = self.runner.run(model.path, warmups=self.schedule.warmups, invocations=invocations)
        run = replace(run, sentinel_ns=reference_ns)
        self.log.append(name, model.facts.sha256, run)
        self._add(name, run)
        return run

    def _add(self, name: str, run: ModelRun) -> None:
        if name in self.known:
            runs = (*self.known[name].runs, run)
            self.known[name] = replace(self.known[name], runs=runs)
        else:
            facts = self._files[name].facts
            self.known[name] = Measurement(self.runner.device, self.runner.settings, facts, (run,))


def require_file(model: Path) -> None:
    """Raises UserError when the file is not there: its disappearance is no measurement that
    failed."""
    if not model.is_file():
        raise UserError(
            f"model {model} is gone",
            expected="a file that stays while it is measured",
            received="no such file",
            fix="Bring it back, or give the same command again: it is made anew, and what was "
            "measured is kept.",
        )
