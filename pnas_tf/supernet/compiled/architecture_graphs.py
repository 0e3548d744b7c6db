"""An architecture step's graphs of one block: as a weight step's, but weights are constants and
nothing is updated, so that no gradient of a weight is ever computed."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from pnas_tf.space.blocks import Block
from pnas_tf.supernet.compiled.graph_pieces import GraphPiece, trace_piece, trace_pieces
from pnas_tf.supernet.compiled.traced_block import TracedBlock
from pnas_tf.supernet.compiled.weight_graphs import Residuals
from pnas_tf.supernet.functional import inner_product
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import on


class ArchitectureGraphs:
    """Forward and backward. Values are lists with one tensor a local replica.

    Args:
        block: as of `shared_block`.
        numerics: how it is computed.
        input_gradient: whether anything before the block needs a gradient.
        gate: whether `backward` also gives <dL/dy, o(x)> of each local replica; dL/dg is the sum
            over all replicas (eq. 4).
    """

    def __init__(
        self, block: Block, numerics: Numerics, *, input_gradient: bool, gate: bool
    ) -> None:
        self._traced, self._input_gradient, self._gate = (
            TracedBlock(block, numerics),
            input_gradient,
            gate,
        )
        upstream = [self._traced.upstream] * self._traced.local
        forward, backward = trace_pieces(self._trace, self._traced.inputs, upstream)
        assert forward is not None and backward is not None, (
            "neither a gradient nor a gate is asked for"
        )
        self.graphs: tuple[GraphPiece, GraphPiece] = forward, backward

    def forward(
        self, x: Sequence[tf.Tensor], handles: Sequence[tf.Tensor]
    ) -> tuple[list[tf.Tensor], Residuals]:
        """(y, what `backward` needs), as of `WeightGraphs`."""
        inputs = [*x, *handles]
        results = self.graphs[0](inputs)
        local = self._traced.local
        return results[:local], Residuals(inputs, results[local:])

    def backward(
        self, upstream: Sequence[tf.Tensor], *, residuals: Residuals
    ) -> tuple[list[tf.Tensor] | None, list[tf.Tensor] | None]:
        """As of `engine.ArchitectureBackward`. residuals: of `forward`."""
        results = self.graphs[1]([*residuals.inputs, *residuals.between, *upstream])
        local = self._traced.local
        gradient = results[:local] if self._input_gradient else None
        return gradient, results[-local:] if self._gate else None

    def _trace(self, inputs: list[tf.Tensor], upstream: list[tf.Tensor]) -> list[list[tf.Tensor]]:
        outputs: list[tf.Tensor] = []
        gradients: list[tf.Tensor] = []
        products: list[tf.Tensor] = []
        devices = self._traced.numerics.replicas.devices
        for place, (x, output) in enumerate(self._traced.outputs(inputs)):
            with on(devices[place]):
                y = self._traced.with_shortcut(x, output)
                if self._input_gradient:
                    gradients += tf.gradients(y, [x], grad_ys=upstream[place])
                products.append(inner_product(upstream[place], output))
            outputs.append(y)
        return [outputs, [*gradients, *(products if self._gate else [])]]


def output_graph(block: Block, numerics: Numerics, *, shortcut: bool) -> GraphPiece:
    """[*x, *handles] -> [*o(x)], with x added where `shortcut` and the block has one; batch
    statistics, nothing updated. block: as of `shared_block`."""
    traced = TracedBlock(block, numerics)

    def output(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        results = []
        devices = numerics.replicas.devices
        for device, (x, own) in zip(devices, traced.outputs(inputs), strict=True):
            with on(device):
                results.append(traced.with_shortcut(x, own) if shortcut else own)
        return results

    return trace_piece(output, traced.inputs)


def gate_graph(block: Block, numerics: Numerics) -> GraphPiece:
    """[*x, *handles, *upstream] -> [*<upstream, o(x)>], the parts of the gate gradient of a
    candidate that did not run (eq. 4). block: as of `shared_block`."""
    traced = TracedBlock(block, numerics)

    def products(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        results, upstream = [], inputs[-traced.local :]
        for place, (_, own) in enumerate(traced.outputs(inputs[: -traced.local])):
            with on(numerics.replicas.devices[place]):
                results.append(inner_product(upstream[place], own))
        return results

    return trace_piece(products, [*traced.inputs, *[traced.upstream] * traced.local])
