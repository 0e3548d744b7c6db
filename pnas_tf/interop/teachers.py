"""Opens networks to learn from: a trained network of ours, or a .tflite that says what it takes.

Knows nothing of how they are learnt from (`training.distillation`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import tensorflow as tf

from pnas_tf.data.augmentation import Normalization
from pnas_tf.errors import UserError
from pnas_tf.interop.pretrained import open_pretrained
from pnas_tf.interop.pretrained_files import (
    TEACHER_FORMS,
    TFLITE,
    find_pretrained,
    teacher_files,
)
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.pretrained import InputNormalisation
from pnas_tf.networks.takeover import network_from
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import CandidateOp
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.metadata import read_metadata
from pnas_tf.tflite.model import TfliteModel
from pnas_tf.training.distillation import Teacher

LEAST_PROBABILITY = 1e-4  # of integers, which are multiples of 1 / 256, and may be 0
Logits = Callable[[tf.Tensor], tf.Tensor]


def open_teacher(source: str, class_names: Sequence[str]) -> Teacher:
    """A network to learn from, at its own resolution: images are resized for it.

    Args:
        source: one of `TEACHER_FORMS`.
        class_names: of the student; the teacher's may stand in another order.

    Raises:
        UserError: a file is absent or damaged, holds no trained network, or one of other classes.
    """
    files = teacher_files(source)
    opener = _of_tflite if files[0].suffix == TFLITE else _of_network
    logits, theirs = opener(source)
    if theirs is None or sorted(theirs) != sorted(class_names):
        received = "unknown ones" if theirs is None else ", ".join(theirs)[:300]
        raise _refused(f"classes of --teacher={source}", ", ".join(class_names)[:300], received)
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    order = [theirs.index(name) for name in class_names]
    ordered = (
        logits
        if order == sorted(order)
        else lambda images: tf.gather(logits(images), order, axis=1)
    )
    return Teacher(ordered, digest.hexdigest(), source)


def _of_network(source: str) -> tuple[Logits, tuple[str, ...] | None]:
    if find_pretrained(source).kind == "supernet":
        raise _refused(f"--teacher={source}", TEACHER_FORMS, "a search without a trained network")
    weights = open_pretrained(source)
    architecture = Architecture(
        weights.space, tuple(cast(CandidateOp, each.block.op) for [each] in weights.choices)
    )
    seen, channels = Normalization(), weights.space.channels
    model, _ = network_from(
        architecture,
        weights,
        class_names=weights.class_names or (),
        input=InputNormalisation.of(seen.mean, seen.std, channels),
        normalisation=Normalisation(epsilon=weights.bn_epsilon),
    )
    size = architecture.space.resolution

    @tf.function(reduce_retracing=True)
    def logits(images: tf.Tensor) -> tf.Tensor:
        return model(_at(images, size), training=False)

    return logits, weights.class_names


def _of_tflite(source: str) -> tuple[Logits, tuple[str, ...] | None]:
    file = TfliteModel.read(source, run=True)
    if file.metadata is None:
        raise UserError(
            f"--teacher={source}",
            expected=TEACHER_FORMS,
            received="a file that says neither its classes nor how images are normalised for it",
            fix="Write both into it (MetadataWriter of tflite-support), or give a run folder whose "
            "network `pnas train` has trained.",
        )
    metadata = read_metadata(file)
    classifier = Classifier(file.content, what=source)
    height, width, channels = classifier.image_shape
    seen = Normalization()
    mean, std = (np.asarray(values, np.float32) for values in (metadata.mean, metadata.std))
    is_known = {mean.size, std.size} <= {1, channels} and (std > 0).all()
    if not is_known or height != width or channels != 3:
        raise _refused(
            f"--teacher={source}",
            "square images of 3 channels, and metadata that say how they are normalised",
            f"images of {height} x {width} x {channels}, mean {metadata.mean or 'unknown'}, "
            f"std {metadata.std or 'unknown'}",
        )
    is_coarse = np.issubdtype(classifier.output["dtype"], np.integer)
    least = LEAST_PROBABILITY if is_coarse else np.finfo(np.float32).tiny

    def logits(images: tf.Tensor) -> tf.Tensor:
        pixels = _at(images, height).numpy() * seen.std + seen.mean
        scores = classifier.logits((pixels - mean) / std)
        if file.has_softmax:  # logits up to a constant, which a softmax does not see
            scores = np.log(np.maximum(scores, least))
        return tf.constant(scores)

    return logits, metadata.labels


def _at(images: tf.Tensor, size: int) -> tf.Tensor:
    if images.shape[1] == size:
        return images
    return tf.image.resize(images, (size, size), "bilinear", antialias=True)


def _refused(what: str, expected: str, received: str) -> UserError:
    return UserError(
        what,
        expected=expected,
        received=received,
        fix=f"Give --teacher {TEACHER_FORMS}, or leave it out.",
    )
