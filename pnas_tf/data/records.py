"""Pixels out of TFDS records that are read anew each epoch. Knows nothing of splits of a search."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from pnas_tf import _tf_private
from pnas_tf.data.image_reader import BACKGROUND
from pnas_tf.data.sources import Batching, Order, View

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

SHUFFLE_BUFFER_BYTES = 256 * 2**20
SHUFFLE_BUFFER_EXAMPLES = 16_384


@dataclass(frozen=True)
class RecordSource:
    """A TFDS split that is too large for memory, or whose images a view wants whole.

    An epoch shuffles the shards and then a buffer of encoded images, so memory is bounded whatever
    the size. positions: shard number and index in the shard give the position; TFDS writes shards
    in a fixed order.
    """

    builder: tfds.core.DatasetBuilder
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

    @_tf_private.no_global_seed()
    def batches(self, members: np.ndarray, *, view: View, batching: Batching) -> tf.data.Dataset:
        member: np.ndarray = np.zeros(len(self.labels), dtype=bool)
        member[members] = True
        mask, labels = tf.constant(member), tf.constant(self.labels)
        decode = self.builder.info.features[self.image_key].decode_example

        def show(image: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            pixels = plain_pixels(decode(image))
            pixels = pixels if pixels.shape[-1] == 3 else tf.image.grayscale_to_rgb(pixels)
            return view(pixels, position), tf.gather(labels, position), position

        encoded = encoded_records(
            self.builder, self.split, keys=(self.image_key,), order=batching.order
        )
        encoded = encoded.filter(lambda image, position: tf.gather(mask, position))
        if batching.order is not None:
            encoded = encoded.shuffle(
                self._buffer(len(members)),
                seed=batching.order.shuffle_seed,
                reshuffle_each_iteration=False,
            )
        encoded = encoded.skip(batching.start_batch * batching.batch_size)
        return batching.of(encoded.map(show, tf.data.AUTOTUNE, deterministic=True))

    def _buffer(self, members: int) -> int:
        split = self.builder.info.splits[self.split]
        mean_bytes = max(1, split.num_bytes // split.num_examples)
        return max(1, min(members, SHUFFLE_BUFFER_EXAMPLES, SHUFFLE_BUFFER_BYTES // mean_bytes))


def plain_pixels(image: tf.Tensor) -> tf.Tensor:
    """As image files are read: the upper byte of 16 bits, transparency over white.

    image: uint8 or uint16 [height, width, 1, 3 or 4]. Returns uint8 [height, width, 1 or 3].
    """
    if image.dtype == tf.uint16:
        image = tf.cast(tf.bitwise.right_shift(image, tf.constant(8, tf.uint16)), tf.uint8)
    if image.shape[-1] == 4:
        opacity = tf.cast(image[..., 3:], tf.float32) / 255.0
        colour = tf.cast(image[..., :3], tf.float32)
        over = colour * opacity + np.float32(BACKGROUND) * (1.0 - opacity)
        image = tf.cast(tf.round(over), tf.uint8)
    return image


def encoded_records(
    builder: tfds.core.DatasetBuilder,
    split: str,
    *,
    keys: tuple[str, ...],
    order: Order | None = None,
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
        shuffle_seed=None if order is None else order.shuffle_seed,
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

    def numbered(record: dict[str, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        return (*(record[key] for key in keys), _position(record["tfds_id"], offsets))

    return records.map(numbered, tf.data.AUTOTUNE, deterministic=True)


def _position(tfds_id: tf.Tensor, offsets: tf.Tensor) -> tf.Tensor:
    """Of a record in its split: "NAME-00003-of-00010__7" is the seventh after the third offset."""
    shard, index = (
        tf.strings.to_number(
            tf.strings.regex_replace(tfds_id, r".*-(\d+)-of-\d+__(\d+)$", part), tf.int64
        )
        for part in (r"\1", r"\2")
    )
    return tf.gather(offsets, shard) + index
