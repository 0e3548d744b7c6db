"""The compiled training step against hand computation and Keras; label smoothing against its
definition."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import OptimizerConfig, TrainConfig
from pnas_tf.training.step import TrainStep, smoothed_cross_entropy


def linear(seed=0, *, bias=True):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, use_bias=bias, name="head/classifier")]
    )
    generator = np.random.default_rng(seed)
    model.set_weights(
        [generator.normal(size=weight.shape).astype(np.float32) for weight in model.get_weights()]
    )
    return model


PLAIN = OptimizerConfig(momentum=0.0, nesterov=False, weight_decay=0.0, label_smoothing=0.0)


def batch(seed=1, count=8):
    generator = np.random.default_rng(seed)
    return tf.constant(generator.normal(size=(count, 4)).astype(np.float32)), tf.constant(
        generator.integers(0, 3, count).astype(np.int32)
    )


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_label_smoothing_is_cross_entropy_against_smoothed_targets():
    logits, labels = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 1, 2, 3, 1])
    targets = np.eye(4)[labels] * 0.9 + 0.1 / 4
    expected = -(targets * np.log(softmax(logits))).sum(axis=1).mean()
    ours = smoothed_cross_entropy(
        tf.constant(logits, tf.float32), tf.constant(labels), smoothing=0.1
    )
    assert float(ours) == pytest.approx(expected, rel=1e-5)
    keras_loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(
        np.eye(4)[labels], logits
    )
    assert float(keras_loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("nesterov", [True, False])
def test_three_steps_by_hand(nesterov):
    """Softmax regression in float64: accum = m accum + g; w -= lr (g + m accum), or lr accum; decay
    on the kernel alone."""
    model, momentum, decay, smoothing = linear(), 0.9, 0.1, 0.2
    step = TrainStep(
        model,
        OptimizerConfig(
            momentum=momentum, nesterov=nesterov, weight_decay=decay, label_smoothing=smoothing
        ),
    )
    kernel, bias = (weight.astype(np.float64) for weight in model.get_weights())
    accumulated = [np.zeros_like(kernel), np.zeros_like(bias)]
    for number, rate in enumerate((0.1, 0.3, 0.05)):
        images, labels = batch(number)
        x, targets = (
            images.numpy().astype(np.float64),
            np.eye(3)[labels.numpy()] * (1 - smoothing) + smoothing / 3,
        )
        logits = x @ kernel + bias
        error = (softmax(logits) - targets) / len(x)
        gradients = [x.T @ error + decay * kernel, error.sum(axis=0)]
        loss, accuracy = step(images, labels, learning_rate=rate, step=number)
        assert loss == pytest.approx(
            -(targets * np.log(softmax(logits))).sum(axis=1).mean(), rel=1e-4
        )
        assert accuracy == pytest.approx(np.mean(logits.argmax(axis=1) == labels.numpy()))
        accumulated = [momentum * a + g for a, g in zip(accumulated, gradients)]
        moves = [g + momentum * a if nesterov else a for a, g in zip(accumulated, gradients)]
        kernel, bias = kernel - rate * moves[0], bias - rate * moves[1]
        np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.get_weights()[1], bias, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(step.slots[0], accumulated[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("nesterov", [True, False])
def test_fused_kernel_agrees_with_keras_sgd_at_a_constant_rate(nesterov):
    """A small convolutional network with batch normalisation, ten steps. Its activation is smooth:
    at a kink, two orders of addition have different gradients."""

    def network():
        keras.utils.set_random_seed(0)
        return keras.Sequential(
            [
                keras.Input((8, 8, 3)),
                keras.layers.Conv2D(4, 3, use_bias=False),
                keras.layers.BatchNormalization(momentum=0.9),
                keras.layers.Activation("swish"),
                keras.layers.DepthwiseConv2D(3, use_bias=False),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(5),
            ]
        )

    ours, theirs = network(), network()
    step = TrainStep(ours, OptimizerConfig(nesterov=nesterov, weight_decay=0.0))
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, nesterov=nesterov)
    for number in range(10):
        generator = np.random.default_rng(number)
        images = tf.constant(generator.normal(size=(16, 8, 8, 3)).astype(np.float32))
        labels = tf.constant(generator.integers(0, 5, 16).astype(np.int32))
        step(images, labels, learning_rate=0.1, step=number)
        with tf.GradientTape() as tape:
            loss = smoothed_cross_entropy(theirs(images, training=True), labels, smoothing=0.1)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, theirs.trainable_variables), theirs.trainable_variables)
        )
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_dropout_is_a_function_of_seed_and_step():
    images, labels = batch()

    def weights_after(steps, seed=0):
        model = linear()
        step = TrainStep(
            model,
            PLAIN,
            train=TrainConfig(dropout=0.5),
            seed=seed,
        )
        for number in steps:
            step(images, labels, learning_rate=0.1, step=number)
        return model.get_weights()[0]

    assert np.array_equal(weights_after([3]), weights_after([3]))
    assert not np.array_equal(weights_after([3]), weights_after([4]))
    assert not np.array_equal(weights_after([3]), weights_after([3], seed=1))
    inputs = images.numpy() * 0 + 1.0
    step = TrainStep(
        linear(bias=False),
        PLAIN,
        train=TrainConfig(dropout=0.5),
    )
    logits = [
        step._forward(tf.constant(inputs), tf.constant(number)).numpy() for number in range(300)
    ]
    # The mean of 2,400 draws of inputs kept with probability 1/2 and doubled: 6 standard errors,
    # 1e-8 false failures.
    expected, draws = linear(bias=False).get_weights()[0].sum(axis=0), np.concatenate(logits)
    assert np.all(
        np.abs(draws.mean(axis=0) - expected) < 6 * draws.std(axis=0) / np.sqrt(len(draws))
    )
