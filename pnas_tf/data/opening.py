"""Finds a dataset, reads it into memory where it fits, and says what is known of it before.

Datasets that fit into memory are held there, resized; others are read from their files or TFDS
records each epoch. Knows nothing of the splits of a search.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pnas_tf.config import DataConfig
from pnas_tf.data import augmentation as views
from pnas_tf.data import folders, tfds
from pnas_tf.data.arrays import ImageArrays
from pnas_tf.data.file_tree import FileTree
from pnas_tf.data.image_check import THREADS, refuse_unreadable
from pnas_tf.data.image_format import UnreadableImage
from pnas_tf.data.image_reader import decode
from pnas_tf.data.records import RecordSource, encoded_records
from pnas_tf.data.sources import (
    DECODE_CHUNK,
    ArraySource,
    FileSource,
    Source,
    WholeArraySource,
    rows_of,
)
from pnas_tf.data.tfds_builder import damage_named
from pnas_tf.errors import UserError


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset before its pixels are read. short_side: pixels, the median over
    images that differ. test_examples: None where it has no test split of its own. files: where they
    are image files, all of them."""

    class_names: tuple[str, ...]
    short_side: int
    training_examples: int
    test_examples: int | None = None
    files: FileTree | None = None


@dataclass(frozen=True)
class Opened:
    """A dataset's images. test: None where it has no test split of its own. files: where they are
    image files, all of them, with those that are not used. content: as of `split_positions`, of the
    training images."""

    class_names: tuple[str, ...]
    train: Source
    test: Source | None = None
    files: FileTree | None = None
    content: np.ndarray | None = None


def dataset_facts(config: DataConfig, *, arrays: ImageArrays | None = None) -> DatasetFacts:
    """Classes and image size of the dataset, which is found and prepared but not read. arrays: the
    images, where they are in memory. Raises UserError as `load_dataset`."""
    if arrays is not None:
        tested = None if arrays.test is None else len(arrays.test.labels)
        return DatasetFacts(arrays.class_names, arrays.short_side, len(arrays.labels), tested)
    if folders.is_of_files(config.dataset):
        folder = folders.open_images(config.dataset, skip_unreadable=config.skip_unreadable)
        tests = len(folder.test) or None
        return DatasetFacts(
            folder.class_names, folder.short_side, len(folder.train), tests, folder.files
        )
    with damage_named(config.dataset, config.data_dir):
        images = tfds.prepare_images(
            config.dataset, data_dir=config.data_dir, offline_files=config.offline_files
        )
        splits = images.builder.info.splits
        return DatasetFacts(
            images.class_names,
            images.short_side(),
            splits[images.train_split].num_examples,
            splits[images.test_split].num_examples if images.test_split else None,
        )


def open_dataset(
    config: DataConfig, *, resolution: int, whole: bool, arrays: ImageArrays | None
) -> Opened:
    """The dataset's images.

    Args:
        config: which dataset, and how much of it is held in memory.
        resolution: pixels of the images that are held.
        whole: whether images are wanted as they are, for random crops; none is then resized.
        arrays: the images, where they are in memory.

    Raises:
        UserError: as `load_dataset`.
    """
    if arrays is not None:
        return _open_arrays(arrays, config, resolution, whole)
    if folders.is_of_files(config.dataset):
        return _open_folder(config, resolution, whole)
    with damage_named(config.dataset, config.data_dir):
        return _open_images(config, resolution, whole)


def check_resolution(resolution: int) -> None:
    """Raises UserError where no image can have it."""
    if not 8 <= resolution <= 4096:
        raise UserError(
            "resolution of the images",
            expected="8 to 4096 pixels",
            received=repr(resolution),
            fix="Choose a value in between.",
        )


def _open_images(config: DataConfig, resolution: int, whole: bool) -> Opened:
    images = tfds.prepare_images(
        config.dataset, data_dir=config.data_dir, offline_files=config.offline_files
    )
    splits = [images.train_split] + ([images.test_split] if images.test_split else [])
    examples = sum(images.builder.info.splits[split].num_examples for split in splits)
    sources: list[Source]
    if whole or not _fits(config, examples, resolution, images.channels):
        sources = [_records(images, split, images.labels(split)) for split in splits]
    else:
        sources = [_read_split(images, split, resolution) for split in splits]
    for split, source in zip(splits, sources):
        images.check_labels(split, source.labels)
    return Opened(images.class_names, sources[0], sources[1] if images.test_split else None)


def _records(images: tfds.Images, split: str, labels: np.ndarray) -> RecordSource:
    return RecordSource(images.builder, split, images.image_key, images.label_key, labels)


def _read_split(images: tfds.Images, split: str, resolution: int) -> ArraySource:
    """Every image of a TFDS split, resized, at the position that it has when it is streamed."""
    count = images.builder.info.splits[split].num_examples
    pixels = np.empty((count, resolution, resolution, images.channels), np.uint8)
    labels = np.full(count, -1, np.int32)
    origin = _records(images, split, labels)

    def small(
        image: tf.Tensor, label: tf.Tensor, position: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        whole = origin.pixels(image, position)
        return _small(whole, resolution), tf.cast(label, tf.int32), position

    keys = (images.image_key, images.label_key)
    records = encoded_records(images.builder, split, keys=keys).map(small, tf.data.AUTOTUNE)
    for chunk, chunk_labels, positions in records.batch(DECODE_CHUNK).as_numpy_iterator():
        pixels[positions], labels[positions] = chunk, chunk_labels
    return ArraySource(pixels, labels, origin=origin)


def _open_arrays(arrays: ImageArrays, config: DataConfig, resolution: int, whole: bool) -> Opened:
    parts = [arrays] if arrays.test is None else [arrays, arrays.test]
    sources: list[Source] = [WholeArraySource(part.images, part.labels) for part in parts]
    examples = sum(len(part.labels) for part in parts)
    channels = max(part.images.shape[-1] for part in parts)
    if not whole and _fits(config, examples, resolution, channels):
        sources = [
            ArraySource(_resized(part.images, resolution), part.labels, origin)
            for part, origin in zip(parts, sources)
        ]
    test = None if arrays.test is None else sources[1]
    return Opened(arrays.class_names, sources[0], test, content=arrays.content)


def _resized(images: np.ndarray, resolution: int) -> np.ndarray:
    """The central square of each image at `resolution` pixels. uint8 [images, height, width,
    channels] in, [images, resolution, resolution, channels] out."""
    small = np.empty((len(images), resolution, resolution, images.shape[-1]), np.uint8)
    positions = tf.data.Dataset.range(len(images))
    rows = positions.map(
        lambda position: (position, _small(rows_of(images, position), resolution)), tf.data.AUTOTUNE
    )
    for chunk, pixels in rows.batch(DECODE_CHUNK).as_numpy_iterator():
        small[chunk] = pixels
    return small


def _open_folder(config: DataConfig, resolution: int, whole: bool) -> Opened:
    folder = folders.open_images(config.dataset, skip_unreadable=config.skip_unreadable)
    files = [FileSource(folder.train, folder.train_labels, folder.train_hashes)]
    if folder.test:
        files.append(FileSource(folder.test, folder.test_labels, folder.test_hashes))
    sources: list[Source] = list(files)
    examples = len(folder.train) + len(folder.test)
    if not whole and _fits(config, examples, resolution, 3):
        sources = [
            ArraySource(
                _read_files(source.paths, folder.files.root, resolution),
                source.labels,
                origin=source,
            )
            for source in files
        ]
    test = sources[1] if folder.test else None
    content = np.ascontiguousarray(folder.train_hashes[:, :8]).view(np.uint64)[:, 0]
    return Opened(folder.class_names, sources[0], test, folder.files, content)


def _read_files(paths: tuple[str, ...], root: str, resolution: int) -> np.ndarray:
    """Every image, resized. Raises UserError naming those that cannot be read."""

    pixels: np.ndarray = np.empty((len(paths), resolution, resolution, 3), np.uint8)

    def read(position: int) -> str | None:
        try:
            image = tf.constant(decode(Path(paths[position]).read_bytes()).pixels)
        except (UnreadableImage, OSError) as error:
            return str(error)
        pixels[position] = _small(image, resolution)
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        reasons = dict(zip(paths, pool.map(read, range(len(paths)))))
    failures = {path: reason for path, reason in reasons.items() if reason is not None}
    if failures:
        raise refuse_unreadable(failures, root=root, total=len(paths))
    return pixels


def _small(image: tf.Tensor, resolution: int) -> tf.Tensor:
    return tf.cast(tf.round(views.central_view(image, size=resolution, fraction=1.0)), tf.uint8)


def _fits(config: DataConfig, examples: int, resolution: int, channels: int) -> bool:
    return examples * resolution**2 * channels <= config.in_memory_mb * 2**20
