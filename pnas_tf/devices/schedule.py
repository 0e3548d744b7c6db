"""How long and in which order models are measured, and what that needs of a device.

Arithmetic alone; `session` follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pnas_tf.config import DeviceConfig, RunConfig
from pnas_tf.devices.record import Device, Measurement, ModelRun, Settings
from pnas_tf.errors import UserError


class Runner(Protocol):
    """One device that runs .tflite files. Context manager; `close` frees what it holds and may be
    called twice."""

    @property
    def device(self) -> Device:
        """The same value for as long as the runner lives."""

    @property
    def settings(self) -> Settings:
        """The same value for as long as the runner lives."""

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
    that are unstable, are run in up to `extra_rounds`.
    """

    min_invocations: int = DeviceConfig.min_invocations
    warmups: int = DeviceConfig.warmup_invocations
    rounds: int = 8
    extra_rounds: int = 4
    max_relative_error: float = 0.01
    min_run_ms: float = 20.0
    max_run_invocations: int = 100
    max_failures: int = 2
    seed: int = RunConfig.seed

    def __post_init__(self) -> None:
        positive = ("min_invocations", "rounds", "max_run_invocations", "max_failures")
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
        """Timed invocations of the next run of a model of which `known` is known."""
        share = -(-self.min_invocations // self.rounds)
        if known is None:
            return share
        return max(share, min(self.max_run_invocations, int(self.min_run_ms / known.median_ms)))

    def wants(self, known: Measurement | None) -> bool:
        """Whether a model needs another run: too few, or not yet certain, or unstable while
        repeats are left."""
        if known is None or known.invocations < self.min_invocations:
            return True
        if len(known.runs) < self.rounds:
            return True
        if len(known.runs) >= self.rounds + self.extra_rounds:
            return False
        stands = all(run.throttling for run in known.runs)  # a state that no repeat would end
        unstable = not known.stable and not stands
        return known.relative_error > self.max_relative_error or unstable


def schedule_for(
    config: DeviceConfig, runner: Runner, *, seed: int, few_models: bool = False
) -> Schedule:
    """The schedule of a device: fewer, longer runs where a run starts a program on the far
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
