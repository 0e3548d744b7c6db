"""The images of a run in three disjoint splits: train, validation and test. The train split trains
weights, the validation split alpha (section 3.2.1: alpha learns on held-out data).

Everything is a pure function of its arguments: the split of (images, split_seed), an epoch's order
and augmentation of (seed, epoch). Knows nothing of networks.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from pnas_tf.config import DataConfig, TrainConfig
from pnas_tf.data import augmentation as views
from pnas_tf.data.arrays import ImageArrays
from pnas_tf.data.augmentation import Augmentation, Normalization
from pnas_tf.data.file_tree import FileTree
from pnas_tf.data.fitted_options import batch_size as fitted_batch_size
from pnas_tf.data.fitted_options import fit_split
from pnas_tf.data.opening import check_resolution, open_dataset
from pnas_tf.data.randaugment import RandAugment
from pnas_tf.data.sources import DECODE_CHUNK, Batching, Order
from pnas_tf.data.split import SplitSizes, split_positions
from pnas_tf.data.subset import Subset, images_by_class
from pnas_tf.errors import UserError


@dataclass(frozen=True)
class Dataset:
    """Images normalised to float32 [batch, resolution, resolution, 3], labels int32 [batch].

    Splits are disjoint. `fingerprint` changes with the images' content, names and labels, the split
    and the transforms, and not with the place of a folder. `files`: where images are files, all of
    them, with those that are not used. `randaugment`: of one training, so no part of that identity.
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
    files: FileTree | None = None
    randaugment: RandAugment | None = None

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

    @property
    def sizes(self) -> SplitSizes:
        """Images of the three splits."""
        return SplitSizes(self.train_size, self.validation_size, self.test_size)

    @functools.cached_property
    def identity(self) -> dict[str, object]:
        """What the dataset is, by part: JSON in which a change can be named. Images count by class,
        splits by their members."""
        splits = {
            "train": self.train_split,
            "validation": self.validation_split,
            "test": self.test_split,
        }
        return {
            "classes": list(self.class_names),
            "resolution": self.resolution,
            "views": repr((self.augmentation, self.centre_fraction, self.normalization)),
            "images": images_by_class(self.class_names, tuple(splits.values())),
            "splits": {name: split.members for name, split in splits.items()},
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of `identity`, 64 hex digits."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def train_batches(
        self, *, batch_size: int, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """One epoch of the train split: shuffled, augmented, the remainder dropped.

        Args:
            batch_size: images a batch.
            seed: with `epoch` it gives the order and the augmentation.
            epoch: counted from 0.
            start_batch: the first batch that is given.

        Raises:
            UserError: one batch is more than the split.
        """
        batching = Batching(batch_size, Order(seed, epoch), start_batch, drop_remainder=True)
        return self._shuffled(self.train_split, "train", batching, augmented=True)

    def validation_batches(
        self, *, batch_size: int, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """One epoch of the validation split, as `train_batches` but not augmented."""
        batching = Batching(batch_size, Order(seed, epoch), start_batch, drop_remainder=True)
        return self._shuffled(self.validation_split, "validation", batching, augmented=False)

    def combined_batches(
        self, *, batch_size: int, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """Train and validation split together, as `train_batches`: what the derived network is
        trained on."""
        batching = Batching(batch_size, Order(seed, epoch), start_batch, drop_remainder=True)
        return self._shuffled(self._both(), "training", batching, augmented=True)

    def fit_batches(
        self, config: TrainConfig, *, seed: int, epoch: int, start_batch: int = 0
    ) -> tf.data.Dataset:
        """One epoch of what the derived network may learn from, in training and in all that trains
        it further: `combined_batches`, or `train_batches` where config.train_on_alpha holds alpha
        out. With RandAugment where `config` asks for it."""
        mine = dataclasses.replace(self, randaugment=RandAugment.of(config))
        batches = mine.combined_batches if config.train_on_alpha else mine.train_batches
        size = self.fit_batch_size(config)
        return batches(batch_size=size, seed=seed, epoch=epoch, start_batch=start_batch)

    def fit_batch_size(self, config: TrainConfig) -> int:
        """Of `fit_batches`: config.batch_size, or what fits the number of images."""
        return fitted_batch_size(config.batch_size, self.sizes.of(fit_split(config)))

    def fit_steps(self, config: TrainConfig) -> int:
        """Full batches in one epoch of `fit_batches`."""
        size = self.fit_batch_size(config)
        return self.steps_per_epoch(fit_split(config), batch_size=size)

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
        batching = Batching(batch_size, Order(0, 0), drop_remainder=True)
        return self._shuffled(self.train_split, "train", batching, augmented=False)

    def steps_per_epoch(self, split: str, *, batch_size: int) -> int:
        """Full batches in one epoch of "train", "validation" or both: "combined"."""
        return self.sizes.of(split) // batch_size

    def representative_batches(self, count: int, *, batch_size: int) -> tf.data.Dataset:
        """Up to `count` images of the train split, spread over it, not augmented: calibrates int8.
        Trained on in every setting, so no held-out image decides a range."""
        return self._plain(_some(self.train_split, count, Order(0, 1)), batch_size)

    def representative_images(self, count: int) -> np.ndarray:
        """Those of `representative_batches` as an array, float32 [n, ...]."""
        batches = self.representative_batches(count, batch_size=DECODE_CHUNK)
        return np.concatenate([images for images, _ in batches.as_numpy_iterator()])

    def validation_sample(self, count: int, *, batch_size: int) -> tf.data.Dataset:
        """Up to `count` images of the validation split, spread over it and so over all classes."""
        return self._plain(_some(self.validation_split, count, Order(0, 2)), batch_size)

    def test_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All test images and labels at once, where memory is enough: float32 [test_size,
        resolution, resolution, 3] and int32 [test_size]."""
        batches = self.test_batches(batch_size=DECODE_CHUNK).as_numpy_iterator()
        images, labels = zip(*batches)
        return np.concatenate(images), np.concatenate(labels)

    def _both(self) -> Subset:
        return Subset(
            self.train_split.source,
            np.union1d(self.train_split.positions, self.validation_split.positions),
        )

    def _plain(self, subset: Subset, batch_size: int) -> tf.data.Dataset:
        batches = subset.source.batches(
            subset.positions, view=self._central, batching=Batching(batch_size)
        )
        count = -(-len(subset.positions) // batch_size)
        known = tf.data.experimental.assert_cardinality(count)  # records are filtered: uncounted
        return self._finish(batches, None).apply(known)

    def _shuffled(
        self, subset: Subset, name: str, batching: Batching, *, augmented: bool
    ) -> tf.data.Dataset:
        """One epoch of full batches, in the order of `batching`."""
        assert batching.order is not None
        if not 1 <= batching.batch_size <= len(subset.positions):
            raise UserError(
                f"batch of {batching.batch_size} images",
                expected=f"1 to {len(subset.positions)}, the images of the {name} split",
                received=str(batching.batch_size),
                fix="Choose a smaller --batch_size.",
            )
        order, view, rows = batching.order, self._central, None
        if augmented:
            examples = len(subset.source.labels)
            rows = tf.constant(views.random_rows(examples, seed=order.seed, epoch=order.epoch))
            if self.randaugment is not None:
                drawn = self.randaugment.random_rows(examples, seed=order.seed, epoch=order.epoch)
                rows = tf.concat([rows, drawn], axis=1)
            if self.augmentation.kind == "imagenet":
                view = functools.partial(self._random_crop, rows)
        batches = subset.source.batches(subset.positions, view=view, batching=batching)
        return self._finish(batches, rows)

    def _random_crop(self, rows: tf.Tensor, image: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        return views.random_crop(
            image,
            tf.gather(rows, position),
            size=self.resolution,
            min_scale=self.augmentation.min_crop_scale,
        )

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
                drawn = tf.gather(rows, positions)
                images = views.augment(images, drawn, self.augmentation)
                if self.randaugment is not None:
                    images = self.randaugment.apply(images, drawn[:, views.COLUMNS :])
            return (images - mean) / std, labels

        return batches.map(finish, tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _some(subset: Subset, count: int, order: Order) -> Subset:
    return Subset(subset.source, order.permutation(subset.positions)[:count])


def load_dataset(
    config: DataConfig, *, resolution: int, arrays: ImageArrays | None = None
) -> Dataset:
    """Opens the dataset and splits it.

    Args:
        config: where it is, how it is split and augmented.
        resolution: pixels.
        arrays: the images, where they are in memory; `config.dataset` is then their name.

    Raises:
        UserError: before any other work, when the dataset is unknown or cannot be prepared, a
            folder is not usable, or a split would lack a class.
    """
    check_resolution(resolution)
    augmentation = views.augmentation_of(config, resolution)
    opened = open_dataset(
        config, resolution=resolution, whole=augmentation.kind == "imagenet", arrays=arrays
    )
    train, validation, test = split_positions(
        opened.train.labels,
        opened.class_names,
        config,
        has_test=opened.test is not None,
        content=opened.content,
    )
    if opened.test is not None:
        test = np.arange(len(opened.test.labels), dtype=np.int64)
    return Dataset(
        config.dataset,
        opened.class_names,
        resolution,
        augmentation,
        Subset(opened.train, train),
        Subset(opened.train, validation),
        Subset(opened.test or opened.train, test),
        centre_fraction=views.CENTRE_FRACTION if augmentation.kind == "imagenet" else 1.0,
        files=opened.files,
    )
