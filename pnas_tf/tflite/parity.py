"""Does the .tflite file compute what the Keras model computes? Logit differences, top-1 agreement,
accuracy.

Runs the file through the LiteRT interpreter beside Keras, and refuses a file that breaks its
bounds. The bounds are asked of the validation split, the test split is reported. Knows nothing of
how the file was made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.run.layout import is_model_file
from pnas_tf.tflite import flatbuffer

FORMAT, VERSION = "pnas_tf/parity", 2
_TEST_ONLY = 1  # version whose figures are all of the test split
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class ParityReport:
    """One .tflite file beside the Keras model it came from, on `images` images of one split.

    Differences are of logits, in the logits' own unit, also where a softmax follows them in the
    file; max_probability_difference: behind it, None where there is none. Accuracies and agreement,
    of the file's own output, are fractions; accuracies are None without labels. rewrites: the
    export rewrites, by shape, that changed the file. beside_plain: int8 with them beside int8
    without, each on the same `images`: {"images", "rewritten": {"mean_logit_difference",
    "top1_agreement", "accuracy"}, "plain": {...}}.
    """

    dtype: str
    images: int
    max_logit_difference: float
    mean_logit_difference: float
    max_logit: float
    top1_agreement: float
    keras_accuracy: float | None
    tflite_accuracy: float | None
    size_bytes: int
    rewrites: tuple[str, ...] = ()
    beside_plain: Mapping[str, Any] | None = None
    max_probability_difference: float | None = None

    def __post_init__(self) -> None:
        if re.fullmatch("[a-z0-9_]{1,40}", self.dtype) is None:  # it becomes part of file names
            raise ValueError(f"dtype is {self.dtype[:100]!r}, no name of a number format")

    @property
    def accuracy_drop(self) -> float | None:
        """Keras accuracy minus the file's; negative when the file is better."""
        if self.keras_accuracy is None or self.tflite_accuracy is None:
            return None
        return self.keras_accuracy - self.tflite_accuracy

    def to_json(self) -> dict[str, Any]:
        """All figures by name."""
        return asdict(self)


class Classifier:
    """A .tflite image model in the LiteRT interpreter, one thread unless told: float images in,
    float scores out.

    Quantised inputs and outputs are converted with the file's own scales. Raises UserError when the
    content is no model, or has not one input and one output.
    """

    def __init__(
        self,
        content: bytes,
        *,
        threads: int = 1,
        what: str = ".tflite model",
        every_tensor: bool = False,
    ):
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        flatbuffer.verify(content, where=what, run=True)
        # Every intermediate tensor can be read only from the reference memory plan and without a
        # delegate.
        how = (
            {
                "experimental_preserve_all_tensors": True,
                "experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            }
            if every_tensor
            else {}
        )
        try:
            self.interpreter = Interpreter(model_content=content, num_threads=threads, **how)
            self.interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{what} does not run",
                expected="a model that the LiteRT interpreter prepares",
                received=str(error)[:500],
                fix="Export it again: pnas export --run_dir=...",
            ) from error
        inputs, outputs = (
            self.interpreter.get_input_details(),
            self.interpreter.get_output_details(),
        )
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise UserError(
                f"{what} is no image classifier",
                expected="one input [batch, height, width, channels] and one output [batch, "
                "classes]",
                received=f"inputs {[list(d['shape']) for d in inputs]}, outputs "
                f"{[list(d['shape']) for d in outputs]}",
                fix="Give a model that pnas export made.",
            )
        self.input, self.output = inputs[0], outputs[0]
        self.tensors = (
            {detail["index"]: detail for detail in self.interpreter.get_tensor_details()}
            if every_tensor
            else {}
        )
        self.batch, *self.image_shape = (int(size) for size in self.input["shape"])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """images: float32 [count, height, width, channels], normalised. Returns float32 logits
        [count, classes], or probabilities where the file ends in a softmax."""
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or list(images.shape[1:]) != self.image_shape:
            raise UserError(
                "images for the model",
                expected=f"shape [count, {', '.join(map(str, self.image_shape))}]",
                received=f"shape {list(images.shape)}",
                fix="Resize the images to the model's input, channels last.",
            )
        rows = []
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            missing = self.batch - len(part)
            filled = (
                np.concatenate([part, np.zeros((missing, *part.shape[1:]), np.float32)])
                if missing
                else part
            )
            self.interpreter.set_tensor(self.input["index"], quantized(filled, self.input))
            self.interpreter.invoke()
            rows.append(
                real(self.interpreter.get_tensor(self.output["index"]), self.output)[: len(part)]
            )
        return np.concatenate(rows)


def compare(
    model: keras.Model, content: bytes, data: Iterable[tuple[Any, Any]], *, dtype: str
) -> ParityReport:
    """Both models on every batch of `data`: (images [batch, height, width, channels], labels
    [batch]) pairs.

    model: gives logits. dtype: what the report calls the file. Raises UserError when the file
    cannot be read or data is empty.
    """
    classifier = Classifier(content, what=f"{dtype} .tflite model")
    inner = flatbuffer.without_softmax(content)
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
    """The report of two logit arrays [images, classes] of Keras and of the file, and of the true
    labels [images] if known.

    probabilities: what the file gives, where that is not its logits.
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


def check_parity(
    report: ParityReport, *, max_logit_difference: float, max_accuracy_drop: float
) -> None:
    """Raises UserError when a float32 file's logits (or probabilities) differ by more than
    `max_logit_difference`, or any file loses more accuracy than `max_accuracy_drop` (a fraction).
    report: of the validation split. NaN is refused too."""
    differences = (report.max_logit_difference, report.max_probability_difference or 0.0)
    if report.dtype == "float32" and not all(
        difference <= max_logit_difference for difference in differences
    ):
        raise UserError(
            "float32 export departs from the Keras model",
            expected=f"logits that differ by at most {max_logit_difference:g}",
            received=f"{max(differences):.3g} (mean {report.mean_logit_difference:.3g}, largest "
            "logit "
            f"{report.max_logit:.3g}, top-1 agreement {report.top1_agreement:.4f})",
            fix="Find the layer with --debug_layers; raise --max_logit_difference if the logits "
            "themselves are large.",
        )
    drop = report.accuracy_drop
    if drop is not None and not drop <= max_accuracy_drop:
        raise UserError(
            f"{report.dtype} export loses accuracy",
            expected=f"at most {100 * max_accuracy_drop:g} points below Keras "
            f"({100 * (report.keras_accuracy or 0):.2f} %)",
            received=f"{100 * (report.tflite_accuracy or 0):.2f} % on {report.images} validation "
            "images",
            fix="Find the layer with --debug_layers; train with --quantize=qat, or raise "
            "--max_accuracy_drop.",
        )


def save_reports(
    path: str | os.PathLike,
    *,
    validation: Mapping[str, ParityReport],
    test: Mapping[str, ParityReport],
) -> Path:
    """Writes parity.json, atomically: for each file name its report on the validation split, which
    decided on the file, and on the test split, which decided nothing."""
    return atomic.write_json(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "models": {
                name: {"validation": validation[name].to_json(), "test": report.to_json()}
                for name, report in test.items()
            },
        },
    )


def load_reports(path: str | os.PathLike, *, split: str = "test") -> dict[str, ParityReport]:
    """The reports of one of `SPLITS` by file name, as `save_reports` wrote them. Raises UserError
    when the file is absent, damaged or of another format, or of version 1, which has figures of the
    test split alone, and another split is asked for."""
    made_by = "pnas export --run_dir=..."
    document = atomic.read_document(
        path,
        format=FORMAT,
        version=VERSION,
        what="parity report",
        made_by=made_by,
        older=(_TEST_ONLY,),
    )
    test_only = document["version"] == _TEST_ONLY
    if split not in (("test",) if test_only else SPLITS):
        raise UserError(
            f"{split} figures in parity report {path}",
            expected=f'"version": {VERSION}, with figures of {" and ".join(SPLITS)}',
            received=f'"version": {document["version"]}',
            fix=f"Make it again: {made_by}",
        )
    models = document.get("models")
    if not isinstance(models, dict):
        raise UserError(
            f"parity report {path}",
            expected='an object "models", one entry a file',
            received=repr(models)[:200],
            fix=f"Make it again: {made_by}",
        )
    for name in models:
        if not is_model_file(name):  # it is opened and copied by this name
            raise UserError(
                f"file name in parity report {path}",
                expected="model_DTYPE.tflite",
                received=repr(name)[:200],
                fix=f"Make it again: {made_by}",
            )
    if not test_only:
        for name, both in models.items():
            if not isinstance(both, dict) or set(both) != set(SPLITS):
                raise UserError(
                    f"parity report {path}, {name}",
                    expected=f"an object with {' and '.join(SPLITS)}",
                    received=repr(both)[:200],
                    fix=f"Make it again: {made_by}",
                )
    return {
        name: record_of(
            ParityReport,
            report if test_only else report[split],
            where=f"parity report {path}, {name}",
            fix=f"Make it again: {made_by}",
        )
        for name, report in models.items()
    }


def quantized(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """Real values in the type of an interpreter's tensor: q = round(x / scale) + zero_point,
    clipped."""
    kind = np.dtype(detail["dtype"])
    if not np.issubdtype(kind, np.integer):
        return values.astype(kind)
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(kind)
    return np.clip(np.round(values / scale) + zero_point, limits.min, limits.max).astype(kind)


def real(values: np.ndarray, detail: Mapping[str, Any]) -> np.ndarray:
    """The inverse: x = (q - zero_point) * scale, as float32."""
    scale, zero_point = detail["quantization"]
    if not np.issubdtype(values.dtype, np.integer) or not scale:
        return values.astype(np.float32)
    return ((values.astype(np.float32) - zero_point) * scale).astype(np.float32)
