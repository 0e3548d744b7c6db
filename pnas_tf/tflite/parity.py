"""Does the .tflite file compute what the Keras model computes? Logit differences, top-1 agreement,
accuracy.

Runs the file through the LiteRT interpreter beside Keras, and refuses a file that breaks its
bounds. The bounds are asked of the validation split, the test split is reported. Knows nothing of
how the file was made.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.model import without_softmax
from pnas_tf.tflite.parity_report import ParityReport

# Beside float32 by post-training quantisation.
# Whether the network was trained for int8 -> what else may help.
_INT8_ADVICE = {
    False: "Find the layer with --debug_layers; train with --quantize=qat",
    True: "Find the layer with --debug_layers; train for more --finetune_epochs",
}


def compare(
    model: keras.Model,
    content: bytes,
    data: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    dtype: str,
    seen: tuple[Sequence[float], Sequence[float]] = ((0.0,), (1.0,)),
) -> ParityReport:
    """Both models on every batch of images.

    Args:
        model: gives logits.
        content: a file of ours.
        data: (images [batch, height, width, channels], labels [batch]) pairs.
        dtype: what the report calls the file.
        seen: (mean, std) of what the file takes, which the images are normalised by.

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
    tally = Tally()
    for images, labels in data:
        images = np.asarray(images, np.float32)
        given = images * np.float32(seen[1]) + np.float32(seen[0])
        theirs = logits_of.logits(given)
        scores = None if logits_of is classifier else classifier.logits(given)
        ours = np.asarray(model(images, training=False))
        tally.add(ours, theirs, np.asarray(labels), probabilities=scores)
    if not tally.images:
        raise UserError(
            "parity of the export",
            expected="at least one batch of images",
            received="none",
            fix="Give images of a split.",
        )
    return tally.report(dtype=dtype, size_bytes=len(content))


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
    tally = Tally()
    tally.add(ours, theirs, labels, probabilities=probabilities)
    return tally.report(dtype=dtype, size_bytes=size_bytes)


class Tally:
    """The figures of a report, batch by batch: nothing grows with the number of images."""

    def __init__(self) -> None:
        self.images = self.values = self.labelled = 0
        self.agreed = self.keras_right = self.file_right = 0
        self.sum = self.largest = self.largest_logit = 0.0
        self.largest_probability: float | None = None
        self.right_by_class: np.ndarray | None = None
        self.answered_by_class: np.ndarray | None = None
        self.agreed_by_class: np.ndarray | None = None

    def add(
        self,
        ours: np.ndarray,
        theirs: np.ndarray,
        labels: np.ndarray | None,
        *,
        probabilities: np.ndarray | None,
    ) -> None:
        """One batch; see `report_of`."""
        difference = np.abs(ours.astype(np.float64) - theirs)
        scores = theirs if probabilities is None else probabilities
        best, found = ours.argmax(-1), scores.argmax(-1)
        self.images += len(ours)
        self.values += difference.size
        self.sum += float(difference.sum())
        self.largest = _larger(self.largest, difference)
        self.largest_logit = _larger(self.largest_logit, np.abs(ours))
        self.agreed += int((best == found).sum())
        self.answered_by_class, self.agreed_by_class = (
            _added(before, np.bincount(answers, minlength=scores.shape[-1]))
            for before, answers in (
                (self.answered_by_class, best),
                (self.agreed_by_class, best[best == found]),
            )
        )
        if labels is not None:
            self.labelled += len(labels)
            self.keras_right += int((best == labels).sum())
            self.file_right += int((found == labels).sum())
            right = np.bincount(labels[found == labels], minlength=scores.shape[-1])
            self.right_by_class = _added(self.right_by_class, right)
        if probabilities is not None:
            apart = np.abs(_softmax(ours) - probabilities)
            self.largest_probability = _larger(self.largest_probability or 0.0, apart)

    def report(self, *, dtype: str, size_bytes: int) -> ParityReport:
        """Of all batches, of which there is at least one."""
        return ParityReport(
            dtype=dtype,
            images=self.images,
            max_logit_difference=self.largest,
            mean_logit_difference=self.sum / self.values,
            max_logit=self.largest_logit,
            top1_agreement=self.agreed / self.images,
            keras_accuracy=self.keras_right / self.labelled if self.labelled else None,
            tflite_accuracy=self.file_right / self.labelled if self.labelled else None,
            size_bytes=size_bytes,
            max_probability_difference=self.largest_probability,
            right_by_class=None if self.right_by_class is None else _counts(self.right_by_class),
            answered_by_class=_counts(self.answered_by_class),
            agreed_by_class=_counts(self.agreed_by_class),
        )


def _added(before: np.ndarray | None, counts: np.ndarray) -> np.ndarray:
    """Of the first batch its own."""
    return counts if before is None else before + counts


def _counts(array: np.ndarray | None) -> tuple[int, ...]:
    return () if array is None else tuple(map(int, array))


def _larger(before: float, values: np.ndarray) -> float:
    """The largest of all; NaN where one is."""
    return float(np.maximum(before, values.max()))


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def check_parity(report: ParityReport, config: ExportConfig) -> None:
    """Refuses a file that departs from its network.

    Args:
        report: of the validation split.
        config: max_logit_difference bounds the logits of a float32 file, in units of the largest
            one where that is above 1, since float32 rounds by a part of a number, and what its
            softmax adds; min_agreement the answers of any file, of all images and on average of
            those of each class that Keras answers (where nine of ten images are of one class, an
            answer that never changes is right too); max_accuracy_drop its accuracy. Of that mean
            and of the drop chance may take two standard errors on top: a few images that fall the
            other way are no proof where there are few. NaN is refused too.

    Raises:
        UserError: a bound is broken.
    """
    _check_finite(report)
    if report.dtype == "float32":
        _check_logits(report, config)
    advice = _INT8_ADVICE[config.quantize == "qat"]
    drop, chance = report.accuracy_drop, _chance_of_drop(report)
    if drop is not None and not drop <= config.max_accuracy_drop + chance:
        raise UserError(
            f"{report.dtype} export loses accuracy",
            expected=f"at most {100 * config.max_accuracy_drop:g} points below Keras "
            f"({100 * (report.keras_accuracy or 0):.2f} %), and {100 * chance:.2g} more that "
            "chance explains",
            received=f"{100 * (report.tflite_accuracy or 0):.2f} % on {report.images} validation "
            "images",
            fix=f"{advice}, or raise --max_accuracy_drop."
            if report.dtype == "int8"
            else "Raise --max_accuracy_drop.",
        )
    by_class, chance = _agreement_by_class(report)
    if not (
        report.top1_agreement >= config.min_agreement and by_class + chance >= config.min_agreement
    ):
        raise UserError(
            f"{report.dtype} export gives other answers than Keras",
            expected=f"the same class for at least {100 * config.min_agreement:g} % of images, of "
            "all and on average of those of each class",
            received=f"{100 * report.top1_agreement:.2f} % of {report.images} validation images, "
            f"{100 * by_class:.2f} % on average of those of each class",
            fix="Train for longer: scores that lie close together change places in int8. "
            f"{advice}, or lower --min_agreement."
            if report.dtype == "int8"
            else "Train for longer, or lower --min_agreement.",
        )


def _chance_of_drop(report: ParityReport) -> float:
    """Two standard errors of the accuracy's drop, a fraction. Only images that are answered
    otherwise take part in it, so that its variance is at most their share by the number of images
    (McNemar 1947)."""
    return 2 * math.sqrt(max(0.0, 1.0 - report.top1_agreement) / report.images)


def _agreement_by_class(report: ParityReport) -> tuple[float, float]:
    """(the mean over the classes that Keras answers of the part in which the file agrees, two
    standard errors of that mean); each part's variance as of two further images on either side
    (Agresti and Coull 1998)."""
    counts = np.array([report.answered_by_class, report.agreed_by_class], np.float64)
    answered, agreed = counts[:, counts[0] > 0]
    if not answered.size:  # of an earlier version
        return report.top1_agreement, 0.0
    part = (agreed + 2) / (answered + 4)
    variance = part * (1 - part) / (answered + 4)
    chance = 2 * math.sqrt(float(variance.sum())) / answered.size
    return float(np.mean(agreed / answered)), chance


def _check_finite(report: ParityReport) -> None:
    figures = [
        report.max_logit,
        report.max_logit_difference,
        report.mean_logit_difference,
        report.max_probability_difference or 0.0,
    ]
    if not np.isfinite(figures).all():
        raise UserError(
            f"{report.dtype} export gives no numbers",
            expected="finite logits of the network and of the file",
            received=f"logits up to {report.max_logit:.3g} that differ by up to "
            f"{report.max_logit_difference:.3g}",
            fix="Train the network anew at a lower rate: its weights are too large, or not finite.",
        )


def _check_logits(report: ParityReport, config: ExportConfig) -> None:
    logits, probabilities = report.max_logit_difference, report.max_probability_difference or 0.0
    allowed = config.max_logit_difference * max(1.0, report.max_logit)
    # A softmax moves a probability by at most half of what its logits have moved.
    allowed_behind = config.max_logit_difference + logits / 2
    if not (logits <= allowed and probabilities <= allowed_behind):
        raise UserError(
            "float32 export departs from the Keras model",
            expected=f"logits that differ by at most {allowed:.3g} "
            f"({config.max_logit_difference:g} of the largest, {report.max_logit:.3g}, or of 1), "
            f"probabilities by at most {allowed_behind:.3g}",
            received=f"{logits:.3g} and {probabilities:.3g} (mean logit difference "
            f"{report.mean_logit_difference:.3g}, top-1 agreement {report.top1_agreement:.4f})",
            fix="Raise --max_logit_difference.",
        )
