"""What a supernet starts from when something was learnt before: the remapping of a recipe's
pretrained weights, what is fitted to images, and its account for the user."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import PRETRAINED, RECONSTRUCTION, images_of
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.pretrained import InputNormalisation
from pnas_tf.networks.remapped_space import Remapping, words_on
from pnas_tf.run.layout import START
from pnas_tf.search.recipe import ONE_SHOT, SearchRecipe, reconstruction_flags
from pnas_tf.space.base import SearchSpace
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.reconstruction import losses, reconstruct
from pnas_tf.supernet.supernet import Supernet

FITTING_PIXELS = 256 * 96**2  # of the images that candidates are fitted to
_COMPARED_IMAGES = 64  # of these, those that tell candidates apart
_DOCUMENT = {"format": "pnas_tf/search_start", "version": 1}


def start_of(space: SearchSpace, dataset: Dataset, recipe: SearchRecipe) -> Remapping | None:
    """The weights that a supernet of `space` starts from; None: those that its initializer draws.

    The classifier is taken over where the class names are the same.

    Raises:
        UserError: the weights do not suit the space, or alpha's start.
    """
    weights = recipe.pretrained
    if weights is None or recipe.config.weights_init != PRETRAINED:
        return None
    asked = reconstruction_flags(recipe.config)
    if weights.is_supernet and asked:
        raise UserError(
            asked[0],
            expected="the weights of a network, whose output candidates can be compared with",
            received=f"{weights.source}, a supernet, which has as many outputs as candidates",
            fix="Leave it out, or start from a trained network.",
        )
    normalization = dataset.normalization
    seen = InputNormalisation.of(normalization.mean, normalization.std, space.channels)
    return Remapping(
        weights.adapted(seen, bn_epsilon=recipe.optimizer.bn_epsilon),
        space,
        keep_classifier=weights.class_names == tuple(dataset.class_names),
        added_gamma=recipe.config.shortcut_gamma,
    )


@deterministic_ops()
def fitted_start(start: Remapping, dataset: Dataset, recipe: SearchRecipe) -> dict[str, np.ndarray]:
    """The supernet's arrays by name, with what `start` approximates fitted to images of the train
    split (`supernet.reconstruction`), in float32 on one device, whatever the search runs on.

    Called outside of a strategy's scope, in which variables are those of all its devices.
    """
    plain = Supernet(
        start.space,
        recipe.config,
        numerics=Numerics(normalisation=Normalisation.of(recipe.optimizer)),
        seed=recipe.seed,
        start=start,
    )
    size = start.space.resolution
    count = max(1, min(images_of(dataset).train, FITTING_PIXELS // size**2))
    images, _ = next(iter(dataset.train_unaugmented(batch_size=count)))
    reconstruct(plain, start, images)
    config = recipe.config
    if config.alpha_init in (None, RECONSTRUCTION) and config.algorithm != ONE_SHOT:
        for index, lost in losses(plain, start, images[:_COMPARED_IMAGES]).items():
            plain.alphas[index].assign(config.alpha_reconstruction * (lost.mean() - lost))
    return {name: variable.numpy() for name, variable in plain.named_variables().items()}


def start_lines(start: Remapping) -> list[str]:
    """What was taken over and what not, for the terminal."""
    fixed = start.space.fixed_names
    candidates = [each for each in start.origins() if each.block.name not in fixed]
    words = words_on(candidates)
    told = f"starts from {start.source.source}: of {len(candidates)} candidates {words}"
    if start.keep_classifier:
        return [told]
    before = start.source.space.classes
    new = f"classifier of {start.space.classes} classes, in the place of {before} others"
    return [told, f"  new: {new}"]


def save_start(start: Remapping, folder: str | os.PathLike) -> Path:
    """Writes which block every candidate starts from into a search's folder."""
    document = {
        **_DOCUMENT,
        "source": start.source.source,
        "space": start.source.space.to_json(),
        "keep_classifier": start.keep_classifier,
        "blocks": [origin.row() for origin in start.origins()],
    }
    return atomic.write_json(Path(folder) / START, document)
