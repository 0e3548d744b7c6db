"""From a dataset and the options to the search space of a run. Knows nothing of search."""

from __future__ import annotations

from pnas_tf.config import SpaceConfig
from pnas_tf.data.opening import DatasetFacts
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.registry import open_space

AUTO = "auto"
LARGEST_TINY_IMAGE = 48  # pixels


def space_for(facts: DatasetFacts, space: SpaceConfig, *, pretrained: bool = False) -> SearchSpace:
    """The space of `space` for the classes of a dataset, whose pixels are not read.

    "auto" is `tiny` for images up to 48 pixels and `proxyless` above, `lite` where there are
    pretrained weights to start from; a name that ends in .json is
    a file with a space of the user's own, whose class count is replaced.

    Raises:
        UserError: the space is unknown.
    """
    name = space.space
    if name == AUTO:
        large = "lite" if pretrained else "proxyless"
        name = "tiny" if facts.short_side <= LARGEST_TINY_IMAGE else large
    return open_space(
        name, classes=len(facts.class_names), resolution=space.resolution, width=space.width
    )
