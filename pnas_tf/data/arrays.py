"""Labelled images that the caller holds in memory, checked. Knows nothing of splits or sizes that
networks want."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass

import numpy as np

from pnas_tf.data.class_names import class_name
from pnas_tf.data.copies import notes_on_copies
from pnas_tf.errors import UserError
from pnas_tf.run.terminal import warn


@dataclass(frozen=True)
class ImageArrays:
    """Images of one size with their classes.

    Attributes:
        images: uint8 [images, height, width, channels], 1 channel (grey) or 3 (RGB).
        labels: int32 [images], places in `class_names`.
        class_names: distinct, not empty.
        test: images to test on, of the same classes; None: some of these are.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    test: ImageArrays | None = None

    @property
    def short_side(self) -> int:
        """In pixels."""
        return int(min(self.images.shape[1:3]))

    @property
    def name(self) -> str:
        """`digest`, with a test part its own behind a plus."""
        return self.digest if self.test is None else f"{self.digest}+{self.test.digest}"

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits of pixels, labels and classes, without the test part's."""
        digest = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        digest.update(np.ascontiguousarray(self.images))
        digest.update(np.ascontiguousarray(self.labels))
        return digest.hexdigest()[:16]

    @functools.cached_property
    def content(self) -> np.ndarray:
        """uint64 [images], equal for images of one content."""
        rows = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in self.images)
        return np.frombuffer(b"".join(rows), np.uint64)


def image_arrays(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    *,
    test: tuple[np.ndarray, np.ndarray] | None = None,
) -> ImageArrays:
    """Checks what the caller gave, and says which images are there again.

    Args:
        images: uint8 [n, height, width, 3] or [n, height, width].
        labels: int [n].
        class_names: in the order of the labels' numbers.
        test: images and labels to test on, of such shapes.

    Raises:
        UserError: another dtype or shape, no image, a label that is no place in `class_names`, or
            class names that are not distinct.
    """
    arrays = _checked(images, labels, class_names, of="dataset")
    if test is not None:
        if not isinstance(test, (tuple, list)) or len(test) != 2:
            expected, fix = "a pair (images, labels)", "Give test=(images, labels)."
            raise _refusal("test part", expected, type(test).__name__, fix)
        tests = _checked(*test, arrays.class_names, of="test part of a dataset")
        arrays = dataclasses.replace(arrays, test=tests)
    parts = [arrays] if arrays.test is None else [arrays, arrays.test]
    contents = [content for part in parts for content in part.content.tolist()]
    every = np.concatenate([part.labels for part in parts])
    for note in notes_on_copies(contents, every, training=len(arrays.labels)):
        warn(note)
    return arrays


def _checked(
    images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], *, of: str
) -> ImageArrays:
    """One part. of: "dataset" or "test part of a dataset", for messages. Raises as
    `image_arrays`."""

    def refusal(what: str, expected: str, received: str, fix: str) -> UserError:
        return _refusal(what, expected, received, fix, of=of)

    if np.ma.isMaskedArray(images):
        expected, fix = "pixels that all count", "Fill the others: images.filled(255)."
        raise refusal("images", expected, "a masked array", fix)
    if np.ma.isMaskedArray(labels):
        expected, fix = "a label of every image", "Leave out the images whose label is masked."
        raise refusal("labels", expected, "a masked array", fix)
    try:
        images, labels = np.asarray(images), np.asarray(labels)
    except ValueError as error:  # lists of several lengths
        fix = "Resize the images first, e.g. with PIL.Image.resize."
        raise refusal("images", "one size for all", str(error)[:200], fix) from error
    if images.ndim == 3:
        images = images[..., None]
    given, shape = f"{labels.dtype} {list(labels.shape)}", list(images.shape)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3):
        expected = "uint8 [images, height, width, 3] or [images, height, width], pixels 0..255"
        received = f"{images.dtype} {shape}{_range(images)}"
        raise refusal("images", expected, received, _fix_of(images))
    if not images.size:
        raise refusal("images", "at least one pixel", f"shape {shape}", "Give images.")
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != images.shape[:1]:
        expected = f"integers [{len(images)}], one for each image"
        fix = "Give the number of each image's class"
        if labels.shape == (len(images), len(class_names)):
            fix += ": labels.argmax(axis=1)"
        elif labels.dtype.kind in "US":
            fix += ": class_names, labels = numpy.unique(labels, return_inverse=True)"
        raise refusal("labels", expected, given, f"{fix}.")
    class_names = _distinct(class_names)
    if labels.min() < 0 or labels.max() >= len(class_names):
        expected = f"0 to {len(class_names) - 1}, places in class_names"
        received = f"{labels.min()} to {labels.max()}"
        raise refusal("labels", expected, received, "Count classes from 0, and name all of them.")
    return ImageArrays(images, labels.astype(np.int32), class_names)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the classes as they are kept, each of them once."""
    kept = tuple(class_name(name, what="class", where="a dataset from arrays") for name in names)
    if not kept or len(set(kept)) < len(kept):
        received = ", ".join(kept)[:200] or "none"
        fix = "Name every class once, in the order of the labels' numbers."
        raise _refusal("class names", "distinct names", received, fix)
    return kept


def _range(images: np.ndarray) -> str:
    """ ", values 0 to 1", of pixels that are not bytes."""
    if images.dtype == np.uint8 or images.dtype.kind not in "biuf" or not images.size:
        return ""
    finite = images[np.isfinite(images)]
    if not finite.size:
        return ", no value finite"
    missing = ", some not finite" if finite.size < images.size else ""
    return f", values {finite.min():.4g} to {finite.max():.4g}{missing}"


def _fix_of(images: np.ndarray) -> str:
    """What makes images of them."""
    if images.dtype.kind not in "biuf":
        return "Give pixels; of files make a dataset by from_folder, or by --dataset=csv:TABLE."
    if images.dtype != np.uint8:
        return "Scale pixels to 0..255, round, and convert: images.astype(numpy.uint8)."
    if images.ndim == 4 and images.shape[-1] == 4:
        return "Leave transparency out: images[..., :3]."
    if images.ndim == 4 and images.shape[1] in (1, 3):
        return "Put the channels last: images.transpose(0, 2, 3, 1)."
    return "Give them that shape."


def _refusal(
    what: str, expected: str, received: str, fix: str, *, of: str = "dataset"
) -> UserError:
    return UserError(f"{what} of a {of} from arrays", expected=expected, received=received, fix=fix)
