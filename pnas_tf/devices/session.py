"""The one schedule for all devices: shuffled interleaved rounds, warm-ups in every visit, a
sentinel model in every round.

Interleaving spreads slow changes of the device over all models alike, the sentinel shows and
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
from pnas_tf.devices.resume_log import Journal
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.progress import Progress, unheard

SENTINEL = "sentinel"


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

        Raises VisitFailed when this model failed (the runner stays usable), DeviceLost or
        DeviceRefused when no model can be measured now.
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
        for name in ("min_invocations", "rounds", "max_visit_invocations", "max_failures"):
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name} of the measuring schedule",
                    expected="at least 1",
                    received=str(getattr(self, name)),
                    fix="Choose e.g. the default.",
                )
        if self.warmups < 0 or self.extra_rounds < 0:
            raise UserError(
                "warmups or extra_rounds of the measuring schedule",
                expected="at least 0",
                received=f"{self.warmups}, {self.extra_rounds}",
                fix="Choose e.g. the default.",
            )

    def invocations(self, known: Measurement | None) -> int:
        """Timed invocations of the next visit to a model of which `known` is known."""
        share = -(-self.min_invocations // self.rounds)
        if known is None:
            return share
        return max(share, min(self.max_visit_invocations, int(self.min_visit_ms / known.median_ms)))


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
class Session:
    """What one `measure` gave. failures: model name -> why it has no measurement."""

    measurements: dict[str, Measurement]
    failures: dict[str, str]
    sentinel: Measurement | None

    @property
    def unstable(self) -> dict[str, tuple[str, ...]]:
        """Model name -> what is wrong with its measurement, after all repeats."""
        return {name: entry.problems for name, entry in self.measurements.items() if entry.problems}


def model_facts(
    path: Path, *, dtype: str, input_shape: tuple[int, ...], rewrites: tuple[str, ...]
) -> ModelFacts:
    """The facts of a .tflite file for its measurement."""
    return ModelFacts(
        atomic.sha256_of(path), path.stat().st_size, dtype, tuple(input_shape), tuple(rewrites)
    )


def measure(
    models: Mapping[str, Path],
    runner: Runner,
    *,
    facts: Mapping[str, ModelFacts],
    sentinel: Path | None = None,
    schedule: Schedule = Schedule(),
    journal: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Session:
    """Measures every model.

    models: name -> .tflite file. facts: name -> its facts. sentinel: a fixed model visited first in
    every round; its time is written into the round's visits. journal: file that keeps every visit,
    so that a killed or disconnected session goes on where it was; it is the caller's to delete.
    progress: called with one line a round, and now and then with the time left. Raises DeviceLost
    and DeviceRefused of the runner, with all visits so far in the journal.
    """
    with contextlib.closing(Journal(journal, runner.device, runner.settings)) as store:
        return _measure(models, runner, facts, sentinel, schedule, store, progress)


def _measure(
    models: Mapping[str, Path],
    runner: Runner,
    facts: Mapping[str, ModelFacts],
    sentinel: Path | None,
    schedule: Schedule,
    store: Journal,
    progress: Callable[[str], None] | None,
) -> Session:
    known: dict[str, Measurement] = {}
    failures: dict[str, int] = {}
    reasons: dict[str, str] = {}
    for name, sha256, visit in store.visits:
        if name == SENTINEL or (name in models and facts[name].sha256 == sha256):
            _add(known, name, visit, runner, facts)
    generator = random.Random(schedule.seed * 1_000_003 + len(store.visits))
    done = sum(min(schedule.rounds, len(known[name].visits)) for name in models if name in known)
    pace = Progress(
        "visits", max(done, schedule.rounds * len(models)), done=done, say=progress or unheard
    )
    for number in range(schedule.rounds + schedule.extra_rounds):
        due = [
            name
            for name in models
            if failures.get(name, 0) < schedule.max_failures and _due(known.get(name), schedule)
        ]
        if not due:
            break
        generator.shuffle(due)
        sentinel_ns = _visit_sentinel(sentinel, runner, schedule, known, store)
        for name in due:
            try:
                visit = runner.visit(
                    models[name],
                    warmups=schedule.warmups,
                    invocations=schedule.invocations(known.get(name)),
                )
            except VisitFailed as error:
                require_file(models[name])
                failures[name] = failures.get(name, 0) + 1
                reasons[name] = str(error)
                continue
            visit = replace(visit, sentinel_ns=sentinel_ns)
            store.append(name, facts[name].sha256, visit)
            _add(known, name, visit, runner, facts)
            if len(known[name].visits) <= schedule.rounds:  # repeats of unstable models come on top
                pace.update()
        if progress:
            progress(
                f"round {number + 1}: {len(due)} models measured"
                + (f", {len(reasons)} with failures" if reasons else "")
            )
    lost = {
        name: reasons[name]
        for name in reasons
        if name not in known or failures[name] >= schedule.max_failures
    }
    return Session(
        {name: known[name] for name in models if name in known and name not in lost},
        lost,
        known.get(SENTINEL),
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


def _due(known: Measurement | None, schedule: Schedule) -> bool:
    """Whether a model needs another visit: too few, or not yet certain, or unstable while repeats
    are left."""
    if (
        known is None
        or known.invocations < schedule.min_invocations
        or len(known.visits) < schedule.rounds
    ):
        return True
    if len(known.visits) >= schedule.rounds + schedule.extra_rounds:
        return False
    return known.relative_error > schedule.max_relative_error or not known.stable


def _visit_sentinel(
    sentinel: Path | None,
    runner: Runner,
    schedule: Schedule,
    known: dict[str, Measurement],
    store: Journal,
) -> float | None:
    if sentinel is None:
        return None
    require_file(sentinel)
    facts = ModelFacts(atomic.sha256_of(sentinel), sentinel.stat().st_size, "float32", ())
    visit = runner.visit(
        sentinel,
        warmups=schedule.warmups,
        invocations=max(8, schedule.invocations(known.get(SENTINEL))),
    )
    store.append(SENTINEL, facts.sha256, visit)
    _add(known, SENTINEL, visit, runner, {SENTINEL: facts})
    return visit.median_ns


def _add(
    known: dict[str, Measurement],
    name: str,
    visit: Visit,
    runner: Runner,
    facts: Mapping[str, ModelFacts],
) -> None:
    if name in known:
        known[name] = replace(known[name], visits=(*known[name].visits, visit))
    else:
        about = facts[name] if name in facts else ModelFacts("", 0, "float32", ())
        known[name] = Measurement(runner.device, runner.settings, about, (visit,))
