"""How long and in which order models are measured, and what that needs of a device.

Arithmetic alone; `session` follows it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pnas_tf.config import DeviceConfig, RunConfig
from pnas_tf.devices.record import Device, Measurement, ModelRun, Settings
from pnas_tf.errors import UserError

# (regular, extra) rounds on a near device. A handful of models is over in a moment, so it has three
# times as many: every round is another process, and where a model lies in memory is drawn anew.
ROUNDS, ROUNDS_OF_FEW = (8, 4), (24, 24)


class Runner(Protocol):
    """One device that runs .tflite files. Context manager; `close` frees what it holds and may be
    called twice."""

    @property
    def device(self) -> Device:
        """The same value for as long as the runner lives."""

    @property
    def settings(self) -> Settings:
        """The same value for as long as the runner lives."""

    def begin_round(self) -> None:
        """Comes before the first run of every round."""

    def run(self, model: Path, *, warmups: int, invocations: int) -> ModelRun:
        """Runs `model` warmups + invocations times without a break.

        Raises:
            RunFailed: this model failed; the runner stays usable.
            DeviceLost, DeviceRefused: no model can be measured now.
        """

    def close(self) -> None: ...


@dataclass(frozen=True)
class Schedule:
    """How long and in which order.

    Every model gets at least `min_invocations` over `rounds` runs; a run is stretched to
    `min_run_ms` where a model is fast. Then models whose relative error is above the bound, or
    that are unstable, are run in up to `extra_rounds`, and in up to `noisy_rounds` more for as long
    as halves of the session differ by more than `max_noise_percent`.

    The reference model runs before and after every `models_between` runs. Disturbed runs are
    repeated: at the end of their round up to `max_repeated` of it, and of a model up to
    `max_repeated` of its regular ones.
    """

    min_invocations: int = DeviceConfig.min_invocations
    warmups: int = DeviceConfig.warmup_invocations
    rounds: int = ROUNDS[0]
    extra_rounds: int = ROUNDS[1]
    noisy_rounds: int = 8
    max_noise_percent: float = 3.0
    models_between: int = 1
    reference_warmups: int = 1
    reference_invocations: int = 3
    max_repeated: float = 0.25
    max_relative_error: float = 0.01
    min_run_ms: float = 20.0
    max_run_invocations: int = 100
    max_failures: int = 2
    seed: int = RunConfig.seed
    work: str = "timing models"  # what its progress is called

    def __post_init__(self) -> None:
        positive = (
            *("min_invocations", "rounds", "max_run_invocations", "max_failures"),
            *("models_between", "reference_invocations"),
        )
        for name in (*positive, "warmups", "extra_rounds", "noisy_rounds", "reference_warmups"):
            least = 1 if name in positive else 0
            if getattr(self, name) < least:
                raise UserError(
                    f"{name} of the measuring schedule",
                    expected=f"at least {least}",
                    received=str(getattr(self, name)),
                    fix="Choose e.g. the default.",
                )

    def invocations(self, known: Measurement | None) -> int:
        """Timed invocations of the next run of a model of which `known` is known."""
        share = -(-self.min_invocations // self.rounds)
        if known is None:
            return share
        return max(share, min(self.max_run_invocations, int(self.min_run_ms / known.median_ms)))

    @property
    def most_rounds(self) -> int:
        """On the noisiest device."""
        return self.rounds + self.extra_rounds + self.noisy_rounds

    def wants(self, known: Measurement | None, *, noisy: bool = False) -> bool:
        """Whether a model needs another run: too few, or not yet certain, or unstable while
        repeats are left, of which a noisy session has more."""
        if known is None or known.invocations < self.min_invocations:
            return True
        calm = sum(not run.disturbed for run in known.runs)
        if calm < self.rounds and len(known.runs) < self.rounds * (1 + self.max_repeated):
            return True
        most = self.most_rounds if noisy else self.rounds + self.extra_rounds
        if len(known.runs) >= most:
            return False
        stands = all(run.throttling for run in known.runs)  # a state that no repeat would end
        unstable = not known.stable and not stands
        return known.relative_error > self.max_relative_error or unstable


def schedule_for(
    config: DeviceConfig, runner: Runner, *, seed: int, few_models: bool = False
) -> Schedule:
    """The schedule of a device: fewer, longer runs where a run starts a program on the far
    side, and there the reference model beside each run, before or behind it.

    Args:
        config: how often each model is invoked.
        runner: of the device.
        seed: of the order in every round.
        few_models: for a handful of models.
    """
    rounds, extra_rounds = ROUNDS_OF_FEW if few_models else ROUNDS
    near = Schedule(
        min_invocations=config.min_invocations,
        warmups=config.warmup_invocations,
        rounds=rounds,
        extra_rounds=extra_rounds,
        seed=seed,
    )
    if runner.device.kind == "host":
        return near
    return replace(
        near,
        rounds=4,
        extra_rounds=2,
        noisy_rounds=4,
        models_between=2,
        reference_warmups=config.warmup_invocations,
        reference_invocations=8,
    )
