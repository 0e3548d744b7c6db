"""Blocks and networks measured together: converted as export converts them, then timed in one
interleaved session that goes on where it was killed.

Knows the export path and the measuring schedule, nothing of tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.config import ConversionConfig
from pnas_tf.devices.record import ModelFacts
from pnas_tf.devices.reference_model import CALL_SHAPE, call_model, sentinel_model
from pnas_tf.devices.session import Runner, Schedule, Session, measure, model_facts
from pnas_tf.latency.models import Rewrites, Source, cache_folder, convert_models, rewrites_for
from pnas_tf.run.progress import unheard
from pnas_tf.space.architecture import Architecture

CALL = "call"  # the model that takes no longer than a call of the runtime


@dataclass(frozen=True)
class MeasurementSetup:
    """Where and how models are measured.

    runner: the device. schedule: how long and in which order. conversion: where converted models
    and unfinished sessions are kept. progress: called with lines for the user.
    """

    runner: Runner
    schedule: Schedule
    conversion: ConversionConfig = ConversionConfig()
    progress: Callable[[str], None] = unheard

    @property
    def folder(self) -> Path:
        """Of converted models and unfinished sessions."""
        return cache_folder(self.conversion)


def measure_sources(
    sources: Mapping[str, Source],
    setup: MeasurementSetup,
    *,
    dtype: str,
    rewrites: Rewrites,
    with_call: bool = False,
) -> tuple[Session, Path]:
    """Converts and measures blocks and networks together.

    Args:
        sources: name -> block or network.
        setup: the device, the schedule and the folder.
        dtype: as export's.
        rewrites: export rewrites, of all sources or of each by name.
        with_call: also measures, as "call", the model that takes no longer than a call of the
            runtime.

    Returns:
        The session and the file that it can be resumed from, which the caller deletes.

    Raises:
        UserError: a conversion fails; DeviceLost and DeviceRefused of the runner.
    """
    paths = convert_models(
        sources,
        setup.conversion,
        dtype=dtype,
        rewrites=rewrites,
        progress=setup.progress,
    )
    facts = {
        name: model_facts(
            paths[name],
            dtype=dtype,
            input_shape=input_shape(source),
            rewrites=rewrites_for(name, rewrites),
        )
        for name, source in sources.items()
    }
    if with_call:
        paths[CALL] = call_model(setup.folder)
        facts[CALL] = model_facts(paths[CALL], dtype="float32", input_shape=CALL_SHAPE, rewrites=())
    journal = setup.folder / f"session_{_session_key(setup, facts)}.jsonl"
    session = measure(
        paths,
        setup.runner,
        facts=facts,
        sentinel=sentinel_model(setup.folder),
        schedule=setup.schedule,
        journal=journal,
        progress=setup.progress,
    )
    return session, journal


def input_shape(source: Source) -> tuple[int, ...]:
    """[1, height, width, channels] of a block's or a network's model."""
    if isinstance(source, Architecture):
        return (1, source.space.resolution, source.space.resolution, source.space.channels)
    return (1, source.in_size, source.in_size, source.in_channels)


def _session_key(setup: MeasurementSetup, facts: Mapping[str, ModelFacts]) -> str:
    """Unfinished sessions of other devices, models or schedules are other sessions."""
    models = sorted((name, entry.sha256) for name, entry in facts.items())
    text = repr((setup.runner.device, setup.runner.settings, models, setup.schedule))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
