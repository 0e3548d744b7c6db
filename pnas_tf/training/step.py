"""One training step of a plain network as one compiled function: loss, gradients, weight decay, Nesterov momentum.

Knows nothing of epochs, files or schedules.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tf_keras as keras

from pnas_tf.nn.network import weight_decay_variables


def smoothed_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, *, smoothing: float) -> tf.Tensor:
    """Mean over the batch of the cross-entropy against (1 - smoothing) one-hot + smoothing / classes. labels: int [batch]."""
    classes = tf.shape(logits)[-1]  # one trace may serve networks of several class counts
    targets = tf.one_hot(labels, classes) * (1.0 - smoothing) + smoothing / tf.cast(classes, logits.dtype)
    return tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))


class TrainStep:
    """SGD on all trainable variables of `model`, momentum slots included.

    accum = momentum * accum + g; w -= learning_rate * (g + momentum * accum) with Nesterov, learning_rate * accum without:
    PyTorch's form, which is Keras' while the rate stays the same. g includes weight_decay * w (no_decay: as
    `weight_decay_variables`). The fused kernel
    does in one op what elementwise ops do in five. Dropout before the classifier is drawn from (seed, step), so that a
    continued run draws the same.
    """

    def __init__(self, model: keras.Model, *, momentum: float, nesterov: bool, weight_decay: float, label_smoothing: float,
                 no_decay: str = "bn_bias", dropout: float = 0.0, seed: int = 0):
        self.model = model
        self.slots = [tf.Variable(tf.zeros_like(variable), trainable=False) for variable in model.trainable_variables]
        self._forward = _forward(model, dropout, seed)
        self._decay = {variable.ref() for variable in weight_decay_variables(model, no_decay=no_decay)} if weight_decay else set()
        self._momentum, self._nesterov = momentum, nesterov
        self._weight_decay, self._label_smoothing = weight_decay, label_smoothing
        self._compiled = tf.function(self._step, reduce_retracing=True)

    def __call__(self, images: tf.Tensor, labels: tf.Tensor, *, learning_rate: float, step: int) -> tuple[float, float]:
        """Trains on one batch; returns (loss, top-1) of the batch before the step."""
        loss, accuracy = self._compiled(images, labels, tf.constant(learning_rate, tf.float32), tf.constant(step, tf.int32))
        return float(loss), float(accuracy)

    def _step(self, images: tf.Tensor, labels: tf.Tensor, learning_rate: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self._forward(images, step)
            loss = smoothed_cross_entropy(logits, labels, smoothing=self._label_smoothing)
        gradients = tape.gradient(loss, variables)
        for variable, slot, gradient in zip(variables, self.slots, gradients):
            if variable.ref() in self._decay:
                gradient += self._weight_decay * variable
            tf.raw_ops.ResourceApplyMomentum(var=variable.handle, accum=slot.handle, lr=learning_rate, grad=gradient,
                                             momentum=self._momentum, use_nesterov=self._nesterov)
        right = tf.equal(tf.argmax(logits, axis=1, output_type=tf.int32), labels)
        return loss, tf.reduce_mean(tf.cast(right, tf.float32))


def _forward(model: keras.Model, dropout: float, seed: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    if not dropout:
        return lambda images, step: model(images, training=True)
    classifier = model.layers[-1]
    features = keras.Model(model.inputs, classifier.input)

    def forward(images: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        x = features(images, training=True)
        return classifier(tf.nn.experimental.stateless_dropout(x, dropout, seed=tf.stack([tf.constant(seed % 2**31), step])))

    return forward
