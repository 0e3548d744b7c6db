"""All exported files of one trained network, each converted, labelled, run beside Keras and refused
if it is not equal.

Nothing is written before everything has passed. `export_network` takes a network and the dataset it
was trained on; `export_models` images and metadata from anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.network import build_network, with_probabilities
from pnas_tf.run.layout import Artifact, model_file
from pnas_tf.run.progress import Progress, silent
from pnas_tf.tflite import layer_errors, parity, parity_report
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.export_inputs import (
    Batches,
    ExportImages,
    check_sizes,
    images_of,
    metadata_of,
    with_extremes,
)
from pnas_tf.tflite.formats import DTYPES
from pnas_tf.tflite.metadata import Metadata, write_metadata
from pnas_tf.tflite.model import with_softmax
from pnas_tf.tflite.options import check_config, rewrites_of
from pnas_tf.tflite.parity_report import ParityReport
from pnas_tf.tflite.pixel_input import with_pixel_input
from pnas_tf.tflite.quantize import AwareNetwork
from pnas_tf.tflite.rewrites.choice import check_shapes, wanted_among
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.space.architecture import Architecture


@dataclass(frozen=True)
class Exported:
    """contents: file name -> bytes. validation: the same names -> parity on the validation split,
    which decided. reports: -> that on the test split."""

    contents: Mapping[str, bytes]
    validation: Mapping[str, ParityReport]
    reports: Mapping[str, ParityReport]


def export_network(
    model: keras.Model | AwareNetwork,
    dataset: Dataset,
    config: ExportConfig,
    *,
    architecture: Architecture,
    rewrites: Mapping[str, tuple[str, ...]] | None = None,
    progress: Callable[[str], None] | None = None,
    tell: Callable[[str], None] = print,
) -> Exported:
    """Converts a trained network to every format of the config, labels the files with its classes,
    normalisation and architecture, and proves each on the dataset.

    Args:
        model: see `export_models`.
        dataset: what it was trained on, at its resolution. The train split calibrates int8, the
            validation split decides, the test split is reported.
        config: see `export_models`; author and licence go into the files.
        architecture: of the network.
        rewrites, progress, tell: see `export_models`.

    Raises:
        UserError: dataset and architecture are of other sizes, or a bound is broken.
    """
    check_config(config)
    check_sizes(architecture, dataset)
    return export_models(
        model,
        images_of(dataset, config),
        metadata_of(dataset, config, architecture),
        config,
        rewrites=rewrites,
        progress=progress,
        tell=tell,
    )


def export_models(
    model: keras.Model | AwareNetwork,
    images: ExportImages,
    metadata: Metadata,
    config: ExportConfig,
    *,
    rewrites: Mapping[str, tuple[str, ...]] | None = None,
    progress: Callable[[str], None] | None = None,
    tell: Callable[[str], None] = print,
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
        rewrites: format -> its export rewrites; those of the config where None.
        progress: called with a line now and then.
        tell: called with the table of layers, where config.debug_layers asks for it.

    Raises:
        UserError: a bound is broken (with --debug_layers, after giving the layers to `tell`).
    """
    check_config(config)
    plain, aware = (model.plain, model.aware) if isinstance(model, AwareNetwork) else (model, None)
    work = _Work(plain, aware, images, metadata, config, progress or silent)
    if "int8" in config.formats and config.probabilities and config.int8_output != "float32":
        work.progress(
            f"{model_file('int8')} ends in logits: {config.int8_output} has too few values for "
            "probabilities, which --int8_output=float32 gives"
        )
    wanted = rewrites_of(config, {}) if rewrites is None else rewrites
    names = applicable(plain)
    check_shapes(config.rewrites, names)
    chosen = {dtype: wanted_among(names, wanted[dtype]) for dtype in config.formats}
    made = {dtype: work.convert(dtype, chosen[dtype]) for dtype in config.formats}
    if config.debug_layers:
        tell(work.layers(chosen["int8"]))
    files = {dtype: model_file(dtype) for dtype in config.formats}
    contents, validation, reports = {}, {}, {}
    for dtype, name in files.items():
        contents[name], validation[name] = work.proven(dtype, made[dtype], chosen[dtype])
        work.progress(f"{name}: {len(contents[name]) / 1000:.0f} kB")
    for dtype, name in files.items():  # after every decision
        reports[name] = replace(
            work.compare(dtype, contents[name], images.test, split="test"),
            rewrites=validation[name].rewrites,
        )
    return Exported(contents, validation, reports)


def untrained_file(
    architecture: Architecture,
    dtype: str,
    metadata: Metadata,
    config: ExportConfig,
    *,
    rewrites: tuple[str, ...],
) -> bytes:
    """The file of one format that the export of a network gives, with random weights: as large as
    that of the trained one, with the same ops."""
    model, generator = build_network(architecture), np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank == 1:  # no two alike, and none 0: a file holds equal ones once
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
    shape = (2, *model.input.shape[1:])
    images = ExportImages(generator.uniform(-1, 1, shape).astype(np.float32), (), (), ())
    work = _Work(model, None, images, metadata, config, silent)
    return work.convert(dtype, wanted_among(applicable(model), rewrites))


@dataclass(frozen=True)
class _Work:
    """What every format's conversion and proof need. plain: the network as it is compared with."""

    plain: keras.Model
    aware: keras.Model | None
    images: ExportImages
    metadata: Metadata
    config: ExportConfig
    progress: Callable[[str], None]

    @property
    def calibration(self) -> Iterator[np.ndarray]:
        """The images that the ranges of int8 are taken from."""
        return with_extremes(self.images.representative, self.metadata.mean, self.metadata.std)

    def convert(self, dtype: str, rewrites: tuple[str, ...]) -> bytes:
        """The labelled file of one format. rewrites: by shape, those that change the network."""
        source = apply_rewrites(self._source(dtype, rewrites), rewrites)
        batch, probabilities = self.config.export_batch, self.config.probabilities
        if dtype == "int8":
            content = convert(
                source,
                dtype,
                batch=batch,
                representative=self.calibration,
                input_type=self.config.int8_input,
                output_type=self.config.int8_output,
            )
            # A probability of 8 bits has steps of 1/256: the best of many classes would tie.
            if probabilities and self.config.int8_output == "float32":
                content = with_softmax(content)
        else:
            source = with_probabilities(source) if probabilities else source
            content = convert(source, dtype, batch=batch)
        if dtype != "int8" and self.config.float_input == "pixels":
            content = with_pixel_input(content, mean=self.metadata.mean, std=self.metadata.std)
            return write_metadata(content, replace(self.metadata, mean=(0.0,), std=(1.0,)))
        return write_metadata(content, self.metadata)

    def _source(self, dtype: str, rewrites: tuple[str, ...]) -> keras.Model:
        """The network that becomes a format."""
        return self.plain if self.aware is None or dtype != "int8" or rewrites else self.aware

    def layers(self, rewrites: tuple[str, ...]) -> str:
        """The table of where int8 departs from float32, layer by layer."""
        # Both through one converter call's rewrites, so that the ops pair up; the
        # quantisation-aware file differs in its input.
        source = apply_rewrites(self.plain, rewrites)
        float_model, quantised_model = (
            convert(source, dtype, representative=self.calibration) for dtype in ("float32", "int8")
        )
        images, _ = next(iter(self.images.sample))
        rows = layer_errors.layer_errors(float_model, quantised_model, np.asarray(images)[:32])
        table = layer_errors.describe(rows)
        if self.aware is not None:  # whose own file has other ranges
            table = f"int8 by post-training quantisation:\n{table}"
        return table

    def compare(self, dtype: str, content: bytes, batches: Batches, *, split: str) -> ParityReport:
        """The file beside Keras on images of a split, whose name is for the user."""
        what = f"comparing {dtype} on {split} images"
        with Progress(what, len(batches), say=self.progress) as pace:
            pixels = dtype != "int8" and self.config.float_input == "pixels"
            seen = (self.metadata.mean, self.metadata.std) if pixels else ((0.0,), (1.0,))
            return parity.compare(self.plain, content, pace.over(batches), dtype=dtype, seen=seen)

    def decided(self, dtype: str, content: bytes) -> ParityReport:
        """The file beside Keras on the validation split."""
        return self.compare(dtype, content, self.images.validation, split="validation")

    def proven(
        self, dtype: str, content: bytes, rewrites: tuple[str, ...]
    ) -> tuple[bytes, ParityReport]:
        """The file and its validation report. A rewritten int8 file is compared with its twin,
        and gives way to it when it breaks a bound that the twin holds: a partial sum in int8 is
        rounded once more."""
        report = replace(self.decided(dtype, content), rewrites=rewrites)
        if dtype != "int8" or not rewrites:
            parity.check_parity(report, self.config)
            return content, report
        twin = self.convert(dtype, ())
        beside = self._beside_plain(content, twin)
        report = replace(report, beside_plain=beside)
        try:
            parity.check_parity(report, self.config)
        except UserError as error:
            plain = replace(self.decided(dtype, twin), beside_plain=beside)
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
            self.compare("int8", file, self.images.sample, split="validation")
            for file in (rewritten, plain)
        )
        return {"images": first.images, "rewritten": _figures(first), "plain": _figures(second)}


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
