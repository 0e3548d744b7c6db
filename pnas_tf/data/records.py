"""Pixels out of TFDS records that are read anew each epoch. Knows nothing of splits of a search."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image

from pnas_tf import _tf_private
from pnas_tf.data.image_format import FORMATS, UnreadableImage
from pnas_tf.data.image_reader import decode
from pnas_tf.data.png_file import SIGNATURE
from pnas_tf.data.sources import Batching, Order, View
from pnas_tf.errors import UserError
from pnas_tf.run.terminal import warn

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

        def show(image: tf.Tensor, position: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            pixels = self.pixels(image, position)
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

    def pixels(self, encoded: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        """The image of a record as image files are read (image_reader.py).

        Small PNGs as TFDS writes them go to TensorFlow's decoder, which gives the same in a fifth
        of the time.

        Args:
            encoded: its bytes, string [].
            position: of the record in the split, int64 [].

        Returns:
            uint8 [height, width, channels], 1 channel where the dataset is grey, else 3.
        """
        info = self.builder.info
        channels = 1 if info.features[self.image_key].shape[-1] == 1 else 3
        where = f"of split '{self.split}' of dataset '{info.full_name}'"
        read = functools.partial(_read, where=where, channels=channels)

        def by_reader() -> tf.Tensor:
            found = tf.numpy_function(read, [encoded, position], tf.uint8, stateful=False)
            return tf.ensure_shape(found, (None, None, channels))

        return tf.cond(
            _is_plain_png(encoded), lambda: tf.io.decode_png(encoded, channels), by_reader
        )

    def _buffer(self, members: int) -> int:
        split = self.builder.info.splits[self.split]
        mean_bytes = max(1, split.num_bytes // split.num_examples)
        return max(1, min(members, SHUFFLE_BUFFER_EXAMPLES, SHUFFLE_BUFFER_BYTES // mean_bytes))


def _read(encoded: bytes, position: int, *, where: str, channels: int) -> np.ndarray:
    """uint8 [height, width, channels]. where: the split and its dataset. Raises UserError naming an
    image of which nothing decodes."""
    what = f"image {position} {where}"
    try:
        pixels = decode(encoded).pixels
    except UnreadableImage as damage:
        try:  # nobody can take a record out of a dataset
            pixels = decode(encoded, in_part=True).pixels
        except UnreadableImage as error:
            raise UserError(
                f"{what} cannot be read",
                expected=f"a whole {FORMATS} file",
                received=str(error),
                fix="Make the dataset again without it, or bring its images as files: of those "
                "--dataset=folder:PATH leaves out what cannot be read.",
            ) from error
        warn(f"{what} is damaged, and used as far as it decodes: {damage}")
    return pixels if channels == 3 else np.asarray(Image.fromarray(pixels).convert("L"))[..., None]


def _is_plain_png(encoded: tf.Tensor) -> tf.Tensor:
    """Whether the bytes are a PNG as TFDS writes small images: 8 bits, grey or RGB, and no chunk
    but the header, the pixels and the end. bool []."""
    head = tf.strings.join([tf.strings.substr(encoded, 0, 41), tf.constant(bytes(41))])
    size = tf.io.decode_raw(tf.strings.substr(head, 33, 4), tf.int32, little_endian=False)[0]
    kind = tf.strings.substr(head, 24, 5)
    return (
        (tf.strings.substr(head, 0, 16) == SIGNATURE + b"\0\0\0\rIHDR")
        & ((kind == b"\x08\0\0\0\0") | (kind == b"\x08\2\0\0\0"))
        & (tf.strings.substr(head, 37, 4) == b"IDAT")
        & (size == tf.strings.length(encoded) - 57)  # signature 8, IHDR 25, IDAT 12, IEND 12
    )


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
