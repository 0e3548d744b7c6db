"""The over-parameterised network (section 3.1): the fixed blocks of a space and a mixed op for each
choice block, joined by its topology.

A path is a tuple of candidate indices, one for each choice block; one path runs at a time. Knows
nothing of latency, of how paths are sampled or of how anything is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import SearchConfig
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.graph import Choice, Fixed, Joint, evaluate, pull_back
from pnas_tf.supernet.engine import Engine, Values
from pnas_tf.supernet.engine_choice import engine_of
from pnas_tf.supernet.functional import Arithmetic, join, join_gradient
from pnas_tf.supernet.initializers import AlignedInitial, Initial
from pnas_tf.supernet.mixed_op import BlockWeights, MixedOp

JointChannels = dict[int, list[int]]  # place of a joint -> channels of its inputs


class Supernet(keras.Model):
    """All candidates of `space`.

    alpha_scale: alpha starts normal with this deviation (published 1e-3), so that the first paths
    are uniform. weights_init: "he_fout" (published), "he_fin" or "aligned"; init_div_groups and,
    for aligned, shortcut_gamma: see `initializers`. engine:
    auto, tape or compiled, see `engine_choice`.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        weights_init: str,
        arithmetic: Arithmetic = Arithmetic(),
        seed: int = 0,
        alpha_scale: float = SearchConfig.alpha_scale,
        alpha_init: str = SearchConfig.alpha_init,
        init_div_groups: bool = SearchConfig.init_div_groups,
        shortcut_gamma: float = SearchConfig.shortcut_gamma,
        engine: str = SearchConfig.engine,
    ):
        super().__init__(name=f"supernet_{space.name}")
        self.space, self.arithmetic, self._engine_name = space, arithmetic, engine
        initial = (
            AlignedInitial(space, seed, div_groups=init_div_groups, shortcut_gamma=shortcut_gamma)
            if weights_init == "aligned"
            else Initial(seed, fan=weights_init.removeprefix("he_f"), div_groups=init_div_groups)
        )
        self.topology = space.topology
        self._sources = {
            node.block.name
            if isinstance(node, Fixed)
            else space.choice_blocks[node.index].name: node.inputs[0]
            for node in self.topology
            if isinstance(node, (Fixed, Choice))
        }
        self.fixed = {
            block.name: BlockWeights(block, arithmetic=arithmetic, initial=initial, name=block.name)
            for block in space.fixed_blocks()
        }
        generator = np.random.default_rng([seed, 1])
        draw = (
            generator.standard_normal
            if alpha_init == "normal"
            else lambda size: generator.uniform(-1.0, 1.0, size)
        )
        self.mixed_ops = [
            MixedOp(
                tuple(space.candidate_block(choice, op) for op in choice.candidates),
                arithmetic=arithmetic,
                initial=initial,
                initial_alpha=alpha_scale * draw(len(choice.candidates)),
                name=choice.name,
            )
            for choice in space.choice_blocks
        ]
        self.built = True

    @functools.cached_property
    def engine(self) -> Engine:
        """What computes the blocks, chosen when the first step asks. Raises UserError when the tape
        is asked for by name and cannot compute by `arithmetic`."""
        return engine_of(self._engine_name, self.arithmetic)

    def source_of(self, block: BlockWeights) -> int:
        """The place in the topology that a fixed block or a candidate reads."""
        return self._sources[block.block.name]

    def forward(
        self,
        images: Values,
        *,
        fixed: Callable[[BlockWeights, Values], Values],
        choice: Callable[[int, Values], Values],
    ) -> tuple[Values, JointChannels]:
        """(logits, what `pull_back` needs to know of the joints), lists with one tensor a local
        replica.

        fixed: (block, input) -> output; choice: with its index.
        """
        channels: JointChannels = {}
        each = self.arithmetic.replicas.each

        def joined(place: int, joint: Joint, inputs: Sequence[Values]) -> Values:
            channels[place] = [x[0].shape[-1] for x in inputs]
            return each(lambda *parts: join(joint, parts), *inputs)

        logits = evaluate(
            self.topology,
            images,
            fixed=lambda block, x: fixed(self.fixed[block.name], x),
            choice=choice,
            joint=joined,
        )
        return logits, channels

    def pull_back(
        self,
        upstream: Values,
        channels: JointChannels,
        *,
        fixed: Callable[[BlockWeights, Values], Values | None],
        choice: Callable[[int, Values], Values | None],
        wanted: Collection[int],
    ) -> None:
        """Takes the gradient at the logits back through the network; callbacks and `wanted` as of
        `space.graph.pull_back`."""
        each = self.arithmetic.replicas.each

        def joint_gradients(place: int, joint: Joint, dy: Values) -> list[Values]:
            parts = each(lambda part: join_gradient(joint, part, channels[place]), dy)
            return [list(gradient) for gradient in zip(*parts, strict=True)]

        pull_back(
            self.topology,
            upstream,
            fixed=lambda block, dy: fixed(self.fixed[block.name], dy),
            choice=choice,
            joint=joint_gradients,
            add=lambda uses: each(lambda *parts: tf.add_n(parts), *uses),
            wanted=wanted,
        )

    @property
    def alphas(self) -> list[tf.Variable]:
        """The architecture parameters, one vector for each choice block."""
        return [mixed_op.alpha for mixed_op in self.mixed_ops]

    def path_of(self, architecture: Architecture) -> ChoiceIndices:
        """The path that computes `architecture`."""
        return tuple(
            choice.candidates.index(op)
            for choice, op in zip(self.space.choice_blocks, architecture.ops, strict=True)
        )

    def architecture_of(self, path: ChoiceIndices) -> Architecture:
        """The architecture that `path` computes."""
        return Architecture(
            self.space,
            tuple(
                choice.candidates[active]
                for choice, active in zip(self.space.choice_blocks, path, strict=True)
            ),
        )

    def blocks_on(self, path: ChoiceIndices) -> Iterator[BlockWeights]:
        """What runs when `path` runs, in order; Zero candidates own no variables."""
        for node in self.topology:
            if isinstance(node, Fixed):
                yield self.fixed[node.block.name]
            elif isinstance(node, Choice):
                yield self.mixed_ops[node.index].candidates[path[node.index]]

    def all_blocks(self) -> Iterator[BlockWeights]:
        """Every BlockWeights of the supernet, in a fixed order."""
        for node in self.topology:
            if isinstance(node, Fixed):
                yield self.fixed[node.block.name]
            elif isinstance(node, Choice):
                yield from self.mixed_ops[node.index].candidates

    def named_variables(self) -> dict[str, tf.Variable]:
        """Unique name -> variable: weights, moving statistics and alpha of everything."""
        named: dict[str, tf.Variable] = {}
        for block in self.all_blocks():
            named |= block.named
        return named | {f"{mixed_op.name}/alpha": mixed_op.alpha for mixed_op in self.mixed_ops}

    def inherit(self, network: keras.Model, path: ChoiceIndices) -> None:
        """Copies the weights and moving statistics of `path` into the plain `network` of the same
        architecture."""
        for block in self.blocks_on(path):
            for layer in block.block.layers:
                name = f"{block.block.name}/{layer.name}"
                _set(network.get_layer(name), block.by_layer[layer.name][: 1 + layer.bias])
                if layer.norm:
                    _set(
                        network.get_layer(f"{name}_bn"),
                        block.by_layer[layer.name][1 + layer.bias :],
                    )


def _set(layer: keras.layers.Layer, variables: Sequence[Any]) -> None:
    layer.set_weights([variable.numpy() for variable in variables])
