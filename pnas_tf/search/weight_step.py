"""One weight step: sample nothing, decide nothing, train the weights on one path (section 3.2,
first half of the loop).

Only variables of the path are read or written: an unsampled candidate's weights, momentum and
weight decay stay as they are, to the bit. Knows nothing of alpha.
"""

from __future__ import annotations

import collections
import functools
import math
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pnas_tf.config import OptimizerConfig
from pnas_tf.run.checkpoints import Checkpoint
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.space.ops import Zero
from pnas_tf.supernet.engine import Momenta, Update, Values, WeightBackward
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.replicas import Replicas, handles_of, variable_of
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.loss_scale import LossScale
from pnas_tf.training.step import smoothed_cross_entropy


class Momentum:
    """SGD with Nesterov momentum, accum = m * accum + g; w -= lr * (g + m * accum), one slot for
    each variable it has met.

    The update itself is an engine's. config: momentum, nesterov and label smoothing; weight decay
    is the supernet's numerics.
    """

    def __init__(self, config: OptimizerConfig):
        self.config, self.momentum = config, tf.constant(config.momentum)
        self.slots: dict[str, tf.Variable] = {}
        self.loss_scale = LossScale()
        self._momenta: dict[str, Momenta] = {}

    def slot(self, name: str, variable: tf.Variable, replicas: Replicas) -> tf.Variable:
        """The momentum of the variable of this name, zeros until its first step."""
        if name not in self.slots:
            self.slots[name] = variable_of(tf.fill(variable.shape, 0.0), replicas, trainable=False)
        return self.slots[name]

    def momenta(self, block: BlockWeights) -> Momenta:
        """The slots of a block's trained variables."""
        if block.name not in self._momenta:
            replicas = block.numerics.replicas
            slots = tuple(
                self.slot(name, variable, replicas)
                for name, variable in block.named.items()
                if variable.trainable
            )
            self._momenta[block.name] = Momenta(slots, handles_of(slots, replicas))
        return self._momenta[block.name]

    def arrays(self) -> dict[str, np.ndarray]:
        """The slots, for a checkpoint."""
        return {f"momentum/{name}": slot.numpy() for name, slot in self.slots.items()}

    def restore(self, checkpoint: Checkpoint, supernet: Supernet, *, where: str) -> None:
        """Takes them back. Raises UserError naming an array of `where` that has another shape."""
        named, replicas = supernet.named_variables(), supernet.numerics.replicas
        for key in checkpoint.arrays:
            name = key.removeprefix("momentum/")
            if key != name and name in named:
                slot = self.slot(name, named[name], replicas)
                slot.assign(checkpoint.array(key, shape=tuple(slot.shape), where=where))


@tf.function(reduce_retracing=True)
def cross_entropy(
    logits: tf.Tensor, labels: tf.Tensor, smoothing: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """(`training.step.smoothed_cross_entropy`, its gradient at the logits). smoothing: a scalar
    tensor."""
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = smoothed_cross_entropy(logits, labels, smoothing=smoothing)
    return loss, tape.gradient(loss, logits)


@tf.function(reduce_retracing=True)
def top1(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Fraction of the batch whose largest logit is the label's."""
    return tf.reduce_mean(
        tf.cast(
            tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), tf.cast(labels, tf.int32)),
            tf.float32,
        )
    )


@dataclass(frozen=True)
class BatchLoss:
    """Cross-entropy and top-1 of a global batch, and the gradient of the first at each local
    replica's logits."""

    loss: float
    accuracy: float
    upstream: Values


def batch_loss(
    replicas: Replicas, logits: Values, labels: Values, *, smoothing: float, scale: float = 1.0
) -> BatchLoss:
    """scale: what the gradient is multiplied by. labels: integers [batch of the replica] each."""
    parts = replicas.each(
        lambda *own: (*cross_entropy(*own, tf.constant(smoothing)), top1(*own)), logits, labels
    )
    upstream = [gradient for _, gradient, _ in parts]
    if scale != replicas.total:  # the loss is the mean over the global batch
        upstream = replicas.each(lambda gradient: gradient * (scale / replicas.total), upstream)
    sums = replicas.total_of(
        [sum(float(loss) for loss, _, _ in parts), sum(float(accuracy) for _, _, accuracy in parts)]
    )
    return BatchLoss(sums[0] / replicas.total, sums[1] / replicas.total, upstream)


def batch_shares(supernet: Supernet, images: tf.Tensor, labels: tf.Tensor) -> tuple[Values, Values]:
    """Each local replica's part of a global batch: images in the precision of the blocks,
    labels."""
    replicas, dtype = supernet.numerics.replicas, supernet.numerics.dtype
    shares = replicas.shares(images)
    return shares if dtype == tf.float32 else replicas.each(
        lambda own: tf.cast(own, dtype), shares
    ), replicas.shares(labels)


class _Updates:
    """The updates of a step's blocks: beside the backward pass of the blocks before, as one graph
    of the whole would run them.

    aside: in a thread of their own, which TensorFlow's calls do not block; else at once, so that
    what several processes exchange comes in one order everywhere. No result depends on it, since a
    block's update touches nothing that the rest of the step reads.
    """

    HELD = 32 * 2**20  # bytes that updates may hold while they wait, the newest aside

    def __init__(self, *, aside: bool):
        self._aside = aside
        self._waiting: collections.deque[tuple[Future, int]] = collections.deque()
        self._finite: list[tf.Tensor] = []

    def add(self, update: Update) -> None:
        """Runs `update`, at once or soon."""
        if not self._aside:
            self._keep(update.run())
            return
        while self._waiting and sum(held for _, held in self._waiting) + update.held > self.HELD:
            self._keep(self._waiting.popleft()[0].result())
        self._waiting.append((_thread().submit(update.run), update.held))

    def done(self) -> list[tf.Tensor]:
        """What the updates returned, once all have run."""
        while self._waiting:
            self._keep(self._waiting.popleft()[0].result())
        return self._finite

    def _keep(self, finite: tf.Tensor | None) -> None:
        if finite is not None:
            self._finite.append(finite)


@functools.cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="updates")


class _WeightStep:
    """The passes of one weight step through the blocks of `path`, and the updates behind them."""

    def __init__(
        self, supernet: Supernet, path: ChoiceIndices, optimizer: Momentum, learning_rate: float
    ):
        self.supernet, self.path, self.optimizer = supernet, path, optimizer
        self.wanted = range(1, len(supernet.topology))  # every value but the images
        self.updates = _Updates(aside=supernet.numerics.replicas.total == 1)
        half = supernet.numerics.precision == "float16"
        self.loss_scale = optimizer.loss_scale if half else None
        self._scalars = [
            tf.constant(learning_rate, tf.float32),
            optimizer.momentum,
            *([tf.constant(self.loss_scale.value)] if self.loss_scale else []),
        ]
        self._behind: dict[str, WeightBackward] = {}  # the backward pass of each block that has run

    def candidate(self, index: int) -> BlockWeights:
        return self.supernet.mixed_ops[index].candidates[self.path[index]]

    def forward(self, block: BlockWeights, x: Values) -> Values:
        if isinstance(block.block.op, Zero):
            return x
        y, self._behind[block.name] = self.supernet.engine.weight_pass(
            block,
            x,
            nesterov=self.optimizer.config.nesterov,
            input_gradient=self.supernet.source_of(block) in self.wanted,
        )
        return y

    def backward(self, block: BlockWeights, upstream: Values) -> Values | None:
        if isinstance(block.block.op, Zero):
            return upstream
        gradient, update = self._behind.pop(block.name)(
            upstream, momenta=self.optimizer.momenta(block), scalars=self._scalars
        )
        self.updates.add(update)
        return gradient


def weight_step(
    supernet: Supernet,
    path: ChoiceIndices,
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    optimizer: Momentum,
    learning_rate: float,
) -> tuple[float, float]:
    """Trains the weights of `path` on one global batch; returns (cross-entropy, top-1 on this
    batch). Where the loss is not finite, weights stay as they are.

    images: [batch, resolution, resolution, channels]; labels: integers [batch].
    """
    step = _WeightStep(supernet, path, optimizer, learning_rate)
    shares, own_labels = batch_shares(supernet, images, labels)
    logits, channels = supernet.forward(
        shares,
        fixed=step.forward,
        choice=lambda index, x: step.forward(step.candidate(index), x),
    )
    result = batch_loss(
        supernet.numerics.replicas,
        logits,
        own_labels,
        smoothing=optimizer.config.label_smoothing,
        scale=step.loss_scale.value if step.loss_scale else 1.0,
    )
    if math.isfinite(result.loss):
        supernet.backward(
            result.upstream,
            channels,
            wanted=step.wanted,
            fixed=step.backward,
            choice=lambda index, dy: step.backward(step.candidate(index), dy),
        )
        finite = step.updates.done()
        if step.loss_scale:
            step.loss_scale.update(bool(tf.reduce_all(tf.stack(finite))))
    return result.loss, result.accuracy


def path_result(
    supernet: Supernet, path: ChoiceIndices, images: tf.Tensor, labels: tf.Tensor
) -> tuple[float, float]:
    """(cross-entropy, top-1) of one path on a global batch, by batch statistics; nothing is
    updated."""

    def output(block: BlockWeights, x: Values) -> Values:
        if isinstance(block.block.op, Zero):
            return x
        return supernet.engine.output(block, x, shortcut=True)

    shares, own_labels = batch_shares(supernet, images, labels)
    logits, _ = supernet.forward(
        shares,
        fixed=output,
        choice=lambda index, x: output(supernet.mixed_ops[index].candidates[path[index]], x),
    )
    result = batch_loss(supernet.numerics.replicas, logits, own_labels, smoothing=0.0)
    return result.loss, result.accuracy
