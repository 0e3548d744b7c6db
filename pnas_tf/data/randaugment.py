"""RandAugment: a few transformations of each image, each drawn from fourteen (Cubuk et al. 2020,
section 3).

As the views of `augmentation`, pure functions of images and of rows of random numbers that are
drawn from (seed, epoch). Only the images that drew a transformation go through it, so that a batch
costs as many of them as there are layers. Knows nothing of files or splits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pnas_tf.config import TrainConfig
from pnas_tf.data.augmentation import grey, project

# The largest change of each kind, at magnitude 10 (Cubuk et al. 2019, table 6, of 331 px).
MAGNITUDES = 10.0
DEGREES, SHEAR, SHIFT_FRACTION, ENHANCEMENT, POSTERIZED_BITS = 30.0, 0.3, 150 / 331, 0.9, 4.0
FILL = 127.5  # what comes into view is grey, as in the reference
_COLUMNS = 2  # which transformation, sign

Transformation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class RandAugment:
    """layers: transformations of each image. magnitude: of all of them, 0 to 10."""

    layers: int
    magnitude: float

    @classmethod
    def of(cls, config: TrainConfig) -> RandAugment | None:
        """As `config` asks for; None for none."""
        if not config.randaugment_layers:
            return None
        return cls(config.randaugment_layers, config.randaugment_magnitude)

    def random_rows(self, examples: int, *, seed: int, epoch: int) -> np.ndarray:
        """Uniform numbers in [0, 1), float32 [examples, 2 * layers]: row i belongs to example i in
        this epoch."""
        generator = np.random.default_rng(np.random.SeedSequence([seed, epoch, 3]))
        return generator.random((examples, _COLUMNS * self.layers), dtype=np.float32)

    def apply(self, images: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The transformed images.

        Args:
            images: float32 [batch, size, size, 3] in 0..255.
            rows: float32 [batch, 2 * layers].

        Returns:
            The same shape and range.
        """
        shape, amount = images.shape, self.magnitude / MAGNITUDES
        for layer in range(self.layers):
            drawn = rows[:, _COLUMNS * layer : _COLUMNS * (layer + 1)]
            chosen = tf.cast(drawn[:, 0] * len(TRANSFORMATIONS), tf.int32)
            amounts = tf.where(drawn[:, 1] < 0.5, -amount, amount)
            images = tf.ensure_shape(_each(images, chosen, amounts), shape)
        return images


def _each(images: tf.Tensor, chosen: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Image i through TRANSFORMATIONS[chosen[i]]."""
    kinds = len(TRANSFORMATIONS)
    images, amounts, places = (
        tf.dynamic_partition(values, chosen, kinds)
        for values in (images, amounts, tf.range(tf.shape(images)[0]))
    )
    made = [
        transform(*parts) for transform, *parts in zip(TRANSFORMATIONS.values(), images, amounts)
    ]
    return tf.dynamic_stitch(places, made)


def _autocontrast(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """The darkest value of each channel to 0, the brightest to 255; a plain channel stays."""
    del amounts
    low = tf.reduce_min(images, axis=(1, 2), keepdims=True)
    high = tf.reduce_max(images, axis=(1, 2), keepdims=True)
    stretched = (images - low) * (255.0 / tf.maximum(high - low, 1.0))
    return tf.where(high > low, tf.minimum(stretched, 255.0), images)


def _equalize(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Each channel's values spread evenly, by the cumulative histogram as PIL has it."""
    del amounts
    shape = tf.shape(images)
    pixels = tf.reshape(tf.transpose(images, (0, 3, 1, 2)), (shape[0] * 3, shape[1] * shape[2]))
    values = tf.cast(tf.round(pixels), tf.int32)
    histogram = tf.math.bincount(values, minlength=256, maxlength=256, axis=-1)
    histogram = tf.reshape(histogram, (shape[0] * 3, 256))  # known also where there is no image
    top = tf.reduce_max(values, axis=1, keepdims=True)
    last = tf.gather(histogram, tf.maximum(top, 0), batch_dims=1)
    step = (shape[1] * shape[2] - last) // 255
    below = tf.cumsum(histogram, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    spread = tf.where(step == 0, values, tf.gather(table, values, batch_dims=1))
    spread = tf.reshape(spread, (shape[0], 3, shape[1], shape[2]))
    return tf.cast(tf.transpose(spread, (0, 2, 3, 1)), tf.float32)


def _rotate(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    angle = np.deg2rad(DEGREES) * amounts
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return _about_centre(images, (cosine, -sine, sine, cosine))


def _shear_x(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    one, zero = tf.ones_like(amounts), tf.zeros_like(amounts)
    return _about_centre(images, (one, SHEAR * amounts, zero, one))


def _shear_y(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    one, zero = tf.ones_like(amounts), tf.zeros_like(amounts)
    return _about_centre(images, (one, zero, SHEAR * amounts, one))


def _shift_x(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    shift = SHIFT_FRACTION * amounts * tf.cast(tf.shape(images)[2], tf.float32)
    return _moved(images, _UNCHANGED, shift, tf.zeros_like(amounts))


def _shift_y(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    shift = SHIFT_FRACTION * amounts * tf.cast(tf.shape(images)[1], tf.float32)
    return _moved(images, _UNCHANGED, tf.zeros_like(amounts), shift)


_UNCHANGED = (1.0, 0.0, 0.0, 1.0)


def _about_centre(images: tf.Tensor, matrix: tuple[tf.Tensor, ...]) -> tf.Tensor:
    """An output point p shows the input point M (p - middle) + middle."""
    xx, xy, yx, yy = matrix
    x = (tf.cast(tf.shape(images)[2], tf.float32) - 1.0) / 2.0
    y = (tf.cast(tf.shape(images)[1], tf.float32) - 1.0) / 2.0
    return _moved(images, matrix, x - xx * x - xy * y, y - yx * x - yy * y)


def _moved(images: tf.Tensor, matrix: tuple[object, ...], x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    xx, xy, yx, yy = (tf.broadcast_to(entry, tf.shape(x)) for entry in matrix)
    zero = tf.zeros_like(x)
    transforms = tf.stack([xx, xy, x, yx, yy, y, zero, zero], axis=1)
    return project(images, transforms, "CONSTANT", fill=FILL)


def _solarize(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """What is brighter than a threshold is inverted; the stronger, the lower it is."""
    threshold = 256.0 * (1.0 - tf.abs(_per_image(amounts)))
    return tf.where(images < threshold, images, 255.0 - images)


def _posterize(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """The lowest bits of each value are cleared."""
    step = 2.0 ** tf.round(POSTERIZED_BITS * tf.abs(_per_image(amounts)))
    return tf.floor(tf.round(images) / step) * step


def _color(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    return _enhanced(images, amounts, grey(images))


def _contrast(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    mean = tf.reduce_mean(grey(images), axis=(1, 2, 3), keepdims=True)
    return _enhanced(images, amounts, mean)


def _brightness(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    return _enhanced(images, amounts, tf.zeros_like(images))


def _sharpness(images: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Against the image smoothed by PIL's kernel; the border stays."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13.0
    smooth = tf.nn.depthwise_conv2d(
        images, np.repeat(kernel[..., None, None], 3, axis=2), (1, 1, 1, 1), "SAME"
    )
    inside = tf.pad(tf.ones_like(images[:, 1:-1, 1:-1]), ((0, 0), (1, 1), (1, 1), (0, 0))) > 0
    return _enhanced(images, amounts, tf.where(inside, smooth, images))


def _enhanced(images: tf.Tensor, amounts: tf.Tensor, degenerate: tf.Tensor) -> tf.Tensor:
    """Away from the degenerate image or towards it."""
    factor = 1.0 + ENHANCEMENT * _per_image(amounts)
    return tf.clip_by_value(degenerate + factor * (images - degenerate), 0.0, 255.0)


def _per_image(amounts: tf.Tensor) -> tf.Tensor:
    return amounts[:, None, None, None]


# By the paper's names (section 3); each takes float32 images [batch, height, width, 3] in 0..255
# and amounts [batch] in -1..1.
TRANSFORMATIONS: dict[str, Transformation] = {
    "identity": lambda images, amounts: images,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "rotate": _rotate,
    "solarize": _solarize,
    "color": _color,
    "posterize": _posterize,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _shift_x,
    "translate_y": _shift_y,
}
