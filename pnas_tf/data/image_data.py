"""A dataset before a network's resolution is known: what `pnas_tf.data` gives a caller.

Importing this loads no TensorFlow; opening a dataset does.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.config import DataConfig, TrainConfig
from pnas_tf.data.arrays import ImageArrays, image_arrays
from pnas_tf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from pnas_tf.data.dataset import Dataset
    from pnas_tf.data.opening import DatasetFacts
    from pnas_tf.data.split import SplitSizes

_ELEMENTS = "(image [height, width, channels], label), or batches of these"
# Of image and label, one at a time or in batches; None: known when an element is read.
_RANKS = {*itertools.product((3, None), (0, None)), *itertools.product((4, None), (1, None))}
_READ_AGAIN = 256  # images of a pipeline that must be the same when it is read again


@dataclass(frozen=True)
class ImageData:
    """Labelled images from anywhere.

    Attributes:
        config: how they are split and augmented; `dataset` names them.
        arrays: the images, where they are in memory.
    """

    config: DataConfig
    arrays: ImageArrays | None = None

    @functools.cached_property
    def facts(self) -> DatasetFacts:
        """Classes, image size and number. Raises UserError where there is no such dataset."""
        from pnas_tf.data.opening import dataset_facts

        return dataset_facts(self.config, arrays=self.arrays)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the labels' numbers."""
        return self.facts.class_names

    @property
    def sizes(self) -> SplitSizes:
        """Images of the three splits."""
        from pnas_tf.data.split import split_sizes

        facts, classes = self.facts, len(self.class_names)
        tests = facts.test_examples
        return split_sizes(facts.training_examples, self.config, classes=classes, test_images=tests)

    def at(self, resolution: int) -> Dataset:
        """The three splits at `resolution` pixels. Raises UserError as `load_dataset`."""
        from pnas_tf.data.dataset import load_dataset

        return load_dataset(self.config, resolution=resolution, arrays=self.arrays)

    def for_training(self, config: TrainConfig) -> ImageData:
        """With the colours of that training."""
        if config.train_distort_color is None:
            return self
        data = dataclasses.replace(self.config, distort_color=config.train_distort_color)
        return dataclasses.replace(self, config=data)


def from_folder(path: str | os.PathLike, *, data_config: DataConfig = DataConfig()) -> ImageData:
    """Images in one folder a class (docs/data.md).

    Args:
        path: of the folder.
        data_config: split and augmentation; its `dataset` is replaced.
    """
    return ImageData(dataclasses.replace(data_config, dataset=f"folder:{os.fsdecode(path)}"))


def from_tfds(name: str, *, data_config: DataConfig = DataConfig()) -> ImageData:
    """A dataset of tensorflow_datasets by its name, or "digits".

    Args:
        name: as TFDS knows it.
        data_config: split, augmentation and where the files are; its `dataset` is replaced.
    """
    return ImageData(dataclasses.replace(data_config, dataset=name))


def from_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[object],
    *,
    test: tuple[np.ndarray, np.ndarray] | None = None,
    name: str = "arrays",
    data_config: DataConfig = DataConfig(),
) -> ImageData:
    """Images in memory.

    Args:
        images: uint8 [n, height, width, 3] or grey [n, height, width], pixels 0..255.
        labels: int [n], 0 for the first class.
        class_names: in that order; `str` of each is taken, e.g. range(10).
        test: images and labels to test on, alike; None: `test_fraction` of the images is.
        name: of the dataset in reports; "digits" and "mnist" are augmented as those are.
        data_config: split and augmentation; its `dataset` is replaced.

    Raises:
        UserError: another dtype or shape, or labels that are no places in `class_names`.
    """
    # A set's order changes with the process, a mapping may be names to numbers or the reverse.
    if isinstance(class_names, (set, frozenset, Mapping)):
        raise UserError(
            "class names of a dataset from arrays",
            expected="a sequence of names, in the order of the labels' numbers",
            received=type(class_names).__name__,
            fix="Give a list: class_names=[...].",
        )
    arrays = image_arrays(images, labels, tuple(str(word) for word in class_names), test=test)
    named = dataclasses.replace(data_config, dataset=f"{name}:{arrays.name}")
    return ImageData(named, arrays)


def from_tf_data(
    dataset: tf.data.Dataset,
    class_names: Sequence[object],
    *,
    test: tf.data.Dataset | None = None,
    name: str = "arrays",
    data_config: DataConfig = DataConfig(),
) -> ImageData:
    """Images of a pipeline that ends; they are read once and kept in memory.

    Args:
        dataset: (image, label) one at a time or in batches, in the same order each time: images
            uint8 [height, width, 3] or [height, width, 1], all of one size, pixels 0..255; labels
            integers from 0. Of shapes that the pipeline does not know, those of each element count.
        class_names: in the order of the labels' numbers.
        test: a pipeline of images to test on; None: `test_fraction` of the images is.
        name: of the dataset in reports.
        data_config: split and augmentation; its `dataset` is replaced.

    Raises:
        UserError: other elements, images of several sizes, none, no end of them, or others when
            they are read again.
    """
    images, labels = _arrays_of(dataset)
    tests = None if test is None else _arrays_of(test)
    return from_arrays(images, labels, class_names, test=tests, name=name, data_config=data_config)


def _arrays_of(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels). Raises UserError as `from_tf_data`."""
    batched = _is_batched(dataset)
    if dataset.cardinality() == -1:  # tf.data.INFINITE_CARDINALITY
        raise UserError(
            "the pipeline",
            expected="one that ends",
            received="one that repeats for ever",
            fix="Leave out .repeat(), or take a part: dataset.take(1000).",
        )
    pairs = dataset.unbatch() if batched else dataset
    images, labels = _read_once(pairs)
    _check_order(pairs, images, labels)
    return images, labels


def _pairs(dataset: tf.data.Dataset) -> Iterator[tuple[np.ndarray, np.integer]]:
    """(image, label) of one at a time or of batches. Raises UserError on an element that is
    neither."""
    for images, labels in dataset.as_numpy_iterator():
        if np.ndim(images) not in (3, 4) or np.shape(labels) != np.shape(images)[:-3]:
            raise UserError(
                "an element of the pipeline",
                expected=_ELEMENTS,
                received=f"shapes {list(np.shape(images))} and {list(np.shape(labels))}",
                fix="Map it to an image and the number of its class.",
            )
        yield from ((images, labels),) if np.ndim(images) == 3 else zip(images, labels)


def _read_once(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of a pipeline. Raises UserError where there is none, or one of another
    size."""
    images: list[np.ndarray] = []
    labels: list[np.integer] = []
    for image, label in _pairs(dataset):
        if images and image.shape != images[0].shape:
            raise UserError(
                f"image {len(images)} of the pipeline",
                expected=f"the size of the others, {list(images[0].shape)}",
                received=str(list(image.shape)),
                fix="Resize them first: dataset.map(lambda image, label: (tf.cast(tf.image.resize("
                "image, (96, 96)), tf.uint8), label)).",
            )
        images.append(image)
        labels.append(label)
    if not images:
        raise UserError(
            "the pipeline",
            expected="at least one image",
            received="none",
            fix="Give a pipeline that has not been used up.",
        )
    return np.stack(images), np.asarray(labels)


def _check_order(dataset: tf.data.Dataset, images: np.ndarray, labels: np.ndarray) -> None:
    """Raises UserError where the first images are others than before: splits go by place, and
    each process would have a dataset of its own. A pipeline that can be read only once passes."""
    again = itertools.islice(_pairs(dataset), _READ_AGAIN)
    for place, ((image, label), before) in enumerate(zip(again, images)):
        if label != labels[place] or not np.array_equal(image, before):
            raise UserError(
                "the pipeline",
                expected="the same images in the same order each time it is read",
                received=f"another image {place} when it was read again",
                fix="Leave out .shuffle(), shuffle=True and random changes of images: every epoch "
                "is shuffled and augmented later.",
            )


def _is_batched(dataset: tf.data.Dataset) -> bool:
    """Whether the pipeline is known to give batches. Raises UserError where its elements are known
    to be neither images with their labels nor batches of them."""
    spec = getattr(dataset, "element_spec", None)
    if spec is None:
        raise UserError(
            "the pipeline",
            expected="a tf.data.Dataset",
            received=type(dataset).__name__,
            fix="Of arrays and lists make a dataset by from_arrays(images, labels, class_names), "
            "of anything else a pipeline: tf.data.Dataset.from_generator.",
        )
    shapes = [getattr(part, "shape", None) for part in spec] if isinstance(spec, tuple) else []
    ranks = tuple(-1 if shape is None else shape.rank for shape in shapes)
    if ranks not in _RANKS:
        raise UserError(
            "elements of the pipeline",
            expected=_ELEMENTS,
            received=repr(spec)[:200],
            fix="Map it to pairs of an image and the number of its class.",
        )
    if spec[0].dtype != "uint8":
        raise UserError(
            "images of the pipeline",
            expected="uint8, pixels 0..255",
            received=spec[0].dtype.name,
            fix="Where their pixels are 0..255, convert them: dataset.map(lambda image, label: "
            "(tf.cast(tf.round(image), tf.uint8), label)); scale others first.",
        )
    return ranks == (4, 1)
