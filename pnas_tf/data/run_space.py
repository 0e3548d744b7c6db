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
SMALL_PRETRAINED_RESOLUTION = 64  # of small images for weights that have learnt large ones


def are_small(facts: DatasetFacts) -> bool:
    """Images that a space for large ones would magnify."""
    return facts.short_side <= LARGEST_TINY_IMAGE


def are_few_photographs(facts: DatasetFacts) -> bool:
    """Large images, and so few that neither 224 pixels nor a large space pay."""
    return not are_small(facts) and facts.training_examples < FEW_PHOTOGRAPHS


def space_for(
    facts: DatasetFacts,
    space: SpaceConfig,
    *,
    pretrained: bool = False,
    searched: SearchSpace | None = None,
) -> SearchSpace:
    """The space of `space` for the classes of a dataset, whose pixels are not read.

    "auto" is `tiny` for images up to 48 pixels and, at 64 pixels, for few larger ones; `proxyless`
    for many. Where there are pretrained weights to start from it is `lite`, at 64 pixels for images
    up to 48, at 96 for few larger ones. A name that ends in .json is a file with a space of the
    user's own, whose class count is replaced. searched: the space that the pretrained weights were
    searched in, if they were; then "auto" is that, at a resolution for these images.

    Raises:
        UserError: the space is unknown.
    """
    name, resolution = space.space, space.resolution
    classes = len(facts.class_names)
    if name == AUTO and searched is not None:
        sized = _resolution_after(searched, facts) if resolution is None else resolution
        own = dataclasses.replace(searched, classes=classes, resolution=sized)
        return own.with_width(space.width)
    if name == AUTO:
        from_scratch = "tiny" if are_small(facts) or are_few_photographs(facts) else "proxyless"
        name = "lite" if pretrained else from_scratch
        if resolution is None:
            resolution = _usual_resolution(facts, pretrained=pretrained)
    return open_space(name, classes=classes, resolution=resolution, width=space.width)


def _usual_resolution(facts: DatasetFacts, *, pretrained: bool) -> int | None:
    """Pixels; None for the space's own."""
    if are_small(facts):
        return SMALL_PRETRAINED_RESOLUTION if pretrained else None
    if are_few_photographs(facts):
        return FEW_PRETRAINED_RESOLUTION if pretrained else FEW_RESOLUTION
    return None


def _resolution_after(searched: SearchSpace, facts: DatasetFacts) -> int:
    """Pixels for weights of a search: the usual ones, but small images are magnified no more than
    there, and of many photographs no less is seen than there."""
    usual = _usual_resolution(facts, pretrained=True)
    if usual is None:
        return max(searched.resolution, FEW_PRETRAINED_RESOLUTION)
    return min(searched.resolution, usual) if are_small(facts) else usual


def check_channels(space: SearchSpace) -> None:
    """Raises UserError where networks of a space do not take the images of any dataset."""
    if space.channels != CHANNELS:
        raise UserError(
            f"channels of space '{space.name}'",
            expected=f"{CHANNELS}: images are read as RGB, grey ones too",
            received=str(space.channels),
            fix='Leave "channels" out of its file.',
        )
