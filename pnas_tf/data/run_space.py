"""From a dataset and the options to the search space of a run. Knows nothing of search."""

from __future__ import annotations

import dataclasses

from pnas_tf.config import DataConfig, SpaceConfig
from pnas_tf.data.opening import DatasetFacts, dataset_facts
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.registry import load_space, named_space

AUTO = "auto"
LARGEST_TINY_IMAGE = 48  # pixels


def space_of_run(data: DataConfig, space: SpaceConfig) -> SearchSpace:
    """The space of `space` for the classes of `data`'s dataset, whose pixels are not read.

    "auto" is `tiny` for images up to 48 pixels and `proxyless` above; a name that ends in .json is
    a file with a space of the user's own, whose class count is replaced.

    Raises:
        UserError: the space or the dataset is unknown.
    """
    return space_for(dataset_facts(data), space)


def space_for(facts: DatasetFacts, space: SpaceConfig) -> SearchSpace:
    """As `space_of_run`, for a dataset of which `facts` are known."""
    name = space.space
    if name.endswith(".json"):
        own = load_space(name)
        sized = dataclasses.replace(
            own, classes=len(facts.class_names), resolution=space.resolution or own.resolution
        )
        return sized.with_width(space.width)
    if name == AUTO:
        name = "tiny" if facts.short_side <= LARGEST_TINY_IMAGE else "proxyless"
    return named_space(
        name, classes=len(facts.class_names), resolution=space.resolution, width=space.width
    )
