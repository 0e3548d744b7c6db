"""What an export of a network looks at and says: images of its dataset, and the files' metadata.

Images are read a batch at a time, anew for each file that is proven, so that memory does not grow
with their number. Knows nothing of conversion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import tensorflow as tf

from pnas_tf.config import ExportConfig
from pnas_tf.data.dataset_name import public_name
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact
from pnas_tf.tflite.metadata import Metadata

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.space.architecture import Architecture

SAMPLE_IMAGES = 1000  # validation images on which int8 with and without a rewrite are compared
BATCH_IMAGES, BATCH_BYTES = 256, 8 * 2**20  # of a batch of float32 images, at most


class Batches(Protocol):
    """(images, labels) pairs that can be read more than once: a tf.data.Dataset, or a list.

    Images are normalised float32 [batch, resolution, resolution, 3].
    """

    def __iter__(self) -> Iterator[tuple[np.ndarray | tf.Tensor, np.ndarray | tf.Tensor]]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class ExportImages:
    """What conversion and parity look at.

    Attributes:
        representative: batches of images of the train split, for the ranges of int8; or an array.
        validation: the validation split, which decides what is shipped.
        sample: images of the validation split, of all classes: what is looked at more closely.
        test: the test split, which is only reported.
    """

    representative: Iterable[np.ndarray | tf.Tensor]
    validation: Batches
    sample: Batches
    test: Batches


def check_sizes(architecture: Architecture, dataset: Dataset) -> None:
    """Raises UserError when `dataset` is not what the network of `architecture` takes."""
    space = architecture.space
    given = (len(dataset.class_names), dataset.resolution)
    if given != (space.classes, space.resolution):
        raise UserError(
            f"dataset '{dataset.name}' is not what the network was made for",
            expected=f"{space.classes} classes, {space.resolution} pixels",
            received=f"{given[0]} classes, {given[1]} pixels",
            fix="Give the dataset it was trained on, opened at the network's resolution.",
        )


def images_of(dataset: Dataset, config: ExportConfig) -> ExportImages:
    """What a dataset gives: the train split calibrates, validation decides, test is reported."""
    image_bytes = dataset.resolution**2 * 3 * 4
    batch_size = max(1, min(BATCH_IMAGES, BATCH_BYTES // image_bytes))
    representative = dataset.representative_batches(
        config.representative_images, batch_size=batch_size
    )
    return ExportImages(
        representative=representative.map(lambda images, labels: images),
        validation=dataset.validation_once(batch_size=batch_size),
        sample=dataset.validation_sample(SAMPLE_IMAGES, batch_size=batch_size),
        test=dataset.test_batches(batch_size=batch_size),
    )


_CENTRAL = "of that its central square"
_PART = re.compile(rf"{_CENTRAL} of (0\.\d{{1,6}}) of the side")


def central_part(description: str) -> float:
    """The part of a picture's short side that `pictures_of` tells of."""
    found = _PART.search(description)
    return float(found.group(1)) if found else 1.0


def pictures_of(dataset: Dataset) -> str:
    """What was done to every picture before the network saw it, and so what an app must do."""
    part = dataset.centre_fraction
    square = _CENTRAL if part == 1 else f"{_CENTRAL} of {part:g} of the side"
    return (
        "Give it an upright picture (turned by its EXIF orientation) in sRGB, over white where it "
        f"is transparent, and {square}, at {dataset.resolution} x {dataset.resolution} pixels."
    )


def with_extremes(
    images: Iterable[np.ndarray | tf.Tensor], mean: Sequence[float], std: Sequence[float]
) -> Iterator[np.ndarray]:
    """The images that calibrate int8, float32 [batch, height, width, 3], and one more that holds
    the darkest and the brightest pixel there can be, so that no pixel is clipped and the int8
    input's step is that of a pixel. mean, std: of their normalisation."""
    darkest, brightest = -np.array(mean) / np.array(std), (255 - np.array(mean)) / np.array(std)
    extremes = None
    for batch in images:
        batch = np.asarray(batch, np.float32)
        if extremes is None:
            extremes = batch.reshape(-1, *batch.shape[-3:])[:1].copy()
        yield batch
    if extremes is not None:
        extremes[0, 0, 0], extremes[0, -1, -1] = darkest, brightest
        yield extremes


def metadata_of(dataset: Dataset, config: ExportConfig, architecture: Architecture) -> Metadata:
    """What the files of a network say about themselves."""
    return Metadata(
        name=f"{architecture.space.name} for {public_name(dataset.name)}",
        labels=dataset.class_names,
        author=config.author,
        licence=config.licence,
        description=f"{architecture.macs} MACs, {architecture.parameters} parameters. "
        f"{pictures_of(dataset)}",
        mean=(dataset.normalization.mean,),
        std=(dataset.normalization.std,),
        files={str(Artifact.ARCHITECTURE): atomic.json_bytes(architecture.to_json())},
    )
