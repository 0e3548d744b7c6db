"""Datasets of image files, found and checked before any work: `folder:PATH` and `csv:TABLE`. Knows
nothing of tensors."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pnas_tf.config import UNREADABLE_PERCENT
from pnas_tf.data.class_names import alike
from pnas_tf.data.copies import notes_on_copies
from pnas_tf.data.file_tree import FileTree, scan_tree
from pnas_tf.data.image_check import check_images, refuse_unreadable
from pnas_tf.data.manifest import read_manifest

_READERS: dict[str, Callable[[str], FileTree]] = {"folder:": scan_tree, "csv:": read_manifest}


@dataclass(frozen=True)
class ImageFolder:
    """Images that all decode.

    Attributes:
        files: the images with their labels, and what was left out.
        train_hashes, test_hashes: uint8 [images, 32], SHA-256 of each file.
        short_side: median over the images, in pixels.
    """

    files: FileTree
    train_hashes: np.ndarray
    test_hashes: np.ndarray
    short_side: int

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of labels."""
        return self.files.class_names

    @property
    def train(self) -> tuple[str, ...]:
        """Paths of the training images."""
        return self.files.train

    @property
    def train_labels(self) -> np.ndarray:
        """int32 [len(train)]"""
        return self.files.train_labels

    @property
    def test(self) -> tuple[str, ...]:
        """Paths of the test images; empty where there is no test split."""
        return self.files.test

    @property
    def test_labels(self) -> np.ndarray:
        """int32 [len(test)]"""
        return self.files.test_labels


def is_of_files(dataset: str) -> bool:
    """Whether `dataset` names image files ("folder:PATH", "csv:TABLE")."""
    return dataset.startswith(tuple(_READERS))


def open_images(dataset: str, *, skip_unreadable: bool) -> ImageFolder:
    """Finds the files of `dataset` and decodes each once (`check_images`).

    Images that cannot be read are left out where they are at most UNREADABLE_PERCENT of all, or
    with `skip_unreadable`. Raises UserError as `scan_tree` and `read_manifest`, and on more of
    them.
    """
    prefix = next(prefix for prefix in _READERS if dataset.startswith(prefix))
    return _checked(_READERS[prefix](dataset[len(prefix) :]), skip_unreadable)


def _checked(files: FileTree, skip_unreadable: bool) -> ImageFolder:
    checked = check_images(files.used, root=files.root)
    broken, hashes = checked.unreadable, checked.hashes
    if broken:
        if not skip_unreadable and 100 * len(broken) > UNREADABLE_PERCENT * len(files.used):
            raise refuse_unreadable(broken, root=files.root, total=len(files.used))
        hashes = hashes[np.array([path not in broken for path in files.used], bool)]
        files = files.without(broken)
    names = [
        f"Classes {', '.join(map(repr, group))} are kept apart, though they look alike."
        for group in alike(files.class_names)
    ]
    labels = np.concatenate([files.train_labels, files.test_labels])
    copies = notes_on_copies(
        [row.tobytes() for row in hashes],
        labels,
        training=len(files.train),
        name=lambda place: os.path.relpath(files.used[place], files.root),
    )
    notes = (*files.notes, *names, *copies)
    files = dataclasses.replace(files, contents=checked.words(), notes=notes)
    count = len(files.train)
    return ImageFolder(files, hashes[:count], hashes[count:], checked.short_side)
