"""The over-parameterised network (section 3.1): the fixed blocks of a space and a mixed op for each
choice block, joined by its topology.

A path is a tuple of candidate indices, one for each choice block; one path runs at a time. Knows
nothing of latency, of how paths are sampled or of how anything is trained.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Sequence

import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import RunConfig, SearchConfig
from pnas_tf.networks.remapped_space import Remapping
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.graph import Choice, Fixed, GraphGradients, MergeOp, run_backward, run_graph
from pnas_tf.supernet.engine import Engine, Values
from pnas_tf.supernet.engine_choice import engine_of
from pnas_tf.supernet.functional import merge_gradient, merge_output
from pnas_tf.supernet.initializers import initial_alphas, initializer_of
from pnas_tf.supernet.mixed_op import BlockWeights, MixedOp
from pnas_tf.supernet.numerics import Numerics

MergeChannels = dict[int, list[int]]  # place of a merge op -> channels of its inputs


class Supernet(keras.Model):
    """All candidates of a space.

    Attributes:
        space: what can be searched.
        numerics: how its blocks are computed.
        topology: how they are joined.
        fixed: the blocks that every network has, by name.
        mixed_ops: one for each choice block.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: SearchConfig = SearchConfig(),
        *,
        numerics: Numerics = Numerics(),
        seed: int = RunConfig.seed,
        start: Remapping | None = None,
    ) -> None:
        """
        Args:
            space: what can be searched.
            config: how weights and alpha start (weights_init, init_div_groups, shortcut_gamma,
                alpha_init, alpha_scale), and which engine computes; its other options are unused.
            numerics: normalisation, decay, precision, replicas.
            seed: of initial weights and alpha.
            start: weights that are known, in place of `config.weights_init`.
        """
        super().__init__(name=f"supernet_{space.name}")
        self.space, self.numerics, self.topology = space, numerics, space.topology
        self._engine_name = config.engine
        choices = space.choice_blocks
        initializer = initializer_of(space, config, seed=seed, start=start)
        self.fixed = {
            block.name: BlockWeights(
                block, numerics=numerics, initializer=initializer, name=block.name
            )
            for block in space.fixed_blocks()
        }
        self.mixed_ops = [
            MixedOp(
                [space.candidate_block(choice, op) for op in choice.candidates],
                numerics=numerics,
                initializer=initializer,
                initial_alpha=alpha,
                name=choice.name,
            )
            for choice, alpha in zip(choices, initial_alphas(space, config, seed=seed), strict=True)
        ]
        self._sources = {
            node.block.name if isinstance(node, Fixed) else choices[node.index].name: node.inputs[0]
            for node in self.topology
            if isinstance(node, (Fixed, Choice))
        }
        self.built = True

    @functools.cached_property
    def engine(self) -> Engine:
        """What computes the blocks, chosen when the first step asks.

        Raises:
            UserError: the tape is asked for by name and cannot compute by `numerics`.
        """
        return engine_of(self._engine_name, self.numerics)

    def source_of(self, block: BlockWeights) -> int:
        """The place in the topology that a fixed block or a candidate reads."""
        return self._sources[block.block.name]

    def forward(
        self,
        images: Values,
        *,
        fixed: Callable[[BlockWeights, Values], Values],
        choice: Callable[[int, Values], Values],
    ) -> tuple[Values, MergeChannels]:
        """Runs the network on lists with one tensor a local replica.

        Args:
            images: [batch, resolution, resolution, channels] each.
            fixed: (block, input) -> output.
            choice: (index of the choice block, input) -> output.

        Returns:
            (logits [batch, classes] each, what `backward` needs to know of the merge ops).
        """
        channels: MergeChannels = {}
        each = self.numerics.replicas.each

        def merged(place: int, merge: MergeOp, inputs: Sequence[Values]) -> Values:
            channels[place] = [x[0].shape[-1] for x in inputs]
            return each(lambda *parts: merge_output(merge, parts), *inputs)

        logits = run_graph(
            self.topology,
            images,
            fixed=lambda block, x: fixed(self.fixed[block.name], x),
            choice=choice,
            merge=merged,
        )
        return logits, channels

    def backward(
        self,
        upstream: Values,
        channels: MergeChannels,
        *,
        fixed: Callable[[BlockWeights, Values], Values | None],
        choice: Callable[[int, Values], Values | None],
        wanted: Collection[int],
    ) -> None:
        """Takes the gradient at the logits back through the network.

        Args:
            upstream: the gradient at the logits, one tensor a local replica.
            channels: what `forward` gave.
            fixed: (block, gradient at its output) -> gradient at its input, or None where that
                place is not wanted.
            choice: the same, with the index of the choice block.
            wanted: the places in the topology whose values need a gradient.
        """
        each = self.numerics.replicas.each

        def merge_gradients(place: int, merge: MergeOp, dy: Values) -> list[Values]:
            parts = each(lambda part: merge_gradient(merge, part, channels[place]), dy)
            return [list(gradient) for gradient in zip(*parts, strict=True)]

        run_backward(
            self.topology,
            upstream,
            GraphGradients(
                fixed=lambda block, dy: fixed(self.fixed[block.name], dy),
                choice=choice,
                merge=merge_gradients,
                add=lambda uses: each(lambda *parts: tf.add_n(parts), *uses),
            ),
            wanted=wanted,
        )

    @property
    def alphas(self) -> list[tf.Variable]:
        """The architecture parameters, one vector for each choice block."""
        return [mixed_op.alpha for mixed_op in self.mixed_ops]

    def architecture_of(self, path: ChoiceIndices) -> Architecture:
        """The architecture that `path` computes."""
        choices = self.space.choice_blocks
        ops = (choice.candidates[active] for choice, active in zip(choices, path, strict=True))
        return Architecture(self.space, tuple(ops))

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
                name, variables = f"{block.block.name}/{layer.name}", block.by_layer[layer.name]
                own = 1 + layer.bias
                _set(network.get_layer(name), variables[:own])
                if layer.norm:
                    _set(network.get_layer(f"{name}_bn"), variables[own:])


def _set(layer: keras.layers.Layer, variables: Sequence[tf.Variable]) -> None:
    layer.set_weights([variable.numpy() for variable in variables])
