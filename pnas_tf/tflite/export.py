"""All exported files of one trained network, each converted, labelled, run beside Keras and refused
if it is not equal.

Nothing is written before everything has passed. `export_network` takes a network and the dataset it
was trained on; `export_models` images and metadata from anywhere.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.network import with_probabilities
from pnas_tf.run.layout import Artifact, model_file
from pnas_tf.run.progress import Progress, silent
from pnas_tf.tflite import layer_errors, parity, parity_report
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.formats import DTYPES
from pnas_tf.tflite.metadata import Metadata, write_metadata
from pnas_tf.tflite.options import check_config, rewrites_of
from pnas_tf.tflite.parity_report import ParityReport
from pnas_tf.tflite.quantize import AwareNetwork
from pnas_tf.tflite.rewrites.choice import REWRITES, wanted_among
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.space.architecture import Architecture

COMPARED_IMAGES = 1000  # validation images on which int8 with and without a rewrite are compared
BATCH = 256  # images a call of the Keras network


@dataclass(frozen=True)
class Exported:
    """contents: file name -> bytes. validation: the same names -> parity on the validation split,
    which decided. reports: -> parity on the test split. layers: the per-layer table, when it was
    asked for."""

    contents: Mapping[str, bytes]
    validation: Mapping[str, ParityReport]
    reports: Mapping[str, ParityReport]
    layers: str | None = None


@dataclass(frozen=True)
class ExportImages:
    """What conversion and parity look at, normalised float32 [count, resolution, resolution, 3].

    representative: of the train split, for the ranges of int8. validation, validation_labels: the
    validation split, which decides what is shipped; test, test_labels: the test split, which is
    only reported.
    """

    representative: np.ndarray
    validation: np.ndarray
    validation_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def export_network(
    model: keras.Model | AwareNetwork,
    dataset: Dataset,
    config: ExportConfig,
    *,
    architecture: Architecture,
    rewrites: Mapping[str, tuple[str, ...]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Converts a trained network to every format of the config, labels the files with its classes,
    normalisation and architecture, and proves each on the dataset.

    Args:
        model: see `export_models`.
        dataset: what it was trained on, at its resolution. The train split calibrates int8, the
            validation split decides, the test split is reported.
        config: see `export_models`; author and licence go into the files.
        architecture: of the network.
        rewrites: format -> its export rewrites; those of the config where None.
        progress: called with a line now and then.

    Raises:
        UserError: dataset and architecture are of other sizes, or a bound is broken.
    """
    check_config(config)
    _check_sizes(architecture, dataset)
    return export_models(
        model,
        _images_of(dataset, config),
        _metadata_of(dataset, config, architecture),
        config,
        rewrites=rewrites_of(config, {}) if rewrites is None else rewrites,
        progress=progress,
    )


def _check_sizes(architecture: Architecture, dataset: Dataset) -> None:
    space = architecture.space
    given = (len(dataset.class_names), dataset.resolution)
    if given != (space.classes, space.resolution):
        raise UserError(
            f"dataset '{dataset.name}' is not what the network was made for",
            expected=f"{space.classes} classes, {space.resolution} pixels",
            received=f"{given[0]} classes, {given[1]} pixels",
            fix="Give the dataset it was trained on, opened at the network's resolution.",
        )


def _images_of(dataset: Dataset, config: ExportConfig) -> ExportImages:
    validation, validation_labels = dataset.validation_arrays()
    test, test_labels = dataset.test_arrays()
    return ExportImages(
        representative=dataset.representative_images(config.representative_images),
        validation=validation,
        validation_labels=validation_labels,
        test=test,
        test_labels=test_labels,
    )


def _metadata_of(dataset: Dataset, config: ExportConfig, architecture: Architecture) -> Metadata:
    return Metadata(
        name=f"{architecture.space.name} for {dataset.name}",
        labels=dataset.class_names,
        author=config.author,
        licence=config.licence,
        description=f"Found by ProxylessNAS; {architecture.macs} MACs, {architecture.parameters} "
        "parameters.",
        mean=(dataset.normalization.mean,),
        std=(dataset.normalization.std,),
        files={str(Artifact.ARCHITECTURE): atomic.json_bytes(architecture.to_json())},
    )


def export_models(
    model: keras.Model | AwareNetwork,
    images: ExportImages,
    metadata: Metadata,
    config: ExportConfig,
    *,
    rewrites: Mapping[str, tuple[str, ...]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Exported:
    """Converts a network to every format of the config, and proves each.

    int8 with rewrites is compared with an int8 file without them, which takes its place when it
    alone keeps the accuracy.

    Args:
        model: gives logits. The ranges of a quantisation-aware one are used unless a rewrite splits
            a convolution, whose partial sums have none: then its weights are calibrated.
        images: see `ExportImages`.
        metadata: what the files say about themselves.
        config: formats, types, bounds and whether probabilities end the files.
        rewrites: format -> its export rewrites; all where None.
        progress: called with a line now and then.

    Raises:
        UserError: a bound is broken (with --debug_layers, after giving the layers to `progress`).
    """
    check_config(config)
    plain, aware = (model.plain, model.aware) if isinstance(model, AwareNetwork) else (model, None)
    work = _Work(plain, aware, images, metadata, config, progress or silent)
    wanted = rewrites or dict.fromkeys(DTYPES, REWRITES)
    names = applicable(plain)
    chosen = {dtype: wanted_among(names, wanted[dtype]) for dtype in config.formats}
    made = {dtype: work.convert(dtype, chosen[dtype]) for dtype in config.formats}
    layers = work.layers(chosen["int8"]) if config.debug_layers else None
    contents, validation, reports = {}, {}, {}
    for dtype in config.formats:
        name = model_file(dtype)
        contents[name], validation[name] = work.proven(dtype, made[dtype], chosen[dtype])
        work.progress(f"{name}: {len(contents[name]) / 1000:.0f} kB")
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
    images: ExportImages
    metadata: Metadata
    config: ExportConfig
    progress: Callable[[str], None]

    def convert(self, dtype: str, rewrites: tuple[str, ...]) -> bytes:
        """The labelled file of one format. rewrites: by shape, those that change the network."""
        is_int8 = dtype == "int8"
        source = self.plain if self.aware is None or not is_int8 or rewrites else self.aware
        if self.config.probabilities:
            source = with_probabilities(source)
        content = convert(
            apply_rewrites(source, rewrites),
            dtype,
            batch=self.config.export_batch,
            representative=self._with_extremes() if is_int8 else None,
            input_type=self.config.int8_input if is_int8 else None,
            output_type=self.config.int8_output if is_int8 else None,
        )
        return write_metadata(content, self.metadata)

    def layers(self, rewrites: tuple[str, ...]) -> str:
        """The table of where int8 departs from float32, layer by layer."""
        # Both through one converter call's rewrites, so that the ops pair up; the
        # quantisation-aware file differs in its input.
        source = apply_rewrites(self.plain, rewrites)
        float_model, quantised_model = (
            convert(source, dtype, representative=self._with_extremes())
            for dtype in ("float32", "int8")
        )
        rows = layer_errors.layer_errors(float_model, quantised_model, self.images.validation[:32])
        table = layer_errors.describe(rows)
        self.progress(table)
        return table

    def compare(
        self, dtype: str, content: bytes, *, split: str = "validation", count: int | None = None
    ) -> ParityReport:
        """The file beside Keras on a split, or on its first `count` images."""
        images, labels = (
            (self.images.test, self.images.test_labels)
            if split == "test"
            else (self.images.validation, self.images.validation_labels)
        )
        images, labels = images[:count], labels[:count]
        batches = [
            (images[start : start + BATCH], labels[start : start + BATCH])
            for start in range(0, len(images), BATCH)
        ]
        what = f"proof of {dtype} on {split} images, batches"
        with Progress(what, len(batches), say=self.progress) as pace:
            return parity.compare(self.plain, content, pace.over(batches), dtype=dtype)

    def proven(
        self, dtype: str, content: bytes, rewrites: tuple[str, ...]
    ) -> tuple[bytes, ParityReport]:
        """The file and its validation report. A rewritten int8 file is compared with its twin,
        and gives way to it when it breaks a bound that the twin holds: a partial sum in int8 is
        rounded once more."""
        report = dataclasses.replace(self.compare(dtype, content), rewrites=rewrites)
        if dtype != "int8" or not rewrites:
            parity.check_parity(report, self.config)
            return content, report
        twin = self.convert(dtype, ())
        beside = self._beside_plain(content, twin)
        report = dataclasses.replace(report, beside_plain=beside)
        try:
            parity.check_parity(report, self.config)
        except UserError as error:
            plain = dataclasses.replace(self.compare(dtype, twin), beside_plain=beside)
            parity.check_parity(plain, self.config)
            self.progress(
                f"int8 without {', '.join(rewrites)}, which costs accuracy: expected "
                f"{error.expected}, received {error.received}"
            )
            return twin, plain
        return content, report

    def _beside_plain(self, rewritten: bytes, plain: bytes) -> dict[str, object]:
        """See `ParityReport.beside_plain`."""
        first, second = (
            self.compare("int8", file, count=COMPARED_IMAGES) for file in (rewritten, plain)
        )
        return {"images": first.images, "rewritten": _figures(first), "plain": _figures(second)}

    def _with_extremes(self) -> np.ndarray:
        """The representative images and one more that holds the darkest and the brightest pixel
        there can be, so that no pixel is clipped and the int8 input's step is that of a pixel."""
        mean, std = np.array(self.metadata.mean), np.array(self.metadata.std)
        extremes = self.images.representative[:1].copy()
        extremes[0, 0, 0], extremes[0, -1, -1] = -mean / std, (255 - mean) / std
        return np.concatenate([self.images.representative, extremes])


def write_models(exported: Exported, folder: str | os.PathLike) -> list[Path]:
    """Writes every file and parity.json, each whole or not at all. Files of formats that were not
    made this time go: they are of an older export, and parity.json would not speak of them."""
    folder = Path(folder)
    written = [
        atomic.write_bytes(folder / name, content) for name, content in exported.contents.items()
    ]
    for dtype in DTYPES:
        if model_file(dtype) not in exported.contents:
            (folder / model_file(dtype)).unlink(missing_ok=True)
    reports = parity_report.save_reports(
        folder / Artifact.PARITY, validation=exported.validation, test=exported.reports
    )
    return [*written, reports]


def _figures(report: ParityReport) -> dict[str, float | None]:
    return {
        "mean_logit_difference": report.mean_logit_difference,
        "top1_agreement": report.top1_agreement,
        "accuracy": report.tflite_accuracy,
    }
