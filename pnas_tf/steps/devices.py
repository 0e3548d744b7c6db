"""Work on the devices of --device, one result file each: what the measuring steps share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import ConversionConfig, DeviceConfig
from pnas_tf.errors import UserError
from pnas_tf.run.layout import files_of_devices
from pnas_tf.run.terminal import DETAILS, Voice, say
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    from pnas_tf.devices.schedule import Runner
    from pnas_tf.latency.measure_sources import MeasurementSetup

_RUNTIME = "ai-edge-litert"


def outputs_of(job: Inputs, name: str) -> dict[str, str]:
    """Device -> its file in the run folder."""
    from pnas_tf.devices.registry import split_devices

    return files_of_devices(name, split_devices(job.configs[DeviceConfig].device))


def host_runtime(job: Inputs) -> str | None:
    """The runtime that measures on the host, with its version: figures of another one do not carry
    over. None where the host is none of the devices: what runs there stands in the measurements."""
    from importlib import metadata

    from pnas_tf.devices.registry import split_devices

    if "host" not in split_devices(job.configs[DeviceConfig].device):
        return None
    return f"{_RUNTIME} {metadata.version(_RUNTIME)}"


def binary_of(job: Inputs) -> tuple[Path, ...]:
    """The user's own benchmark_model, which counts by content; one that the device has and the
    official one stand in the measurements."""
    binary = Path(job.configs[DeviceConfig].benchmark_binary)
    return (binary,) if binary.is_file() else ()


def try_far_devices(job: Inputs) -> None:
    """Opens every far device once, before work that takes minutes: one that is not there, or a tool
    that cannot be fetched, is told now. Raises as `registry.runner_for` does."""
    from pnas_tf.devices.registry import runner_for, split_devices

    config = job.configs[DeviceConfig]
    for name in split_devices(config.device):
        if name != "host":
            runner_for(dataclasses.replace(config, device=name)).close()


def setup_of(
    job: Inputs, runner: Runner, say: Callable[[str], None], *, few_models: bool = False
) -> MeasurementSetup:
    """How `runner` measures in this run."""
    from pnas_tf.devices.schedule import schedule_for
    from pnas_tf.latency.measure_sources import MeasurementSetup

    schedule = schedule_for(job.configs[DeviceConfig], runner, seed=job.seed, few_models=few_models)
    return MeasurementSetup(runner, schedule, job.configs[ConversionConfig], say)


def on_devices(
    job: Inputs, work: Callable[[str, MeasurementSetup], None], *, few_models: bool = False
) -> None:
    """`work(device, setup)` on all devices at the same time; it stores what it measures.

    Where one device fails, what the others have measured stays in the resume logs too, so that the
    same call goes on from there.

    Raises:
        DeviceError: the one that failed.
        UserError: several failed.
    """
    from pnas_tf.devices.registry import on_each_device, runner_for

    setups: list[MeasurementSetup] = []

    def one(name: str, runner: Runner) -> None:
        setup = setup_of(job, runner, Voice(name), few_models=few_models)
        setups.append(setup)
        work(name, setup)

    results = on_each_device(
        job.configs[DeviceConfig], one, open_runner=lambda config: runner_for(config, say=DETAILS)
    )
    errors = {name: outcome.error for name, outcome in results.items() if outcome.error is not None}
    if len(errors) == 1:
        raise next(iter(errors.values()))
    for name, error in errors.items():
        say(f"{name}: {error}")
    if errors:
        raise UserError(
            "several devices failed",
            expected="a result of each",
            received=", ".join(errors),
            fix="See the reasons above; the same command keeps what was measured and goes on.",
        )
    for setup in setups:
        setup.forget_sessions()
