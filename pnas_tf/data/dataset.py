"""The images of a run in three disjoint splits: train, validation and test.

The train split trains weights, the validation split alpha (section 3.2.1: alpha learns on held-out
data).

Everything is a pure function of its arguments: the split of (images, split_seed), an epoch's order
and augmentation of (seed, epoch). Datasets that fit into memory are held there, resized; others are
read from their files or TFDS records each epoch. Knows nothing of networks.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from pnas_tf.config import DataConfig, TrainConfig
from pnas_tf.data import augmentation as views
from pnas_tf.data import folders, tfds
from pnas_tf.data.arrays import ImageArrays
from pnas_tf.data.augmentation import Augmentation
from pnas_tf.data.image_check import refuse_unreadable
from pnas_tf.data.image_format import UnreadableImage
from pnas_tf.data.image_reader import decode
from pnas_tf.data.sources import (
    DECODE_CHUNK,
    ArraySource,
    FileSource,
    Order,
    RecordSource,
    Source,
    WholeArraySource,
)
from pnas_tf.data.split import stratified_choice
from pnas_tf.errors import UserError

_SPLIT_STREAMS = {
    "test": 0,
    "validation": 1,
    "training": 2,
}  # each choice has random numbers of its own
_SMALL_IMAGE = 64  # pixels: up to here "auto" shifts and flips; above, it crops
_AUTO_CROP_SCALE = 0.35  # the published 0.08 is for 1.28 million images and hundreds of epochs


@dataclass(frozen=True)
class Normalization:
    """Networks see (pixel - mean) / std, pixels in 0..255."""

    mean: float = 127.5
    std: float = 127.5


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset before its pixels are read. short_side: pixels, the median over
    images that differ."""

    class_names: tuple[str, ...]
    short_side: int
    training_examples: int


@dataclass(frozen=True)
class Subset:
    """Positions in a source; sorted, no repeats."""

    source: Source
    positions: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """int32 [examples], in the order of `positions`."""
        return self.source.labels[self.positions]


@dataclass(frozen=True)
class Dataset:
    """Images normalised to float32 [batch, resolution, resolution, 3], labels int32 [batch].

    Splits are disjoint. `fingerprint` changes with the images' content, names and labels, the split
    and the transforms, and not with the place of a folder.
    """

    name: str
    class_names: tuple[str, ...]
    resolution: int
    augmentation: Augmentation
    train_split: Subset
    validation_split: Subset
    test_split: Subset
    centre_fraction: float = 1.0
    normalization: Normalization = field(default_factory=Normalization)

    @property
    def train_size(self) -> int:
        """Images that train the weights."""
        return len(self.train_split.positions)

    @property
    def validation_size(self) -> int:
        """Images that train alpha."""
        return len(self.validation_split.positions)

    @property
    def test_size(self) -> int:
        """Images kept for testing."""
        return len(self.test_split.positions)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, 64 hex digits."""
        digest = hashlib.sha256(
            repr(
                (
                    self.class_names,
                    self.resolution,
                    self.augmentation,
                    self.centre_fraction,
                    self.normalization,
                )
            ).encode()
        )
        for split in (self.train_split, self.validation_split, self.test_split):
            digest.update(split.positions.tobytes() + b"|" + split.labels.tobytes() + b"|")
            digest.update(split.source.identity(split.positions))
        return digest.hexdigest()

    def train_batches(
        self, *, batch_size: int, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """One epoch of the train split: shuffled, augmented, the remainder dropped, from batch
        `start_batch` on.

        Raises UserError when one batch is more than the split.
        """
        return self._training(
            self.train_split,
            "train",
            batch_size,
            Order(seed, epoch),
            start_batch,
            augmented=True,
        )

    def validation_batches(
        self, *, batch_size: int, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """One epoch of the validation split: shuffled, not augmented, the remainder dropped."""
        return self._training(
            self.validation_split,
            "validation",
            batch_size,
            Order(seed, epoch),
            start_batch,
            augmented=False,
        )

    def combined_batches(
        self, *, batch_size: int, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """Train and validation split together, as `train_batches`: what the derived network is
        trained on."""
        return self._training(
            self._both(), "training", batch_size, Order(seed, epoch), start_batch, augmented=True
        )

    def fit_batches(
        self, config: TrainConfig, *, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """One epoch of what the derived network may learn from, in training and in all that trains
        it further: `combined_batches`, or `train_batches` where config.train_on_alpha holds alpha
        out."""
        batches = self.combined_batches if config.train_on_alpha else self.train_batches
        return batches(
            batch_size=config.batch_size, seed=seed, epoch=epoch, start_batch=start_batch
        )

    def fit_steps(self, config: TrainConfig) -> int:
        """Full batches in one epoch of `fit_batches`."""
        split = "combined" if config.train_on_alpha else "train"
        return self.steps_per_epoch(split, batch_size=config.batch_size)

    def test_batches(self, *, batch_size: int) -> tf.data.Dataset:
        """The test split in a fixed order, not augmented; the last batch may be smaller."""
        return self._plain(self.test_split, batch_size)

    def validation_once(self, *, batch_size: int) -> tf.data.Dataset:
        """Every image of the validation split once, in a fixed order: for validation without
        touching the test split."""
        return self._plain(self.validation_split, batch_size)

    def train_unaugmented(self, *, batch_size: int) -> tf.data.Dataset:
        """The train split in a fixed shuffled order, not augmented: re-estimates batch
        normalisation."""
        return self._training(
            self.train_split, "train", batch_size, Order(0, 0), 0, augmented=False
        )

    def steps_per_epoch(self, split: str, *, batch_size: int) -> int:
        """Full batches in one epoch of "train", "validation" or both: "combined"."""
        sizes = {
            "train": self.train_size,
            "validation": self.validation_size,
            "combined": self.train_size + self.validation_size,
        }
        return sizes[split] // batch_size

    def representative_images(self, count: int) -> np.ndarray:
        """Up to `count` images of the train split, spread over it, not augmented: calibrates int8.
        Trained on in every setting, so no held-out image decides a range. float32 [n, ...]."""
        positions = Order(0, 1).permutation(self.train_split.positions)[:count]
        chosen = Subset(self.train_split.source, np.sort(positions))
        return np.concatenate(
            [images for images, _ in self._plain(chosen, DECODE_CHUNK).as_numpy_iterator()]
        )

    def test_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All test images and labels: float32 [test_size, resolution, resolution, 3] and int32
        [test_size]."""
        return self._arrays(self.test_split)

    def validation_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All images and labels of the validation split, as `test_arrays`, in a fixed shuffled
        order, so that the first ones are of all classes."""
        positions = Order(0, 2).permutation(self.validation_split.positions)
        return self._arrays(Subset(self.validation_split.source, positions))

    def _arrays(self, subset: Subset) -> tuple[np.ndarray, np.ndarray]:
        images, labels = zip(*self._plain(subset, DECODE_CHUNK).as_numpy_iterator())
        return np.concatenate(images), np.concatenate(labels)

    def _both(self) -> Subset:
        return Subset(
            self.train_split.source,
            np.union1d(self.train_split.positions, self.validation_split.positions),
        )

    def _plain(self, subset: Subset, batch_size: int) -> tf.data.Dataset:
        batches = subset.source.batches(
            subset.positions,
            view=self._central,
            order=None,
            batch_size=batch_size,
            start_batch=0,
            drop_remainder=False,
        )
        return self._finish(batches, None)

    def _training(
        self,
        subset: Subset,
        name: str,
        batch_size: int,
        order: Order,
        start_batch: int,
        *,
        augmented: bool,
    ) -> tf.data.Dataset:
        if not 1 <= batch_size <= len(subset.positions):
            raise UserError(
                f"batch of {batch_size} images",
                expected=f"1 to {len(subset.positions)}, the images of the {name} split",
                received=str(batch_size),
                fix="Choose a smaller --batch_size.",
            )
        rows = (
            tf.constant(
                views.random_rows(len(subset.source.labels), seed=order.seed, epoch=order.epoch)
            )
            if augmented
            else None
        )
        view: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = self._central
        if rows is not None and self.augmentation.kind == "imagenet":
            table = rows

            def view(image: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
                return views.random_crop(
                    image,
                    tf.gather(table, position),
                    size=self.resolution,
                    min_scale=self.augmentation.min_crop_scale,
                )

        batches = subset.source.batches(
            subset.positions,
            view=view,
            order=order,
            batch_size=batch_size,
            start_batch=start_batch,
            drop_remainder=True,
        )
        return self._finish(batches, rows)

    def _central(self, image: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        del position
        return views.central_view(image, size=self.resolution, fraction=self.centre_fraction)

    def _finish(self, batches: tf.data.Dataset, rows: tf.Tensor | None) -> tf.data.Dataset:
        mean, std = self.normalization.mean, self.normalization.std

        def finish(
            images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            images = tf.ensure_shape(images, (None, self.resolution, self.resolution, 3))
            if rows is not None:
                images = views.augment(images, tf.gather(rows, positions), self.augmentation)
            return (images - mean) / std, labels

        return batches.map(finish, tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def dataset_facts(config: DataConfig, *, arrays: ImageArrays | None = None) -> DatasetFacts:
    """Classes and image size of the dataset, which is found and prepared but not read. arrays: the
    images, where they are in memory. Raises UserError as `load_dataset`."""
    if arrays is not None:
        return DatasetFacts(arrays.class_names, arrays.short_side, len(arrays.labels))
    if folders.is_of_files(config.dataset):
        folder = folders.open_images(config.dataset, skip_unreadable=config.skip_unreadable)
        return DatasetFacts(folder.class_names, folder.short_side, len(folder.train))
    images = tfds.prepare_images(
        config.dataset, data_dir=config.data_dir, offline_files=config.offline_files
    )
    return DatasetFacts(
        images.class_names, images.short_side(), images.builder.info.splits["train"].num_examples
    )


def load_dataset(
    config: DataConfig, *, resolution: int, arrays: ImageArrays | None = None
) -> Dataset:
    """Opens the dataset at `resolution` pixels and splits it. arrays: the images, where they are in
    memory; `config.dataset` is then their name.

    Raises UserError, before any other work, when the dataset is unknown or cannot be prepared, a
    folder is not usable, or a split would lack a class.
    """
    _check(config, resolution)
    choice = _augmentation(config, resolution)
    fraction = views.CENTRE_FRACTION if choice.kind == "imagenet" else 1.0
    test: Source | None
    if arrays is not None:
        train, test, class_names = _open_arrays(arrays, config, resolution, choice)
    else:
        reader = _open_folder if folders.is_of_files(config.dataset) else _open_images
        train, test, class_names = reader(config, resolution, choice)
    positions: np.ndarray = np.arange(len(train.labels), dtype=np.int64)
    if test is None:
        chosen = _choose(
            train.labels,
            positions,
            round(len(positions) * config.test_fraction),
            config,
            class_names,
            split="test",
        )
        test, test_positions = train, positions[chosen]
        positions = np.delete(positions, chosen)
    else:
        test_positions = np.arange(len(test.labels), dtype=np.int64)
    if config.train_images is not None and config.train_images != len(positions):
        positions = positions[
            _choose(
                train.labels, positions, config.train_images, config, class_names, split="training"
            )
        ]
    alpha_size = (
        config.alpha_size
        if config.alpha_size is not None
        else round(len(positions) * config.alpha_fraction)
    )
    chosen = _choose(train.labels, positions, alpha_size, config, class_names, split="validation")
    return Dataset(
        config.dataset,
        class_names,
        resolution,
        choice,
        Subset(train, np.delete(positions, chosen)),
        Subset(train, positions[chosen]),
        Subset(test, test_positions),
        centre_fraction=fraction,
    )


def _choose(
    labels: np.ndarray,
    positions: np.ndarray,
    count: int,
    config: DataConfig,
    class_names: tuple[str, ...],
    *,
    split: str,
) -> np.ndarray:
    return stratified_choice(
        labels[positions],
        count,
        classes=len(class_names),
        seed=(config.split_seed, _SPLIT_STREAMS[split]),
        split=split,
        class_names=class_names,
    )


def _open_images(
    config: DataConfig, resolution: int, choice: Augmentation
) -> tuple[Source, Source | None, tuple[str, ...]]:
    images = tfds.prepare_images(
        config.dataset, data_dir=config.data_dir, offline_files=config.offline_files
    )
    splits = ["train"] + ([images.test_split] if images.test_split else [])
    examples = sum(images.builder.info.splits[split].num_examples for split in splits)
    sources: list[Source]
    if choice.kind == "imagenet" or not _fits(config, examples, resolution, images.channels):
        sources = [_records(images, split, images.labels(split)) for split in splits]
    else:
        sources = [_read_split(images, split, resolution) for split in splits]
    return sources[0], sources[1] if len(sources) > 1 else None, images.class_names


def _records(images: tfds.Images, split: str, labels: np.ndarray) -> RecordSource:
    return RecordSource(images.builder, split, images.image_key, images.label_key, labels)


def _read_split(images: tfds.Images, split: str, resolution: int) -> ArraySource:
    """Every image of a TFDS split, resized, in the order in which it is stored."""

    def small(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return _small(record[images.image_key], resolution), tf.cast(
            record[images.label_key], tf.int32
        )

    records = images.builder.as_dataset(split=split, shuffle_files=False).map(
        small, tf.data.AUTOTUNE, deterministic=True
    )
    chunks, label_chunks = zip(*records.batch(DECODE_CHUNK).as_numpy_iterator())
    pixels, labels = np.concatenate(chunks), np.concatenate(label_chunks)
    return ArraySource(pixels, labels, origin=_records(images, split, labels))


def _open_arrays(
    arrays: ImageArrays, config: DataConfig, resolution: int, choice: Augmentation
) -> tuple[Source, None, tuple[str, ...]]:
    images, labels = arrays.images, arrays.labels
    whole = WholeArraySource(images, labels)
    if choice.kind == "imagenet" or not _fits(config, len(labels), resolution, images.shape[-1]):
        return whole, None, arrays.class_names
    return ArraySource(resized(images, resolution), labels, whole), None, arrays.class_names


def resized(images: np.ndarray, resolution: int) -> np.ndarray:
    """The central square of each image at `resolution` pixels. uint8 [images, height, width,
    channels] in, [images, resolution, resolution, channels] out."""
    rows = tf.data.Dataset.from_tensor_slices(images).map(
        lambda image: _small(image, resolution), tf.data.AUTOTUNE, deterministic=True
    )
    return np.concatenate(list(rows.batch(DECODE_CHUNK).as_numpy_iterator()))


def _open_folder(
    config: DataConfig, resolution: int, choice: Augmentation
) -> tuple[Source, Source | None, tuple[str, ...]]:
    folder = folders.open_images(config.dataset, skip_unreadable=config.skip_unreadable)
    files = [FileSource(folder.train, folder.train_labels, folder.train_hashes)]
    if folder.test:
        files.append(FileSource(folder.test, folder.test_labels, folder.test_hashes))
    sources: list[Source] = list(files)
    if choice.kind != "imagenet" and _fits(
        config, len(folder.train) + len(folder.test), resolution, 3
    ):
        sources = [
            ArraySource(
                _read_files(source.paths, folder.files.root, resolution),
                source.labels,
                origin=source,
            )
            for source in files
        ]
    return sources[0], sources[1] if len(sources) > 1 else None, folder.class_names


def _read_files(paths: tuple[str, ...], root: str, resolution: int) -> np.ndarray:
    """Every image, resized. Raises UserError naming those that cannot be read."""

    def read(path: str) -> np.ndarray | str:
        try:
            return _small(tf.constant(decode(Path(path).read_bytes()).pixels), resolution).numpy()
        except (UnreadableImage, OSError) as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(read, paths))
    failures = {path: found for path, found in zip(paths, results) if isinstance(found, str)}
    if failures:
        raise refuse_unreadable(failures, root=root, total=len(paths))
    return np.stack([result for result in results if not isinstance(result, str)])


def _small(image: tf.Tensor, resolution: int) -> tf.Tensor:
    return tf.cast(tf.round(views.central_view(image, size=resolution, fraction=1.0)), tf.uint8)


def _fits(config: DataConfig, examples: int, resolution: int, channels: int) -> bool:
    return examples * resolution**2 * channels <= config.in_memory_mb * 2**20


def _augmentation(config: DataConfig, resolution: int) -> Augmentation:
    name, kind, scale = (
        config.dataset.split("/")[0].split(":")[0],
        config.augmentation,
        config.min_crop_scale,
    )
    if kind == "auto":
        if name in ("digits", "mnist", "emnist", "kmnist"):
            kind = "shift"
        else:
            kind = "flip" if resolution <= _SMALL_IMAGE else "imagenet"
        scale = _AUTO_CROP_SCALE if scale is None else scale
    return Augmentation(kind, 0.08 if scale is None else scale, config.distort_color)


def _check(config: DataConfig, resolution: int) -> None:
    for name, value in (
        ("alpha_fraction", config.alpha_fraction),
        ("test_fraction", config.test_fraction),
    ):
        if not 0 < value < 1:
            raise UserError(
                f"--{name}",
                expected="above 0, below 1",
                received=repr(value),
                fix="Choose e.g. 0.2.",
            )
    for name, count in (("alpha_size", config.alpha_size), ("train_images", config.train_images)):
        if count is not None and count < 1:
            raise UserError(
                f"--{name}", expected="at least 1", received=repr(count), fix="Choose e.g. 5000."
            )
    if config.min_crop_scale is not None and not 0 < config.min_crop_scale <= 1:
        raise UserError(
            "--min_crop_scale",
            expected="above 0, at most 1",
            received=repr(config.min_crop_scale),
            fix="Choose e.g. 0.08.",
        )
    if config.split_seed < 0:
        raise UserError(
            "--split_seed",
            expected="0 or more",
            received=repr(config.split_seed),
            fix="Choose e.g. 0.",
        )
    if not 8 <= resolution <= 4096:
        raise UserError(
            "resolution of the images",
            expected="8 to 4096 pixels",
            received=str(resolution),
            fix="Choose e.g. 32.",
        )
