"""One measuring session, alike for all devices: shuffled interleaved rounds, warm-ups in every
run, a reference model beside every run, more rounds until halves of the session agree.

Interleaving spreads slow changes of the device over all models alike, the reference model shows and
corrects them where that helps (`drift_correction`). Measured on a shared 2-core machine: run-to-run
variation of a median 1.6 %, of a mean 8 to 20 %. Knows `Runner`s, not devices or blocks.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pnas_tf.devices.drift_correction import AROUND, BESIDE, NONE, correct
from pnas_tf.devices.failures import RunFailed
from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.devices.resume_log import ResumeLog
from pnas_tf.devices.schedule import Runner, Schedule
from pnas_tf.errors import UserError, number_of
from pnas_tf.io import atomic
from pnas_tf.run.progress import Progress, silent
from pnas_tf.run.terminal import warn

REFERENCE = "/sentinel"  # the reference model's name in resume logs; no file has it


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
    """What one `measure` gave.

    Attributes:
        measurements: model name -> its runs, each with the reference model's time beside it.
        failures: model name -> why it has no measurement.
        reference: of the reference model, where there was one and it ran.
        correction: how drift is taken out, of `drift_correction.CORRECTIONS`.
        noise_percent: by how much halves of the session differ; None where no model has two runs.
    """

    measurements: dict[str, Measurement]
    failures: dict[str, str]
    reference: Measurement | None
    correction: str = NONE
    noise_percent: float | None = None

    @property
    def reference_ms(self) -> float | None:
        """Median of the reference model, which tells how fast the device was."""
        return None if self.reference is None else self.reference.median_ms

    @property
    def correct_to_ms(self) -> float | None:
        """For `Measurement.corrected_ms`: `reference_ms` where this session corrects by it, None
        where it does not."""
        return None if self.correction == NONE else self.reference_ms

    def latency_ms(self, name: str) -> float:
        """What the model takes by this session's rule: waits and, where that helps, drift taken
        out. Raises KeyError where it was not measured."""
        return self.measurements[name].corrected_ms(self.correct_to_ms)

    def describe(self) -> str:
        """How drift was taken out, and by how much halves of the session still differ."""
        words = {
            NONE: "drift not corrected, since that would not make halves of the session agree more",
            BESIDE: "drift corrected by the reference model beside each run",
            AROUND: "drift corrected by the reference model around each run",
        }
        if self.noise_percent is None:
            return words[self.correction]
        return f"{words[self.correction]}; they differ by {self.noise_percent:.1f} %"

    @property
    def partly(self) -> dict[str, str]:
        """Model name -> which part of it the accelerator executed, where that is not all of it."""
        return {name: entry.partly for name, entry in self.measurements.items() if entry.partly}


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
        reference: a fixed model run before and behind every `schedule.models_between` runs; its
            time is written into these. Where it fails too often the round goes on without.
        resume_log: file that keeps every run, so that a killed or disconnected session goes on
            where it was; it is the caller's to delete.
        progress: called with one line a round, and now and then with the time left.

    Raises:
        UserError: a file vanished; DeviceLost and DeviceRefused of the runner. All runs so far
            are in the resume log.
    """
    opened = ResumeLog(resume_log, runner.device, runner.settings, say=progress)
    with contextlib.closing(opened) as log:
        session = _Rounds(models, runner, schedule, reference, log)
        generator = random.Random(schedule.seed * 1_000_003 + len(log.runs))
        done = session.done()
        total = max(done, schedule.rounds * len(models))
        pace = Progress(schedule.work, total, done=done, say=progress)
        if done:
            progress(f"{done} of {total} runs are there from before")
        for number in range(schedule.most_rounds):
            due = session.due()
            if not due:
                break
            generator.shuffle(due)
            session.one_round(due, pace)
            failed = f", {len(session.reasons)} with failures" if session.reasons else ""
            progress(f"round {number + 1}: {number_of(len(due), 'model')} measured{failed}")
        result = session.result()
        progress(result.describe())
        if REFERENCE in session.failures:
            reason = session.reasons[REFERENCE]
            warn(f"drift of the device is not seen: the reference model does not run: {reason}")
        return result


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
        self.sequence: list[tuple[str, ModelRun]] = []
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
        usual = self._wanting(noisy=False)
        if usual:
            return usual
        more = self._wanting(noisy=True)
        noise = correct(self.known, self.sequence, REFERENCE).noise_percent if more else None
        return more if noise is not None and noise > self.schedule.max_noise_percent else []

    def one_round(self, due: list[str], pace: Progress) -> None:
        """Runs each model that is due, then those again that were disturbed most, with the
        reference model between them."""
        self.runner.begin_round()
        if REFERENCE in self.failures:  # however often it failed: one more try
            self.failures[REFERENCE] = min(self.failures[REFERENCE], self.schedule.max_failures - 1)
        disturbed = []
        for name in self._between_references(due):
            run = self._try(name)
            if run is None:
                continue
            if run.disturbed:
                disturbed.append(name)
            if len(self.known[name].runs) <= self.schedule.rounds:  # repeats come on top
                pace.update()
        most = int(self.schedule.max_repeated * len(due))
        again = [name for name in disturbed if self.schedule.wants(self.known[name])]
        for name in self._between_references(again[:most]):
            self._try(name)

    def result(self) -> Session:
        """What came of it."""
        corrected = correct(self.known, self.sequence, REFERENCE)
        lost = {
            name: reason
            for name, reason in self.reasons.items()
            if name in self.models
            and (name not in self.known or self.failures[name] >= self.schedule.max_failures)
        }
        measured = {
            name: corrected.measurements[name]
            for name in self.models
            if name in self.known and name not in lost
        }
        return Session(
            measured, lost, self.known.get(REFERENCE), corrected.correction, corrected.noise_percent
        )

    def _wanting(self, *, noisy: bool) -> list[str]:
        return [
            name
            for name in self.models
            if self.failures.get(name, 0) < self.schedule.max_failures
            and self.schedule.wants(self.known.get(name), noisy=noisy)
        ]

    def _between_references(self, names: Sequence[str]) -> Iterator[str]:
        """The names; the reference model runs before, between and behind them."""
        for number, name in enumerate(names):
            if number % self.schedule.models_between == 0:
                self._try(REFERENCE)
            yield name
        if names:
            self._try(REFERENCE)

    def _try(self, name: str) -> ModelRun | None:
        """One run; None where it failed, or where there is no such model any more."""
        if name not in self._files or self.failures.get(name, 0) >= self.schedule.max_failures:
            return None
        try:
            run = self._run(name)
            if name == REFERENCE:
                self.failures.pop(name, None)  # it runs so often that only a row of failures tells
            return run
        except RunFailed as error:
            require_file(self._files[name].path)
            self.failures[name] = self.failures.get(name, 0) + 1
            self.reasons[name] = error.in_a_line
            return None

    def _run(self, name: str) -> ModelRun:
        model, schedule = self._files[name], self.schedule
        warmups, invocations = schedule.warmups, schedule.invocations(self.known.get(name))
        if name == REFERENCE:
            warmups, invocations = schedule.reference_warmups, schedule.reference_invocations
        run = self.runner.run(model.path, warmups=warmups, invocations=invocations)
        self.log.append(name, model.facts.sha256, run)
        self._add(name, run)
        return run

    def _add(self, name: str, run: ModelRun) -> None:
        self.sequence.append((name, run))
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
