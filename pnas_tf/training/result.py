"""What training leaves in a run folder: the network with its weights, and its accuracy. Trains
nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.data.augmentation import Normalization
from pnas_tf.data.dataset import Dataset
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.networks.weight_files import load_keras_weights
from pnas_tf.run import layout
from pnas_tf.training.answers import AnswerCount, save_answers

FORMAT, VERSION = "pnas_tf/train_result", 1
_MADE_BY = "pnas train --run_dir=..."


@dataclass(frozen=True)
class TrainedOn:
    """What a trained network takes and gives.

    Attributes:
        class_names: of its logits.
        normalization: of the images that it was trained on.
    """

    class_names: tuple[str, ...]
    normalization: Normalization


def save_result(
    model: keras.Model,
    dataset: Dataset,
    folder: str | os.PathLike,
    *,
    batch_size: int,
    seed: int,
    pretrained: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Writes model.keras, answers.json and result.json into `folder`, each atomically; returns the
    result.

    Test accuracy is a fraction; the model takes normalised images (`normalization`) and gives
    logits.

    Args:
        model: as trained.
        dataset: that it was trained on.
        folder: of the training.
        batch_size: images at a time.
        seed: that it was trained with.
        pretrained: what it took over from weights of other images (`networks.takeover.Takeover`);
            "source", whose they are, and "through", the file of the search that it took them from.
    """
    folder = Path(folder)
    with atomic.scratch_folder(
        folder
    ) as scratch:  # Keras writes only to names that end in .keras, and not atomically
        model.save(scratch / layout.MODEL, save_format="keras")
        atomic.write_bytes(folder / layout.MODEL, (scratch / layout.MODEL).read_bytes())
    count = _test_answers(model, dataset, batch_size=batch_size)
    save_answers(folder / layout.ANSWERS, count.answers)
    document = {
        "format": FORMAT,
        "version": VERSION,
        "dataset": dataset.name,
        "class_names": list(dataset.class_names),
        "test_images": count.images,
        "test_accuracy": count.right / count.images,
        "test_loss": count.loss,
        "seed": seed,
        "pretrained": pretrained,
        "normalization": {"mean": dataset.normalization.mean, "std": dataset.normalization.std},
    }
    atomic.write_json(folder / layout.RESULT, document)
    return document


def read_result(path: str | os.PathLike) -> TrainedOn:
    """What `save_result` says of a network. Raises UserError when the file is absent or damaged."""
    document = atomic.read_document(
        path, format=FORMAT, version=VERSION, what="training result", made_by=_MADE_BY
    )
    fields = {name: document.get(name) for name in ("class_names", "normalization")}
    return value_of(
        TrainedOn, fields, what=f"training result {path}", fix=f"Train again: {_MADE_BY}"
    )


def _test_answers(model: keras.Model, dataset: Dataset, *, batch_size: int) -> AnswerCount:
    normalization, root = dataset.normalization, dataset.files and dataset.files.root

    def pixels_of(image: np.ndarray) -> np.ndarray:
        pixels = image * normalization.std + normalization.mean
        return np.clip(np.round(pixels), 0, 255).astype(np.uint8)

    def file_of(number: int) -> str | None:
        path = dataset.test_split.file_of(number)
        if path is None:
            return None
        shown = os.path.relpath(path, root) if root else os.path.basename(path)
        return os.fsencode(shown).decode("utf-8", "replace")  # names need not be UTF-8

    logits_of = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    count = AnswerCount(dataset.class_names, pixels_of=pixels_of, file_of=file_of)
    for images, labels in dataset.test_batches(batch_size=batch_size):
        count.add(images.numpy(), logits_of(images).numpy(), labels.numpy())
    return count


def restore_weights(model: keras.Model, folder: str | os.PathLike) -> None:
    """Sets the weights of `model`, the network that was trained, to those in `folder`; of
    model.keras nothing else is read.

    Raises UserError, with the model untouched, when the file is absent, damaged or of another
    network.
    """
    try:
        load_keras_weights(model, Path(folder) / layout.MODEL)
    except UserError as error:
        raise UserError(
            f"trained network: {error.what}",
            expected=error.expected,
            received=error.received,
            fix=f"Train one: {_MADE_BY}",
        ) from error


def check_classes(classes: int, dataset: Dataset) -> None:
    """Raises UserError when a network of `classes` outputs cannot learn `dataset`."""
    if classes != len(dataset.class_names):
        raise UserError(
            "the architecture is for another number of classes",
            expected=f"{len(dataset.class_names)}, as dataset '{dataset.name}' has",
            received=str(classes),
            fix="Choose the dataset that it was searched on.",
        )
