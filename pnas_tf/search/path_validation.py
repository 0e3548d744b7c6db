"""Paths of a supernet on the search's validation split, by batch statistics: nothing has to be
re-estimated first, and nothing is updated. Knows nothing of where
paths come from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.data.dataset import Dataset
from pnas_tf.search.judgement import Judgement, Prior, verdict
from pnas_tf.search.weight_step import path_result
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.supernet.supernet import Supernet

# Of a judgement: what so many images cannot tell from chance is nothing that alpha could go by.
_JUDGED_IMAGES = 512


@dataclass(frozen=True)
class PathValidation:
    """Figures of paths that answered the same images.

    Attributes:
        losses: float64 [paths], mean cross-entropy of each.
        accuracies: float64 [paths], top-1 of each.
        labels: int [images], of the images.
    """

    losses: np.ndarray
    accuracies: np.ndarray
    labels: np.ndarray


def validate_paths(
    supernet: Supernet,
    paths: Sequence[ChoiceIndices],
    dataset: Dataset,
    *,
    batch_size: int,
    most_images: int | None = None,
) -> PathValidation:
    """`paths` on whole batches of the validation split, in one order always.

    Args:
        supernet: holds the weights.
        paths: which are judged.
        dataset: of the search.
        batch_size: images a batch.
        most_images: at most so many, but at least a batch; None: all.
    """
    batches = dataset.validation_batches(batch_size=batch_size, seed=0, epoch=0)
    count = None if most_images is None else max(1, most_images // batch_size)
    results, labels = [], []
    for images, classes in itertools.islice(batches, count):
        results.append([path_result(supernet, path, images, classes) for path in paths])
        labels.append(np.asarray(classes))
    losses, accuracies = np.mean(results, axis=0).T
    return PathValidation(losses, accuracies, np.concatenate(labels))


def judge(
    supernet: Supernet,
    dataset: Dataset,
    paths: Sequence[ChoiceIndices],
    *,
    batch_size: int,
    when: str,
    weight_steps: int,
) -> Judgement:
    """The judgement of `supernet` by `paths` on whole batches of the validation split: up to
    _JUDGED_IMAGES, and at least one batch.

    Args:
        supernet: holds the weights.
        dataset: of the search.
        paths: at least one.
        batch_size: images a batch.
        when: see `Judgement`.
        weight_steps: taken until now.
    """
    found = validate_paths(
        supernet, paths, dataset, batch_size=batch_size, most_images=_JUDGED_IMAGES
    )
    accuracy, loss = float(np.mean(found.accuracies)), float(np.mean(found.losses))
    cross_entropy = loss if math.isfinite(loss) else None
    prior = Prior.of(dataset.validation_split.labels, found.labels)
    candidates = [len(choice.candidates) for choice in supernet.space.choice_blocks]
    return Judgement(
        when,
        weight_steps=weight_steps,
        steps_per_candidate=weight_steps * len(candidates) / sum(candidates),
        paths=len(paths),
        images=len(found.labels),
        accuracy=accuracy,
        cross_entropy=cross_entropy,
        prior_accuracy=prior.accuracy,
        prior_cross_entropy=prior.cross_entropy,
        has_learnt=verdict(accuracy, cross_entropy, len(found.labels), prior),
    )
