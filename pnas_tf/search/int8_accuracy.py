"""Top-1 of a network as the int8 file that ships, on the search's validation split.

Post-training quantisation with the device's rewrites; takes seconds. Knows nothing of how networks
are chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.config import ExportConfig
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.export_inputs import images_of, with_extremes
from pnas_tf.tflite.rewrites.choice import wanted_among
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.data.dataset import Dataset


def int8_accuracy(model: keras.Model, dataset: Dataset, rewrites: tuple[str, ...]) -> float:
    """A fraction.

    Args:
        model: normalised images to logits.
        dataset: its train split calibrates, its validation split judges.
        rewrites: by shape, those that the device's files have.
    """
    images = images_of(dataset, ExportConfig())
    source = apply_rewrites(model, wanted_among(applicable(model), rewrites))
    seen = dataset.normalization
    calibration = with_extremes(images.representative, [seen.mean], [seen.std])
    classifier = Classifier(convert(source, "int8", representative=calibration))
    right = [
        classifier.logits(np.asarray(batch)).argmax(-1) == np.asarray(labels)
        for batch, labels in images.validation
    ]
    return float(np.mean(np.concatenate(right)))
