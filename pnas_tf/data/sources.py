"""Where pixels come from: arrays in memory, image files, or TFDS records; all give the same
batches.

A source yields (images, labels, positions): float32 [batch, size, size, 3] in 0..255, int32
[batch], int64 [batch]. The order is a pure function of (seed, epoch), and batches before
`start_batch` are skipped before anything is decoded. Knows nothing of the three splits: it is told
which positions take part.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from pnas_tf.data import image_reader

SHUFFLE_BUFFER_BYTES = 256 * 2**20
SHUFFLE_BUFFER_EXAMPLES = 16_384
DECODE_CHUNK = 256

View = Callable[
    [tf.Tensor, tf.Tensor], tf.Tensor
]  # (image [height, width, channels], position) to float32 [size, size, 3]


@dataclass(frozen=True)
class Order:
    """Shuffled by (seed, epoch); an order of None elsewhere means ascending positions."""

    seed: int
    epoch: int

    def permutation(self, members: np.ndarray) -> np.ndarray:
        """`members` in this epoch's order."""
        return np.random.default_rng(
            np.random.SeedSequence([self.seed, self.epoch, 0])
        ).permutation(members)


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

    def batches(
        self,
        members: np.ndarray,
        *,
        view: View,
        order: Order | None,
        batch_size: int,
        start_batch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        """Batches of the examples at `members`. `view` gives one image its size (arrays in memory
        have theirs already)."""
        ...


@dataclass(frozen=True)
class ArraySource:
    """Images held in memory at their final size. images: uint8 [examples, size, size, 1 or 3].

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

    def batches(
        self,
        members: np.ndarray,
        *,
        view: View,
        order: Order | None,
        batch_size: int,
        start_batch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        del view
        images, labels = tf.constant(self.images), tf.constant(self.labels)

        def gather(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = tf.cast(tf.gather(images, positions), tf.float32)
            return (
                (batch if batch.shape[-1] == 3 else tf.repeat(batch, 3, axis=-1)),
                tf.gather(labels, positions),
                positions,
            )

        positions = tf.data.Dataset.from_tensor_slices(
            _ordered(members, order)[start_batch * batch_size :]
        )
        return positions.batch(batch_size, drop_remainder=drop_remainder).map(
            gather, tf.data.AUTOTUNE, deterministic=True
        )


@dataclass(frozen=True)
class WholeArraySource:
    """Images held in memory as they came, of which every use takes a view.

    images: uint8 [examples, height, width, 1 or 3].
    """

    images: np.ndarray
    labels: np.ndarray

    def identity(self, members: np.ndarray) -> bytes:
        return _pixels(self.images, members)

    def batches(
        self,
        members: np.ndarray,
        *,
        view: View,
        order: Order | None,
        batch_size: int,
        start_batch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        images, labels = tf.constant(self.images), tf.constant(self.labels)

        def show(position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = tf.gather(images, position)
            image = image if image.shape[-1] == 3 else tf.image.grayscale_to_rgb(image)
            return view(image, position), tf.gather(labels, position), position

        positions = tf.data.Dataset.from_tensor_slices(
            _ordered(members, order)[start_batch * batch_size :]
        )
        return positions.map(show, tf.data.AUTOTUNE, deterministic=True).batch(
            batch_size, drop_remainder=drop_remainder
        )


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

    def batches(
        self,
        members: np.ndarray,
        *,
        view: View,
        order: Order | None,
        batch_size: int,
        start_batch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        positions = _ordered(members, order)[start_batch * batch_size :]
        paths = tf.constant(
            [os.fsencode(self.paths[position]) for position in positions], tf.string
        )  # names need not be UTF-8

        def load(
            path: tf.Tensor, label: tf.Tensor, position: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = tf.numpy_function(_read, [path], tf.uint8, stateful=False)
            return view(tf.ensure_shape(image, (None, None, 3)), position), label, position

        examples = tf.data.Dataset.from_tensor_slices((paths, self.labels[positions], positions))
        return examples.map(load, tf.data.AUTOTUNE, deterministic=True).batch(
            batch_size, drop_remainder=drop_remainder
        )


@dataclass(frozen=True)
class RecordSource:
    """A TFDS split that is too large for memory, or whose images a view wants whole.

    An epoch shuffles the shards and then a buffer of encoded images, so memory is bounded whatever
    the size. positions: shard number and index in the shard give the position; TFDS writes shards
    in a fixed order.
    """

    builder: Any
    split: str
    image_key: str
    label_key: str
    labels: np.ndarray

    def identity(self, members: np.ndarray) -> bytes:
        """What TFDS knows without reading: name, configuration and version, the split's sizes, and
        the checksums of the archives. The same for all members."""
        del members
        info = self.builder.info
        split = info.splits[self.split]
        archives = sorted(
            (int(archive.size), archive.checksum)
            for archive in (self.builder.url_infos or {}).values()
        )
        known = (
            info.full_name,
            self.split,
            self.image_key,
            self.label_key,
            list(split.shard_lengths),
            int(split.num_bytes),
            archives,
        )
        return hashlib.sha256(b"records" + repr(known).encode()).digest()

    def batches(
        self,
        members: np.ndarray,
        *,
        view: View,
        order: Order | None,
        batch_size: int,
        start_batch: int,
        drop_remainder: bool,
    ) -> tf.data.Dataset:
        member: np.ndarray = np.zeros(len(self.labels), dtype=bool)
        member[members] = True
        mask, labels = tf.constant(member), tf.constant(self.labels)
        decode = self.builder.info.features[self.image_key].decode_example

        def show(image: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            pixels = decode(image)
            pixels = pixels if pixels.shape[-1] == 3 else tf.image.grayscale_to_rgb(pixels)
            return view(pixels, position), tf.gather(labels, position), position

        encoded = encoded_records(self.builder, self.split, keys=(self.image_key,), order=order)
        encoded = encoded.filter(lambda image, position: tf.gather(mask, position))
        if order is not None:
            encoded = encoded.shuffle(
                self._buffer(len(members)), seed=_seed(order), reshuffle_each_iteration=False
            )
        encoded = encoded.skip(start_batch * batch_size)
        return encoded.map(show, tf.data.AUTOTUNE, deterministic=True).batch(
            batch_size, drop_remainder=drop_remainder
        )

    def _buffer(self, members: int) -> int:
        split = self.builder.info.splits[self.split]
        mean_bytes = max(1, split.num_bytes // split.num_examples)
        return max(1, min(members, SHUFFLE_BUFFER_EXAMPLES, SHUFFLE_BUFFER_BYTES // mean_bytes))


def encoded_records(
    builder: Any, split: str, *, keys: tuple[str, ...], order: Order | None = None
) -> tf.data.Dataset:
    """The split's features `keys`, images still encoded, each followed by its position (int64).

    order: shuffles whole shards by (seed, epoch).
    """
    import tensorflow_datasets as tfds

    options = tf.data.Options()
    options.deterministic = True
    # Every record carries its position, so the guard over datasets whose order means something has
    # nothing to guard.
    config = tfds.ReadConfig(
        options=options,
        try_autocache=False,
        add_tfds_id=True,
        shuffle_reshuffle_each_iteration=False,
        shuffle_seed=None if order is None else _seed(order),
        interleave_cycle_length=16,
        enable_ordering_guard=False,
    )
    images = {
        key: tfds.decode.SkipDecoding()
        for key in keys
        if isinstance(builder.info.features[key], tfds.features.Image)
    }
    wanted = {key: builder.info.features[key] for key in keys}
    records = builder.as_dataset(
        split=split,
        shuffle_files=order is not None,
        read_config=config,
        decoders=tfds.decode.PartialDecoding(wanted, decoders=images),
    )
    lengths = builder.info.splits[split].shard_lengths
    offsets = tf.constant(np.concatenate([[0], np.cumsum(lengths)[:-1]]), tf.int64)

    def place(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        shard, index = (
            tf.strings.to_number(
                tf.strings.regex_replace(record["tfds_id"], r".*-(\d+)-of-\d+__(\d+)$", part),
                tf.int64,
            )
            for part in (r"\1", r"\2")
        )
        return (*(record[key] for key in keys), tf.gather(offsets, shard) + index)

    return records.map(place, tf.data.AUTOTUNE, deterministic=True)


def _read(path: bytes) -> np.ndarray:
    """uint8 [height, width, 3]. Raises UserError naming a file that has changed since its check."""
    return image_reader.read_image(os.fsdecode(path))


def _ordered(members: np.ndarray, order: Order | None) -> np.ndarray:
    return np.sort(members) if order is None else order.permutation(np.sort(members))


def _seed(order: Order) -> int:
    return (
        int(np.random.SeedSequence([order.seed, order.epoch, 2]).generate_state(1)[0]) & 0x7FFFFFFF
    )


def _pixels(images: np.ndarray, members: np.ndarray) -> bytes:
    """SHA-256 of the images at `members`, with their shape; read a chunk at a time."""
    digest = hashlib.sha256(repr((images.shape[1:], images.dtype.str)).encode())
    for start in range(0, len(members), DECODE_CHUNK):
        digest.update(images[members[start : start + DECODE_CHUNK]].tobytes())
    return digest.digest()
