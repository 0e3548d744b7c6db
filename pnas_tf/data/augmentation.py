"""Random views of images, as pure functions of an image and a row of random numbers.

Each image of an epoch has one row of uniform numbers, drawn from (seed, epoch) for all images of
the dataset at once. So a view depends on (seed, epoch, image) alone, never on threads, batch size
or where an epoch was resumed. Knows nothing of files or splits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pnas_tf.config import AUTO_CROP_SCALE, CROP_SCALE, DataConfig
from pnas_tf.data.dataset_name import plain_name

COLUMNS = 9  # zoom or area, aspect, angle, y, x, flip, brightness, contrast, saturation
_ZOOM, _ASPECT, _ANGLE, _Y, _X, _FLIP, _BRIGHTNESS, _CONTRAST, _SATURATION = range(COLUMNS)

SHIFT_FRACTION, SHIFT_ZOOM, SHIFT_DEGREES = 0.1, 0.1, 10.0
FLIP_SHIFT_FRACTION = 0.125  # 4 of 32 pixels, the usual pad-and-crop of CIFAR
# By "auto", as `plain_name` has them: figures and letters have a handedness.
SHIFTED_DATASETS = (
    *("digits", "mnist", "emnist", "kmnist", "mnistcorrupted", "binarizedmnist"),
    *("svhncropped", "omniglot", "cmaterdb", "binaryalphadigits"),
)
SMALL_IMAGE = 64  # pixels: up to here "auto" shifts and flips; above, it crops
CENTRE_FRACTION = 0.875  # evaluation crop of ImageNet: 224 of 256
# largest relative change of brightness, contrast, saturation; the original's `distort_color`
COLOUR_RANGES = {
    "none": (0.0, 0.0, 0.0),
    "normal": (32 / 255, 0.0, 0.5),
    "strong": (0.4, 0.4, 0.4),
}


@dataclass(frozen=True)
class Augmentation:
    """kind: none, shift, flip or imagenet. min_crop_scale: smallest area of a random crop (imagenet
    only)."""

    kind: str
    min_crop_scale: float
    distort_color: str


@dataclass(frozen=True)
class Normalization:
    """Networks see (pixel - mean) / std, pixels in 0..255."""

    mean: float = 127.5
    std: float = 127.5


def augmentation_of(config: DataConfig, resolution: int) -> Augmentation:
    """What the options choose for images of `resolution` pixels."""
    kind, scale = config.augmentation, config.min_crop_scale
    if kind == "auto":
        if plain_name(config.dataset) in SHIFTED_DATASETS:
            kind = "shift"
        else:
            kind = "flip" if resolution <= SMALL_IMAGE else "imagenet"
        scale = AUTO_CROP_SCALE if scale is None else scale
    return Augmentation(kind, CROP_SCALE if scale is None else scale, config.distort_color)


def random_rows(examples: int, *, seed: int, epoch: int) -> np.ndarray:
    """Uniform numbers in [0, 1), float32 [examples, COLUMNS]: row i belongs to example i in this
    epoch."""
    generator = np.random.default_rng(np.random.SeedSequence([seed, epoch, 1]))
    return generator.random((examples, COLUMNS), dtype=np.float32)


def augment(images: tf.Tensor, rows: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """The batch part of a random view.

    Random crops of `imagenet` are taken before this, one image at a time: `random_crop`.

    Args:
        images: float32 [batch, size, size, 3] in 0..255.
        rows: float32 [batch, COLUMNS].
        augmentation: what is done.

    Returns:
        The same shape and range.
    """
    if augmentation.kind == "shift":
        return _shift(images, rows)
    if augmentation.kind == "flip":
        return _flip(_translate(images, rows), rows)
    if augmentation.kind == "imagenet":
        return _distort_color(_flip(images, rows), rows, COLOUR_RANGES[augmentation.distort_color])
    return images


def random_crop(image: tf.Tensor, row: tf.Tensor, *, size: int, min_scale: float) -> tf.Tensor:
    """A crop of random area (min_scale to 1) and aspect (3/4 to 4/3), resized.

    Args:
        image: [height, width, 3].
        row: float32 [COLUMNS].
        size: of the result, in pixels.
        min_scale: of the image's area.

    Returns:
        float32 [size, size, 3] in 0..255. A crop that does not fit is clipped to the image.
    """
    height, width = tf.cast(tf.shape(image)[0], tf.float32), tf.cast(tf.shape(image)[1], tf.float32)
    area = height * width * (min_scale + (1.0 - min_scale) * row[_ZOOM])
    aspect = tf.exp(np.log(4 / 3) * (2.0 * row[_ASPECT] - 1.0))
    crop_height = tf.clip_by_value(tf.round(tf.sqrt(area / aspect)), 1.0, height)
    crop_width = tf.clip_by_value(tf.round(tf.sqrt(area * aspect)), 1.0, width)
    top = tf.floor(row[_Y] * (height - crop_height + 1.0))
    left = tf.floor(row[_X] * (width - crop_width + 1.0))
    crop = tf.slice(
        image,
        tf.cast([top, left, 0.0], tf.int32),
        tf.cast([crop_height, crop_width, 3.0], tf.int32),
    )
    return resize(crop, size)


def central_view(image: tf.Tensor, *, size: int, fraction: float) -> tf.Tensor:
    """The central square of `fraction` of the short side, resized. image: [height, width,
    channels]; float32 out."""
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    short = tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.maximum(1, tf.cast(tf.round(short * fraction), tf.int32))
    crop = tf.slice(
        image, tf.stack([(height - side) // 2, (width - side) // 2, 0]), tf.stack([side, side, -1])
    )
    return resize(crop, size)


def resize(image: tf.Tensor, size: int) -> tf.Tensor:
    """Bilinear with antialiasing (an area filter where it shrinks): [..., height, width, channels]
    to [..., size, size, c]."""
    return tf.clip_by_value(
        tf.image.resize(image, (size, size), "bilinear", antialias=True), 0.0, 255.0
    )


def _shift(images: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """Translation, zoom and rotation about the centre; what comes into view is black."""
    size = float(images.shape[1])
    middle = (size - 1.0) / 2.0
    zoom = 1.0 + SHIFT_ZOOM * _signed(rows, _ZOOM)
    angle = np.deg2rad(SHIFT_DEGREES) * _signed(rows, _ANGLE)
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    # An output point p shows the input point R (p - middle) / zoom + middle + shift.
    x = middle + SHIFT_FRACTION * size * _signed(rows, _X) - cosine * middle + sine * middle
    y = middle + SHIFT_FRACTION * size * _signed(rows, _Y) - sine * middle - cosine * middle
    zero = tf.zeros_like(x)
    return project(
        images, tf.stack([cosine, -sine, x, sine, cosine, y, zero, zero], axis=1), "CONSTANT"
    )


def _translate(images: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """A whole-pixel translation of up to FLIP_SHIFT_FRACTION each way; the border is mirrored."""
    reach = round(FLIP_SHIFT_FRACTION * images.shape[1])
    x = tf.floor(rows[:, _X] * (2 * reach + 1)) - reach
    y = tf.floor(rows[:, _Y] * (2 * reach + 1)) - reach
    one, zero = tf.ones_like(x), tf.zeros_like(x)
    return project(images, tf.stack([one, zero, x, zero, one, y, zero, zero], axis=1), "REFLECT")


def project(
    images: tf.Tensor, transforms: tf.Tensor, fill_mode: str, *, fill: float = 0.0
) -> tf.Tensor:
    """Each image through its own projective transform, bilinear.

    Args:
        images: [batch, height, width, channels].
        transforms: [batch, 8], from output to input points, as of ImageProjectiveTransformV3.
        fill_mode: what comes into view, as of that.
        fill: the value of it where fill_mode is CONSTANT.
    """
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=fill,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )


def _flip(images: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    return tf.where(rows[:, _FLIP, None, None, None] < 0.5, images, images[:, :, ::-1])


def _distort_color(
    images: tf.Tensor, rows: tf.Tensor, ranges: tuple[float, float, float]
) -> tf.Tensor:
    brightness, contrast, saturation = ranges
    if brightness:
        images = tf.clip_by_value(images * _factor(rows, _BRIGHTNESS, brightness), 0.0, 255.0)
    if contrast:
        mean = tf.reduce_mean(grey(images), axis=(1, 2, 3), keepdims=True)
        images = tf.clip_by_value(
            mean + (images - mean) * _factor(rows, _CONTRAST, contrast), 0.0, 255.0
        )
    if saturation:
        colourless = grey(images)
        images = tf.clip_by_value(
            colourless + (images - colourless) * _factor(rows, _SATURATION, saturation), 0.0, 255.0
        )
    return images


def grey(images: tf.Tensor) -> tf.Tensor:
    """Luma of [..., 3]: [..., 1]."""
    return tf.reduce_sum(
        images * tf.constant([0.299, 0.587, 0.114]), axis=-1, keepdims=True
    )  # ITU-R BT.601


def _factor(rows: tf.Tensor, column: int, reach: float) -> tf.Tensor:
    return 1.0 + reach * _signed(rows, column)[:, None, None, None]


def _signed(rows: tf.Tensor, column: int) -> tf.Tensor:
    """Uniform in [-1, 1)."""
    return 2.0 * rows[:, column] - 1.0
