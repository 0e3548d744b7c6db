"""Fine-tuning: what stands still, at which rate the rest moves, and that it goes on to the same
bits."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import (
    FINE_TUNING,
    FROM_SCRATCH,
    FROM_SUPERNET,
    OptimizerConfig,
    TrainConfig,
)
from pnas_tf.data.image_data import from_arrays
from pnas_tf.errors import UserError
from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.networks.network import build_network
from pnas_tf.run.layout import CHECKPOINTS
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.training.fine_tuning import block_rates, head_rates
from pnas_tf.training.loop import train_network
from pnas_tf.training.recipe import TrainRecipe, tuning_of
from pnas_tf.training.step import Moved, TrainStep

SPACE = MBConvSpace("micro", 8, 2, 8, 8, (Stage(8, 1, 2),), 16, (MBConv(3, 2),), stem_stride=1)
ARCHITECTURE = Architecture(SPACE, (MBConv(3, 2),))
PLAIN = OptimizerConfig(momentum=0.0, nesterov=False, weight_decay=0.0)


def batch(seed=1):
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(8, 8, 8, 3)).astype(np.float32)
    return tf.constant(images), tf.constant(generator.integers(0, 2, 8).astype(np.int32))


def network():
    model = build_network(ARCHITECTURE)
    model.set_weights(seeded_weights(model, seed=0))
    return model


def after_a_step(moved):
    """(variables, moving statistics) before and after one step of SGD."""
    model = network()
    before = {each.name: each.numpy() for each in model.weights}
    TrainStep(model, PLAIN, moved=moved)(*batch(), learning_rate=0.1, step=0)
    after = {each.name: each.numpy() for each in model.weights}
    trained = {each.name for each in model.trainable_variables}
    return [
        {name: after[name] - value for name, value in before.items() if (name in trained) is which}
        for which in (True, False)
    ]


def test_the_classifier_alone_moves_by_the_networks_own_statistics():
    model = network()
    variables, statistics = after_a_step(Moved(head_rates(model), statistics=False))
    moved = {name for name, change in variables.items() if change.any()}
    assert moved == {"head/classifier/kernel:0", "head/classifier/bias:0"}
    assert not any(change.any() for change in statistics.values())
    # The gradient of a linear classifier, by hand.
    images, labels = batch()
    pooled = keras.Model(model.input, model.get_layer("head/pool").output)(images).numpy()
    kernel, bias = model.get_layer("head/classifier").get_weights()
    logits = pooled @ kernel + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.eye(2)[labels.numpy()] * 0.9 + 0.05
    expected = -0.1 * pooled.T @ (shares - targets) / len(pooled)
    np.testing.assert_allclose(variables["head/classifier/kernel:0"], expected, atol=1e-6)


@pytest.mark.parametrize("statistics", [True, False])
def test_each_block_moves_by_its_part_of_the_rate(statistics):
    """Of one step of SGD without momentum every change is the rate times the gradient."""
    whole, _ = after_a_step(Moved(statistics=statistics))
    parts, means = after_a_step(Moved(block_rates(network(), 0.5), statistics))
    expected = {"stem": 0.5**3, "first": 0.5**2, "block_00": 0.5, "head": 1.0}
    for name, change in whole.items():
        part = expected[name.partition("/")[0]]
        np.testing.assert_allclose(parts[name], part * change, rtol=1e-4, atol=2e-7)
    assert any(change.any() for change in means.values()) is statistics
    assert block_rates(network(), 1.0) is None


def test_frozen_statistics_give_the_gradient_of_the_network_as_it_answers():
    model = network()
    images, labels = batch()
    with tf.GradientTape() as tape:
        logits = model(images, training=False)
        targets = tf.one_hot(labels, 2) * 0.9 + 0.05
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(targets, logits))
    gradients = tape.gradient(loss, model.trainable_variables)
    variables, _ = after_a_step(Moved(statistics=False))
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        np.testing.assert_allclose(variables[variable.name], -0.1 * gradient, rtol=1e-3, atol=1e-6)


def test_options_that_are_not_given_are_those_of_the_kind_of_training():
    assert tuning_of(TrainConfig()) == FROM_SCRATCH
    fine = TrainConfig(init="pretrained")
    assert tuning_of(fine) == FINE_TUNING
    assert tuning_of(TrainConfig(init="inherit")) == FROM_SUPERNET
    assert tuning_of(dataclasses.replace(fine, learning_rate=0.5)).learning_rate == 0.5
    few = tuning_of(dataclasses.replace(fine, epochs=1))
    assert (few.epochs, few.head_epochs) == (1, 0)
    with pytest.raises(UserError, match="at most 2"):
        tuning_of(TrainConfig(epochs=2, head_epochs=3))
    with pytest.raises(UserError, match="--learning_rate_warmup_epochs"):
        tuning_of(TrainConfig(epochs=2, learning_rate_warmup_epochs=2.5))
    probe = {"init": "pretrained", "head_epochs": 10, "learning_rate_warmup_epochs": 4}
    with pytest.raises(UserError, match="after those of --head_epochs") as refused:
        tuning_of(TrainConfig(epochs=12, **probe))  # the whole network has two
    assert refused.value.expected.startswith("at most 2,")
    assert tuning_of(TrainConfig(epochs=10, **probe)).head_epochs == 10  # it has none


@pytest.fixture(scope="module")
def dataset():
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    images = generator.integers(0, 80, (60, 10, 10, 3)) + 150 * labels[:, None, None, None]
    return from_arrays(images.astype(np.uint8), labels, ("dark", "bright")).at(8)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", ["moving", "reestimated", "frozen"])
def test_it_learns_and_goes_on_to_the_same_bits(dataset, tmp_path, batch_norm):
    config = TrainConfig(
        init="pretrained",
        epochs=3,
        head_epochs=1,
        train_batch_norm=batch_norm,
        batch_size=8,
        evaluate_epochs=1,
    )
    start = network().get_weights()

    def trained():
        recipe = TrainRecipe(config, seed=3)
        return train_network(ARCHITECTURE, dataset, recipe, tmp_path, initial_weights=start)

    once = trained()
    assert once.history[0]["learning_rate"] == FINE_TUNING.learning_rate * 8 / 64
    last = max((tmp_path / CHECKPOINTS).glob("*.npz"))
    last.unlink()  # the one before it is the end of the second epoch
    again = trained()
    for first, second in zip(once.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    moved = [
        not np.array_equal(variable.numpy(), value)
        for variable, value in zip(once.model.weights, start, strict=True)
    ]
    statistics = ["moving" in variable.name for variable in once.model.weights]
    assert [move for move, is_one in zip(moved, statistics) if is_one] == [
        batch_norm != "frozen"
    ] * sum(statistics)
    assert all(move for move, is_one in zip(moved, statistics) if not is_one)


@pytest.mark.slow
def test_evaluations_move_nothing(dataset, tmp_path):
    """The head learns by the moving statistics, which each evaluation estimates anew."""
    config = TrainConfig(
        init="pretrained", epochs=3, head_epochs=2, train_batch_norm="reestimated", batch_size=8
    )
    start = network().get_weights()
    ends = []
    for every in (0, 1):
        recipe = TrainRecipe(dataclasses.replace(config, evaluate_epochs=every), seed=3)
        folder = tmp_path / str(every)
        trained = train_network(ARCHITECTURE, dataset, recipe, folder, initial_weights=start)
        ends.append(trained.model.get_weights())
    for first, second in zip(*ends, strict=True):
        np.testing.assert_array_equal(first, second)
