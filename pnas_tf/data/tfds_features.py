"""Which features and splits of a TFDS dataset are its images, its labels and its parts. Knows
nothing of what the records hold."""

from __future__ import annotations

import numpy as np
import tensorflow_datasets as tfds

from pnas_tf.data.split_layout import PARTS
from pnas_tf.errors import UserError

_PIXELS = (np.uint8, np.uint16)


def splits_of(builder: tfds.core.DatasetBuilder, part: str) -> list[str]:
    """The splits with images that are called as a part of `PARTS` is."""
    named = {split.casefold(): split for split in builder.info.splits}
    found = [named[name] for name in PARTS[part] if name in named]
    return [split for split in found if builder.info.splits[split].num_examples]


def keys_of(builder: tfds.core.DatasetBuilder, name: str) -> tuple[str, str]:
    """The image's key and its label's: the supervised keys, else the only features of these kinds.
    Raises UserError where there is no such pair. name: for that."""
    features, keys = builder.info.features, builder.info.supervised_keys
    kinds = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    if not keys:
        keys = tuple(
            key
            for kind in (tfds.features.Image, tfds.features.ClassLabel)
            for key, feature in kinds.items()
            if isinstance(feature, kind)
        )
    image, label = (kinds.get(key) if isinstance(key, str) else None for key in (*keys, "", "")[:2])
    if (
        len(keys) != 2
        or not isinstance(image, tfds.features.Image)
        or not isinstance(label, tfds.features.ClassLabel)
        or image.np_dtype not in _PIXELS
    ):
        received = ", ".join(f"{key}: {type(kind).__name__}" for key, kind in kinds.items())
        if isinstance(image, tfds.features.Image):
            received += f"; pixels of {np.dtype(image.np_dtype).name}"
        raise UserError(
            f"dataset '{name}' is not for image classification",
            expected="an Image of 8 or 16 bits and a ClassLabel, named as supervised keys where "
            "there are several",
            received=f"{received[:300]}; supervised keys {builder.info.supervised_keys}",
            fix="Choose another dataset.",
        )
    return keys
