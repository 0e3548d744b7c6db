"""Does the .tflite file compute what the Keras model computes? Logit differences, top-1 agreement,
accuracy.

Runs the file through the LiteRT interpreter beside Keras, and refuses a file that breaks its
bounds. The bounds are asked of the validation split, the test split is reported. Knows nothing of
how the file was made.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.model import without_softmax
from pnas_tf.tflite.parity_report import ParityReport


def compare(
    model: keras.Model,
    content: bytes,
    data: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    dtype: str,
) -> ParityReport:
    """Both models on every batch of images.

    Args:
        model: gives logits.
        content: a file of ours.
        data: (images [batch, height, width, channels], labels [batch]) pairs.
        dtype: what the report calls the file.

    Raises:
        UserError: the file is no classifier, or data is empty.
    """
    classifier = Classifier(content, what=f"{dtype} .tflite model")
    inner = without_softmax(content)
    logits_of = (
        classifier
        if inner is content
        else Classifier(inner, what=f"{dtype} .tflite model without its softmax")
    )
    ours, theirs, scores, labels = [], [], [], []
    for images, truth in data:
        images = np.asarray(images, np.float32)
        ours.append(np.asarray(model(images, training=False)))
        theirs.append(logits_of.logits(images))
        scores.append(theirs[-1] if logits_of is classifier else classifier.logits(images))
        labels.append(np.asarray(truth))
    if not ours:
        raise UserError(
            "parity of the export",
            expected="at least one batch of images",
            received="none",
            fix="Give images of a split.",
        )
    return report_of(
        np.concatenate(ours),
        np.concatenate(theirs),
        np.concatenate(labels),
        dtype=dtype,
        size_bytes=len(content),
        probabilities=None if logits_of is classifier else np.concatenate(scores),
    )


def report_of(
    ours: np.ndarray,
    theirs: np.ndarray,
    labels: np.ndarray | None,
    *,
    dtype: str,
    size_bytes: int,
    probabilities: np.ndarray | None = None,
) -> ParityReport:
    """The report of two arrays of logits.

    Args:
        ours: [images, classes], of Keras.
        theirs: [images, classes], of the file.
        labels: true classes [images], if known.
        dtype: what the report calls the file.
        size_bytes: of the file.
        probabilities: [images, classes], what the file gives, where that is not its logits.
    """
    difference = np.abs(ours.astype(np.float64) - theirs)
    best, found = ours.argmax(-1), (theirs if probabilities is None else probabilities).argmax(-1)
    return ParityReport(
        dtype=dtype,
        images=len(ours),
        max_logit_difference=float(difference.max()),
        mean_logit_difference=float(difference.mean()),
        max_logit=float(np.abs(ours).max()),
        top1_agreement=float((best == found).mean()),
        keras_accuracy=None if labels is None else float((best == labels).mean()),
        tflite_accuracy=None if labels is None else float((found == labels).mean()),
        size_bytes=size_bytes,
        max_probability_difference=None
        if probabilities is None
        else float(np.abs(_softmax(ours) - probabilities).max()),
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def check_parity(report: ParityReport, config: ExportConfig) -> None:
    """Refuses a file that departs from its network.

    Args:
        report: of the validation split.
        config: max_logit_difference bounds the logits and probabilities of a float32 file,
            max_accuracy_drop the accuracy of any. NaN is refused too.

    Raises:
        UserError: a bound is broken.
    """
    differences = (report.max_logit_difference, report.max_probability_difference or 0.0)
    if report.dtype == "float32" and not all(
        difference <= config.max_logit_difference for difference in differences
    ):
        raise UserError(
            "float32 export departs from the Keras model",
            expected=f"logits that differ by at most {config.max_logit_difference:g}",
            received=f"{max(differences):.3g} (mean {report.mean_logit_difference:.3g}, largest "
            "logit "
            f"{report.max_logit:.3g}, top-1 agreement {report.top1_agreement:.4f})",
            fix="Find the layer with --debug_layers; raise --max_logit_difference if the logits "
            "themselves are large.",
        )
    drop = report.accuracy_drop
    if drop is not None and not drop <= config.max_accuracy_drop:
        raise UserError(
            f"{report.dtype} export loses accuracy",
            expected=f"at most {100 * config.max_accuracy_drop:g} points below Keras "
            f"({100 * (report.keras_accuracy or 0):.2f} %)",
            received=f"{100 * (report.tflite_accuracy or 0):.2f} % on {report.images} validation "
            "images",
            fix="Find the layer with --debug_layers; train with --quantize=qat, or raise "
            "--max_accuracy_drop.",
        )
