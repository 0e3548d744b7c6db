"""What is done alike to every network that competes: trained, exported, tested."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tf_keras as keras

from benchmarks.cifar10.budget import shipped
from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import ExportConfig, TrainConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import fit_split, fitted_training
from pnas_tf.errors import UserError
from pnas_tf.interop.pretrained_files import teacher_files
from pnas_tf.interop.teachers import open_teacher
from pnas_tf.io import atomic
from pnas_tf.networks.network import with_probabilities
from pnas_tf.run.loop import StepLoop
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.training.distribution import Distribution
from pnas_tf.training.recipe import TrainRecipe
from pnas_tf.training.work import Training

KEEP_CHECKPOINTS = 2
MADE_WITH = "made_with"


@deterministic_ops()
def train_model(
    model: keras.Model, dataset: Dataset, recipe: TrainRecipe, folder: Path
) -> keras.Model:
    """Trains a network that is no architecture of ours as `pnas.train` trains those that are."""
    if recipe.config.teacher:
        teacher = open_teacher(recipe.config.teacher, dataset.class_names)
        recipe = dataclasses.replace(recipe, teacher=teacher)
    images = dataset.sizes.of(fit_split(recipe.config))
    config = fitted_training(recipe.config, images)
    taught = recipe.teacher and recipe.teacher.identity
    known = (model.name, config, recipe.optimizer, recipe.seed, taught, dataset.fingerprint)
    digest = hashlib.sha256(repr(known).encode())
    training = Training(
        model,
        dataset,
        dataclasses.replace(recipe, config=config),
        identity=digest.hexdigest(),
        distribution=Distribution(),
    )
    peers = training.distribution.replicas
    StepLoop(
        training,
        folder,
        peers=peers,
        keep=KEEP_CHECKPOINTS,
        checkpoint_steps=None,
        tensorboard=recipe.tensorboard,
    ).run()
    training.end()
    return model


def settings_of(config: TrainConfig, dataset: Dataset) -> dict[str, object]:
    """What the figures of a training depend on besides the network, as JSON."""
    digest = hashlib.sha256()
    for path in teacher_files(config.teacher) if config.teacher else ():
        digest.update(path.read_bytes())
    return {
        "train": dataclasses.asdict(config),
        "teacher": digest.hexdigest() if config.teacher else None,
        "images": images_of(dataset),
    }


def images_of(dataset: Dataset) -> dict[str, int]:
    """How many are in each split."""
    sizes = {"train": dataset.train_size, "validation": dataset.validation_size}
    return {**sizes, "test": dataset.test_size}


def stored_result(path: Path, settings: Mapping[str, object]) -> dict[str, object]:
    """A finished part's document. Raises UserError where it was made with others than these
    settings (JSON), which it has as `MADE_WITH`."""
    document: dict[str, object] = json.loads(path.read_text())
    known, own = document.get(MADE_WITH), json.loads(json.dumps(settings))
    if known != own:
        before = known if isinstance(known, dict) else {}
        differ = [name for name in own if before.get(name) != own[name]]
        raise UserError(
            f"{path} was made with other settings",
            expected=f"{', '.join(differ)} as now, { ({name: own[name] for name in differ}) }",
            received=f"{ ({name: before.get(name) for name in differ}) }",
            fix="Give the options it was made with, or another --output.",
        )
    return document


def exported(model: keras.Model, dataset: Dataset, folder: Path) -> dict[str, Path]:
    """float32 and post-training int8, the same way for all."""
    images = dataset.representative_images(ExportConfig.representative_images)
    network = with_probabilities(model)
    return {
        dtype: atomic.write_bytes(
            folder / f"network_{dtype}.tflite", shipped(network, dtype, images)
        )
        for dtype in ("float32", "int8")
    }


def accuracy_of(path: Path, dataset: Dataset) -> float:
    """Top-1 of a file of ours on the test images."""
    return _accuracy(Classifier(path.read_bytes()), dataset, lambda images: images)


def accuracy_of_reference(path: Path, dataset: Dataset) -> float:
    """Top-1 of a file of MLPerf Tiny's, which takes pixels from 0 to 255, or those less 128."""
    seen = dataset.normalization
    classifier = Classifier(path.read_bytes())
    return _accuracy(classifier, dataset, lambda images: images * seen.std + seen.mean)


def _accuracy(
    classifier: Classifier, dataset: Dataset, taken: Callable[[np.ndarray], np.ndarray]
) -> float:
    right = 0
    for images, labels in dataset.test_batches(batch_size=256):
        scores = classifier.logits(taken(images.numpy()))
        right += int((scores.argmax(axis=1) == labels.numpy()).sum())
    return right / dataset.test_size
