"""TFDS datasets by name: found, prepared (downloaded or generated) and described. Knows nothing of
the three splits."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

import pnas_tf.data.digits  # noqa: F401 (defining the builder registers it)
from pnas_tf import _tf_private
from pnas_tf.data.dataset_name import unknown_dataset
from pnas_tf.data.offline import place_archives
from pnas_tf.data.reachable import why_unreachable
from pnas_tf.data.records import encoded_records
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, locks, npy
from pnas_tf.run.terminal import can_redraw, say

TEST_SPLITS = ("test", "validation")


@dataclass(frozen=True)
class Images:
    """A prepared TFDS dataset for image classification. test_split is None where it has no labelled
    one."""

    builder: tfds.core.DatasetBuilder
    image_key: str
    label_key: str
    class_names: tuple[str, ...]
    test_split: str | None

    @property
    def channels(self) -> int:
        """1 for grey images, else 3."""
        return 1 if self.builder.info.features[self.image_key].shape[-1] == 1 else 3

    def short_side(self) -> int:
        """Of the images, in pixels; of the first one where they differ."""
        height, width = self.builder.info.features[self.image_key].shape[:2]
        if height is None or width is None:
            first = next(iter(self.builder.as_dataset(split="train[:1]", shuffle_files=False)))
            height, width = first[self.image_key].shape[:2]
        return int(min(height, width))

    def labels(self, split: str) -> np.ndarray:
        """int32 [examples], by position; read once and kept beside the dataset."""
        cache = Path(self.builder.data_dir) / f"pnas_tf-labels-{split}.npy"
        count = self.builder.info.splits[split].num_examples
        if cache.is_file():
            try:
                labels = npy.array_of(
                    atomic.read_bytes(cache, what="labels", made_by="delete them")
                )
                if labels.dtype == np.int32 and labels.shape == (count,):
                    return labels
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
        _keep(cache, labels)
        return labels


def prepare_images(name: str, *, data_dir: str, offline_files: str) -> Images:
    """Finds and prepares TFDS dataset `name` ("cifar10", "imagenet_resized/32x32", "mnist:3.0.1").

    Args:
        name: as TFDS knows it.
        data_dir: TFDS folder, empty for its default.
        offline_files: folder with the dataset's archives, for which nothing is downloaded; empty
            for none.

    Raises:
        UserError: the dataset is unknown (with close names), is not made of one image and one
            class label, or cannot be downloaded.
    """
    directory = os.path.expanduser(data_dir) or None
    try:
        builder = _builder(name, directory)
    except tfds.core.DatasetNotFoundError as error:
        raise unknown_dataset(name) from error
    except (
        ValueError,
        AssertionError,
    ) as error:  # an unknown configuration or version of a known dataset
        raise UserError(
            f"dataset '{name}' cannot be opened",
            expected="a name, name/config or name:version that TFDS knows",
            received=str(error).strip().splitlines()[0][:300],
            fix="Correct --dataset.",
        ) from error
    image_key, label_key = _keys(builder, name)
    if not builder.is_prepared():
        _prepare(builder, name, offline_files)
    if "train" not in builder.info.splits:
        raise UserError(
            f"dataset '{name}' has no training images",
            expected="a split 'train'",
            received=str(sorted(builder.info.splits)),
            fix="Choose another dataset.",
        )
    class_names = tuple(builder.info.features[label_key].names)
    images = Images(builder, image_key, label_key, class_names, None)
    return Images(builder, image_key, label_key, class_names, _test_split(images))


def _builder(name: str, data_dir: str | Path | None) -> tfds.core.DatasetBuilder:
    """TFDS makes a temporary folder for each builder that is not prepared, and forgets it."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="pnas_") as forgotten:
        tempfile.tempdir = forgotten
        try:
            return tfds.builder(name, data_dir=data_dir, try_gcs=False)
        finally:
            tempfile.tempdir = before


def _keys(builder: tfds.core.DatasetBuilder, name: str) -> tuple[str, str]:
    features, keys = builder.info.features, builder.info.supervised_keys
    if (
        not isinstance(features, tfds.features.FeaturesDict)
        or not keys
        or len(keys) != 2
        or not all(isinstance(key, str) for key in keys)
        or not isinstance(features[keys[0]], tfds.features.Image)
        or not isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise UserError(
            f"dataset '{name}' is not for image classification",
            expected="supervised keys (image, class label)",
            received=str(keys),
            fix="Choose another dataset.",
        )
    return keys


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
            scratch = root / f".{builder.name}.preparing.tmp"
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                prepared = _builder(name, scratch)
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
            received=_last_line(error),
            fix="Connect to the network, free disk space, or give the archives with "
            "--offline_files=FOLDER.",
        ) from error


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
    for split in TEST_SPLITS:
        if split in images.builder.info.splits and images.builder.info.splits[split].num_examples:
            first = next(
                iter(encoded_records(images.builder, split, keys=(images.label_key,)).take(1))
            )
            if int(first[0]) >= 0:
                return split
    return None


def _keep(cache: Path, labels: np.ndarray) -> None:
    try:
        atomic.write_bytes(cache, npy.bytes_of(labels))
    except OSError as error:
        logging.getLogger(__name__).warning(
            "labels are not kept, and are read again next time: %s", error
        )


def _last_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
