"""Datasets from arrays: the same as the digits that TFDS gives, the same views as image files give,
and every refusal."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

import pnas_tf.data
from pnas_tf.config import DataConfig
from pnas_tf.data import from_arrays, from_tf_data
from pnas_tf.data.dataset import load_dataset
from pnas_tf.errors import UserError

DIGITS = load_digits()
PIXELS = np.rint(DIGITS.images * (255 / 16)).astype(np.uint8)


def same_batches(one, other, *, batch_size):
    for name in ("train_batches", "validation_batches", "combined_batches"):
        pairs = zip(
            getattr(one, name)(batch_size=batch_size, seed=3, epoch=2, start_batch=1),
            getattr(other, name)(batch_size=batch_size, seed=3, epoch=2, start_batch=1),
            strict=True,
        )
        for (images, labels), (expected, numbers) in pairs:
            np.testing.assert_array_equal(images, expected)
            np.testing.assert_array_equal(labels, numbers)
    for values, expected in zip(one.test_arrays(), other.test_arrays(), strict=True):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.slow
def test_digits_as_arrays_are_the_digits(tmp_path):
    data = pnas_tf.data.from_arrays(PIXELS, DIGITS.target, range(10), name="digits")
    assert data.class_names == tuple("0123456789") and data.facts.short_side == 8
    twin = load_dataset(DataConfig(dataset="digits", data_dir=str(tmp_path)), resolution=12)
    same_batches(data.at(12), twin, batch_size=256)


@pytest.mark.parametrize("augmentation", ["flip", "imagenet"])
@pytest.mark.parametrize("in_memory_mb", [0, 1024])
@pytest.mark.slow
def test_colour_arrays_are_as_the_same_images_in_files(tmp_path, augmentation, in_memory_mb):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 26, 3)).astype(np.uint8)
    labels = np.arange(24) // 12
    for number, (image, label) in enumerate(zip(pixels, labels)):
        (tmp_path / f"{'ab'[label]}").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / "ab"[label] / f"{number:02}.png")
    config = DataConfig(augmentation=augmentation, in_memory_mb=in_memory_mb)
    one = pnas_tf.data.from_arrays(pixels, labels, "ab", data_config=config)
    other = pnas_tf.data.from_folder(tmp_path, data_config=config)
    assert one.class_names == other.class_names
    same_batches(one.at(16), other.at(16), batch_size=3)


@pytest.mark.parametrize("augmentation", ["flip", "imagenet"])
def test_images_are_kept_in_memory_as_long_as_they_are_read(augmentation):
    """By a pipeline that outlives the dataset, and by nothing behind its end."""

    def one_epoch():
        data = from_arrays(
            np.zeros((300, 8, 8, 3), np.uint8),
            np.arange(300) % 3,
            "abc",
            data_config=DataConfig(augmentation=augmentation),
        ).at(8)
        images = weakref.ref(data.train_split.source.images)
        return iter(data.train_batches(batch_size=4, seed=0, epoch=0)), images

    batches, images = one_epoch()
    gc.collect()
    assert len(list(batches)) == 48 and images() is not None
    del batches
    gc.collect()
    assert images() is None


@pytest.mark.slow
def test_other_pixels_are_another_dataset():
    changed = PIXELS.copy()
    changed[5, 3, 3] ^= 1
    prints = {
        pnas_tf.data.from_arrays(images, DIGITS.target, range(10)).at(8).fingerprint
        for images in (PIXELS, PIXELS.copy(), changed)
    }
    assert len(prints) == 2


@pytest.mark.parametrize(
    "images, labels, names, words",
    [
        (PIXELS / 255, DIGITS.target, range(10), "float64"),
        (PIXELS[0], DIGITS.target, range(10), r"\[8, 8\]"),
        (np.repeat(PIXELS[..., None], 4, -1), DIGITS.target, range(10), ", 4]"),
        (PIXELS[:0], DIGITS.target[:0], range(10), "shape"),
        (PIXELS, DIGITS.target[:-1], range(10), "1796"),
        (PIXELS, DIGITS.target * 1.0, range(10), "float64"),
        (PIXELS, DIGITS.target + 1, range(10), "1 to 10"),
        (PIXELS, DIGITS.target - 1, range(10), "-1 to 8"),
        (PIXELS, DIGITS.target, ["a"] * 10, "a, a"),
        (PIXELS, DIGITS.target, [], "none"),
        (PIXELS, DIGITS.target, set("abcdefghij"), "set"),
        (PIXELS, DIGITS.target, dict.fromkeys("abcdefghij", 0), "dict"),
        (PIXELS, DIGITS.target, ["a\nb", *"cdefghijk"], "U+000A"),
        (PIXELS, DIGITS.target, ["caf\u00e9", "cafe\u0301", *"abcdefgh"], "caf\u00e9, caf\u00e9"),
    ],
)
def test_what_is_no_dataset_is_refused(images, labels, names, words):
    with pytest.raises(UserError, match="from arrays") as error:
        pnas_tf.data.from_arrays(images, labels, names)
    assert words.replace("\\", "") in error.value.received


COLOUR = np.zeros((4, 6, 5, 3), np.uint8)


@pytest.mark.parametrize(
    "images, labels, received, fix",
    [
        (COLOUR.transpose(0, 3, 1, 2), range(4), "[4, 3, 6, 5]", "transpose(0, 2, 3, 1)"),
        (np.zeros((4, 6, 5, 4), np.uint8), range(4), "[4, 6, 5, 4]", "[..., :3]"),
        (COLOUR + 1 / 255, range(4), "values 0.003922 to 0.003922", "0..255"),
        (np.where(np.arange(3) == 0, np.nan, COLOUR + 1.0), range(4), "some not", "0..255"),
        (COLOUR + np.nan, range(4), "no value finite", "0..255"),
        (COLOUR.astype(np.uint16) + 65535, range(4), "uint16", "0..255"),
        (np.array(["a.jpg"] * 4), range(4), "<U5 [4]", "from_folder"),
        ([COLOUR[0], COLOUR[1, :3]], range(2), "inhomogeneous", "Resize"),
        (np.ma.masked_equal(COLOUR, 0), range(4), "masked", "filled"),
        (COLOUR, np.ma.masked_equal(np.arange(4), 2), "masked", "Leave out"),
        (COLOUR, np.eye(4, dtype=int), "int64 [4, 4]", "argmax(axis=1)"),
        (COLOUR, list("abcd"), "<U1 [4]", "return_inverse=True"),
    ],
)
def test_a_refusal_says_what_makes_a_dataset_of_it(images, labels, received, fix):
    with pytest.raises(UserError, match="from arrays") as error:
        from_arrays(images, labels, range(4))
    assert received in error.value.received and fix in error.value.fix


@pytest.mark.parametrize("augmentation", ["flip", "imagenet"])
def test_a_test_part_is_tested_on_and_nothing_else_is(tmp_path, augmentation):
    """As the same images in train/ and test/: no image changes its side."""
    generator = np.random.default_rng(0)
    parts = [generator.integers(0, 256, (n, 20, 26, 3)).astype(np.uint8) for n in (24, 7)]
    classes = [np.arange(24) // 12, np.arange(7) // 4]
    for name, pixels, labels in zip(("train", "test"), parts, classes):
        for number, (image, label) in enumerate(zip(pixels, labels)):
            folder = tmp_path / name / "ab"[label]
            folder.mkdir(exist_ok=True, parents=True)
            Image.fromarray(image).save(folder / f"{number:02}.png")
    config = DataConfig(augmentation=augmentation)
    test = (parts[1], classes[1])
    one = from_arrays(parts[0], classes[0], "ab", test=test, data_config=config)
    other = pnas_tf.data.from_folder(tmp_path, data_config=config)
    assert one.sizes == other.sizes and one.sizes.test == 7
    same_batches(one.at(16), other.at(16), batch_size=3)
    pipelines = [
        tf.data.Dataset.from_tensor_slices(part).batch(size)
        for part, size in zip(((parts[0], classes[0]), test), (5, 3))
    ]
    piped = from_tf_data(pipelines[0], "ab", test=pipelines[1], data_config=config)
    assert piped.config == one.config
    assert one.at(16).fingerprint == piped.at(16).fingerprint
    changed = (parts[1][::-1], classes[1])
    without = from_arrays(parts[0], classes[0], "ab", data_config=config)
    with_other = from_arrays(parts[0], classes[0], "ab", test=changed, data_config=config)
    named = [data.config.dataset for data in (one, without, with_other)]
    assert len(set(named)) == 3
    assert len({data.at(16).fingerprint for data in (one, without, with_other)}) == 3


@pytest.mark.parametrize(
    "test, words",
    [
        ((PIXELS / 255, DIGITS.target), "images of a test part of a dataset from arrays"),
        ((PIXELS, DIGITS.target[1:]), "labels of a test part of a dataset from arrays"),
        ((PIXELS, DIGITS.target + 1), "labels of a test part of a dataset from arrays"),
        (PIXELS, "test part of a dataset from arrays"),
        ((PIXELS,), "test part of a dataset from arrays"),
    ],
)
def test_a_test_part_that_is_none_is_refused(test, words):
    with pytest.raises(UserError) as error:
        from_arrays(PIXELS, DIGITS.target, range(10), test=test)
    assert error.value.what == words


def test_images_to_train_and_to_test_are_told(caplog):
    images = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 3)).astype(np.uint8)
    from_arrays(images, np.arange(12) % 2, "ab", test=(images[:2], np.arange(2)))
    assert "2 images are both to train and to test: number 0 and number 12, ..." in caplog.text


@pytest.mark.parametrize("batch", [0, 4])
def test_a_pipeline_is_the_arrays_that_it_gives(batch):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (10, 6, 5, 3)).astype(np.uint8)
    labels = np.arange(10) % 2
    pipeline = tf.data.Dataset.from_tensor_slices((images, labels))
    given = from_tf_data(pipeline.batch(batch) if batch else pipeline, ["a", "b"])
    assert given.arrays.digest == from_arrays(images, labels, ["a", "b"]).arrays.digest


def with_unknown_shapes(images, labels):
    return tf.numpy_function(lambda *arrays: arrays, (images, labels), (tf.uint8, tf.int64))


@pytest.mark.parametrize("batch", [0, 4])
def test_shapes_that_a_pipeline_does_not_know_are_those_of_its_elements(batch):
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3)).astype(np.uint8)
    pipeline = tf.data.Dataset.from_tensor_slices((images, np.arange(10) % 2))
    given = (pipeline.batch(batch) if batch else pipeline).map(with_unknown_shapes)
    assert given.element_spec[0].shape.rank is None
    found = from_tf_data(given, ["a", "b"])
    assert found.arrays.digest == from_arrays(images, np.arange(10) % 2, ["a", "b"]).arrays.digest
    flat = given.map(lambda image, label: with_unknown_shapes(tf.reshape(image, (-1,)), label))
    short = given.map(lambda image, label: with_unknown_shapes(image, tf.stack([label, label])))
    for other in (flat, short):
        with pytest.raises(UserError, match="an element of the pipeline") as error:
            from_tf_data(other, ["a", "b"])
        assert "shapes [" in error.value.received


def test_a_pipeline_with_another_order_each_time_is_refused():
    """Each process would have other splits; one that can be read once alone passes."""
    images = np.arange(40, dtype=np.uint8)[:, None, None, None] * np.ones((6, 5, 3), np.uint8)
    pipeline = tf.data.Dataset.from_tensor_slices((images, np.arange(40) % 2))
    for given in (pipeline.shuffle(40), pipeline.batch(8).shuffle(5)):
        with pytest.raises(UserError, match="the pipeline") as error:
            from_tf_data(given, ["a", "b"])
        assert "when it was read again" in error.value.received and ".shuffle()" in error.value.fix
    kept = pipeline.shuffle(40, seed=1, reshuffle_each_iteration=False)
    once = iter(list(zip(images, np.arange(40) % 2)))
    by_generator = tf.data.Dataset.from_generator(
        lambda: once, output_signature=pipeline.element_spec
    )
    for given in (kept, by_generator):
        assert len(from_tf_data(given, ["a", "b"]).arrays.labels) == 40


def never():
    raise AssertionError("a pipeline of other pixels is refused unread")


def test_what_no_pipeline_may_give_is_refused():
    image = np.zeros((6, 5, 3), np.uint8)

    def pairs():
        yield image, 0
        yield image[:4], 1

    spec = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    several = tf.data.Dataset.from_generator(pairs, output_signature=spec)
    with pytest.raises(UserError, match="image 1 of the pipeline"):
        from_tf_data(several, ["a", "b"])
    with pytest.raises(UserError, match="at least one image"):
        from_tf_data(several.take(0), ["a", "b"])
    with pytest.raises(UserError, match="elements of the pipeline"):
        from_tf_data(tf.data.Dataset.from_tensors(image), ["a"])
    for endless in (several.take(1).repeat(), several.take(1).batch(1).repeat()):
        with pytest.raises(UserError, match="the pipeline") as error:
            from_tf_data(endless, ["a"])
        assert "repeats for ever" in error.value.received
    for given in ([image], image, ([image], [0]), pairs(), {"image": image}):
        with pytest.raises(UserError, match="the pipeline") as error:
            from_tf_data(given, ["a"])
        assert error.value.received == type(given).__name__ and "from_arrays" in error.value.fix
    unread = tf.data.Dataset.from_generator(never, output_signature=spec)
    for dtype in (tf.float32, tf.int64):
        with pytest.raises(UserError, match="images of the pipeline") as error:
            from_tf_data(unread.map(lambda x, y, to=dtype: (tf.cast(x, to), y)), ["a"])
        assert error.value.received == dtype.name and "dataset.map" in error.value.fix
