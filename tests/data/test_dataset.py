"""The three splits of a dataset: disjoint, balanced, pure in (seed, epoch), the same from memory,
files and records."""

import numpy as np
import pytest
from forked_program import SERVER
from PIL import Image

from pnas_tf.config import DataConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.data.opening import dataset_facts
from pnas_tf.errors import UserError


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="module")
def digits(tfds_dir):
    return load_dataset(DataConfig(data_dir=tfds_dir), resolution=16)


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """40 noise JPEGs of different shapes in two classes, by brightness; also PNG, BMP and GIF."""
    root = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(40):
        name = "bright" if number % 2 else "dark"
        (root / name).mkdir(exist_ok=True)
        pixels = generator.integers(0, 60, (20 + number % 5, 24, 3)) + 180 * (number % 2)
        suffix = {0: "png", 1: "bmp", 2: "gif"}.get(number // 2, "jpg")
        Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{number:02}.{suffix}")
    return root


def sources(tfds_dir, jpegs):
    """The same tests over all three kinds of source."""
    small = {"alpha_fraction": 0.25, "test_fraction": 0.2}
    return {
        "memory": load_dataset(DataConfig(data_dir=tfds_dir), resolution=16),
        "records": load_dataset(
            DataConfig(data_dir=tfds_dir, augmentation="imagenet"), resolution=16
        ),
        "folder in memory": load_dataset(
            DataConfig(dataset=f"folder:{jpegs}", **small), resolution=16
        ),
        "files": load_dataset(
            DataConfig(dataset=f"folder:{jpegs}", augmentation="imagenet", **small), resolution=16
        ),
    }


@pytest.fixture(
    scope="module",
    params=[
        "memory",
        pytest.param("records", marks=pytest.mark.slow),
        "folder in memory",
        pytest.param("files", marks=pytest.mark.slow),
    ],
)
def dataset(request, tfds_dir, jpegs):
    return sources(tfds_dir, jpegs)[request.param]


def collect(batches):
    images, labels = zip(*batches.as_numpy_iterator())
    return list(images), list(labels)


@pytest.mark.slow
def test_digits_are_scikit_learns(digits, tfds_dir):
    from sklearn.datasets import load_digits

    truth = load_digits()
    assert digits.class_names == tuple("0123456789")
    assert (
        digits.train_size + digits.validation_size + digits.test_size == len(truth.target) == 1797
    )
    assert np.array_equal(digits.train_split.source.labels, truth.target)
    native = load_dataset(DataConfig(data_dir=tfds_dir), resolution=8).train_split.source.images[
        ..., 0
    ]
    assert np.abs(native * (16 / 255) - truth.images).max() < 0.04  # rounding to bytes


@pytest.mark.slow
def test_fewer_training_images_are_a_balanced_choice_beside_the_same_test_split(digits, tfds_dir):
    few = load_dataset(
        DataConfig(data_dir=tfds_dir, train_images=300, alpha_size=60), resolution=16
    )
    assert (few.train_size, few.validation_size) == (240, 60) and np.array_equal(
        few.test_split.positions, digits.test_split.positions
    )
    chosen = np.concatenate([few.train_split.positions, few.validation_split.positions])
    assert (
        len(np.unique(chosen)) == 300 and not np.intersect1d(chosen, few.test_split.positions).size
    )
    counts = np.bincount(few.train_split.source.labels[chosen])
    rest = np.delete(few.train_split.source.labels, few.test_split.positions)
    assert np.abs(counts - 300 * np.bincount(rest) / len(rest)).max() < 1
    again = load_dataset(
        DataConfig(data_dir=tfds_dir, train_images=300, alpha_size=60), resolution=16
    )
    assert few.fingerprint == again.fingerprint != digits.fingerprint
    training = len(rest)
    whole = load_dataset(DataConfig(data_dir=tfds_dir, train_images=training), resolution=16)
    assert whole.fingerprint == digits.fingerprint
    with pytest.raises(UserError, match="train_images") as error:
        load_dataset(DataConfig(data_dir=tfds_dir, train_images=training + 1), resolution=16)
    assert f"at most {training}" in error.value.expected


def test_parts_are_disjoint_and_balanced(digits):
    parts = [digits.train_split, digits.validation_split, digits.test_split]
    assert len(np.unique(np.concatenate([part.positions for part in parts]))) == 1797
    for part in parts:
        shares = np.bincount(part.labels) / len(part.labels)
        whole = np.bincount(digits.train_split.source.labels) / 1797
        assert np.abs(shares - whole).max() * len(part.labels) < 1.5
    assert digits.test_size == round(1797 * 0.2) and digits.validation_size == round(
        (1797 - digits.test_size) * 0.2
    )


@pytest.mark.slow
def test_split_is_pure_in_its_seed(digits, tfds_dir):
    again = load_dataset(DataConfig(data_dir=tfds_dir), resolution=16)
    other = load_dataset(DataConfig(data_dir=tfds_dir, split_seed=1), resolution=16)
    assert again.fingerprint == digits.fingerprint != other.fingerprint
    assert not np.array_equal(other.test_split.positions, digits.test_split.positions)
    # Where alpha is cut does not move the test split.
    third = load_dataset(DataConfig(data_dir=tfds_dir, alpha_size=500), resolution=16)
    assert third.validation_size == 500 and np.array_equal(
        third.test_split.positions, digits.test_split.positions
    )


@pytest.mark.slow
def test_epoch_is_pure_and_start_batch_equals_skipping(dataset):
    size = 8 if dataset.train_size < 100 else 64
    images, labels = collect(dataset.train_batches(batch_size=size, seed=5, epoch=3))
    assert len(images) == dataset.steps_per_epoch("train", batch_size=size)
    again, again_labels = collect(dataset.train_batches(batch_size=size, seed=5, epoch=3))
    assert all(
        np.array_equal(a, b) for a, b in zip(images + labels, again + again_labels, strict=True)
    )
    tail, tail_labels = collect(
        dataset.train_batches(batch_size=size, seed=5, epoch=3, start_batch=2)
    )
    assert all(
        np.array_equal(a, b)
        for a, b in zip(images[2:] + labels[2:], tail + tail_labels, strict=True)
    )
    for seed, epoch in ((6, 3), (5, 4)):
        _, other = collect(dataset.train_batches(batch_size=size, seed=seed, epoch=epoch))
        assert not np.array_equal(np.concatenate(labels), np.concatenate(other))


def test_batches_are_normalised_and_labels_whole(dataset):
    for batches, count in (
        (dataset.train_batches(batch_size=4, seed=0, epoch=0), dataset.train_size),
        (dataset.validation_batches(batch_size=4, seed=0, epoch=0), dataset.validation_size),
        (
            dataset.combined_batches(batch_size=4, seed=0, epoch=0),
            dataset.train_size + dataset.validation_size,
        ),
    ):
        images, labels = collect(batches)
        assert sum(map(len, labels)) == count // 4 * 4
        stack = np.concatenate(images)
        assert (
            stack.shape[1:] == (16, 16, 3)
            and stack.dtype == np.float32
            and np.concatenate(labels).dtype == np.int32
        )
        assert stack.min() >= -1.0001 and stack.max() <= 1.0001
    assert (
        sum(len(labels) for labels in collect(dataset.test_batches(batch_size=7))[1])
        == dataset.test_size
    )


def test_alpha_is_not_augmented(dataset):
    """Every image of an alpha epoch is, to the bit, one of the plain ones; of a weights epoch,
    hardly any is."""
    plain = {
        image.tobytes()
        for image in np.concatenate(collect(dataset.validation_once(batch_size=16))[0])
    }
    epoch = np.concatenate(collect(dataset.validation_batches(batch_size=4, seed=1, epoch=1))[0])
    assert all(image.tobytes() in plain for image in epoch)
    plain_weights = {
        image.tobytes()
        for image in np.concatenate(collect(dataset.train_unaugmented(batch_size=2))[0])
    }
    augmented = np.concatenate(collect(dataset.train_batches(batch_size=4, seed=1, epoch=1))[0])
    assert np.mean([image.tobytes() in plain_weights for image in augmented]) < 0.1


@pytest.mark.slow
def test_labels_stay_with_their_images(jpegs):
    for augmentation in ("none", "flip", "imagenet"):
        dataset = load_dataset(
            DataConfig(dataset=f"folder:{jpegs}", augmentation=augmentation), resolution=16
        )
        assert dataset.class_names == ("bright", "dark")
        for images, labels in dataset.combined_batches(
            batch_size=4, seed=0, epoch=0
        ).as_numpy_iterator():
            assert np.array_equal(images.mean(axis=(1, 2, 3)) > 0, labels == 0)


def test_representative_images_and_test_arrays(dataset):
    images = dataset.representative_images(10)
    assert images.shape == (10, 16, 16, 3)
    plain = {
        image.tobytes()
        for image in np.concatenate(collect(dataset.train_unaugmented(batch_size=1))[0])
    }
    assert all(image.tobytes() in plain for image in images)
    assert len(dataset.representative_images(10**6)) == dataset.train_size
    images, labels = dataset.test_arrays()
    assert len(images) == len(labels) == dataset.test_size
    assert np.array_equal(labels, dataset.test_split.labels)


def test_a_batch_larger_than_the_part_is_refused(digits):
    with pytest.raises(UserError, match="batch of 5000"):
        digits.train_batches(batch_size=5000, seed=0, epoch=0)


def test_facts_without_pixels(tfds_dir, jpegs):
    facts = dataset_facts(DataConfig(data_dir=tfds_dir))
    assert (facts.short_side, facts.training_examples, len(facts.class_names)) == (8, 1797, 10)
    assert dataset_facts(DataConfig(dataset=f"folder:{jpegs}")).short_side == 22


@pytest.mark.parametrize(
    "name, words", [("cifar11", "cifar10"), ("fashion_mnst", "fashion_mnist"), ("digit", "digits")]
)
def test_unknown_dataset_suggests_close_names(name, words, tfds_dir):
    with pytest.raises(UserError, match="unknown dataset") as error:
        load_dataset(DataConfig(dataset=name, data_dir=tfds_dir), resolution=32)
    assert words in error.value.expected and name in error.value.received


def test_datasets_that_are_not_images_are_refused(tfds_dir):
    with pytest.raises(UserError, match="not for image classification"):
        load_dataset(DataConfig(dataset="imdb_reviews", data_dir=tfds_dir), resolution=32)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha_fraction": 0.0},
        {"test_fraction": 1.0},
        {"alpha_size": 0},
        {"train_images": 0},
        {"split_seed": -1},
        {"min_crop_scale": 0.0},
    ],
)
def test_senseless_options_are_refused(change, tfds_dir):
    with pytest.raises(UserError, match=next(iter(change))):
        load_dataset(DataConfig(data_dir=tfds_dir, **change), resolution=32)


def tell_fingerprint(data_dir, path):
    dataset = load_dataset(DataConfig(data_dir=str(data_dir)), resolution=8)
    path.write_text(dataset.fingerprint)


@pytest.mark.slow
def test_two_processes_prepare_digits_at_once(tmp_path):
    told = [tmp_path / f"told-{number}" for number in range(2)]
    processes = [SERVER.Process(target=tell_fingerprint, args=(tmp_path, path)) for path in told]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert told[0].read_text() == told[1].read_text() != ""
    assert not [path for path in tmp_path.rglob("*") if "incomplete" in path.name]
