"""Training batches whose images are of two classes each: mixup (Zhang et al. 2018, section 2) and
CutMix (Yun et al. 2019, section 3.1).

The partner of an image is the one at the mirrored place of its batch, whose order is random; how
much of each remains follows from (seed, step). Knows nothing of networks.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from pnas_tf.config import TrainConfig


class Mixing:
    """Mixes batches as `config` asks for; with both kinds each batch is of one of them, evenly.

    classes: of the labels. seed: with the step it gives kind, share and place.
    """

    def __init__(self, config: TrainConfig, *, classes: int, seed: int):
        self._alphas = [("mixup", config.mixup), ("cutmix", config.cutmix)]
        self._alphas = [(kind, alpha) for kind, alpha in self._alphas if alpha]
        self._classes, self._seed = classes, seed
        self._mixed = tf.function(self._mix, reduce_retracing=True)

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, *, step: int
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The batch of a step.

        Args:
            images: [batch, height, width, channels].
            labels: int [batch].
            step: of all steps.

        Returns:
            (images, targets): float32 [batch, classes], each row the shares of its two classes;
            labels as they are where nothing is mixed.
        """
        if not self._alphas:
            return images, labels
        keeps = self.keeps(step, *images.shape[1:3])
        return self._mixed(images, labels, tf.constant(keeps))

    def keeps(self, step: int, height: int, width: int) -> np.ndarray:
        """float32 [height, width]: the part of each pixel that is an image's own, the rest being
        its partner's. Its mean is the share of the own label."""
        draw = np.random.default_rng(np.random.SeedSequence([self._seed, step, 4]))
        kind, alpha = self._alphas[draw.integers(len(self._alphas))]
        own = draw.beta(alpha, alpha)
        keeps: np.ndarray = np.full((height, width), own, np.float32)
        if kind == "cutmix":
            keeps[:] = 1.0
            size = np.array([height, width])
            middle, half = draw.random(2) * size, np.sqrt(1.0 - own) * size / 2
            first = np.maximum(0, np.round(middle - half)).astype(int)
            last = np.round(middle + half).astype(int)
            keeps[first[0] : last[0], first[1] : last[1]] = 0.0
        return keeps

    def _mix(
        self, images: tf.Tensor, labels: tf.Tensor, keeps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        part, share = keeps[:, :, None], tf.reduce_mean(keeps)
        targets = tf.one_hot(labels, self._classes)
        return (
            part * images + (1.0 - part) * images[::-1],
            share * targets + (1.0 - share) * targets[::-1],
        )
