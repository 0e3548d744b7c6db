"""Stratified splitting of labelled examples, as a pure function of a seed.

Knows only label arrays. Not by scikit-learn's stratified split, which may leave a small class
without an example on one side, and would move every split that was made before."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pnas_tf.config import DataConfig
from pnas_tf.errors import UserError

_STREAMS = {"test": 0, "validation": 1, "training": 2}  # each choice has random numbers of its own
# Images of each class in a choice and outside it, at least: either side of the search needs one.
_LEAST = {"test": 1, "validation": 1, "training": 2}
_LEFT = {"test": 2, "validation": 1, "training": 0}


@dataclass(frozen=True)
class SplitSizes:
    """Images of the three splits."""

    train: int
    validation: int
    test: int

    def of(self, split: str) -> int:
        """Of "train", "validation", or both: "combined"."""
        return {
            "train": self.train,
            "validation": self.validation,
            "combined": self.train + self.validation,
        }[split]

    def words(self, split: str) -> str:
        """A split's name in a message."""
        return "the training set" if split == "combined" else f"the search's {split} split"


def split_sizes(
    images: int, config: DataConfig, *, classes: int, test_images: int | None
) -> SplitSizes:
    """How many images each split gets, without a look at their labels. A fraction gives each class
    at least one where there are enough.

    Args:
        images: of all that are not the dataset's own test split.
        config: sizes.
        classes: how many there are.
        test_images: of that split; None where there is none.

    Raises:
        UserError: a class would be left without an image on either side of the search, or there are
            fewer images than config.train_images.
    """

    def share(fraction: float, number: int) -> int:
        return min(max(round(number * fraction), classes), max(number - classes, 0))

    test, left = test_images or 0, images
    if test_images is None:
        test = share(config.test_fraction, images)
        left = images - test
    if config.train_images is not None:
        if config.train_images > left:
            raise UserError(
                f"--train_images={config.train_images}",
                expected=f"at most {left}, the images that are not to test",
                received=str(config.train_images),
                fix="Choose fewer, or leave the option out to train on all.",
            )
        left = config.train_images
    validation = config.alpha_size
    if validation is None:
        validation = share(config.alpha_fraction, left)
    if not classes <= validation <= left - classes:
        raise _too_few("validation", f"{validation} of {left} images", classes)
    return SplitSizes(left - validation, validation, test)


def split_positions(
    labels: np.ndarray,
    class_names: tuple[str, ...],
    config: DataConfig,
    *,
    has_test: bool,
    content: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three disjoint splits. What is cut off later does not move what was cut off before.

    Args:
        labels: int [examples], of the images that are not the dataset's own test split.
        class_names: of all classes.
        config: sizes, and the seed.
        has_test: whether the dataset has a test split of its own; none is then cut off.
        content: uint64 [examples], equal for images of one content; None where that is not known.

    Returns:
        Sorted positions in `labels` of train, validation and test, int64.

    Raises:
        UserError: as `stratified_choice`, and on a class that has not an image for each split.
    """
    _check_classes(labels, class_names, splits=2 if has_test else 3)
    sizes = split_sizes(
        len(labels), config, classes=len(class_names), test_images=0 if has_test else None
    )

    def choose(positions: np.ndarray, count: int, split: str) -> np.ndarray:
        return stratified_choice(
            labels[positions],
            count,
            split=split,
            split_seed=config.split_seed,
            class_names=class_names,
            content=None if content is None else content[positions],
        )

    positions: np.ndarray = np.arange(len(labels), dtype=np.int64)
    test = positions[:0]
    if not has_test:
        chosen = choose(positions, sizes.test, "test")
        test, positions = positions[chosen], np.delete(positions, chosen)
    if config.train_images is not None and config.train_images != len(positions):
        positions = positions[choose(positions, config.train_images, "training")]
    chosen = choose(positions, sizes.validation, "validation")
    return np.delete(positions, chosen), positions[chosen], test


def _check_classes(labels: np.ndarray, class_names: tuple[str, ...], *, splits: int) -> None:
    if len(class_names) < 2:
        raise UserError(
            "one class to tell apart",
            expected="at least two classes",
            received=f"{list(class_names)}",
            fix="Give images of at least two classes.",
        )
    counts = np.bincount(labels, minlength=len(class_names))
    scarce = [f"'{class_names[k]}': {counts[k]}" for k in np.flatnonzero(counts < splits)]
    if scarce:
        raise UserError(
            f"too few images in {len(scarce)} of the {len(class_names)} classes",
            expected=f"at least {splits} images of each class, one for each split: train, "
            f"validation{', test' if splits == 3 else ''}",
            received="; ".join(scarce[:8])
            + (f"; and {len(scarce) - 8} more" if scarce[8:] else ""),
            fix="Give more images of these classes, or leave the classes out.",
        )


def stratified_choice(
    labels: np.ndarray,
    count: int,
    *,
    split: str,
    split_seed: int,
    class_names: tuple[str, ...],
    content: np.ndarray | None = None,
) -> np.ndarray:
    """Chooses `count` examples so that each class has the share it has in `labels`, to within one,
    and at least one (of "training" two: one for either side of the search). Copies of an image are
    chosen together.

    Args:
        labels: int [examples].
        count: how many are chosen.
        split: what is chosen: "test", "validation" or "training".
        split_seed: with `split` it gives the choice.
        class_names: of all classes.
        content: uint64 [examples], as of `split_positions`.

    Returns:
        Sorted positions in `labels`, int64 [count].

    Raises:
        UserError: a class would have too few examples in the choice, or too few outside it for the
            choices that follow.
    """
    classes, least, left = len(class_names), _LEAST[split], _LEFT[split]
    sizes = np.bincount(labels, minlength=classes)
    scarce = int(np.argmin(sizes))
    if sizes[scarce] < least + left or not least * classes <= count <= len(labels) - left * classes:
        raise _too_few(
            split,
            f"{count} of {len(labels)} images; class '{class_names[scarce]}' has {sizes[scarce]}",
            classes,
        )
    words = [split_seed, _STREAMS[split]]
    # Of training images each class leaves one where it can, as it always did.
    kept = max(left, int(count <= len(labels) - classes))
    bounds = (least, np.maximum(least, sizes - kept))
    lots = np.random.default_rng(np.random.SeedSequence([*words, 0])).random(classes)
    shares = _shares(sizes, count, bounds, lots)
    generator = np.random.default_rng(np.random.SeedSequence([*words, 1]))
    orders = [generator.permutation(np.flatnonzero(labels == number)) for number in range(classes)]
    chosen = [
        (order if content is None else _copies_together(order, content[order], share))[:share]
        for order, share in zip(orders, shares)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _copies_together(order: np.ndarray, content: np.ndarray, share: int) -> np.ndarray:
    """`order` changed so that its first `share` positions hold all copies of an image or none, but
    for one image where the copies do not fit. Itself where there are no copies."""
    _, first, image, copies = np.unique(
        content, return_index=True, return_inverse=True, return_counts=True
    )
    if len(first) == len(order):
        return order
    rank, room = first.copy(), share
    for each in np.argsort(first):
        if copies[each] <= room:
            room -= copies[each]
        else:
            rank[each] += len(order)
    return order[np.argsort(rank[image], kind="stable")]


def _too_few(split: str, received: str, classes: int) -> UserError:
    least, left = _LEAST[split], _LEFT[split]
    return UserError(
        f"too few images for the {split} split",
        expected=f"at least {least} of each of the {classes} classes in this split"
        + (f" and {left} outside it" if left else ""),
        received=received,
        fix="Give more images, or change --alpha_fraction, --alpha_size, --test_fraction or "
        "--train_images.",
    )


def _shares(
    sizes: np.ndarray, count: int, bounds: tuple[int, np.ndarray], lots: np.ndarray
) -> np.ndarray:
    """Largest remainders: sums to `count`, each within `bounds` (least, most); ties fall by lot."""
    (least, most), exact = bounds, sizes * (count / sizes.sum())
    shares = np.clip(np.floor(exact).astype(np.int64), least, most)
    while shares.sum() != count:
        missing = np.sign(count - shares.sum())
        movable = shares < most if missing > 0 else shares > least
        gap = np.where(movable, missing * (exact - shares), -np.inf)
        shares[np.lexsort((lots, -gap))[0]] += missing
    return shares
