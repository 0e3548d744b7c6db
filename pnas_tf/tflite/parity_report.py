"""How near a .tflite file comes to the Keras network, as a record, and parity.json.

Knows neither TensorFlow nor how the figures come about (`parity`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.run.layout import is_model_file

FORMAT, VERSION = "pnas_tf/parity", 2
_TEST_ONLY = 1  # version whose figures are all of the test split
SPLITS = ("validation", "test")
_MADE_BY = "pnas export --run_dir=..."
_FIX = f"Make it again: {_MADE_BY}"


@dataclass(frozen=True)
class ParityReport:
    """One .tflite file beside the Keras model it came from, on `images` images of one split.

    Differences are of logits, in the logits' own unit, also where a softmax follows them in the
    file; max_probability_difference: behind it, None where there is none. Accuracies and agreement,
    of the file's own output, are fractions; accuracies are None without labels. rewrites: the
    export rewrites, by shape, that changed the file. beside_plain: int8 with them beside int8
    without, each on the same `images`: {"images", "rewritten": {"mean_logit_difference",
    "top1_agreement", "accuracy"}, "plain": {...}}. right_by_class: rightly answered images of each
    class, of the file; None without labels. answered_by_class: images for which Keras answers each
    class; agreed_by_class: those of them for which the file does too; empty in earlier files.
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
    beside_plain: Mapping[str, object] | None = None
    max_probability_difference: float | None = None
    right_by_class: tuple[int, ...] | None = None
    answered_by_class: tuple[int, ...] = ()
    agreed_by_class: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if re.fullmatch("[a-z0-9_]{1,40}", self.dtype) is None:  # it becomes part of file names
            raise ValueError(f"dtype is {self.dtype[:100]!r}, no name of a number format")
        if len(self.answered_by_class) != len(self.agreed_by_class):
            raise ValueError("answers of other classes than those that were agreed on")

    @property
    def accuracy_drop(self) -> float | None:
        """Keras accuracy minus the file's; negative when the file is better."""
        if self.keras_accuracy is None or self.tflite_accuracy is None:
            return None
        return self.keras_accuracy - self.tflite_accuracy

    def to_json(self) -> dict[str, object]:
        """All figures by name."""
        return asdict(self)


def save_reports(
    path: str | os.PathLike,
    *,
    validation: Mapping[str, ParityReport],
    test: Mapping[str, ParityReport],
) -> Path:
    """Writes parity.json, atomically.

    Args:
        path: of the file.
        validation: file name -> its report on the validation split, which decided on the file.
        test: file name -> its report on the test split, which decided nothing.
    """
    models = {
        name: {"validation": validation[name].to_json(), "test": report.to_json()}
        for name, report in test.items()
    }
    return atomic.write_json(path, {"format": FORMAT, "version": VERSION, "models": models})


def load_reports(path: str | os.PathLike, *, split: str = "test") -> dict[str, ParityReport]:
    """The reports of one of `SPLITS` by file name, as `save_reports` wrote them.

    Raises:
        UserError: the file is absent, damaged or of another format, or of version 1, which has
            figures of the test split alone, and another split is asked for.
    """
    document = atomic.read_document(
        path,
        format=FORMAT,
        version=VERSION,
        what="parity report",
        made_by=_MADE_BY,
        older=(_TEST_ONLY,),
    )
    test_only, models = document["version"] == _TEST_ONLY, document.get("models")
    if test_only and split != "test":
        raise UserError(
            f"{split} figures in parity report {path}",
            expected=f'"version": {VERSION}, with figures of {" and ".join(SPLITS)}',
            received=f'"version": {document["version"]}',
            fix=_FIX,
        )
    if not isinstance(models, dict):
        raise UserError(
            f"parity report {path}",
            expected='an object "models", one entry a file',
            received=repr(models)[:200],
            fix=_FIX,
        )
    return {
        name: record_of(
            ParityReport,
            _figures(name, entry, where=str(path), split=None if test_only else split),
            where=f"parity report {path} of version {document['version']}, {name}",
            fix=_FIX,
        )
        for name, entry in models.items()
    }


def _figures(name: str, entry: object, *, where: str, split: str | None) -> object:
    """The report in a file's entry; split: None where the entry is the report."""
    # A file is opened and copied by this name.
    if not is_model_file(name):
        raise UserError(
            f"file name in parity report {where}",
            expected="model_DTYPE.tflite",
            received=repr(name)[:200],
            fix=_FIX,
        )
    if split is None:
        return entry
    if not isinstance(entry, dict) or set(entry) != set(SPLITS):
        raise UserError(
            f"parity report {where}, {name}",
            expected=f"an object with {' and '.join(SPLITS)}",
            received=repr(entry)[:200],
            fix=_FIX,
        )
    return entry[split]
