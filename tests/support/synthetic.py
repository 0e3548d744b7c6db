"""A task that only one candidate op can solve, and a dataset of it in the form that the search
reads.

An image has two bright pixels 7 apart, side by side (class 0) or one above the other (class 1), far
from the borders. Until the global pooling a network sees 3 (stem) + 2 (first block) + k - 1 pixels:
11 with kernel 7, which holds both; 7 with kernel 3 and 5 with kernel 1, which never do, so that
every local pattern is as likely in both classes.
"""

import types

import numpy as np
import tensorflow as tf

from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv

SIZE, DISTANCE, MARGIN = 20, 7, 6
SPACE = MBConvSpace(
    "far_pixels",
    SIZE,
    2,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 1, 1),),
    head_width=16,
    candidates=(MBConv(1, 2), MBConv(3, 2), MBConv(7, 2)),
    stem_stride=1,
)
SOLUTION = 2


def images_and_labels(count, seed):
    generator = np.random.default_rng(seed)
    images, labels = (
        np.zeros((count, SIZE, SIZE, 3), np.float32),
        generator.integers(0, 2, count).astype(np.int32),
    )
    for image, label in zip(images, labels):
        along = generator.integers(MARGIN, SIZE - MARGIN - DISTANCE)
        across = generator.integers(MARGIN, SIZE - MARGIN)
        for position in (along, along + DISTANCE):
            image[(across, position) if label == 0 else (position, across)] = 4.0
    return images, labels


class FarPixels:
    """`count` images for weights and for alpha, each epoch in an order of its own."""

    name = "far_pixels"

    def __init__(self, count, seed=0):
        self.parts = {
            "train": images_and_labels(count, seed),
            "validation": images_and_labels(count, seed + 1),
        }
        self.validation_split = types.SimpleNamespace(labels=self.parts["validation"][1])

    def steps_per_epoch(self, split, *, batch_size):
        return len(self.parts[split][1]) // batch_size

    def train_batches(self, **order):
        return self._epoch("train", **order)

    def validation_batches(self, **order):
        return self._epoch("validation", **order)

    def validation_once(self, *, batch_size):
        return self._epoch("validation", batch_size=batch_size, seed=0, epoch=0)

    def train_unaugmented(self, *, batch_size):
        return self._epoch("train", batch_size=batch_size, seed=0, epoch=0)

    def _epoch(self, part, *, batch_size, seed, epoch, start_batch=0):
        images, labels = self.parts[part]
        order = np.random.default_rng([seed, epoch]).permutation(len(labels))
        for batch in range(start_batch, self.steps_per_epoch(part, batch_size=batch_size)):
            chosen = order[batch * batch_size : (batch + 1) * batch_size]
            yield tf.constant(images[chosen]), tf.constant(labels[chosen])
