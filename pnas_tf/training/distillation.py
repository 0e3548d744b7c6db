"""Learning from another network's answers beside the labels (Hinton et al. 2015, section 2).

The teacher sees what the student sees, mixed and augmented alike (Beyer et al. 2022, section 3).
Knows nothing of where a teacher comes from (`interop.teachers`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf


@dataclass(frozen=True)
class Teacher:
    """A network to learn from.

    Attributes:
        logits: normalised images float32 [batch, height, width, 3] -> float32 [batch, classes].
        identity: of its weights, hex digits.
        source: for the user, where it comes from.
    """

    logits: Callable[[tf.Tensor], tf.Tensor]
    identity: str
    source: str


def distillation_loss(
    logits: tf.Tensor, teacher_logits: tf.Tensor, *, temperature: float
) -> tf.Tensor:
    """T^2 KL(softmax(teacher / T) || softmax(student / T)), the mean over the batch; T^2 gives its
    gradients the size of those of the labels. Both [batch, classes]."""
    soft = tf.nn.softmax(teacher_logits / temperature)
    against = tf.nn.softmax_cross_entropy_with_logits(soft, logits / temperature)
    own = tf.nn.softmax_cross_entropy_with_logits(soft, teacher_logits / temperature)
    return temperature**2 * tf.reduce_mean(against - own)
