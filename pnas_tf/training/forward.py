"""The forward pass in training: dropout before the classifier, and stochastic depth (Huang et al.
2016, section 3).

What is dropped follows from (seed, step), so that a continued run drops the same. The plain network
stays as it is: its layers are called one by one. Knows nothing of losses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.space.base import SearchSpace

Forward = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_Change = Callable[[tf.Tensor], tf.Tensor]


def forward_of(
    model: keras.Model, config: TrainConfig, *, seed: int, replicas: int, statistics: bool
) -> Forward:
    """(images [batch, ...], step) -> logits.

    Args:
        model: a flat network of `build_network`.
        config: dropout and stochastic depth.
        seed: with the step it gives what is dropped.
        replicas: that share a batch; each takes its rows of what the whole batch would draw.
        statistics: of batch normalisation by the batch.
    """
    branches = [layer for layer in model.layers if layer.name.endswith("/add")]
    depth = bool(config.stochastic_depth and branches)
    if not config.dropout and not depth:
        return lambda images, step: model(images, training=statistics)

    def forward(images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        draw = _Draw(seed % 2**31, step, tf.shape(images)[0], replicas)
        changes: dict[str, _Change] = {}
        if depth:
            kept = draw.kept(len(branches), config.stochastic_depth)
            for layer, factors in zip(branches, tf.unstack(kept, axis=1)):
                changes[layer.name] = functools.partial(_times, factors)
        if config.dropout:
            changes[model.layers[-1].name] = lambda x: draw.dropped(x, config.dropout)
        return _run(model, images, changes, statistics)

    return forward


def check_depth(space: SearchSpace, config: TrainConfig) -> None:
    """Raises UserError on stochastic depth where images have no block to skip in any network."""
    shortcuts = [block.shortcut for block in space.fixed_blocks()]
    shortcuts += [choice.shortcut for choice in space.choice_blocks]
    if config.stochastic_depth and not any(shortcuts):
        raise UserError(
            f"--stochastic_depth={config.stochastic_depth:g}",
            expected="a space with identity shortcuts around single blocks",
            received=f"'{space.name}', which has none",
            fix="Leave it out.",
        )


@dataclass(frozen=True)
class _Draw:
    """Random numbers of a replica's share of a batch, of `size` images."""

    seed: int
    step: tf.Tensor
    size: tf.Tensor
    replicas: int

    def dropped(self, x: tf.Tensor, rate: float) -> tf.Tensor:
        """x [size, features] with dropout."""
        stamp = tf.stack([tf.constant(self.seed), self.step])
        if self.replicas == 1:
            return tf.nn.experimental.stateless_dropout(x, rate, seed=stamp)
        ones = tf.ones([self.size * self.replicas, x.shape[-1]])
        mask = tf.nn.experimental.stateless_dropout(ones, rate, seed=stamp)
        return x * tf.cast(self._own(mask), x.dtype)

    def kept(self, blocks: int, rate: float) -> tf.Tensor:
        """[size, blocks]: 0 where an image skips the block, 1 / survival elsewhere, so that the
        mean is 1. Block l of L survives with probability 1 - l / L * rate (eq. 4)."""
        survival = tf.constant([1.0 - (block + 1) / blocks * rate for block in range(blocks)])
        stamp = tf.stack([tf.constant(-1 - self.seed), self.step])  # another stream than dropout's
        drawn = tf.random.stateless_uniform([self.size * self.replicas, blocks], seed=stamp)
        return self._own(tf.where(drawn < survival, 1.0 / survival, 0.0))

    def _own(self, rows: tf.Tensor) -> tf.Tensor:
        if self.replicas == 1:
            return rows
        first = self.size * tf.distribute.get_replica_context().replica_id_in_sync_group
        return rows[first : first + self.size]


def _times(factors: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Each image of y [batch, height, width, channels] times its factor."""
    return y * tf.cast(factors, y.dtype)[:, None, None, None]


def _run(
    model: keras.Model, images: tf.Tensor, changes: Mapping[str, _Change], statistics: bool
) -> tf.Tensor:
    """`model(images)` where the last input of each layer in `changes` is changed: of the sum at a
    block's end that is its branch."""
    values = {id(model.inputs[0]): images}
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        inputs = [values[id(tensor)] for tensor in tf.nest.flatten(layer.input)]
        if layer.name in changes:
            inputs[-1] = changes[layer.name](inputs[-1])
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        named = {"training": statistics} if is_norm else {}
        values[id(layer.output)] = layer(inputs if len(inputs) > 1 else inputs[0], **named)
    return values[id(model.outputs[0])]
