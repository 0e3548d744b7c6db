"""Evaluation counts images, not batches; re-estimated statistics against a numpy oracle."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.training.evaluate import evaluate, reestimate_batch_norm


def batched(images, labels, size):
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(size)


@pytest.mark.slow
def test_every_image_counts_the_same_whatever_its_batch():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([np.eye(3, dtype=np.float32)])
    images = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2, 0]] * 2
    labels = np.array([0, 1, 2, 0, 1, 0, 1], np.int32)
    results = [evaluate(model, batched(images, labels, size)) for size in (1, 3, 7)]
    log_sum = np.log(np.exp(2) + 2)
    for result in results:
        assert result.accuracy == pytest.approx(5 / 7) and result.examples == 7
        assert result.loss == pytest.approx((5 * (log_sum - 2) + 2 * log_sum) / 7, rel=1e-5)
    with pytest.raises(ValueError, match="no images"):
        evaluate(model, [])


def test_reestimation_against_numpy():
    """Convolution, batch norm, ReLU6, convolution, batch norm: per-batch statistics by hand, then
    their mean."""
    keras.utils.set_random_seed(0)

    def norm():
        return keras.layers.BatchNormalization(epsilon=1e-3)

    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras.layers.Conv2D(4, 1, use_bias=False),
            norm(),
            keras.layers.ReLU(6.0),
            keras.layers.Conv2D(5, 1, use_bias=False),
            norm(),
        ]
    )
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights(
                [generator.normal(size=weight.shape) for weight in layer.get_weights()[:2]]
                + [generator.normal(5, 1, size=weight.shape) for weight in layer.get_weights()[2:]]
            )  # stale
    images = generator.normal(size=(12, 6, 6, 3)).astype(np.float32)
    first, second = model.layers[0].get_weights()[0][0, 0], model.layers[3].get_weights()[0][0, 0]
    gamma, beta = model.layers[1].get_weights()[:2]
    statistics = []
    for batch in images.reshape(3, 4, 6, 6, 3).astype(np.float64):
        x = batch @ first
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        y = np.clip(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0, 6) @ second
        count = 4 * 36
        statistics.append(
            (
                mean,
                variance * count / (count - 1),
                y.mean((0, 1, 2)),
                y.var((0, 1, 2)) * count / (count - 1),
            )
        )
    expected = [np.mean(values, axis=0) for values in zip(*statistics)]
    weights = [layer.get_weights()[:2] for layer in (model.layers[1], model.layers[4])]
    reestimate_batch_norm(model, batched(images, np.zeros(12, np.int32), 4))
    found = [
        value for layer in (model.layers[1], model.layers[4]) for value in layer.get_weights()[2:]
    ]
    for value, truth in zip(found, expected):
        np.testing.assert_allclose(value, truth, rtol=2e-4, atol=1e-5)
    for before, layer in zip(weights, (model.layers[1], model.layers[4])):
        assert all(np.array_equal(a, b) for a, b in zip(before, layer.get_weights()[:2]))


@pytest.mark.slow
def test_one_batch_reestimated_is_what_a_momentum_of_zero_keeps():
    """On a whole network: Keras' own update with momentum 0 keeps exactly the last batch's
    statistics."""
    architecture = random_architecture(tiny(resolution=16), seed=1)
    model, twin = build_network(architecture), build_network(architecture)
    twin.set_weights(model.get_weights())
    images = np.random.default_rng(0).normal(size=(32, 16, 16, 3)).astype(np.float32)
    for layer in twin.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    twin(images, training=True)
    reestimate_batch_norm(model, batched(images, np.zeros(32, np.int32), 32))
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_reestimation_in_half_precision_is_that_of_float32(precision):
    """Up to the rounding of activations, whose 8 bits are 0.4 %."""
    generator = np.random.default_rng(0)
    images = generator.normal(1.0, 2.0, (32, 6, 6, 3)).astype(np.float32)
    kernel = generator.normal(size=(1, 1, 3, 4)).astype(np.float32)
    found = []
    for dtype in ("float32", precision):
        policy = keras.mixed_precision.Policy(dtype)
        model = keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                keras.layers.Conv2D(4, 1, use_bias=False, dtype=policy),
                keras.layers.BatchNormalization(dtype=policy),
            ]
        )
        model.layers[0].set_weights([kernel])
        reestimate_batch_norm(model, [(images, None)])
        found.append(model.layers[1].get_weights()[2:])
    for half, single in zip(found[1], found[0]):
        np.testing.assert_allclose(half, single, rtol=0.02, atol=0.02)


def test_no_batches_is_an_error():
    with pytest.raises(ValueError, match="no batches"):
        reestimate_batch_norm(build_network(random_architecture(tiny(resolution=16), seed=0)), [])
