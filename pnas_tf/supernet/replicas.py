"""Copies of a network that train as one: where they are, and sums over all of them inside a
compiled function.

The sums are TensorFlow's own collectives, the ops that `tf.distribute` reduces with: NCCL between
GPUs, gRPC between hosts. Knows nothing of blocks, and nothing of how devices and processes were
found (`training.distribution` does that).
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import tensorflow as tf

from pnas_tf.supernet.compiled.graph_pieces import GraphPiece, trace_piece

Result = TypeVar("Result")

_DRAIN_S = 1.0
_GROUP = 0x504E4153  # a group of our own beside those of the strategies
# The n-th traced sum of this process meets the n-th of every other: all trace the same functions in
# the same order.
_KEYS = itertools.count(1)


@dataclass(frozen=True)
class Replicas:
    """The copies of a network.

    Attributes:
        devices: those of this process, one a replica ("": where TensorFlow puts things).
        total: replicas in all processes.
        first: the number of this process's first replica among all.
    """

    devices: tuple[str, ...] = ("",)
    total: int = 1
    first: int = 0

    @property
    def local(self) -> int:
        """Replicas of this process."""
        return len(self.devices)

    def shares(self, batch: tf.Tensor) -> list[tf.Tensor]:
        """Each local replica's part of a global batch, on its device. batch: [n * total, ...]."""
        if self.total == 1:
            return [batch]
        size = batch.shape[0] // self.total
        start = self.first * size
        return self.each(
            lambda part: tf.identity(batch[start + part * size : start + (part + 1) * size]),
            range(self.local),
        )

    def each(
        self, function: Callable[..., Result], *values: Sequence[tf.Tensor] | Sequence[int]
    ) -> list[Result]:
        """`function` of each replica's values, on the replica's device. values: one entry a local
        replica each."""
        if self.total == 1:
            return [function(*(value[0] for value in values))]
        results = []
        for device, *parts in zip(self.devices, *values, strict=True):
            with tf.device(device):
                results.append(function(*parts))
        return results

    def total_of(self, numbers: Sequence[float]) -> np.ndarray:
        """The sum over all processes of the numbers that each gives, float64 [numbers]; they travel
        as float32."""
        if self.total == self.local:
            return np.asarray(numbers, np.float64)
        summed = _host_sum(self, len(numbers))([tf.constant(numbers, tf.float32)])[0]
        return summed.numpy().astype(np.float64) / self.local

    def drain(self) -> None:
        """Before a process ends whose last act was `total_of`: the others may still be receiving
        their part of it from this one."""
        if self.total > self.local:
            time.sleep(_DRAIN_S)


class CrossReplicaReducer:
    """The sums over all replicas of one traced function, as seen by one replica.

    Every replica's trace must ask for the same sums in the same order. Sums of the forward graph
    and sums of gradients form two chains, each in order: devices that start collectives in
    different orders wait for each other for ever.
    """

    def __init__(self, replicas: Replicas, device: str, keys: list[int]) -> None:
        self.total = replicas.total
        self._device, self._keys, self._used = device, keys, 0
        self._last: list[tf.Operation | None] = [None, None]  # of either chain

    def sum(self, tensors: Sequence[tf.Tensor], *, late: bool = False) -> list[tf.Tensor]:
        """The sums over all replicas, in one message. Differentiable: its gradient is the
        gradients' sum.

        Args:
            tensors: float32, of known shapes.
            late: in the chain of the gradients.
        """
        if self.total == 1 or not tensors:
            return list(tensors)
        there, back = self._key(), self._key()

        @tf.custom_gradient
        def summed(flat: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return self._reduce(flat, there, int(late)), lambda upstream: self._reduce(
                upstream, back, 1
            )

        flat = summed(tf.concat([tf.reshape(tensor, [-1]) for tensor in tensors], 0))
        parts = tf.split(flat, [tensor.shape.num_elements() for tensor in tensors])
        return [tf.reshape(part, tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The means over all replicas; otherwise as `sum`."""
        return [total / self.total if self.total > 1 else total for total in self.sum(tensors)]

    def _key(self) -> int:
        if self._used == len(self._keys):
            self._keys.append(next(_KEYS))
        self._used += 1
        return self._keys[self._used - 1]

    def _reduce(self, flat: tf.Tensor, key: int, chain: int) -> tf.Tensor:
        before = self._last[chain]
        with (
            tf.device(self._device),
            tf.control_dependencies([before] if before is not None else []),
        ):
            result = tf.raw_ops.CollectiveReduceV2(
                input=flat,
                group_size=self.total,
                group_key=_GROUP,
                instance_key=key,
                ordering_token=[],
                merge_op="Add",
                final_op="Id",
            )
        self._last[chain] = result.op
        return result


def reducers(replicas: Replicas) -> list[CrossReplicaReducer]:
    """One for each local replica, for one traced function."""
    keys: list[int] = []
    return [CrossReplicaReducer(replicas, device, keys) for device in replicas.devices]


def on(device: str) -> contextlib.AbstractContextManager:
    """The context in which a replica's part of a function is traced."""
    return tf.device(device) if device else contextlib.nullcontext()


def variable_of(
    value: np.ndarray | tf.Tensor, replicas: Replicas, *, trainable: bool = True
) -> tf.Variable:
    """A variable that costs little more than its values. value: what it starts from.

    It has no name and, to TensorFlow's runtime, no sizes: a compiled function is kept for every
    name that a variable was created with (36 kB), and one more of each piece (0.4 MB) for every
    shape that its variables were created with. And it owns its memory from the start: one that
    began as a view of a numpy array would move at its first update, and leave a hole behind.
    """
    if replicas.total > 1:
        return tf.Variable(value, trainable=trainable)
    owned = tf.raw_ops.DeepCopy(x=value) if isinstance(value, np.ndarray) else value
    variable = tf.Variable(owned, trainable=trainable, shape=[None] * value.ndim)
    variable.set_shape(value.shape)
    return variable


def handles_of(variables: Sequence[tf.Variable], replicas: Replicas) -> tuple[tf.Tensor, ...]:
    """The resource handles of all variables' copies, replica after replica.

    variables: made in the scope of a strategy where there are replicas.
    """
    if replicas.total == 1:
        return tuple(variable.handle for variable in variables)
    return tuple(
        variable.values[place].handle for place in range(replicas.local) for variable in variables
    )


@functools.lru_cache(maxsize=64)  # the steps of one search sum a handful of lengths
def _host_sum(replicas: Replicas, length: int) -> GraphPiece:
    def trace(inputs: list[tf.Tensor]) -> list[tf.Tensor]:
        sums = []
        for device, reducer in zip(replicas.devices, reducers(replicas), strict=True):
            with on(device):
                sums += reducer.sum(inputs)
        return [tf.identity(sums[0])]

    return trace_piece(trace, [tf.TensorSpec([length])])
