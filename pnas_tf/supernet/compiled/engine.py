"""The fast engine: every block through compiled graphs that it shares with its like.

Buys, against `tape`: about a millisecond a block and pass, and an update that runs beside the
backward pass of the blocks before; docs/engine.md has the figures. Knows nothing of alpha, paths or
latency.
"""

from __future__ import annotations

import functools

from pnas_tf.space.blocks import Block
from pnas_tf.supernet.compiled.architecture_graphs import (
    ArchitectureGraphs,
    gate_graph,
    output_graph,
)
from pnas_tf.supernet.compiled.traced_block import shared_block
from pnas_tf.supernet.compiled.weight_graphs import WeightGraphs
from pnas_tf.supernet.engine import ArchitectureBackward, Values, WeightBackward
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.numerics import Numerics


class CompiledEngine:
    """`engine.Engine` on any replicas, in any precision.

    It owns what it compiles: graphs are made when a block first asks, serve every block of that
    kind, and go with the engine (`engine_choice` lets supernets of one process share it).
    """

    name = "compiled"

    def __init__(self) -> None:
        self._weight_graphs = functools.cache(WeightGraphs)
        self._architecture_graphs = functools.cache(ArchitectureGraphs)
        self._output_graph = functools.cache(output_graph)
        self._gate_graph = functools.cache(gate_graph)

    def weight_graphs(
        self, block: Block, numerics: Numerics, *, nesterov: bool, input_gradient: bool
    ) -> WeightGraphs:
        """The graphs that all blocks of this kind share. Arguments: `WeightGraphs`."""
        return self._weight_graphs(
            shared_block(block, numerics),
            numerics,
            nesterov=nesterov,
            input_gradient=input_gradient,
        )

    def architecture_graphs(
        self, block: Block, numerics: Numerics, *, input_gradient: bool, gate: bool
    ) -> ArchitectureGraphs:
        """The graphs that all blocks of this kind share. Arguments: `ArchitectureGraphs`."""
        return self._architecture_graphs(
            shared_block(block, numerics), numerics, input_gradient=input_gradient, gate=gate
        )

    def weight_pass(
        self, block: BlockWeights, x: Values, *, nesterov: bool, input_gradient: bool
    ) -> tuple[Values, WeightBackward]:
        """As of `Engine`."""
        graphs = self.weight_graphs(
            block.block, block.numerics, nesterov=nesterov, input_gradient=input_gradient
        )
        y, residuals = graphs.forward(x, block.handles)
        return y, functools.partial(graphs.backward, residuals=residuals)

    def architecture_pass(
        self, block: BlockWeights, x: Values, *, input_gradient: bool, gate: bool
    ) -> tuple[Values, ArchitectureBackward]:
        """As of `Engine`."""
        graphs = self.architecture_graphs(
            block.block, block.numerics, input_gradient=input_gradient, gate=gate
        )
        y, residuals = graphs.forward(x, block.handles)
        return y, functools.partial(graphs.backward, residuals=residuals)

    def output(self, block: BlockWeights, x: Values, *, shortcut: bool) -> Values:
        """As of `Engine`."""
        common = shared_block(block.block, block.numerics)
        graph = self._output_graph(
            common, block.numerics, shortcut=shortcut and block.block.shortcut
        )
        return graph([*x, *block.handles])

    def gate_products(self, block: BlockWeights, x: Values, upstream: Values) -> Values:
        """As of `Engine`."""
        graph = self._gate_graph(shared_block(block.block, block.numerics), block.numerics)
        return graph([*x, *block.handles, *upstream])
