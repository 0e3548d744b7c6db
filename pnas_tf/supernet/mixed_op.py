"""Mixed op with binary gates (Cai et al. 2019, section 3.1 and 3.2). Knows nothing of latency.

A mixed op owns alpha and the variables of every candidate; one candidate runs. Which one is the
caller's argument, never state of the layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.space.blocks import Block
from pnas_tf.supernet.initializers import HeInitializer
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import handles_of, variable_of
from pnas_tf.supernet.variables import variables_of


class BlockWeights(keras.layers.Layer):
    """The variables of one block; an engine computes with them.

    Attributes:
        block: what they belong to.
        numerics: how an engine computes the block.
        ordered: the variables as of `variables_of(block)`.
        trained: those of them that have gradients.
        handles: resource handles of all local replicas' copies, replica after replica.
        by_layer: name of a layer -> its variables.
        named: the variables by names that are unique in a supernet.
    """

    def __init__(
        self, block: Block, *, numerics: Numerics, initializer: HeInitializer, name: str
    ) -> None:
        super().__init__(name=name)
        self.block, self.numerics = block, numerics
        self.by_layer: dict[str, list[tf.Variable]] = {layer.name: [] for layer in block.layers}
        self.named: dict[str, tf.Variable] = {}
        for spec in variables_of(block):
            value = initializer.value(block, spec)
            variable = variable_of(value, numerics.replicas, trainable=spec.trainable)
            self.by_layer[spec.layer.name].append(variable)
            self.named[f"{name}/{spec.name}"] = variable
        self.ordered: tuple[tf.Variable, ...] = tuple(self.named.values())
        self.trained: tuple[tf.Variable, ...] = tuple(
            variable for variable in self.ordered if variable.trainable
        )
        self.handles: tuple[tf.Tensor, ...] = handles_of(self.ordered, numerics.replicas)
        self.built = True


class MixedOp(keras.layers.Layer):
    """All candidates of one choice block, and alpha.

    Attributes:
        candidates: one `BlockWeights` for each candidate op.
        alpha: [candidates], the architecture parameters.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        *,
        numerics: Numerics,
        initializer: HeInitializer,
        initial_alpha: np.ndarray,
        name: str,
    ) -> None:
        super().__init__(name=name)
        self.candidates = [
            BlockWeights(
                block, numerics=numerics, initializer=initializer, name=f"{name}/{block.op.key}"
            )
            for block in blocks
        ]
        self.alpha = tf.Variable(tf.constant(initial_alpha, tf.float32))
        self.built = True
