"""A block as a graph of the compiled engine sees it: what it takes, and o(x) of what it reads.

Values are lists with one tensor a local replica; variables come as resource handles, so that blocks
of one kind share their graphs. Knows nothing of gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import tensorflow as tf

from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import UIB, BasicBlock, FusedMBConv, MBConv
from pnas_tf.supernet.functional import Mode, forward
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import CrossReplicaReducer, on, reducers
from pnas_tf.supernet.variables import variables_of

HANDLE = tf.TensorSpec([], tf.resource)
# Kernels of 3 and more are computed alike; 1 is a product of matrices, 0 no layer.
_LIKE_3 = {"kernel": 3, "start_kernel": 3, "middle_kernel": 3}


def shared_block(block: Block, numerics: Numerics) -> Block:
    """The block whose graphs compute this one too.

    It has no name, which says where a block stands, and, of the searched blocks of a chain, no
    sizes, which values and variables bring with them. Sums over replicas are messages of known
    lengths, so there every size has graphs of its own.
    """
    block, op = replace(block, name="block"), block.op
    if not isinstance(op, (MBConv, FusedMBConv, BasicBlock, UIB)) or numerics.replicas.total > 1:
        return block
    padded_by_kernel = block.padding != "same" and block.stride > 1
    most = {"expansion": 2, **({} if padded_by_kernel else _LIKE_3)}
    sizes = {f.name: min(getattr(op, f.name), most[f.name]) for f in fields(op) if f.name in most}
    op = replace(op, **sizes)
    return replace(block, op=op, in_size=0, out_size=0, in_channels=0, out_channels=0)


class TracedBlock:
    """What the graphs of one block have in common.

    Args:
        block: as of `shared_block`; a size of 0 is not known.
        numerics: how it is computed.

    Attributes:
        variables: as of `variables_of(block)`.
        inputs: what a forward graph takes: each replica's x, then the handles of all variables,
            replica after replica.
        upstream: the gradient of the block's output on one replica.
    """

    def __init__(self, block: Block, numerics: Numerics) -> None:
        self.block, self.numerics = block, numerics
        self.local = numerics.replicas.local
        self.variables = variables_of(block)
        x = _images(block.in_size, block.in_channels, numerics.dtype)
        handles = [HANDLE] * (len(self.variables) * self.local)
        self.inputs: list[tf.TensorSpec] = [*[x] * self.local, *handles]
        is_logits = bool(block.layers) and block.layers[-1].kind == "dense"
        self.upstream: tf.TensorSpec = (
            tf.TensorSpec([None, block.out_channels])
            if is_logits
            else _images(block.out_size, block.out_channels, numerics.dtype)
        )

    def by_replica(self, tensors: Sequence[tf.Tensor], size: int) -> list[list[tf.Tensor]]:
        """A flat list as one list of `size` for each local replica."""
        return [list(tensors[place * size : (place + 1) * size]) for place in range(self.local)]

    def handles(self, inputs: Sequence[tf.Tensor]) -> list[list[tf.Tensor]]:
        """Each replica's handles out of what a forward graph takes."""
        return self.by_replica(inputs[self.local :], len(self.variables))

    def read(self, handles: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The values of all variables in order."""
        values = []
        for spec, handle in zip(self.variables, handles, strict=True):
            value = tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float32)
            value.set_shape(spec.shape if self.block.in_size else [None] * len(spec.shape))
            values.append(value)
        return values

    def select(self, values: Sequence[tf.Tensor], *, trainable: bool) -> list[tf.Tensor]:
        """Of one value for each variable those of trained ones, or those of statistics."""
        return [
            value
            for spec, value in zip(self.variables, values, strict=True)
            if spec.trainable == trainable
        ]

    def compute(
        self, x: tf.Tensor, values: Sequence[tf.Tensor], *, mode: Mode, reducer: CrossReplicaReducer
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """o(x) on one replica.

        Args:
            x: [batch, in_size, in_size, in_channels].
            values: of all variables in order.
            mode: what for.
            reducer: of this replica.

        Returns:
            (o(x), what the moving statistics move down by: nothing but in mode WEIGHTS).
        """

        def computed(x: tf.Tensor, *values: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
            arguments = [
                value if spec.trainable else _MovingStatistic(value, [])
                for spec, value in zip(self.variables, values, strict=True)
            ]
            output = forward(
                self.block,
                x,
                arguments,
                mode=mode,
                numerics=self.numerics,
                reducer=reducer if reducer.total > 1 else None,
            )
            statistics = self.select(arguments, trainable=False)
            return output, [moved for statistic in statistics for moved in statistic.differences]

        if self.numerics.jit_compile:
            return tf.function(computed, jit_compile=True, autograph=False)(x, *values)
        return computed(x, *values)

    def outputs(self, inputs: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """(x, o(x)) of each local replica, of what a forward graph takes; weights are constants."""
        results, replicas = [], self.numerics.replicas
        for place, reducer in enumerate(reducers(replicas)):
            with on(replicas.devices[place]):
                values = self.read(self.handles(inputs)[place])
                output, _ = self.compute(
                    inputs[place], values, mode=Mode.ARCHITECTURE, reducer=reducer
                )
            results.append((inputs[place], output))
        return results

    def with_shortcut(self, x: tf.Tensor, output: tf.Tensor) -> tf.Tensor:
        """y = o(x), plus x with an identity shortcut."""
        return tf.add_n([x, output]) if self.block.shortcut else output


@dataclass(frozen=True)
class _MovingStatistic:
    """What `functional.forward` takes for moving statistics: a value, and what it moves down by."""

    current: tf.Tensor
    differences: list[tf.Tensor]

    def value(self) -> tf.Tensor:
        """As of `tf.Variable`."""
        return self.current

    def assign_sub(self, difference: tf.Tensor) -> None:
        """As of `tf.Variable`; whoever traces the block makes the update."""
        self.differences.append(difference)


def _images(size: int, channels: int, dtype: tf.DType) -> tf.TensorSpec:
    """Of zeros nothing is known."""
    return tf.TensorSpec([None, size or None, size or None, channels or None], dtype)
