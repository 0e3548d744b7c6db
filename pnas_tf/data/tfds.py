"""TFDS datasets by name: found, prepared (downloaded or generated) and described. Knows nothing of
the three splits."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from pnas_tf import _tf_private
from pnas_tf.data.class_names import class_name
from pnas_tf.data.offline import place_archives
from pnas_tf.data.reachable import why_unreachable
from pnas_tf.data.records import encoded_records
from pnas_tf.data.split_layout import PARTS
from pnas_tf.data.tfds_builder import builder_in, known_builder, last_line
from pnas_tf.data.tfds_features import keys_of, splits_of
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks, npy
from pnas_tf.run.terminal import can_redraw, say

_LABELS = "pnas_tf-labels-"  # how files begin that we keep beside a dataset


@dataclass(frozen=True)
class Images:
    """A prepared TFDS dataset for image classification. train_split, test_split: as it calls them;
    the second is None where it has no labelled one."""

    builder: tfds.core.DatasetBuilder
    image_key: str
    label_key: str
    class_names: tuple[str, ...]
    train_split: str
    test_split: str | None

    @property
    def channels(self) -> int:
        """1 for grey images, else 3."""
        return 1 if self.builder.info.features[self.image_key].shape[-1] == 1 else 3

    def short_side(self) -> int:
        """Of the images, in pixels; of the first one where they differ."""
        height, width = self.builder.info.features[self.image_key].shape[:2]
        if height is None or width is None:
            first = next(
                iter(self.builder.as_dataset(split=f"{self.train_split}[:1]", shuffle_files=False))
            )
            height, width = first[self.image_key].shape[:2]
        return int(min(height, width))

    def labels(self, split: str) -> np.ndarray:
        """int32 [examples], by position; read once and kept beside the dataset with the state of
        its files, after which they count no longer."""
        cache = Path(self.builder.data_dir) / f"{_LABELS}{split}.npy"
        count, state = self.builder.info.splits[split].num_examples, _state(self.builder, split)
        if cache.is_file():
            try:
                kept = npy.array_of(atomic.read_bytes(cache, what="labels", made_by="delete them"))
                is_whole = kept.dtype == np.int32 and kept.shape == (len(state) + count,)
                if is_whole and np.array_equal(kept[: len(state)], state):
                    return kept[len(state) :]
            except (ValueError, EOFError) as error:
                logging.getLogger(__name__).warning(
                    "%s is damaged and is made again: %s", cache, error
                )
        labels = np.full(count, -1, np.int32)
        for values, positions in (
            encoded_records(self.builder, split, keys=(self.label_key,))
            .batch(4096)
            .as_numpy_iterator()
        ):
            labels[positions] = values
        _keep(cache, np.concatenate([state, labels]))
        return labels

    def check_labels(self, split: str, labels: np.ndarray) -> None:
        """Raises UserError where an image has none: TFDS writes -1 then."""
        without = int((labels < 0).sum())
        if without:
            raise UserError(
                f"split '{split}' of dataset '{self.builder.name}'",
                expected="a label for each image",
                received=f"none for {without} of {len(labels)}",
                fix="Choose another dataset, or make it again without these images.",
            )


def prepare_images(name: str, *, data_dir: str, offline_files: str) -> Images:
    """Finds and prepares TFDS dataset `name` ("cifar10", "imagenet_resized/32x32", "mnist:3.0.1").

    Args:
        name: as TFDS knows it.
        data_dir: TFDS folder, empty for its default.
        offline_files: folder with the dataset's archives, for which nothing is downloaded; empty
            for none.

    Raises:
        UserError: the dataset is unknown (with close names), is not made of one image and one
            class label, is stored as TensorFlow does not read it, or cannot be downloaded.
    """
    builder = known_builder(name, data_dir)
    image_key, label_key = keys_of(builder, name)
    if not builder.is_prepared():
        _prepare(builder, name, offline_files)
    stored = builder.info.file_format
    if stored is not None and stored.value == "array_record":
        raise UserError(
            f"dataset '{name}' in {builder.data_dir}",
            expected="records that TensorFlow reads, such as TFRecord",
            received="ArrayRecord",
            fix="Name another folder, in which it is prepared anew: --data_dir=FOLDER.",
        )
    trains = splits_of(builder, "train")
    if not trains:
        raise UserError(
            f"dataset '{name}' has no training images",
            expected=f"a split {' or '.join(PARTS['train'][:2])}",
            received=str(sorted(builder.info.splits)),
            fix="Choose another dataset, or make it again with that split.",
        )
    class_names = tuple(
        class_name(each, what="class", where=f"dataset '{name}'")
        for each in builder.info.features[label_key].names
    )
    images = Images(builder, image_key, label_key, class_names, trains[0], None)
    return dataclasses.replace(images, test_split=_test_split(images))


def _prepare(builder: tfds.core.DatasetBuilder, name: str, offline_files: str) -> None:
    """Prepares the dataset in a scratch folder beside its place and renames it into it, one process
    at a time.

    A process that is killed leaves the scratch folder, which the next one takes away.
    """
    root = Path(builder.data_dir_root)
    place = Path(builder.data_dir)
    _make(root)
    try:
        with locks.wait_for_lock(root / f".{builder.name}.lock"):
            if (place / "dataset_info.json").is_file():  # another process was first
                builder.info.read_from_directory(builder.data_dir)
                return
            _clear(place, name)
            scratch = root / f".{builder.name}.preparing.tmp"
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                prepared = builder_in(scratch, name)
                _download_and_prepare(prepared, offline_files, downloads=root / "downloads")
                place.parent.mkdir(parents=True, exist_ok=True)
                Path(prepared.data_dir).rename(place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            builder.info.read_from_directory(builder.data_dir)
    except (
        OSError,
        AssertionError,
        tf.errors.OpError,
        tfds.download.DownloadError,
        *_tf_private.download_errors(),
    ) as error:
        raise UserError(
            f"dataset '{builder.name}' could not be prepared in {root}",
            expected="a download, or the archives in --offline_files",
            received=last_line(error),
            fix="Connect to the network, free disk space, or give the archives with "
            "--offline_files=FOLDER.",
        ) from error


def _clear(place: Path, name: str) -> None:
    """Takes away what is kept beside a dataset that is gone. Raises UserError where more is left of
    it: those files may have taken days to make."""
    if not place.is_dir():
        return
    for labels in place.glob(f"{_LABELS}*.npy"):
        labels.unlink()
    rest = sorted(each.name for each in place.iterdir())
    if rest:
        raise UserError(
            f"dataset '{name}' is damaged",
            expected="the files as TFDS wrote them, dataset_info.json among them",
            received=f"{', '.join(rest[:5])} without it",
            fix=f"Bring it back, or remove {place}; the dataset is then prepared anew.",
        )
    place.rmdir()


def _make(root: Path) -> None:
    """Makes the TFDS folder. Raises UserError where there is no place for it."""
    reason = "there is no home folder"
    if not str(root).startswith("~"):  # which stands for none
        try:
            root.mkdir(parents=True, exist_ok=True)
            if os.access(root, os.W_OK | os.X_OK):
                return
            reason = "no permission to write"
        except OSError as error:
            reason = error.strerror or str(error)
    raise UserError(
        f"datasets cannot be kept in {root}",
        expected="a folder that can be made and written",
        received=reason,
        fix="Name one with --data_dir=FOLDER.",
    )


def _download_and_prepare(
    builder: tfds.core.DatasetBuilder, offline_files: str, *, downloads: Path
) -> None:
    by_hand = bool(
        offline_files and builder.MANUAL_DOWNLOAD_INSTRUCTIONS
    )  # such a builder reads the folder itself
    config = tfds.download.DownloadConfig(
        try_download_gcs=False, manual_dir=os.path.expanduser(offline_files) if by_hand else None
    )
    if offline_files and not by_hand:
        place_archives(builder, offline_files, download_dir=downloads)
    elif not (downloads / builder.name).is_dir():  # where earlier downloads are, they may suffice
        reason = why_unreachable(builder.url_infos or ())
        if reason:
            raise UserError(
                f"dataset '{builder.name}' cannot be downloaded",
                expected="a network that reaches its publishers",
                received=reason,
                fix="Connect to the network (behind a proxy: export https_proxy=...), or give the "
                "archives with --offline_files=FOLDER; `--dataset=digits` needs no network.",
            )
    if not can_redraw():
        tfds.disable_progress_bar()
    say(f"preparing dataset {builder.name}")
    builder.download_and_prepare(download_dir=downloads, download_config=config)


def _test_split(images: Images) -> str | None:
    """The first labelled one; some test splits (imagenet2012's) carry the label -1."""
    for split in (*splits_of(images.builder, "test"), *splits_of(images.builder, "val")):
        records = encoded_records(images.builder, split, keys=(images.label_key,))
        if int(next(iter(records.take(1)))[0]) >= 0:
            return split
    return None


def _state(builder: tfds.core.DatasetBuilder, split: str) -> np.ndarray:
    """int32 [8], a hash of the names, sizes and times of a split's files and of the description."""
    shards = [Path(path) for path in builder.info.splits[split].filepaths]
    facts = []
    for path in (*shards, Path(builder.data_dir) / "dataset_info.json"):
        fact = path.stat() if path.exists() else None  # TensorFlow tells what is missing
        facts.append((path.name, fact and (fact.st_size, fact.st_mtime_ns, fact.st_ctime_ns)))
    return np.frombuffer(hashlib.sha256(repr(facts).encode()).digest(), np.int32)


def _keep(cache: Path, labels: np.ndarray) -> None:
    try:
        atomic.write_bytes(cache, npy.bytes_of(labels))
    except OSError as error:
        logging.getLogger(__name__).warning(
            "labels are not kept, and are read again next time: %s", error
        )
