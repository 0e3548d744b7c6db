"""Stratified choice: sums, shares, disjointness and purity, for label arrays of any shape."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pnas_tf.config import DataConfig
from pnas_tf.data.split import split_positions, stratified_choice
from pnas_tf.errors import UserError


def names_of(labels):
    return tuple(f"c{number}" for number in range(int(labels.max()) + 1))


def choose(labels, count, *, seed=0, content=None):
    return stratified_choice(
        labels,
        count,
        split="validation",
        split_seed=seed,
        class_names=names_of(labels),
        content=content,
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(2, 40), min_size=2, max_size=8), st.floats(0.0, 1.0), st.integers(0, 2**40)
)
def test_each_class_has_its_share_to_within_one(sizes, position, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    low, high = len(sizes), len(labels) - len(sizes)
    count = round(low + position * (high - low))
    chosen = choose(labels, count, seed=seed)
    assert len(chosen) == count == len(set(chosen.tolist()))
    assert np.all(np.diff(chosen) > 0)
    shares = np.bincount(labels[chosen], minlength=len(sizes))
    assert np.all(shares >= 1) and np.all(shares <= np.array(sizes) - 1)
    exact = np.array(sizes) * count / len(labels)
    free = (exact >= 1) & (exact <= np.array(sizes) - 1)
    if (
        free.all()
    ):  # where no class is held at its bound, largest remainders are within one of exact
        assert np.all(np.abs(shares - exact) < 1 + 1e-9)


def test_equal_classes_give_equal_shares():
    labels = np.tile(np.arange(10), 100)
    assert np.bincount(labels[choose(labels, 200)]).tolist() == [20] * 10


def test_pure_in_the_seed():
    labels = np.tile(np.arange(5), 60)
    assert np.array_equal(choose(labels, 50, seed=3), choose(labels, 50, seed=3))
    assert not np.array_equal(choose(labels, 50, seed=3), choose(labels, 50, seed=4))


@pytest.mark.parametrize("labels, count", [([0, 0, 0, 1], 2), ([0, 0, 1, 1], 1), ([0, 0, 1, 1], 3)])
def test_too_few_images_are_refused_by_name(labels, count):
    with pytest.raises(UserError, match="too few images for the validation split") as error:
        choose(np.array(labels), count)
    assert "class 'c" in error.value.received


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=4, max_size=30), st.integers(0, 2**40))
def test_copies_of_an_image_are_chosen_together(copies, seed):
    """At most one image of a class is torn, and none where single images fill the share. Without
    copies the choice is the same."""
    generator = np.random.default_rng(seed)
    content = generator.permutation(np.repeat(np.arange(len(copies)), copies)).astype(np.uint64)
    labels = (content % 2).astype(int)  # copies are of one class
    count = int(generator.integers(2, len(labels) - 1))
    chosen = choose(labels, count, seed=seed, content=content)
    assert len(set(chosen.tolist())) == count
    for label in (0, 1):
        inside = np.bincount(content[chosen][labels[chosen] == label], minlength=len(copies))
        torn = (inside > 0) & (inside < copies)
        single = (np.array(copies) == 1) & (np.arange(len(copies)) % 2 == label)
        assert torn.sum() <= (0 if (single & (inside == 0)).any() else 1)
    distinct = np.arange(len(labels), dtype=np.uint64)
    alone = choose(labels, count, seed=seed, content=generator.permutation(distinct))
    assert np.array_equal(alone, choose(labels, count, seed=seed))


@pytest.mark.parametrize("sizes", [(3, 3, 3, 100), (3, 60), (20,) * 5, (2, 2, 30)])
@pytest.mark.parametrize("test_fraction", [0.2, 0.6])
def test_any_number_of_training_images_is_split(sizes, test_fraction):
    """From two of each class, one for either side of the search, to all that are not to test."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    has_test = min(sizes) < 3

    def splits(**options):
        config = DataConfig(test_fraction=test_fraction, **options)
        return split_positions(labels, names_of(labels), config, has_test=has_test)

    train, validation, test = splits()
    left = len(train) + len(validation)
    for number in range(2 * len(sizes), left + 1):
        parts = splits(train_images=number)
        assert len(parts[0]) + len(parts[1]) == number and np.array_equal(parts[2], test)
        assert len(np.unique(np.concatenate(parts))) == number + len(test)
        assert all(set(labels[part]) == set(labels) for part in parts[:2])
    with pytest.raises(UserError, match=f"train_images={left + 1}"):
        splits(train_images=left + 1)
