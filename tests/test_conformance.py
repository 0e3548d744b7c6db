"""Every op a block can hold, through the same tests: shape, unknown batch, save and load, gradient,
.tflite, parameters.

A new op class, or a candidate of a named space, that is missing from CONFORMING fails the suite.
"""

import dataclasses
from typing import get_args

import kinks
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert.interpreter import Interpreter
from conforming import CONFORMING, choice

from pnas_tf.networks.network import build_block_model
from pnas_tf.space import complexity
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import (
    Head,
    MBConv,
    Op,
    Stem,
    Zero,
)
from pnas_tf.space.registry import NAMED_SPACES

every_block = pytest.mark.parametrize("block", CONFORMING, ids=lambda block: block.key)


@pytest.fixture
def double_precision():
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx("float32")


def test_nothing_is_missing_from_the_list():
    listed = {block.op for block in CONFORMING}
    assert {type(op) for op in listed} == set(get_args(Op)), (
        "an op class stands in no conforming block"
    )
    for name, make in NAMED_SPACES.items():
        for place in make().choice_blocks:
            assert set(place.candidates) <= listed, f"candidate of space {name}"
        # Stem and head differ between spaces in their widths alone.
        assert {
            block.op for block in make().fixed_blocks() if not isinstance(block.op, (Stem, Head))
        } <= listed


def output_shape(block: Block) -> tuple[int, ...]:
    return (
        (block.out_channels,)
        if isinstance(block.op, Head)
        else (block.out_size, block.out_size, block.out_channels)
    )


def model_of(block: Block) -> keras.Model:
    """The block's model with moving statistics, gamma and beta that are not those of a fresh
    layer."""
    keras.utils.set_random_seed(7)
    model = build_block_model(block)
    generator = np.random.default_rng(7)
    for variable in model.variables:
        if not variable.name.endswith("kernel:0"):
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    return model


def images(block: Block, count: int = 3, dtype: str = "float32") -> np.ndarray:
    return (
        np.random.default_rng(11)
        .normal(size=(count, block.in_size, block.in_size, block.in_channels))
        .astype(dtype)
    )


def rounding(values):
    """What two orders of addition may differ by: 84 float32 eps of the largest value."""
    return 1e-5 * max(1.0, np.abs(values).max())


@every_block
def test_shape_and_unknown_batch(block):
    model = model_of(block)
    assert model.output_shape == (None, *output_shape(block))
    x = images(block)
    together = model(x, training=False).numpy()
    assert together.shape == (3, *output_shape(block)) and np.isfinite(together).all()
    alone = np.concatenate([model(x[row : row + 1], training=False).numpy() for row in range(3)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=rounding(together))
    assert build_block_model(block, batch_size=2).output_shape == (2, *output_shape(block))


@every_block
def test_parameters_are_those_of_the_walk(block):
    trainable = sum(
        int(np.prod(variable.shape)) for variable in build_block_model(block).trainable_variables
    )
    assert trainable == complexity.parameters([block])


@every_block
@pytest.mark.slow
def test_save_and_load(block, tmp_path):
    model = model_of(block)
    x = images(block)
    model.save(tmp_path / "block.keras")
    model.save_weights(tmp_path / "weights.h5")
    loaded = keras.models.load_model(tmp_path / "block.keras", compile=False)
    fresh = build_block_model(block)
    fresh.load_weights(tmp_path / "weights.h5")
    for other in (loaded, fresh):
        np.testing.assert_array_equal(
            other(x, training=False).numpy(), model(x, training=False).numpy()
        )


@every_block
@pytest.mark.slow
def test_gradient_is_the_numeric_one(block, double_precision):
    with kinks.smoothed():  # a difference over a kink is no gradient
        check_gradient(block)


def check_gradient(block):
    model = model_of(block)
    x = tf.Variable(images(block, dtype="float64"))
    variables = [x, *model.trainable_variables]
    generator = np.random.default_rng(5)
    weights = generator.normal(size=(3, *output_shape(block)))
    directions = [generator.normal(size=variable.shape) for variable in variables]

    def loss() -> tf.Tensor:
        return tf.reduce_sum(weights * model(tf.identity(x), training=True))

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, variables)
    assert all(gradient is not None for gradient in gradients), (
        "a variable has no part in the output"
    )
    # One random direction over all variables, and one for each alone: a lost term cannot hide in
    # the sum.
    step = 1e-6
    for chosen in [range(len(variables)), *([index] for index in range(len(variables)))]:
        expected = sum(
            float(np.sum(gradients[index].numpy() * directions[index])) for index in chosen
        )
        ends = []
        for sign in (1, -1):
            kept = [variables[index].numpy() for index in chosen]
            for index in chosen:
                variables[index].assign_add(sign * step * directions[index])
            ends.append(float(loss()))
            for index, before in zip(chosen, kept):
                variables[index].assign(before)
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@every_block
@pytest.mark.slow
def test_tflite_computes_the_same(block):
    model = model_of(block)
    fixed = build_block_model(block, batch_size=1)
    fixed.set_weights(model.get_weights())
    interpreter = Interpreter(
        model_content=tf.lite.TFLiteConverter.from_keras_model(fixed).convert()
    )
    interpreter.allocate_tensors()
    given, taken = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    x = images(block, count=1)
    interpreter.set_tensor(given["index"], x)
    interpreter.invoke()
    expected = model(x, training=False).numpy()
    np.testing.assert_allclose(
        interpreter.get_tensor(taken["index"]),
        expected,
        atol=1e-4 * max(1.0, np.abs(expected).max()),
    )


def test_zero_block_is_its_shortcut():
    x = images(choice(Zero()))
    np.testing.assert_array_equal(build_block_model(choice(Zero()))(x).numpy(), x)


def test_shortcut_adds_the_input():
    block = choice(MBConv(3, 3))
    bare = dataclasses.replace(block, shortcut=False)
    model, without = model_of(block), model_of(bare)
    without.set_weights(model.get_weights())
    x = images(block)
    expected = without(x).numpy() + x
    np.testing.assert_allclose(model(x).numpy(), expected, atol=rounding(expected))
