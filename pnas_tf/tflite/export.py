"""All exported files of one trained network, each converted, labelled, run beside Keras and refused
if it is not equal.

Nothing is written before everything has passed. Knows the formats and their bounds, and no dataset:
images are passed in.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.network import with_probabilities
from pnas_tf.run.layout import Artifact, model_file
from pnas_tf.run.progress import Progress, unheard
from pnas_tf.tflite import layer_errors, parity
from pnas_tf.tflite.convert import DTYPES, convert
from pnas_tf.tflite.metadata import Metadata, write_metadata
from pnas_tf.tflite.quantize import plain_network
from pnas_tf.tflite.rewrites.choice import AUTO, NONE, REWRITES, check_names, wanted_among
from pnas_tf.tflite.rewrites.rewrite import applicable

COMPARED_IMAGES = 1000  # validation images on which int8 with and without a rewrite are compared


@dataclass(frozen=True)
class Exported:
    """contents: file name -> bytes. validation: the same names -> parity on the validation split,
    which decided. reports: -> parity on the test split. layers: the per-layer table, when it was
    asked for."""

    contents: Mapping[str, bytes]
    validation: Mapping[str, parity.ParityReport]
    reports: Mapping[str, parity.ParityReport]
    layers: str | None = None


@dataclass(frozen=True)
class Images:
    """What conversion and parity look at. representative: float32 [count, resolution, resolution,
    3], normalised, of the weights split. validation, validation_labels: the alpha split, which
    decides what is shipped; test, test_labels: the test split, which is only reported. mean, std:
    the normalisation, (pixel - mean) / std."""

    representative: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray
    mean: float = 127.5
    std: float = 127.5


def check_config(config: ExportConfig) -> None:
    """Raises UserError on values that no export can have; called before any work."""
    unknown = [name for name in config.formats if name not in DTYPES]
    if unknown or not config.formats:
        raise UserError(
            "--formats",
            expected=f"some of {', '.join(DTYPES)}",
            received=", ".join(unknown) or "none",
            fix="Choose among these, comma-separated.",
        )
    if config.representative_images < 1:
        raise UserError(
            "--representative_images",
            expected="at least 1",
            received=str(config.representative_images),
            fix="Choose e.g. 200.",
        )
    if config.export_batch < 1:
        raise UserError(
            "--export_batch",
            expected="at least 1",
            received=str(config.export_batch),
            fix="Choose e.g. 1.",
        )
    if config.debug_layers and not {"float32", "int8"} <= set(config.formats):
        raise UserError(
            "--debug_layers",
            expected="float32 and int8 among --formats",
            received=", ".join(config.formats),
            fix="Export both; the comparison is of the two.",
        )
    for name in ("max_logit_difference", "max_accuracy_drop"):
        if not getattr(config, name) >= 0:
            raise UserError(
                f"--{name}",
                expected="0 or more",
                received=str(getattr(config, name)),
                fix="Choose the default.",
            )


def rewrites_of(
    config: ExportConfig, measured: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """Format -> the rewrites that the config asks for. measured: dtype of a latency table of the
    device -> the table's rewrites.

    "auto" takes for each format those of the table of its kind (int8 or float), else of the other,
    else all.
    """
    if config.rewrites != (AUTO,):
        named = () if config.rewrites == (NONE,) else check_names(config.rewrites)
        return dict.fromkeys(DTYPES, named)
    tables = {kind: tuple(names) for kind, names in measured.items()}
    any_table = next(iter(tables.values()), REWRITES)
    return {
        dtype: tables.get("int8" if dtype == "int8" else "float32", any_table) for dtype in DTYPES
    }


def export_models(
    model: keras.Model,
    images: Images,
    metadata: Metadata,
    config: ExportConfig,
    *,
    rewrites: Mapping[str, tuple[str, ...]] | None = None,
    aware: keras.Model | None = None,
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Converts `model` (logits) to every format of the config, and proves each.

    rewrites: format -> its export rewrites, default all. int8 is compared with an int8 file without
    them, which takes its place when it alone keeps the accuracy. aware: the quantisation-aware
    network made from `model`; its weights are then exported in every format. Its own ranges are
    used unless a rewrite splits a convolution, whose partial sums have none: then its weights are
    calibrated. Raises UserError when a bound is broken (with --debug_layers, after printing the
    layers through `progress`).
    """
    check_config(config)
    work = _Work(
        model if aware is None else plain_network(aware, model),
        aware,
        images,
        metadata,
        config,
        progress,
    )
    wanted = rewrites or dict.fromkeys(DTYPES, REWRITES)
    names = applicable(work.plain)
    made = {
        dtype: work.convert(dtype, wanted_among(names, wanted[dtype])) for dtype in config.formats
    }
    layers = None
    if config.debug_layers:
        # Both through one converter call's rewrites, so that the ops pair up; the
        # quantisation-aware file differs in its input.
        pair = [
            convert(
                work.plain,
                dtype=dtype,
                rewrites=wanted["int8"],
                representative=_with_extremes(images),
            )
            for dtype in ("float32", "int8")
        ]
        layers = layer_errors.describe(
            layer_errors.layer_errors(pair[0], pair[1], images.validation[:32])
        )
        if progress:
            progress(layers)
    contents, validation, reports = {}, {}, {}
    for dtype in config.formats:
        name = model_file(dtype)
        contents[name], validation[name] = work.proven(
            dtype, made[dtype], wanted_among(names, wanted[dtype])
        )
        if progress:
            progress(f"{name}: {len(contents[name]) / 1000:.0f} kB")
    for dtype in config.formats:  # after every decision
        name = model_file(dtype)
        reports[name] = dataclasses.replace(
            work.compare(dtype, contents[name], split="test"), rewrites=validation[name].rewrites
        )
    return Exported(contents, validation, reports, layers)


@dataclass(frozen=True)
class _Work:
    """What every format's conversion and proof need. plain: the network as it is compared with."""

    plain: keras.Model
    aware: keras.Model | None
    images: Images
    metadata: Metadata
    config: ExportConfig
    progress: Callable[[str], None] | None

    def convert(self, dtype: str, rewrites: tuple[str, ...]) -> bytes:
        """The labelled file of one format. rewrites: by shape, those that change the network."""
        source, int8 = (
            self.aware
            if self.aware is not None and dtype == "int8" and not rewrites
            else self.plain,
            dtype == "int8",
        )
        if self.config.probabilities:
            source = with_probabilities(source)
        content = convert(
            source,
            dtype=dtype,
            batch=self.config.export_batch,
            rewrites=rewrites,
            representative=_with_extremes(self.images) if int8 else None,
            input_type=self.config.int8_input if int8 else None,
            output_type=self.config.int8_output if int8 else None,
        )
        return write_metadata(content, self.metadata)

    def compare(
        self, dtype: str, content: bytes, *, split: str = "validation", count: int | None = None
    ) -> parity.ParityReport:
        """The file beside Keras on a split, or on its first `count` images."""
        images, labels = (
            (self.images.test, self.images.test_labels)
            if split == "test"
            else (self.images.validation, self.images.validation_labels)
        )
        images, labels = images[:count], labels[:count]
        batches = [
            (images[start : start + 256], labels[start : start + 256])
            for start in range(0, len(images), 256)
        ]
        with Progress(
            f"proof of {dtype} on {split} images, batches",
            len(batches),
            say=self.progress or unheard,
        ) as pace:
            return parity.compare(self.plain, content, pace.over(batches), dtype=dtype)

    def proven(
        self, dtype: str, content: bytes, rewrites: tuple[str, ...]
    ) -> tuple[bytes, parity.ParityReport]:
        """The file and its validation report. A rewritten int8 file is compared with its twin,
        and gives way to it when it breaks a bound that the twin holds: a partial sum in int8 is
        rounded once more."""
        bounds = {
            "max_logit_difference": self.config.max_logit_difference,
            "max_accuracy_drop": self.config.max_accuracy_drop,
        }
        report = dataclasses.replace(self.compare(dtype, content), rewrites=rewrites)
        if dtype != "int8" or not rewrites:
            parity.check_parity(report, **bounds)
            return content, report
        twin = self.convert(dtype, ())
        beside = [self.compare(dtype, file, count=COMPARED_IMAGES) for file in (content, twin)]
        report = dataclasses.replace(
            report,
            beside_plain={
                "images": beside[0].images,
                **{
                    name: {
                        "mean_logit_difference": part.mean_logit_difference,
                        "top1_agreement": part.top1_agreement,
                        "accuracy": part.tflite_accuracy,
                    }
                    for name, part in zip(("rewritten", "plain"), beside)
                },
            },
        )
        try:
            parity.check_parity(report, **bounds)
        except UserError as error:
            plain = dataclasses.replace(self.compare(dtype, twin), beside_plain=report.beside_plain)
            parity.check_parity(plain, **bounds)
            if self.progress:
                self.progress(
                    f"int8 without {', '.join(rewrites)}, which costs accuracy: expected "
                    f"{error.expected}, "
                    f"received {error.received}"
                )
            return twin, plain
        return content, report


def write_models(exported: Exported, folder: str | os.PathLike) -> list[Path]:
    """Writes every file and parity.json, each whole or not at all. Files of formats that were not
    made this time go: they are of an older export, and parity.json would not speak of them."""
    written = [
        atomic.write_bytes(Path(folder) / name, content)
        for name, content in exported.contents.items()
    ]
    for dtype in DTYPES:
        if model_file(dtype) not in exported.contents:
            (Path(folder) / model_file(dtype)).unlink(missing_ok=True)
    return [
        *written,
        parity.save_reports(
            Path(folder) / Artifact.PARITY, validation=exported.validation, test=exported.reports
        ),
    ]


def _with_extremes(images: Images) -> np.ndarray:
    """The representative images and one more that holds the darkest and the brightest pixel there
    can be, so that no pixel is clipped and the int8 input's step is that of a pixel."""
    extremes = images.representative[:1].copy()
    extremes[0, 0, 0], extremes[0, -1, -1] = (
        -images.mean / images.std,
        (255 - images.mean) / images.std,
    )
    return np.concatenate([images.representative, extremes])
