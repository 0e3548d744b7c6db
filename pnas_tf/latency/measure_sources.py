"""Blocks and networks measured together: converted as export converts them, then timed in one
interleaved session that goes on where it was killed.

Knows the export path and the measuring schedule, nothing of tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pnas_tf.config import ConversionConfig
from pnas_tf.devices.drift_correction import NONE, at_pace
from pnas_tf.devices.record import Measurement
from pnas_tf.devices.reference_model import CALL_SHAPE, call_model, reference_model
from pnas_tf.devices.schedule import Runner, Schedule
from pnas_tf.devices.session import ModelFile, Session, measure
from pnas_tf.latency.models import Rewrites, Source, cache_folder, convert_models, rewrites_for
from pnas_tf.run.progress import silent
from pnas_tf.space.architecture import Architecture

CALL = "call"  # the model that takes no longer than a call of the runtime


@dataclass(frozen=True)
class MeasurementSetup:
    """Where and how models are measured.

    Attributes:
        runner: the device.
        schedule: how long and in which order.
        conversion: where converted models and unfinished sessions are kept.
        progress: called with lines for the user.
        resume_logs: of the sessions that were measured by it. Who has stored what they gave calls
            `forget_sessions`; until then the same call goes on from them.
    """

    runner: Runner
    schedule: Schedule
    conversion: ConversionConfig = ConversionConfig()
    progress: Callable[[str], None] = silent
    resume_logs: set[Path] = field(default_factory=set, compare=False)

    @property
    def folder(self) -> Path:
        """Of converted models and unfinished sessions."""
        return cache_folder(self.conversion)

    def resume_log(
        self, kind: str, files: Mapping[str, ModelFile], *, duration_s: float = 0.0
    ) -> Path:
        """The file of a session. Unfinished ones of other devices, models, schedules or durations
        are other sessions."""
        models = sorted((name, file.facts.sha256) for name, file in files.items())
        text = repr((self.runner.device, self.runner.settings, models, self.schedule))
        text += f" for {duration_s} s" * bool(duration_s)
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        path = self.folder / f"{kind}_{key}.jsonl"
        self.resume_logs.add(path)
        return path

    def forget_sessions(self) -> None:
        """Deletes the resume logs: what they hold is stored elsewhere."""
        while self.resume_logs:
            self.resume_logs.pop().unlink(missing_ok=True)


def measure_sources(
    sources: Mapping[str, Source],
    setup: MeasurementSetup,
    *,
    dtype: str,
    rewrites: Rewrites,
    with_call: bool = False,
) -> Session:
    """Converts and measures blocks and networks together.

    Args:
        sources: name -> block or network.
        setup: the device, the schedule and the folder.
        dtype: as export's.
        rewrites: export rewrites, of all sources or of each by name.
        with_call: also measures, as "call", the model that takes no longer than a call of the
            runtime.

    Raises:
        UserError: a conversion fails; DeviceLost and DeviceRefused of the runner. The same call
            goes on from what was measured, until `setup.forget_sessions`.
    """
    paths = convert_models(
        sources, setup.conversion, dtype=dtype, rewrites=rewrites, progress=setup.progress
    )
    models = {
        name: ModelFile.of(
            paths[name],
            dtype=dtype,
            input_shape=input_shape(source),
            rewrites=rewrites_for(name, rewrites),
        )
        for name, source in sources.items()
    }
    if with_call:
        path = call_model(setup.folder)
        models[CALL] = ModelFile.of(path, dtype="float32", input_shape=CALL_SHAPE, rewrites=())
    return measure(
        models,
        setup.runner,
        setup.schedule,
        reference=reference_model(setup.folder),
        resume_log=setup.resume_log("session", models),
        progress=setup.progress,
    )


def comparable(session: Session) -> dict[str, Measurement]:
    """The measurements for `Measurement.corrected_ms` at another session's pace. Where the session
    takes no drift out, only the pace of the two sessions counts."""
    pace_ms = session.reference_ms
    if session.correction != NONE or pace_ms is None:
        return session.measurements
    return {name: at_pace(entry, pace_ms) for name, entry in session.measurements.items()}


def input_shape(source: Source) -> tuple[int, ...]:
    """[1, height, width, channels] of a block's or a network's model."""
    if isinstance(source, Architecture):
        return (1, source.space.resolution, source.space.resolution, source.space.channels)
    return (1, source.in_size, source.in_size, source.in_channels)
