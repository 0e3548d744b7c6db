"""Views: shape and range, closed forms at chosen random rows, and purity."""

import numpy as np
import pytest
import tensorflow as tf

from pnas_tf.config import DataConfig
from pnas_tf.data import augmentation as views
from pnas_tf.data.augmentation import Augmentation

MIDDLE = 0.5  # signed random number 0: no change


def augmentation(kind, distort_color="normal"):
    return Augmentation(kind, min_crop_scale=0.08, distort_color=distort_color)


def rows(batch=1, **columns):
    table = np.full((batch, views.COLUMNS), MIDDLE, np.float32)
    for name, value in columns.items():
        table[:, getattr(views, f"_{name.upper()}")] = value
    return tf.constant(table)


def picture(batch=2, size=16, seed=0):
    return tf.constant(
        np.random.default_rng(seed).uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    )


@pytest.mark.parametrize(
    "name", ["Digits", "MNIST", "Emnist/letters", "svhn_cropped", "kmnist:3.0.1"]
)
def test_figures_are_not_mirrored_however_their_name_is_spelt(name):
    assert views.augmentation_of(DataConfig(dataset=name), 32).kind == "shift"
    assert views.augmentation_of(DataConfig(dataset="Fashion_MNIST"), 32).kind == "flip"


@pytest.mark.parametrize("kind", ["none", "shift", "flip", "imagenet"])
@pytest.mark.parametrize("colour", ["none", "normal", "strong"])
def test_shape_and_range_stay(kind, colour):
    images = picture(64)
    out = views.augment(
        images,
        tf.constant(views.random_rows(64, seed=1, epoch=2)),
        augmentation(kind, distort_color=colour),
    ).numpy()
    assert out.shape == images.shape and out.dtype == np.float32
    assert out.min() >= 0 and out.max() <= 255.001
    assert (kind == "none") == np.array_equal(out, images)


def test_middle_rows_change_nothing():
    images = picture()
    np.testing.assert_allclose(
        views.augment(images, rows(2), augmentation("shift")), images, atol=2e-3
    )
    flip = rows(2, flip=0.25)
    np.testing.assert_allclose(views.augment(images, flip, augmentation("flip")), images, atol=1e-4)
    np.testing.assert_allclose(
        views.augment(images, flip, augmentation("imagenet", distort_color="strong")),
        images,
        atol=1e-3,
    )


def test_flip_mirrors_and_shift_moves_by_known_amounts():
    images = picture(1)
    mirrored = views.augment(images, rows(flip=0.75), augmentation("flip"))
    np.testing.assert_allclose(mirrored, images.numpy()[:, :, ::-1], atol=1e-4)
    # x = 0 is the largest shift to the left: 2 of 16 pixels; the border is mirrored.
    moved = views.augment(images, rows(x=0.0, flip=0.0), augmentation("flip")).numpy()
    np.testing.assert_allclose(moved[:, :, 2:], images.numpy()[:, :, :-2], atol=1e-4)


def test_zoom_and_rotation_keep_the_centre():
    size = 33
    image = np.zeros((1, size, size, 3), np.float32)
    image[:, 14:19, 14:19] = 200.0
    out = views.augment(
        tf.constant(image), rows(zoom=0.999, angle=0.999), augmentation("shift")
    ).numpy()[0, :, :, 0]
    grid = np.arange(size)
    np.testing.assert_allclose((out.sum(0) @ grid) / out.sum(), 16.0, atol=0.05)
    np.testing.assert_allclose((out.sum(1) @ grid) / out.sum(), 16.0, atol=0.05)
    assert out.sum() > image[0, :, :, 0].sum() * 1.1  # zoom 1.1: area 1.21


def test_crop_of_full_scale_is_a_resize():
    image = picture(1, 20)[0]
    row = rows(zoom=1.0)[0]
    np.testing.assert_allclose(
        views.random_crop(image, row, size=12, min_scale=0.08), views.resize(image, 12), atol=1e-3
    )


def test_crop_area_is_uniform_between_its_bounds():
    """A crop of one bright quarter: with min_scale 1 it is the whole, with small scales it may miss
    it."""
    image = tf.concat([tf.fill([40, 20, 3], 250.0), tf.zeros([40, 20, 3])], axis=1)
    left = views.random_crop(image, rows(zoom=0.0, x=0.0)[0], size=8, min_scale=0.08).numpy()
    right = views.random_crop(image, rows(zoom=0.0, x=0.999)[0], size=8, min_scale=0.08).numpy()
    assert left.min() > 249 and right.max() < 1


def test_central_view_takes_the_middle():
    image = np.zeros((20, 40, 3), np.float32)
    image[:, 10:30] = 100.0
    np.testing.assert_allclose(
        views.central_view(tf.constant(image), size=10, fraction=1.0), 100.0, atol=1e-3
    )
    border = np.full((16, 16, 3), 50.0, np.float32)
    border[1:15, 1:15] = 80.0
    np.testing.assert_allclose(
        views.central_view(tf.constant(border), size=7, fraction=0.875), 80.0, atol=1e-3
    )


def test_shrinking_averages_areas():
    checker = np.indices((24, 24)).sum(0) % 2 * 255.0
    small = views.resize(
        tf.constant(np.repeat(checker[..., None], 3, -1).astype(np.float32)), 8
    ).numpy()
    assert (
        np.abs(small[2:-2, 2:-2] - 127.5).max() < 4
    )  # without antialiasing every third pixel is taken: 0 or 255


def test_grey_images_stay_grey_under_colour_distortion():
    grey = tf.repeat(picture(8)[..., :1], 3, axis=-1)
    out = views.augment(
        grey,
        tf.constant(views.random_rows(8, seed=0, epoch=0)),
        augmentation("imagenet", distort_color="strong"),
    ).numpy()
    np.testing.assert_allclose(out[..., 0], out[..., 1], atol=1e-3)


def test_rows_are_pure_in_seed_and_epoch():
    first = views.random_rows(100, seed=1, epoch=2)
    assert np.array_equal(first, views.random_rows(100, seed=1, epoch=2))
    assert not np.array_equal(first, views.random_rows(100, seed=1, epoch=3))
    assert not np.array_equal(first, views.random_rows(100, seed=2, epoch=2))
