"""Training steps of a plain network in half precision and under XLA, against plain ones."""

import kinks
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from half_precision import TOLERANCES, batch, need

from pnas_tf.config import DistributionConfig, OptimizerConfig
from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.networks.network import build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.training.distribution import Distribution
from pnas_tf.training.loss_scale import LossScale
from pnas_tf.training.step import TrainStep, keras_precision

SPACE = MBConvSpace(
    "micro",
    8,
    4,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 2, 1), Stage(16, 1, 2)),
    head_width=16,
    candidates=(MBConv(3, 2),),
    stem_stride=1,
)
ARCHITECTURE = Architecture(SPACE, (MBConv(3, 2),) * 3)


@pytest.fixture(scope="module", autouse=True)
def smooth_activations():
    with kinks.smoothed():
        yield


def trained(precision="float32", *, jit_compile=False, steps=1):
    with keras_precision(precision):
        model = build_network(ARCHITECTURE)
    model.set_weights(seeded_weights(build_network(ARCHITECTURE), seed=1))
    step = TrainStep(
        model,
        OptimizerConfig(weight_decay=0.01),
        distribution=Distribution(options=DistributionConfig(jit_compile=jit_compile)),
    )
    return (
        [step(*batch(number), learning_rate=0.05, step=number)[0] for number in range(steps)],
        model,
        step,
    )


@pytest.fixture(scope="module")
def plain():
    return trained()


@pytest.mark.slow
@pytest.mark.parametrize("options", [("float16",), ("bfloat16",), ("float32", True)], ids=str)
def test_a_step_is_close_to_a_plain_one(plain, options):
    precision, jit_compile = options[0], len(options) == 2
    need(precision)
    losses, model, step = trained(precision, jit_compile=jit_compile)
    of_loss, of_gradients = TOLERANCES[precision]
    np.testing.assert_allclose(losses, plain[0], rtol=of_loss)
    assert model.output.dtype == tf.float32
    assert model.layers[1].compute_dtype == precision  # the stem's convolution
    assert all(weight.dtype == np.float32 for weight in model.get_weights())
    ours, theirs = (
        np.concatenate([slot.numpy().ravel() for slot in slots])
        for slots in (step.slots, plain[2].slots)
    )
    assert np.linalg.norm(ours - theirs) < of_gradients * np.linalg.norm(theirs)
    # Another numerics: thousands of numbers of half the digits are not all the same by chance.
    assert precision == "float32" or not np.array_equal(ours, theirs)
    assert (step.loss_scale is not None) == (precision == "float16")


def test_an_overflow_moves_no_weight_and_halves_the_scale():
    _, model, step = trained("float16")
    step.loss_scale = LossScale(2.0**40)
    weights, slots = (
        [variable.numpy() for variable in model.trainable_variables],
        [slot.numpy() for slot in step.slots],
    )
    step(*batch(), learning_rate=0.05, step=5)
    assert step.loss_scale.value == 2.0**39
    for before, after in zip(
        [*weights, *slots], [*model.trainable_variables, *step.slots], strict=True
    ):
        np.testing.assert_array_equal(before, after)


def test_precision_is_what_it_was_afterwards():
    import tf_keras as keras

    with keras_precision("bfloat16"):
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    assert keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_kerass_own_precision_is_as_it_was(precision):
    """The default still follows `floatx`; a policy that somebody chose is theirs again."""
    with keras_precision(precision):
        pass
    keras.backend.set_floatx("float64")
    try:
        assert keras.mixed_precision.global_policy().name == "float64"
        with keras_precision(precision):
            pass
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
        with keras_precision(precision):
            pass
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy(None)
        keras.backend.set_floatx("float32")
