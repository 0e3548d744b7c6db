"""How a supernet computes: normalisation, weight decay, precision and replicas, as one value.

Knows nothing of alpha, paths or latency.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from pnas_tf.config import OptimizerConfig
from pnas_tf.networks.layers import Normalisation
from pnas_tf.supernet.replicas import Replicas

_DECAYED = {
    "bn_bias": ("kernel",),
    "bn": ("kernel", "bias"),
    "none": ("kernel", "bias", "norm"),
}


@dataclass(frozen=True)
class Numerics:
    """The constants of a supernet's computation; hashable, so that compiled graphs are kept by it.

    Attributes:
        normalisation: of every batch normalisation.
        weight_decay: L2, added to gradients by an update.
        no_decay: what is not decayed: "bn_bias", "bn" or "none", see `OptimizerConfig`.
        precision: of activations and convolutions: "float32", "float16" or "bfloat16". Variables,
            statistics, the classifier and sums are float32.
        jit_compile: compile blocks with XLA; of the compiled engine alone.
        replicas: the copies that train as one; of the compiled engine alone.
    """

    normalisation: Normalisation = Normalisation()
    weight_decay: float = OptimizerConfig.weight_decay
    no_decay: str = OptimizerConfig.no_decay
    precision: str = "float32"
    jit_compile: bool = False
    replicas: Replicas = Replicas()

    @property
    def dtype(self) -> tf.DType:
        """What `precision` names."""
        return tf.as_dtype(self.precision)

    @property
    def scales_loss(self) -> bool:
        """Whether gradients come multiplied by a loss scale, since float16 would lose small
        ones."""
        return self.precision == "float16"

    def decay(self, kind: str) -> float:
        """Weight decay of a trained variable of this kind: "kernel", "bias", or "norm" (gamma and
        beta)."""
        return self.weight_decay if kind in _DECAYED[self.no_decay] else 0.0
