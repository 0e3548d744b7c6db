"""Judges random paths of a trained supernet for its effect model (`search.effects`), by each path's
own batch statistics: nothing has to be re-estimated first."""

from __future__ import annotations

import numpy as np

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import EffectsConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import images_of
from pnas_tf.run.progress import Progress
from pnas_tf.search import sampling
from pnas_tf.search.effects import Effects, fit_effects
from pnas_tf.search.path_validation import PathValidation, validate_paths
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.supernet.supernet import Supernet

BATCH_IMAGES, BATCH_PIXELS = 256, 256 * 64**2  # of a batch of paths' images, at most
_AT_ONCE = 10  # paths between two signs of progress


def random_paths(supernet: Supernet, count: int, *, seed: int) -> list[ChoiceIndices]:
    """Drawn uniformly over the space, each choice block alone."""
    uniform = [np.full(n, 1 / n) for n in map(len, (m.candidates for m in supernet.mixed_ops))]
    generator = sampling.generator_at(seed, "effects", 0)
    return [sampling.sample_path(uniform, generator) for _ in range(count)]


def measure_effects(
    supernet: Supernet, dataset: Dataset, config: EffectsConfig, *, seed: int
) -> Effects:
    """The effect model of a supernet.

    Args:
        supernet: with its weights.
        dataset: of the search; its validation split judges.
        config: how many paths and images.
        seed: of the paths.

    Raises:
        UserError: a cross-entropy is not finite.
    """
    paths = random_paths(supernet, config.effect_paths, seed=seed)
    losses = judged(supernet, dataset, paths, images=config.effect_images).losses
    return fit_effects(paths, losses, sizes=[len(each.candidates) for each in supernet.mixed_ops])


@deterministic_ops()
def judged(
    supernet: Supernet, dataset: Dataset, paths: list[ChoiceIndices], *, images: int
) -> PathValidation:
    """`paths` on the same images of the validation split, at most so many, in large batches of one
    size."""
    there = min(images, images_of(dataset).validation)
    most = max(1, min(BATCH_IMAGES, BATCH_PIXELS // supernet.space.resolution**2))
    size = there // -(-there // most)
    found = []
    with Progress("judge random paths", len(paths)) as progress:
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            found.append(
                validate_paths(supernet, some, dataset, batch_size=size, most_images=there)
            )
            progress.update(len(some))
    return PathValidation(
        np.concatenate([each.losses for each in found]),
        np.concatenate([each.accuracies for each in found]),
        found[0].labels,
    )
