"""Mixed op with binary gates (Cai et al. 2019, section 3.1 and 3.2). Knows nothing of latency.

A mixed op owns alpha and the variables of every candidate; one candidate runs. Which one is the
caller's argument, never state of the layer.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.space.blocks import Block, Layer
from pnas_tf.supernet.functional import Arithmetic
from pnas_tf.supernet.initializers import Initial
from pnas_tf.supernet.replicas import handles_of, variable_of


class BlockWeights(keras.layers.Layer):
    """The variables of one block in the order of its layers; an engine computes with them.

    initial: the values that the variables start from. named: the variables by names that are unique
    in a supernet.
    """

    def __init__(self, block: Block, *, arithmetic: Arithmetic, initial: Initial, name: str):
        super().__init__(name=name)
        self.block, self.arithmetic, self._initial = block, arithmetic, initial
        self.by_layer: dict[str, list[Any]] = {}
        self.named: dict[str, Any] = {}
        for layer in block.layers:
            variables = self._variables_of(layer)
            self.by_layer[layer.name] = list(variables.values())
            self.named |= {
                f"{name}/{layer.name}{own}": variable for own, variable in variables.items()
            }
        self.ordered: tuple[Any, ...] = tuple(self.named.values())
        self.trained: tuple[Any, ...] = tuple(
            variable for variable in self.ordered if variable.trainable
        )
        self.handles: tuple[Any, ...] = handles_of(self.ordered, arithmetic.replicas)
        self.built = True

    def _variables_of(self, layer: Layer) -> dict[str, Any]:
        """By what follows the layer's name in theirs."""
        own = functools.partial(variable_of, replicas=self.arithmetic.replicas)
        zeros: np.ndarray = np.zeros(layer.out_channels, np.float32)
        variables = {"/kernel": own(self._initial.kernel(self.block, layer))}
        if layer.bias:
            variables["/bias"] = own(zeros)
        if layer.norm:
            variables |= {
                "_bn/gamma": own(self._initial.gamma(self.block, layer)),
                "_bn/beta": own(zeros),
                "_bn/moving_mean": own(zeros, trainable=False),
                "_bn/moving_variance": own(zeros + 1, trainable=False),
            }
        return variables


class MixedOp(keras.layers.Layer):
    """All candidates of one choice block, and alpha [candidates].

    blocks: the rows of the choice block, one for each candidate. alpha starts at `initial_alpha`.
    """

    def __init__(
        self,
        blocks: tuple[Block, ...],
        *,
        arithmetic: Arithmetic,
        initial: Initial,
        initial_alpha: np.ndarray,
        name: str,
    ):
        super().__init__(name=name)
        self.blocks = blocks
        self.candidates = [
            BlockWeights(
                block, arithmetic=arithmetic, initial=initial, name=f"{name}/{block.op.key}"
            )
            for block in blocks
        ]
        self.alpha = tf.Variable(tf.constant(initial_alpha, tf.float32))
        self.built = True

    @property
    def shortcut(self) -> bool:
        """Whether the block adds its input to the gated output."""
        return self.blocks[0].shortcut
