"""What a supernet starts from when something was learnt before: the remapping of a recipe's
pretrained weights, what is fitted to images, and its account for the user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import PRETRAINED, RECONSTRUCTION, images_of
from pnas_tf.errors import UserError, number_of
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.pretrained import InputNormalisation, PretrainedWeights
from pnas_tf.networks.remapped_space import KEPT, Remapping, words_on
from pnas_tf.networks.takeover import changes_to
from pnas_tf.run.layout import START
from pnas_tf.search.recipe import ONE_SHOT, SearchRecipe, reconstruction_flags
from pnas_tf.space.base import SearchSpace
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.reconstruction import losses, reconstruct
from pnas_tf.supernet.supernet import Supernet

FITTING_PIXELS = 256 * 96**2  # of the images that candidates are fitted to
_COMPARED_IMAGES = 64  # of these, those that tell candidates apart
_DOCUMENT: dict[str, Any] = {"format": "pnas_tf/search_start", "version": 1}


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


def start_lines(space: SearchSpace, dataset: Dataset, recipe: SearchRecipe) -> list[str]:
    """What a supernet takes over and what not, for the terminal; nothing where its initializer
    draws it. Raises UserError as `start_of`."""
    start, weights = start_of(space, dataset, recipe), recipe.pretrained
    if start is None or weights is None:
        return []
    fixed = [each for each in start.origins() if each.block.name in space.fixed_names]
    others = [each for each in start.origins() if each.block.name not in space.fixed_names]
    told = [f"starts from {weights.source}: of {len(others)} candidates {words_on(others)}"]
    if any(each.function != KEPT for each in fixed):
        told.append(f"  of {number_of(len(fixed), 'fixed block')} {words_on(fixed)}")
    if not start.keep_classifier:
        before = f"in the place of {weights.space.classes} others"
        told.append(f"  new: classifier of {space.classes} classes, {before}")
    changed = changes_to(space, weights, start.source.input)
    return [*told, *map("  {}".format, changed)]


def save_start(start: Remapping, weights: PretrainedWeights, folder: str | os.PathLike) -> Path:
    """Writes which block every candidate starts from into a search's folder. weights: that
    `start` was made of."""
    document = {
        **_DOCUMENT,
        "source": weights.source,
        "space": weights.space.to_json(),
        "keep_classifier": start.keep_classifier,
        "changed": changes_to(start.space, weights, start.source.input),
        "blocks": [origin.row() for origin in start.origins()],
    }
    return atomic.write_json(Path(folder) / START, document)


def source_of_start(folder: str | os.PathLike) -> str | None:
    """Whose weights the search in `folder` started from; None: from none. Raises UserError where
    its account is damaged."""
    path = Path(folder) / START
    if not path.exists():
        return None
    document = atomic.read_document(
        path, **_DOCUMENT, what="start of a search", made_by="pnas search"
    )
    return value_of(str, document.get("source"), what=f"source of {path}", fix="Search again.")
