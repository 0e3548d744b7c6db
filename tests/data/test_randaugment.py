"""RandAugment's transformations against Pillow's, which the reference uses, and their purity."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from pnas_tf.config import TrainConfig
from pnas_tf.data.randaugment import TRANSFORMATIONS, RandAugment

SIZE = 40  # with fewer pixels than 256 equalisation is the identity
# What Pillow makes of an image at half of the largest strength.
PILLOW = {
    "identity": lambda image: image,
    "autocontrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "solarize": lambda image: ImageOps.solarize(image, 128),
    "posterize": lambda image: ImageOps.posterize(image, 6),
    "color": lambda image: ImageEnhance.Color(image).enhance(1.45),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.45),
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(1.45),
    "sharpness": lambda image: ImageEnhance.Sharpness(image).enhance(1.45),
}


def pictures(count=5):
    """Of uneven histograms: dark, bright, and one of a single colour."""
    generator = np.random.default_rng(0)
    images = generator.beta(2, 5, (count, SIZE, SIZE, 3)) * 230 + 10
    images[1] = 255 - images[1]
    images[2] = 77
    return np.round(images).astype(np.float32)


def transformed(name, images, amount):
    return TRANSFORMATIONS[name](tf.constant(images), tf.fill([len(images)], amount)).numpy()


@pytest.mark.parametrize("name", PILLOW)
def test_colours_are_those_of_pillow(name):
    """To the rounding of Pillow's bytes; its grey of a pixel is rounded before it is used."""
    images = pictures()
    exact = name in ("identity", "equalize", "solarize", "posterize")
    for image, ours in zip(images, transformed(name, images, 0.5)):
        expected = np.asarray(PILLOW[name](Image.fromarray(image.astype(np.uint8))), np.float32)
        np.testing.assert_allclose(ours, expected, atol=0 if exact else 2)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_any_strength_keeps_shape_and_range_and_an_empty_batch(name):
    images = pictures()
    for amount in (-1.0, -0.3, 0.0, 1.0):
        made = transformed(name, images, amount)
        assert made.shape == images.shape and made.dtype == np.float32
        assert made.min() >= 0 and made.max() <= 255
        changes = amount or name in ("autocontrast", "equalize")
        assert changes or np.allclose(made, images, atol=1e-3)
    assert transformed(name, images[:0], 1.0).shape == (0, SIZE, SIZE, 3)


def test_shifts_move_whole_pixels():
    images, three = pictures(), 331 / 150 * 3 / SIZE
    left = transformed("translate_x", images, three)
    np.testing.assert_allclose(left[:, :, :-3], images[:, :, 3:], atol=1e-2)
    np.testing.assert_allclose(left[:, :, -3:], 127.5, atol=1e-2)
    down = transformed("translate_y", images, -three)
    np.testing.assert_allclose(down[:, 3:], images[:, :-3], atol=1e-2)


@pytest.mark.parametrize("name", ["rotate", "shear_x", "shear_y"])
def test_a_plane_stays_a_plane(name):
    """Interpolation of a plane is exact: the pixel at p shows M (p - middle) + middle."""
    turn = np.deg2rad(30) * 0.5
    matrix = {
        "rotate": [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]],
        "shear_x": [[1, 0.15], [0, 1]],
        "shear_y": [[1, 0], [0.15, 1]],
    }[name]
    middle = (SIZE - 1) / 2
    y, x = np.mgrid[:SIZE, :SIZE] - middle
    shown = np.stack([x, y, 2 * x + y], axis=-1) + 130
    made = transformed(name, shown[None].astype(np.float32), 0.5)[0]
    at_x, at_y = (row[0] * x + row[1] * y for row in matrix)
    expected = np.stack([at_x, at_y, 2 * at_x + at_y], axis=-1) + 130
    inside = slice(SIZE // 4, -SIZE // 4)  # where no border comes into view
    np.testing.assert_allclose(made[inside, inside], expected[inside, inside], atol=1e-2)


def test_an_image_and_its_row_decide_alone():
    """Neither the rest of the batch nor its order matters, and each row draws its own."""
    images = np.tile(pictures(), (8, 1, 1, 1))
    rand = RandAugment.of(TrainConfig(randaugment_layers=2, randaugment_magnitude=9.0))
    rows = rand.random_rows(len(images), seed=1, epoch=2)
    made = rand.apply(tf.constant(images), tf.constant(rows)).numpy()
    order = np.random.default_rng(3).permutation(len(images))
    shuffled = rand.apply(tf.constant(images[order]), tf.constant(rows[order])).numpy()
    np.testing.assert_array_equal(shuffled, made[order])
    alone = rand.apply(tf.constant(images[7:8]), tf.constant(rows[7:8])).numpy()
    np.testing.assert_array_equal(alone[0], made[7])
    assert len({image.tobytes() for image in made}) > 20
    assert np.array_equal(rows, rand.random_rows(len(images), seed=1, epoch=2))
    assert not np.array_equal(rows, rand.random_rows(len(images), seed=1, epoch=3))
    assert not np.array_equal(rows, rand.random_rows(len(images), seed=2, epoch=2))
    assert RandAugment.of(TrainConfig()) is None


def test_each_transformation_is_drawn_as_often():
    """Of 14,000 draws each has 1,000 +- 30.5; 5.5 deviations: 14 times 4e-8 false failures."""
    rows = RandAugment(1, 5.0).random_rows(14_000, seed=0, epoch=0)
    counts = np.bincount((rows[:, 0] * len(TRANSFORMATIONS)).astype(int), minlength=14)
    assert len(counts) == 14 and np.abs(counts - 1000).max() < 5.5 * 30.5
