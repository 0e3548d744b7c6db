"""One training step of a plain network as one compiled function: loss, gradients, update.

On several replicas each takes its share of the batch and all move by the same sum of gradients.
Knows nothing of epochs, files or schedules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import OptimizerConfig, RunConfig, TrainConfig
from pnas_tf.networks.network import weight_decay_variables
from pnas_tf.training.distillation import distillation_loss
from pnas_tf.training.distribution import Distribution, on_each_replica, share_out
from pnas_tf.training.forward import forward_of
from pnas_tf.training.loss_scale import LossScale
from pnas_tf.training.optimizers import Now, optimizer_of


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, *, smoothing: float) -> tf.Tensor:
    """Mean over the batch of the cross-entropy against (1 - smoothing) one-hot + smoothing /
    classes. labels: int [batch], or shares of classes float [batch, classes]."""
    classes = tf.shape(logits)[-1]  # one trace may serve networks of several class counts
    shares = labels if labels.shape.rank == 2 else tf.one_hot(labels, classes)
    targets = shares * (1.0 - smoothing) + smoothing / tf.cast(classes, logits.dtype)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


@contextlib.contextmanager
def keras_precision(precision: str) -> Iterator[None]:
    """Layers made within compute in `precision` with float32 variables; those that ask for float32
    stay float32."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(
        "float32" if precision == "float32" else f"mixed_{precision}"
    )
    try:
        yield
    finally:
        # None is Keras's own default, which goes on to follow `floatx`.
        is_default = before.name == keras.backend.floatx()
        keras.mixed_precision.set_global_policy(None if is_default else before)


@dataclass(frozen=True)
class Moved:
    """What a step moves.

    Attributes:
        rates: for each trainable variable what the learning rate is multiplied by; at 0 it stands
            still. None: 1 for all.
        statistics: batch normalisation is by the batch, and its moving statistics follow; else it
            is by these, which stay.
        since: number of the first step that moves it.
    """

    rates: tuple[float, ...] | None = None
    statistics: bool = True
    since: int = 0


class TrainStep:
    """Steps on the trainable variables of `model`, the optimizer's slots included.

    Weight decay acts on what `weight_decay_variables` names. What is dropped is drawn from (seed,
    step), so that a continued run draws the same. Of a model in float16 the loss is scaled, and a
    step whose gradients overflow moves nothing. Made in the scope of `distribution`, as the model.

    Args:
        model: gives logits.
        config: momentum, decay, label smoothing.
        train: optimizer, dropout, stochastic depth and distillation.
        seed: of what is dropped.
        distribution: on which devices, in which precision.
        moved: which variables at which part of the learning rate.
    """

    def __init__(
        self,
        model: keras.Model,
        config: OptimizerConfig,
        *,
        train: TrainConfig = TrainConfig(),
        seed: int = RunConfig.seed,
        distribution: Distribution = Distribution(),
        moved: Moved = Moved(),
    ):
        self.model = model
        every = model.trainable_variables
        rates = moved.rates or (1.0,) * len(every)
        pairs = [pair for pair in zip(every, rates, strict=True) if pair[1]]
        self._variables, self._since = [variable for variable, _ in pairs], moved.since
        decayed = weight_decay_variables(model, no_decay=config.no_decay)
        self._optimizer = optimizer_of(pairs, decayed, config, train)
        self.loss_scale = (
            LossScale() if any(layer.compute_dtype == "float16" for layer in model.layers) else None
        )
        self._distribution, self._replicas = distribution, distribution.replicas
        self._forward = forward_of(
            model,
            train,
            seed=seed,
            replicas=self._replicas.total,
            statistics=moved.statistics,
        )
        self._config, self._train = config, train
        self._gradients = (
            tf.function(self._loss_and_gradients, jit_compile=True, autograph=False)
            if distribution.options.jit_compile
            else self._loss_and_gradients
        )
        self._compiled = tf.function(
            on_each_replica(distribution.strategy, self._step, tf.distribute.ReduceOp.MEAN),
            reduce_retracing=True,
        )

    @property
    def slots(self) -> list[tf.Variable]:
        """What the optimizer remembers."""
        return self._optimizer.slots

    def __call__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        *,
        learning_rate: float,
        step: int,
        teacher_logits: tf.Tensor | None = None,
    ) -> tuple[float, float]:
        """Trains on one global batch.

        Args:
            images: [batch, height, width, channels].
            labels: int [batch], or shares of classes float [batch, classes].
            learning_rate: of this step.
            step: its number of all.
            teacher_logits: [batch, classes] of a network that is learnt from.

        Returns:
            (loss, top-1) of the batch before the step.
        """
        batches = [images, labels, *(() if teacher_logits is None else (teacher_logits,))]
        images, labels, *taught = (share_out(self._distribution, batch) for batch in batches)
        scale = self.loss_scale.value if self.loss_scale else 1.0
        loss, accuracy, finite = self._compiled(
            images,
            labels,
            tf.constant(learning_rate, tf.float32),
            tf.constant(step, tf.int32),
            tf.constant(scale, tf.float32),
            *taught,
        )
        if self.loss_scale:
            self.loss_scale.update(float(finite) == 1.0)
        return float(loss), float(accuracy)

    def _step(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        learning_rate: tf.Tensor,
        step: tf.Tensor,
        scale: tf.Tensor,
        *taught: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One replica's: (loss and top-1 of its share, 1 where all gradients were finite)."""
        loss, accuracy, gradients = self._gradients(images, labels, step, scale, *taught)
        if self._distribution.strategy is not None:
            gradients = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, gradients
            )
        finite = None
        if self.loss_scale:
            finite = tf.reduce_all(
                [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
            )
            gradients = [gradient / scale for gradient in gradients]
        self._optimizer.move(gradients, Now(learning_rate, step - self._since, finite))
        return loss, accuracy, tf.cast(True if finite is None else finite, tf.float32)

    def _loss_and_gradients(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        step: tf.Tensor,
        scale: tf.Tensor,
        *taught: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = self._forward(images, step)
            loss = self._loss(logits, labels, *taught)
            minimised = (
                loss * (scale / self._replicas.total)
                if self.loss_scale or self._distribution.strategy is not None
                else loss
            )
        if labels.shape.rank == 2:
            labels = tf.argmax(labels, axis=1, output_type=tf.int32)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        gradients = tape.gradient(minimised, self._variables)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32)), gradients

    def _loss(self, logits: tf.Tensor, labels: tf.Tensor, *taught: tf.Tensor) -> tf.Tensor:
        loss = smoothed_cross_entropy(logits, labels, smoothing=self._config.label_smoothing)
        if not taught:
            return loss
        weight, temperature = self._train.distillation_weight, self._train.distillation_temperature
        learnt = distillation_loss(logits, taught[0], temperature=temperature)
        return (1.0 - weight) * loss + weight * learnt
