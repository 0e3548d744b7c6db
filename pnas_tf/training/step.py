"""One training step of a plain network as one compiled function: loss, gradients, weight decay,
Nesterov momentum.

On several replicas each takes its share of the batch and all move by the same sum of gradients.
Knows nothing of epochs, files or schedules.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import OptimizerConfig, RunConfig, TrainConfig
from pnas_tf.networks.network import weight_decay_variables
from pnas_tf.training.distribution import Distribution, on_each_replica, share_out
from pnas_tf.training.loss_scale import LossScale


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, *, smoothing: float) -> tf.Tensor:
    """Mean over the batch of the cross-entropy against (1 - smoothing) one-hot + smoothing /
    classes. labels: int [batch]."""
    classes = tf.shape(logits)[-1]  # one trace may serve networks of several class counts
    targets = tf.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / tf.cast(
        classes, logits.dtype
    )
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
    """

    rates: tuple[float, ...] | None = None
    statistics: bool = True


class TrainStep:
    """SGD on the trainable variables of `model`, momentum slots included.

    accum = momentum * accum + g; w -= learning_rate * (g + momentum * accum) with Nesterov,
    learning_rate * accum without: PyTorch's form, which is Keras' while the rate stays the same. g
    includes weight_decay * w (no_decay: as `weight_decay_variables`). The fused kernel does in one
    op what elementwise ops do in five. Dropout before the classifier is drawn from (seed, step), so
    that a continued run draws the same. Of a model in float16 the loss is scaled, and a step whose
    gradients overflow moves nothing. Made in the scope of `distribution`, as the model.
    """

    def __init__(
        self,
        model: keras.Model,
        config: OptimizerConfig,
        *,
        dropout: float = TrainConfig.dropout,
        seed: int = RunConfig.seed,
        distribution: Distribution = Distribution(),
        moved: Moved = Moved(),
    ):
        self.model = model
        every = model.trainable_variables
        rates = moved.rates or (1.0,) * len(every)
        self._moved = [pair for pair in zip(every, rates, strict=True) if pair[1]]
        self.slots = [
            tf.Variable(tf.zeros_like(variable), trainable=False) for variable, _ in self._moved
        ]
        self.loss_scale = (
            LossScale() if any(layer.compute_dtype == "float16" for layer in model.layers) else None
        )
        self._distribution, self._replicas = distribution, distribution.replicas
        self._forward = _forward(model, dropout, seed, self._replicas.total, moved.statistics)
        self._decay = (
            {variable.ref() for variable in weight_decay_variables(model, no_decay=config.no_decay)}
            if config.weight_decay
            else set()
        )
        self._config = config
        self._gradients = (
            tf.function(self._loss_and_gradients, jit_compile=True, autograph=False)
            if distribution.options.jit_compile
            else self._loss_and_gradients
        )
        self._compiled = tf.function(
            on_each_replica(distribution.strategy, self._step, tf.distribute.ReduceOp.MEAN),
            reduce_retracing=True,
        )

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, *, learning_rate: float, step: int
    ) -> tuple[float, float]:
        """Trains on one global batch; returns (loss, top-1) of the batch before the step."""
        shares = [share_out(self._distribution, batch) for batch in (images, labels)]
        scale = self.loss_scale.value if self.loss_scale else 1.0
        loss, accuracy, finite = self._compiled(
            *shares,
            tf.constant(learning_rate, tf.float32),
            tf.constant(step, tf.int32),
            tf.constant(scale, tf.float32),
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
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """One replica's: (loss and top-1 of its share, 1 where all gradients were finite)."""
        loss, accuracy, gradients = self._gradients(images, labels, step, scale)
        if self._distribution.strategy is not None:
            gradients = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.SUM, gradients
            )
        momentum, finite = self._config.momentum, tf.constant(True)
        if self.loss_scale:
            finite = tf.reduce_all(
                [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
            )
            # accum = 1 * accum + 0; w -= 0
            learning_rate, momentum = (
                tf.where(finite, learning_rate, 0.0),
                tf.where(finite, momentum, 1.0),
            )
            gradients = [gradient / scale for gradient in gradients]
        for (variable, rate), slot, gradient in zip(self._moved, self.slots, gradients):
            if variable.ref() in self._decay:
                gradient += self._config.weight_decay * variable
            if self.loss_scale:
                gradient = tf.where(finite, gradient, 0.0)
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=slot.handle,
                lr=learning_rate if rate == 1.0 else learning_rate * rate,
                grad=gradient,
                momentum=momentum,
                use_nesterov=self._config.nesterov,
            )
        return loss, accuracy, tf.cast(finite, tf.float32)

    def _loss_and_gradients(
        self, images: tf.Tensor, labels: tf.Tensor, step: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        variables = [variable for variable, _ in self._moved]
        with tf.GradientTape() as tape:
            logits = self._forward(images, step)
            loss = smoothed_cross_entropy(logits, labels, smoothing=self._config.label_smoothing)
            minimised = (
                loss * (scale / self._replicas.total)
                if self.loss_scale or self._distribution.strategy is not None
                else loss
            )
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32)), tape.gradient(minimised, variables)


def _forward(
    model: keras.Model, dropout: float, seed: int, replicas: int, statistics: bool
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """statistics: of batch normalisation by the batch."""
    if not dropout:
        return lambda images, step: model(images, training=statistics)
    classifier = model.layers[-1]
    features = keras.Model(model.inputs, classifier.input)

    def forward(images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        x = features(images, training=statistics)
        stamp = tf.stack([tf.constant(seed % 2**31), step])
        if replicas == 1:
            return classifier(tf.nn.experimental.stateless_dropout(x, dropout, seed=stamp))
        size = tf.shape(x)[0]  # each replica takes its rows of what the whole batch would draw
        mask = tf.nn.experimental.stateless_dropout(
            tf.ones([size * replicas, x.shape[-1]]), dropout, seed=stamp
        )
        first = size * tf.distribute.get_replica_context().replica_id_in_sync_group
        return classifier(x * mask[first : first + size])

    return forward
