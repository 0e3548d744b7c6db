"""From a dataset and the options to the search space of a run, and whether a space takes its
images. Knows nothing of search."""

from __future__ import annotations

import dataclasses

from pnas_tf.config import SpaceConfig
from pnas_tf.data.opening import DatasetFacts
from pnas_tf.errors import UserError
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.registry import open_space

AUTO = "auto"
CHANNELS = 3  # of every image that is read
LARGEST_TINY_IMAGE = 48  # pixels
FEW_PHOTOGRAPHS = 5_000  # fewer do not teach a large space from random weights
FEW_RESOLUTION, FEW_PRETRAINED_RESOLUTION = 64, 96  # a few hundred weight steps take minutes


def are_few_photographs(facts: DatasetFacts) -> bool:
    """Large images, and so few that neither 224 pixels nor a large space pay."""
    is_large = facts.short_side > LARGEST_TINY_IMAGE
    return is_large and facts.training_examples < FEW_PHOTOGRAPHS


def space_for(
    facts: DatasetFacts,
    space: SpaceConfig,
    *,
    pretrained: bool = False,
    searched: SearchSpace | None = None,
) -> SearchSpace:
    """The space of `space` for the classes of a dataset, whose pixels are not read.

    "auto" is `tiny` for images up to 48 pixels and, at 64 pixels, for few larger ones; `proxyless`
    for many; for larger ones `lite` where there are pretrained weights to start from, at 96 pixels
    where they are few. A name that ends in .json is a file with a space of the user's own, whose
    class count is replaced. searched: the space that the pretrained weights were searched in, if
    they were; then "auto" is that.

    Raises:
        UserError: the space is unknown.
    """
    name, resolution = space.space, space.resolution
    classes = len(facts.class_names)
    if name == AUTO and searched is not None:
        sized = searched.resolution if resolution is None else resolution
        own = dataclasses.replace(searched, classes=classes, resolution=sized)
        return own.with_width(space.width)
    if name == AUTO:
        few = are_few_photographs(facts)
        name = "lite" if pretrained else "tiny" if few else "proxyless"
        if facts.short_side <= LARGEST_TINY_IMAGE:
            name = "tiny"
        elif few:
            usual = FEW_PRETRAINED_RESOLUTION if pretrained else FEW_RESOLUTION
            resolution = usual if resolution is None else resolution
    return open_space(name, classes=classes, resolution=resolution, width=space.width)


def check_channels(space: SearchSpace) -> None:
    """Raises UserError where networks of a space do not take the images of any dataset."""
    if space.channels != CHANNELS:
        raise UserError(
            f"channels of space '{space.name}'",
            expected=f"{CHANNELS}: images are read as RGB, grey ones too",
            received=str(space.channels),
            fix='Leave "channels" out of its file.',
        )
