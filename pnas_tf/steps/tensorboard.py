"""What TensorBoard shows of a run besides its curves: the architecture as an image, and options
beside results (HParams), one row a run and one a budget of --sweep.

  tensorboard --logdir=runs

The curves are written while they come, by `run.loop`. Here everything is written anew each time, so
that a run stands there once.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.run.layout import Artifact, sweep_events

if TYPE_CHECKING:
    from pnas_tf.io import Json
    from pnas_tf.search.derivation import SweepPoint
    from pnas_tf.space.architecture import Architecture

Value = bool | int | float | str


def write_run(
    folder: Path,
    architecture: Architecture,
    configs: Mapping[type, object],
    summary: Mapping[str, Json],
) -> None:
    """The events of a finished run. configs: whose options are shown where they are not the
    default."""
    options = {
        field.name: _plain(getattr(config, field.name))
        for kind, config in configs.items()
        for field in dataclasses.fields(kind)
        if getattr(config, field.name) != field.default and field.name != "run_dir"
    }
    figures: dict[str, object] = {"macs": architecture.macs, "parameters": architecture.parameters}
    for name, words in (("test_accuracy", "test accuracy"), ("size_bytes", "bytes")):
        found = summary.get(name)
        for form, value in (found if isinstance(found, Mapping) else {}).items():
            figures[f"{words}, {form}"] = value
    latencies = summary.get("latency_ms")
    for form, found in (latencies if isinstance(latencies, Mapping) else {}).items():
        if isinstance(found, Mapping):
            figures[f"measured ms, {form}"] = found.get("measured")
    _write(folder / Artifact.RUN_EVENTS, options, figures, architecture)


def write_sweep(folder: Path, points: Sequence[SweepPoint]) -> None:
    """The events of each budget of --sweep."""
    for point in points:
        figures = {
            "validation top-1, supernet weights": point.validation_accuracy,
            "predicted ms": point.predicted_ms,
            "macs": point.architecture.macs,
            "parameters": point.architecture.parameters,
        }
        place = folder / sweep_events(point.budget_ms)
        _write(place, {"budget_ms": point.budget_ms}, figures, point.architecture)


def _write(
    place: Path,
    options: Mapping[str, Value],
    figures: Mapping[str, object],
    architecture: Architecture,
) -> None:
    import tensorflow as tf
    from tensorboard.plugins.hparams import api as hparams

    from pnas_tf.report.drawing import architecture_figure
    from pnas_tf.report.figures import png_of

    if place.is_dir():
        shutil.rmtree(place)
    image = tf.io.decode_png(png_of(architecture_figure(architecture)), channels=3)
    with tf.summary.create_file_writer(str(place)).as_default() as writer:
        hparams.hparams(dict(options), trial_id=str(place))
        for name, value in figures.items():
            if isinstance(value, int | float):
                tf.summary.scalar(name, value, step=0)
        tf.summary.image("architecture", image[tf.newaxis], step=0)
        writer.close()


def _plain(value: object) -> Value:
    """As HParams holds it: lists and what is unset as words."""
    if isinstance(value, bool | int | float | str):
        return value
    return ",".join(map(str, value)) if isinstance(value, tuple) else "unset"
