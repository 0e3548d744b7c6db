"""All exported files of one trained network, each converted, labelled, run beside Keras and refused if it is not equal.

Nothing is written before everything has passed. Knows the formats and their bounds, and no dataset: images are passed in.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tf_keras as keras

from pnas_tf import files
from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.export import layer_errors, parity
from pnas_tf.export.convert import DTYPES, convert
from pnas_tf.export.metadata import Metadata, write_metadata
from pnas_tf.export.quantize import plain_network
from pnas_tf.export.rewrite import REWRITES, applicable

PARITY_FILE = "parity.json"


@dataclass(frozen=True)
class Exported:
    """contents: file name -> bytes. reports: the same names -> parity. layers: the per-layer table, when it was asked for."""

    contents: Mapping[str, bytes]
    reports: Mapping[str, parity.ParityReport]
    layers: str | None = None


@dataclass(frozen=True)
class Images:
    """What conversion and parity look at. representative: float32 [count, resolution, resolution, 3], normalised, of the weights split;
    test, labels: the whole test split. mean, std: the normalisation, (pixel - mean) / std."""

    representative: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    mean: float = 127.5
    std: float = 127.5


def file_name(dtype: str) -> str:
    """model_float32.tflite and so on."""
    return f"model_{dtype}.tflite"


def check_config(config: ExportConfig) -> None:
    """Raises UserError on values that no export can have; called before any work."""
    unknown = [name for name in config.formats if name not in DTYPES]
    if unknown or not config.formats:
        raise UserError("--formats", expected=f"some of {', '.join(DTYPES)}", received=", ".join(unknown) or "none",
                        fix="Choose among these, comma-separated.")
    if config.representative_images < 1:
        raise UserError("--representative_images", expected="at least 1", received=str(config.representative_images),
                        fix="Choose e.g. 200.")
    if config.export_batch < 1:
        raise UserError("--export_batch", expected="at least 1", received=str(config.export_batch), fix="Choose e.g. 1.")
    if config.debug_layers and not {"float32", "int8"} <= set(config.formats):
        raise UserError("--debug_layers", expected="float32 and int8 among --formats", received=", ".join(config.formats),
                        fix="Export both; the comparison is of the two.")
    for name in ("max_logit_difference", "max_accuracy_drop"):
        if not getattr(config, name) >= 0:
            raise UserError(f"--{name}", expected="0 or more", received=str(getattr(config, name)), fix="Choose the default.")


def rewrites_of(config: ExportConfig, measured: Sequence[str] | None) -> tuple[str, ...]:
    """The rewrites that the config asks for. measured: those of the device's latency table, None without a table."""
    if config.rewrites == ("auto",):
        return REWRITES if measured is None else tuple(measured)
    return () if config.rewrites == ("none",) else tuple(config.rewrites)


def export_models(model: keras.Model, images: Images, metadata: Metadata, config: ExportConfig, *, rewrites: tuple[str, ...] = REWRITES,
                  aware: keras.Model | None = None, progress: Callable[[str], None] | None = None) -> Exported:
    """Converts `model` (logits) to every format of the config, and proves each.

    aware: the quantisation-aware network made from `model`; its weights are then exported in every format. Its own ranges are
    used unless a rewrite splits a convolution, whose partial sums have none: then its weights are calibrated.
    Raises UserError when a bound is broken (with --debug_layers, after printing the layers through `progress`).
    """
    check_config(config)
    plain = model if aware is None else plain_network(aware, model)
    split = all(any(name.startswith("split_depthwise") for name in names) for names in (applicable(plain), rewrites))
    contents, reports = {}, {}
    for dtype in config.formats:
        source, applied = (aware, ()) if aware is not None and dtype == "int8" and not split else (plain, rewrites)
        content = convert(source, dtype=dtype, batch=config.export_batch, rewrites=applied,
                          representative=_with_extremes(images) if dtype == "int8" else None,
                          input_type=config.int8_input if dtype == "int8" else None,
                          output_type=config.int8_output if dtype == "int8" else None)
        contents[file_name(dtype)] = write_metadata(content, metadata)
        if progress:
            progress(f"{file_name(dtype)}: {len(contents[file_name(dtype)]) / 1000:.0f} kB")
    layers = None
    if config.debug_layers:
        # Both through one converter call's rewrites, so that the ops pair up; the quantisation-aware file differs in its input.
        pair = [convert(plain, dtype=dtype, rewrites=rewrites, representative=_with_extremes(images)) for dtype in ("float32", "int8")]
        layers = layer_errors.describe(layer_errors.layer_errors(pair[0], pair[1], images.test[:32]))
        if progress:
            progress(layers)
    batches = [(images.test[start:start + 256], images.labels[start:start + 256]) for start in range(0, len(images.test), 256)]
    for dtype in config.formats:
        report = parity.compare(plain, contents[file_name(dtype)], batches, dtype=dtype)
        parity.check_parity(report, max_logit_difference=config.max_logit_difference, max_accuracy_drop=config.max_accuracy_drop)
        reports[file_name(dtype)] = report
    return Exported(contents, reports, layers)


def write_models(exported: Exported, folder: str | os.PathLike) -> list[Path]:
    """Writes every file and parity.json, each whole or not at all. Files of formats that were not made this time go: they are of an
    older export, and parity.json would not speak of them."""
    written = [files.write_bytes(Path(folder) / name, content) for name, content in exported.contents.items()]
    for dtype in DTYPES:
        if file_name(dtype) not in exported.contents:
            (Path(folder) / file_name(dtype)).unlink(missing_ok=True)
    return [*written, parity.save_reports(Path(folder) / PARITY_FILE, exported.reports)]


def _with_extremes(images: Images) -> np.ndarray:
    """The representative images and one more that holds the darkest and the brightest pixel there can be, so that no pixel is
    clipped and the int8 input's step is that of a pixel."""
    extremes = images.representative[:1].copy()
    extremes[0, 0, 0], extremes[0, -1, -1] = -images.mean / images.std, (255 - images.mean) / images.std
    return np.concatenate([images.representative, extremes])
