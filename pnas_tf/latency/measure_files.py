"""Measures .tflite files as they are shipped. Reads their facts from the files; knows nothing of
how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pnas_tf.devices.reference_model import reference_model
from pnas_tf.devices.session import ModelFile, Session, measure
from pnas_tf.devices.sustained import SustainedSession, sustain
from pnas_tf.errors import UserError
from pnas_tf.latency.measure_sources import MeasurementSetup
from pnas_tf.tflite.model import TfliteModel


def measure_files(
    models: Mapping[str, Path],
    setup: MeasurementSetup,
) -> Session:
    """Measures .tflite files (name -> path) in one interleaved session, which goes on where it was
    killed, until `setup.forget_sessions`.

    Raises:
        UserError: a file is absent or no model, or none of them could be measured; DeviceLost and
            DeviceRefused of the runner.
    """
    files = {name: described(path) for name, path in models.items()}
    session = measure(
        files,
        setup.runner,
        setup.schedule,
        reference=reference_model(setup.folder),
        resume_log=setup.resume_log("files", files),
        progress=setup.progress,
    )
    if not session.measurements:
        raise _none_measured(session.failures)
    return session


def sustain_files(
    models: Mapping[str, Path], setup: MeasurementSetup, duration_s: float
) -> SustainedSession:
    """Runs .tflite files (name -> path) for `duration_s` each, without a pause; the same call goes
    on where it was killed, until `setup.forget_sessions`.

    Raises:
        UserError: a file is absent or no model, or none of them could be run; DeviceLost and
            DeviceRefused of the runner.
    """
    files = {name: described(path) for name, path in models.items()}
    session = sustain(
        files,
        setup.runner,
        duration_s,
        resume_log=setup.resume_log("sustained", files, duration_s=duration_s),
        progress=setup.progress,
    )
    if not session.measurements:
        raise _none_measured(session.failures)
    return session


def _none_measured(failures: Mapping[str, str]) -> UserError:
    names: dict[str, list[str]] = {}
    for name, reason in failures.items():
        names.setdefault(reason, []).append(name)
    return UserError(
        "no model could be measured",
        expected="at least one",
        received="; ".join(f"{', '.join(of)}: {why}" for why, of in names.items()) or "no models",
        fix="Do what the reasons say; --delegate=none tells whether a delegate is at fault.",
    )


def described(path: Path) -> ModelFile:
    """A .tflite file of anybody with its hash, size, dtype and input shape.

    Raises:
        UserError: it is none, or has no input.
    """
    contents = TfliteModel.read(path).contents
    if not contents.inputs:
        raise UserError(
            f"{path} has no input",
            expected="a model of images",
            received="no input tensor",
            fix="Give another file.",
        )
    shape = tuple(contents.inputs[0].shape)
    return ModelFile.of(Path(path), dtype=contents.dtype, input_shape=shape, rewrites=())
