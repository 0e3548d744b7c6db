"""The one schedule for all devices: shuffled interleaved rounds, warm-ups in every visit, a
reference model in every round.

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
from typing import Protocol

from pnas_tf.config import DeviceConfig, RunConfig
from pnas_tf.devices.failures import VisitFailed
from pnas_tf.devices.record import Device, Measurement, ModelFacts, Settings, Visit
from pnas_tf.devices.resume_log import ResumeLog
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.progress import Progress, silent

REFERENCE = "sentinel"  # the reference model's name in resume logs


class Runner(Protocol):
    """One device that runs .tflite files. Context manager; `close` frees what it holds and may be
    called twice."""

    @property
    def device(self) -> Device:
        """The same value for as long as the runner lives."""

    @property
    def settings(self) -> Settings:
        """The same value for as long as the runner lives."""

    def visit(self, model: Path, *, warmups: int, invocations: int) -> Visit:
        """Runs `model` warmups + invocations times without a break.

        Raises:
            VisitFailed: this model failed; the runner stays usable.
            DeviceLost, DeviceRefused: no model can be measured now.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class Schedule:
    """How long and in which order.

    Every model gets at least `min_invocations` over `rounds` visits; a visit is stretched to
    `min_visit_ms` where a model is fast. Then models whose relative error is above the bound, or
    that are unstable, are visited in up to `extra_rounds`.
    """

    min_invocations: int = DeviceConfig.min_invocations
    warmups: int = DeviceConfig.warmup_invocations
    rounds: int = 8
    extra_rounds: int = 4
    max_relative_error: float = 0.01
    min_visit_ms: float = 20.0
    max_visit_invocations: int = 100
    max_failures: int = 2
    seed: int = RunConfig.seed

    def __post_init__(self) -> None:
        positive = ("min_invocations", "rounds", "max_visit_invocations", "max_failures")
        for name in (*positive, "warmups", "extra_rounds"):
            least = 1 if name in positive else 0
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} of the measuring schedule",
                    expected=f"at least {least}",
                    received=str(getattr(self, name)),
                    fix="Choose e.g. the default.",
                )

    def invocations(self, known: Measurement | None) -> int:
        """Timed invocations of the next visit to a model of which `known` is known."""
        share = -(-self.min_invocations // self.rounds)
        if known is None:
            return share
        return max(share, min(self.max_visit_invocations, int(self.min_visit_ms / known.median_ms)))

    def wants(self, known: Measurement | None) -> bool:
        """Whether a model needs another visit: too few, or not yet certain, or unstable while
        repeats are left."""
        if known is None or known.invocations < self.min_invocations:
            return True
        if len(known.visits) < self.rounds:
            return True
        if len(known.visits) >= self.rounds + self.extra_rounds:
            return False
        return known.relative_error > self.max_relative_error or not known.stable


def schedule_for(
    config: DeviceConfig, runner: Runner, *, seed: int, few_models: bool = False
) -> Schedule:
    """The schedule of a device: fewer, longer visits where a visit starts a program on the far
    side.

    Args:
        config: how often each model is invoked.
        runner: of the device.
        seed: of the order in every round.
        few_models: for a handful of models, whose rounds are over in a moment. Three times as many
            near ones then: every round is another process, and where a model lies in memory is
            drawn anew.
    """
    rounds, extra_rounds = (24, 24) if few_models else (8, 4)
    if runner.device.kind != "host":
        rounds, extra_rounds = 4, 2
    return Schedule(
        min_invocations=config.min_invocations,
        warmups=config.warmup_invocations,
        rounds=rounds,
        extra_rounds=extra_rounds,
        seed=seed,
    )


@dataclass(frozen=True)
class ModelFile:
    """A .tflite file to measure, with the facts that its record keeps."""

    path: Path
    facts: ModelFacts


def model_file(
    path: Path, *, dtype: str, input_shape: tuple[int, ...], rewrites: tuple[str, ...]
) -> ModelFile:
    """The file with its facts; its size and hash are read.

    Args:
        path: the .tflite file.
        dtype: as export names number formats.
        input_shape: [batch, height, width, channels].
        rewrites: export rewrites in force.
    """
    digest = atomic.sha256_of(path)
    facts = ModelFacts(digest, path.stat().st_size, dtype, tuple(input_shape), tuple(rewrites))
    return ModelFile(path, facts)


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
        reference: a fixed model visited first in every round; its time is written into the round's
            visits.
        resume_log: file that keeps every visit, so that a killed or disconnected session goes on
            where it was; it is the caller's to delete.
        progress: called with one line a round, and now and then with the time left.

    Raises:
        UserError: a file vanished; DeviceLost and DeviceRefused of the runner. All visits so far
            are in the resume log.
    """
    with contextlib.closing(ResumeLog(resume_log, runner.device, runner.settings)) as log:
        session = _Rounds(models, runner, schedule, reference, log)
        generator = random.Random(schedule.seed * 1_000_003 + len(log.visits))
        done = session.done()
        total = max(done, schedule.rounds * len(models))
        pace = Progress("visits", total, done=done, say=progress)
        for number in range(schedule.rounds + schedule.extra_rounds):
            due = session.due()
            if not due:
                break
            generator.shuffle(due)
            session.one_round(due, pace)
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
            self._files[REFERENCE] = model_file(
                reference, dtype="float32", input_shape=(), rewrites=()
            )
        for name, sha256, visit in log.visits:
            if name in self._files and self._files[name].facts.sha256 == sha256:
                self._add(name, visit)

    def done(self) -> int:
        """Visits of the regular rounds that an earlier call has made."""
        return sum(
            min(self.schedule.rounds, len(self.known[name].visits))
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

    def one_round(self, due: list[str], pace: Progress) -> None:
        """Visits the reference model, then each model that is due."""
        reference_ns = None
        if REFERENCE in self._files:
            require_file(self._files[REFERENCE].path)
            reference_ns = self._visit(REFERENCE, None, at_least=8).median_ns
        for name in due:
            try:
                self._visit(name, reference_ns)
            except VisitFailed as error:
                require_file(self.models[name].path)
                self.failures[name] = self.failures.get(name, 0) + 1
                self.reasons[name] = str(error)
                continue
            if len(self.known[name].visits) <= self.schedule.rounds:  # repeats come on top
                pace.update()

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

    def _visit(self, name: str, reference_ns: float | None, *, at_least: int = 1) -> Visit:
        model = self._files[name]
        invocations = max(at_least, self.schedule.invocations(self.known.get(name)))
        visit = self.runner.visit(
            model.path, warmups=self.schedule.warmups, invocations=invocations
        )
        visit = replace(visit, sentinel_ns=reference_ns)
        self.log.append(name, model.facts.sha256, visit)
        self._add(name, visit)
        return visit

    def _add(self, name: str, visit: Visit) -> None:
        if name in self.known:
            visits = (*self.known[name].visits, visit)
            self.known[name] = replace(self.known[name], visits=visits)
        else:
            facts = self._files[name].facts
            self.known[name] = Measurement(
                self.runner.device, self.runner.settings, facts, (visit,)
            )


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
