"""What a network answered for the images of the test split: right and wrong by class, and those
that it was wrong about and surest of.

Counted batch by batch: nothing grows with the number of images but the number of confused pairs.
Knows neither TensorFlow nor where images come from.
"""

from __future__ import annotations

import base64
import heapq
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import scipy.special

from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of, to_json

MOST_MISTAKES, THUMBNAIL = 24, 96  # shown; pixels of the longer side
_FORMAT, _VERSION = "pnas_tf/answers", 1
_MADE_BY = "pnas train --run_dir=..."
_MAX_PICTURE = 40_000  # signs of a thumbnail; ours have 3,000


@dataclass(frozen=True)
class Confusion:
    """`images` of class `label` were taken for class `answer`."""

    label: int
    answer: int
    images: int


@dataclass(frozen=True)
class Mistake:
    """One image that was answered wrongly.

    Attributes:
        label: its class.
        answer: the class that it was taken for.
        score: probability of the answer.
        label_score: probability of its class.
        picture: a JPEG of what the network saw, base64.
        file: its path below the dataset's folder; None where it is no file.
    """

    label: int
    answer: int
    score: float
    label_score: float
    picture: str
    file: str | None

    def __post_init__(self) -> None:
        if len(self.picture) > _MAX_PICTURE or not re.fullmatch(
            "/9j/[A-Za-z0-9+/]*=*", self.picture
        ):
            raise ValueError("a picture that is no small JPEG in base64")


@dataclass(frozen=True)
class Answers:
    """A network's answers for the test split.

    Attributes:
        class_names: of all classes.
        images: how many there are of each class.
        confusions: what was taken for what, the most frequent first.
        mistakes: some of the wrongly answered images, the surest answer first.
    """

    class_names: tuple[str, ...]
    images: tuple[int, ...]
    confusions: tuple[Confusion, ...]
    mistakes: tuple[Mistake, ...]

    def __post_init__(self) -> None:
        classes = range(len(self.class_names))
        pairs: Sequence[Confusion | Mistake] = (*self.confusions, *self.mistakes)
        if len(self.images) != len(classes) or not all(
            pair.label in classes and pair.answer in classes for pair in pairs
        ):
            raise ValueError(f"numbers of classes that are not among the {len(classes)} named")
        if min(self.images, default=-1) < 0 or min(self.right, default=-1) < 0:
            raise ValueError("counts that are no counts of images")

    @property
    def right(self) -> tuple[int, ...]:
        """Rightly answered images of each class."""
        left = list(self.images)
        for confusion in self.confusions:
            left[confusion.label] -= confusion.images
        return tuple(left)

    @property
    def accuracy(self) -> float:
        """Top-1, a fraction. Raises ZeroDivisionError without images."""
        return sum(self.right) / sum(self.images)


class AnswerCount:
    """Counts answers batch by batch.

    Args:
        class_names: of the logits.
        pixels_of: an image as the network takes it to its pixels, uint8 [height, width, channels].
        file_of: the place of an image among all that were added to its file; None where it has
            none.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        *,
        pixels_of: Callable[[np.ndarray], np.ndarray],
        file_of: Callable[[int], str | None],
    ):
        self.class_names = tuple(class_names)
        self.images = self.right = 0
        self._pixels_of, self._file_of = pixels_of, file_of
        self._by_class: np.ndarray = np.zeros(len(self.class_names), np.int64)
        self._loss = 0.0
        self._confused: Counter[tuple[int, int]] = Counter()
        self._surest: list[tuple[float, int, Mistake]] = []  # a heap, the least sure first

    def add(self, images: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> None:
        """One batch: [batch, height, width, channels], [batch, classes], int [batch]."""
        logs = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
        answers, rows = logs.argmax(-1), np.arange(len(labels))
        self._loss -= float(logs[rows, labels].sum())
        self._by_class += np.bincount(labels, minlength=len(self.class_names))
        for row in np.flatnonzero(answers != labels):
            label, answer = int(labels[row]), int(answers[row])
            self._confused[label, answer] += 1
            score, label_score = (float(np.exp(logs[row, place])) for place in (answer, label))
            place = self.images + int(row)
            key = (score, -place)  # of equals the first
            if len(self._surest) < MOST_MISTAKES or key > self._surest[0][:2]:
                picture = _thumbnail(self._pixels_of(images[row]))
                mistake = Mistake(label, answer, score, label_score, picture, self._file_of(place))
                heapq.heappush(self._surest, (*key, mistake))
                if len(self._surest) > MOST_MISTAKES:
                    heapq.heappop(self._surest)
        self.images += len(labels)
        self.right += int((answers == labels).sum())

    @property
    def loss(self) -> float:
        """Mean cross-entropy without smoothing, in nats."""
        return self._loss / self.images

    @property
    def answers(self) -> Answers:
        """All that were added."""
        confused = sorted(self._confused.items(), key=lambda entry: (-entry[1], entry[0]))
        return Answers(
            self.class_names,
            tuple(map(int, self._by_class)),
            tuple(Confusion(*pair, count) for pair, count in confused),
            tuple(mistake for *_, mistake in sorted(self._surest, key=lambda each: each[:2])[::-1]),
        )


def save_answers(path: str | os.PathLike, answers: Answers) -> Path:
    """Writes the file that `load_answers` reads, whole or not at all."""
    return atomic.write_json(path, {"format": _FORMAT, "version": _VERSION, **to_json(answers)})


def load_answers(path: str | os.PathLike) -> Answers:
    """Raises UserError where the file is absent, damaged or of another version."""
    document = atomic.read_document(
        path, format=_FORMAT, version=_VERSION, what="list of answers", made_by=_MADE_BY
    )
    fields = {name: part for name, part in document.items() if name not in ("format", "version")}
    return record_of(Answers, fields, where=str(path), fix=f"Train again: {_MADE_BY}")


def _thumbnail(pixels: np.ndarray) -> str:
    """uint8 [height, width, 1 or 3] as a small JPEG in base64."""
    picture = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=85)
    return base64.b64encode(content.getvalue()).decode("ascii")
