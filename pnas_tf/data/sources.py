"""Where pixels come from: arrays in memory, image files, or TFDS records (records.py); all
give the same batches.

A source yields (images, labels, positions): float32 [batch, size, size, 3] in 0..255, int32
[batch], int64 [batch]. The order is a pure function of (seed, epoch), and batches before
`start_batch` are skipped before anything is decoded. Knows nothing of the three splits: it is told
which positions take part.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow as tf

from pnas_tf.data.image_format import UnreadableImage
from pnas_tf.data.image_reader import decode
from pnas_tf.errors import UserError

DECODE_CHUNK = 256

View = Callable[
    [tf.Tensor, tf.Tensor], tf.Tensor
]  # (image [height, width, channels], position) to float32 [size, size, 3]


@dataclass(frozen=True)
class Order:
    """Shuffled by (seed, epoch)."""

    seed: int
    epoch: int

    def permutation(self, members: np.ndarray) -> np.ndarray:
        """`members` in this epoch's order."""
        return np.random.default_rng(
            np.random.SeedSequence([self.seed, self.epoch, 0])
        ).permutation(members)

    @property
    def shuffle_seed(self) -> int:
        """For shuffling by TensorFlow."""
        words = np.random.SeedSequence([self.seed, self.epoch, 2]).generate_state(1)
        return int(words[0]) & 0x7FFFFFFF


@dataclass(frozen=True)
class Batching:
    """How examples become batches.

    Attributes:
        batch_size: images a batch.
        order: None for ascending positions.
        start_batch: batches before it are skipped before anything is decoded.
        drop_remainder: whether a last, smaller batch is left out.
    """

    batch_size: int
    order: Order | None = None
    start_batch: int = 0
    drop_remainder: bool = False

    def positions(self, members: np.ndarray) -> np.ndarray:
        """`members` in their order, from `start_batch` on."""
        ordered = np.sort(members)
        if self.order is not None:
            ordered = self.order.permutation(ordered)
        return ordered[self.start_batch * self.batch_size :]

    def of(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Batches of `examples`."""
        return examples.batch(self.batch_size, drop_remainder=self.drop_remainder)


class Source(Protocol):
    """Examples at positions 0 .. len(labels) - 1."""

    @property
    def labels(self) -> np.ndarray:
        """int32 [examples]"""
        ...

    def identity(self, members: np.ndarray) -> bytes:
        """32 bytes that stand for the images at `members`: for what they hold, not for where they
        lie. Labels are not in it."""
        ...

    def batches(self, members: np.ndarray, *, view: View, batching: Batching) -> tf.data.Dataset:
        """Batches of the examples at `members`. `view` gives one image its size (arrays in memory
        have theirs already)."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Images held in memory at their final size.

    Attributes:
        images: uint8 [examples, size, size, 1 or 3].
        labels: int32 [examples].
        origin: what they were read from, if anything. It names them then, since resizing may round
            differently on another machine.
    """

    images: np.ndarray
    labels: np.ndarray
    origin: Source | None = None

    def identity(self, members: np.ndarray) -> bytes:
        """As `Source.identity`; not that of `origin`, whose batches are others."""
        named = (
            _pixels(self.images, members) if self.origin is None else self.origin.identity(members)
        )
        return hashlib.sha256(b"memory" + named).digest()

    def batches(self, members: np.ndarray, *, view: View, batching: Batching) -> tf.data.Dataset:
        del view
        labels = tf.constant(self.labels)

        def gather(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = tf.cast(rows_of(self.images, positions), tf.float32)
            return (
                (batch if batch.shape[-1] == 3 else tf.repeat(batch, 3, axis=-1)),
                tf.gather(labels, positions),
                positions,
            )

        positions = tf.data.Dataset.from_tensor_slices(batching.positions(members))
        return batching.of(positions).map(gather, tf.data.AUTOTUNE, deterministic=True)


@dataclass(frozen=True)
class WholeArraySource:
    """Images held in memory as they came, of which every use takes a view.

    images: uint8 [examples, height, width, 1 or 3].
    """

    images: np.ndarray
    labels: np.ndarray

    def identity(self, members: np.ndarray) -> bytes:
        return _pixels(self.images, members)

    def batches(self, members: np.ndarray, *, view: View, batching: Batching) -> tf.data.Dataset:
        labels = tf.constant(self.labels)

        def show(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = rows_of(self.images, position)
            image = image if image.shape[-1] == 3 else tf.image.grayscale_to_rgb(image)
            return view(image, position), tf.gather(labels, position), position

        positions = tf.data.Dataset.from_tensor_slices(batching.positions(members))
        return batching.of(positions.map(show, tf.data.AUTOTUNE, deterministic=True))


@dataclass(frozen=True)
class FileSource:
    """One image file an example, decoded each time it is used.

    hashes: uint8 [examples, 32], SHA-256 of each file.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    hashes: np.ndarray

    def identity(self, members: np.ndarray) -> bytes:
        """Names, without their folder's, and content of the files."""
        digest = hashlib.sha256(b"files")
        for position in members:
            name = os.path.basename(self.paths[position])
            digest.update(os.fsencode(name) + b"\0" + self.hashes[position].tobytes())
        return digest.digest()

    def batches(self, members: np.ndarray, *, view: View, batching: Batching) -> tf.data.Dataset:
        positions = batching.positions(members)
        paths = tf.constant(
            [os.fsencode(self.paths[position]) for position in positions], tf.string
        )  # names need not be UTF-8

        def load(
            path: tf.Tensor, label: tf.Tensor, position: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = tf.numpy_function(_read, [path], tf.uint8, stateful=False)
            return view(tf.ensure_shape(image, (None, None, 3)), position), label, position

        examples = tf.data.Dataset.from_tensor_slices((paths, self.labels[positions], positions))
        return batching.of(examples.map(load, tf.data.AUTOTUNE, deterministic=True))


def rows_of(images: np.ndarray, positions: tf.Tensor) -> tf.Tensor:
    """The images at `positions`, by numpy: a tensor of all of them would be a copy of all.

    TensorFlow keeps the function until the process ends, so that it may not keep the images. The
    pipeline does, by the caller's own function.
    """
    held = weakref.ref(images)

    def chosen_rows(chosen: np.ndarray) -> np.ndarray:
        there = held()
        assert there is not None
        return there[chosen]

    rows = tf.numpy_function(chosen_rows, [positions], tf.uint8, stateful=False)
    return tf.ensure_shape(rows, (*positions.shape, *images.shape[1:]))


def _read(path: bytes) -> np.ndarray:
    """uint8 [height, width, 3]. Raises UserError naming a file that has broken since its check."""
    try:
        return decode(Path(os.fsdecode(path)).read_bytes()).pixels
    except (UnreadableImage, OSError) as error:
        raise UserError(
            f"image {os.fsdecode(path)} is gone or broken",
            expected="the file that was whole when this call began",
            received=(error.strerror if isinstance(error, OSError) else None) or str(error),
            fix="Bring it back, then give the same command again: it goes on where it stopped.",
        ) from error


def _pixels(images: np.ndarray, members: np.ndarray) -> bytes:
    """SHA-256 of the images at `members`, with their shape; read a chunk at a time."""
    digest = hashlib.sha256(repr((images.shape[1:], images.dtype.str)).encode())
    for start in range(0, len(members), DECODE_CHUNK):
        digest.update(images[members[start : start + DECODE_CHUNK]].tobytes())
    return digest.digest()
