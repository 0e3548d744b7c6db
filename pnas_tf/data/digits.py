"""TFDS builder over scikit-learn's handwritten digits: real images that need no network.

The 1,797 images are the test part of the UCI set "Optical Recognition of Handwritten Digits"
(Alpaydin and Kaynak 1998), which scikit-learn carries inside its package.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

_Examples = Iterator[tuple[int, dict[str, np.ndarray | int]]]
PIXEL_MAXIMUM = 16  # scikit-learn's pixels are counts 0 to 16 of a 4x4 block


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 images of 8x8 grey pixels, ten classes, one split: train."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (the attribute that TFDS reads)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits of scikit-learn (UCI optical recognition of "
            "handwritten digits, test part).",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1)),
                    "label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)]),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80/"
            "optical+recognition+of+handwritten+digits",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, _Examples]:
        del dl_manager
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> _Examples:
        from sklearn.datasets import (
            load_digits,
        )  # takes a second to import and is needed once a machine

        digits = load_digits()
        images = np.rint(digits.images * (255 / PIXEL_MAXIMUM)).astype(np.uint8)[..., None]
        for number, (image, label) in enumerate(zip(images, digits.target)):
            yield number, {"image": image, "label": int(label)}
