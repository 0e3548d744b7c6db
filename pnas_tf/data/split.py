"""Stratified splitting of labelled examples, as a pure function of a seed.

Knows only label arrays. Not by scikit-learn's stratified split, which may leave a small class
without an example on one side, and would move every split that was made before."""

from __future__ import annotations

import numpy as np

from pnas_tf.config import DataConfig
from pnas_tf.errors import UserError

_STREAMS = {"test": 0, "validation": 1, "training": 2}  # each choice has random numbers of its own


def split_positions(
    labels: np.ndarray, class_names: tuple[str, ...], config: DataConfig, *, has_test: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The three disjoint splits. What is cut off later does not move what was cut off before.

    Args:
        labels: int [examples], of the images that are not the dataset's own test split.
        class_names: of all classes.
        config: sizes, and the seed.
        has_test: whether the dataset has a test split of its own; none is then cut off.

    Returns:
        Sorted positions in `labels` of train, validation and test, int64.

    Raises:
        UserError: as `stratified_choice`.
    """

    def choose(positions: np.ndarray, count: int, split: str) -> np.ndarray:
        return stratified_choice(
            labels[positions],
            count,
            classes=len(class_names),
            seed=(config.split_seed, _STREAMS[split]),
            split=split,
            class_names=class_names,
        )

    positions: np.ndarray = np.arange(len(labels), dtype=np.int64)
    test = positions[:0]
    if not has_test:
        chosen = choose(positions, round(len(positions) * config.test_fraction), "test")
        test, positions = positions[chosen], np.delete(positions, chosen)
    if config.train_images is not None and config.train_images != len(positions):
        positions = positions[choose(positions, config.train_images, "training")]
    count = config.alpha_size
    if count is None:
        count = round(len(positions) * config.alpha_fraction)
    chosen = choose(positions, count, "validation")
    return np.delete(positions, chosen), positions[chosen], test


def stratified_choice(
    labels: np.ndarray,
    count: int,
    *,
    classes: int,
    seed: tuple[int, ...],
    split: str,
    class_names: tuple[str, ...],
) -> np.ndarray:
    """Chooses `count` examples so that each class has the share it has in `labels`, to within one,
    and at least one.

    Args:
        labels: int [examples].
        count: how many are chosen.
        classes: how many there are.
        seed: words of a numpy SeedSequence.
        split: name of what is chosen, for errors.
        class_names: for errors.

    Returns:
        Sorted positions in `labels`, int64 [count].

    Raises:
        UserError: a class would be left without an example on either side.
    """
    sizes = np.bincount(labels, minlength=classes)
    scarce = int(np.argmin(sizes))
    if sizes[scarce] < 2 or not classes <= count <= len(labels) - classes:
        raise UserError(
            f"too few images for the {split} split",
            expected=f"at least 1 of each of the {classes} classes in this split and 1 outside it",
            received=f"{count} of {len(labels)} images; class '{class_names[scarce]}' has "
            f"{sizes[scarce]}",
            fix="Give more images, or change --alpha_fraction, --alpha_size, --test_fraction or "
            "--train_images.",
        )
    shares = _shares(sizes, count, np.random.default_rng(np.random.SeedSequence([*seed, 0])))
    generator = np.random.default_rng(np.random.SeedSequence([*seed, 1]))
    chosen = [
        generator.permutation(np.flatnonzero(labels == number))[:share]
        for number, share in enumerate(shares)
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _shares(sizes: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Largest remainders: sums to `count`, each at least 1 and leaving at least 1; ties fall by
    lot."""
    exact = sizes * (count / sizes.sum())
    shares = np.clip(np.floor(exact).astype(np.int64), 1, sizes - 1)
    lots = generator.random(len(sizes))
    while shares.sum() != count:
        missing = np.sign(count - shares.sum())
        movable = shares < sizes - 1 if missing > 0 else shares > 1
        gap = np.where(movable, missing * (exact - shares), -np.inf)
        shares[np.lexsort((lots, -gap))[0]] += missing
    return shares
