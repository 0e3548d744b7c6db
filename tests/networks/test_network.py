"""The plain network against the published counts, its blocks, and sums written out by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.layers import (
    Normalisation,
    classifier_initializer,
    kernel_initializer,
)
from pnas_tf.networks.network import build_network, refuse_keras_3, weight_decay_variables
from pnas_tf.space import complexity
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import proxyless, tiny
from pnas_tf.space.published import PUBLISHED, published


def counted_macs(model: keras.Model) -> int:
    """Multiply-accumulates from the Keras layers alone; knows nothing of blocks."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            _, height, width, channels = layer.output_shape
            total += height * width * channels * int(np.prod(layer.kernel_size))
        elif isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output_shape
            total += height * width * int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
    return total


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("proxyless_mobile", 4_080_512, 320_427_584),
        ("proxyless_cpu", 4_361_648, 439_243_864),
        ("proxyless_gpu", 7_119_848, 465_260_160),
        ("proxyless_mobile_14", 6_857_568, 580_883_408),
    ],
)
@pytest.mark.slow
def test_built_models_have_the_published_parameters_and_macs(name, parameters, macs):
    model = build_network(published(name), dropout=PUBLISHED[name].dropout)
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_variables) == parameters
    assert counted_macs(model) == macs
    assert model.output_shape == (None, 1000)


@pytest.mark.parametrize("seed", range(3))
def test_random_networks_agree_with_their_blocks(seed):
    architecture = random_architecture(tiny(resolution=28, classes=7), seed=seed)
    model = build_network(architecture)
    assert (
        sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)
        == architecture.parameters
    )
    assert counted_macs(model) == architecture.macs


def test_variables_stand_in_the_order_of_the_blocks():
    architecture = random_architecture(tiny(), seed=3)
    model = build_network(architecture)
    expected = []
    for block in architecture.blocks:
        for layer in block.layers:
            name = f"{block.name}/{layer.name}"
            expected += (
                [f"{name}/kernel"] if layer.kind != "depthwise" else [f"{name}/depthwise_kernel"]
            )
            expected += [f"{name}/bias"] if layer.bias else []
            expected += [f"{name}_bn/gamma", f"{name}_bn/beta"] if layer.norm else []
    assert [variable.name.removesuffix(":0") for variable in model.trainable_variables] == expected


def test_network_is_flat_and_plain():
    # What quantisation-aware training and the converter take: no nested models, no custom layers,
    # no Lambda or Multiply.
    plain = {
        "InputLayer",
        "Conv2D",
        "DepthwiseConv2D",
        "BatchNormalization",
        "ReLU",
        "Add",
        "ZeroPadding2D",
        "GlobalAveragePooling2D",
        "Dropout",
        "Dense",
    }
    for architecture in (
        published("proxyless_gpu", resolution=64),
        random_architecture(tiny(), seed=0),
    ):
        model = build_network(architecture, dropout=0.1)
        assert {type(layer).__name__ for layer in model.layers} <= plain
        assert all(type(layer).__module__.startswith("tf_keras.") for layer in model.layers)
        for layer in model.layers:  # batch normalisation right behind a convolution
            if isinstance(layer, keras.layers.BatchNormalization):
                assert isinstance(
                    layer.inbound_nodes[0].inbound_layers,
                    keras.layers.Conv2D | keras.layers.DepthwiseConv2D,
                )


def test_normalisation_and_dropout_are_the_arguments():
    architecture = random_architecture(tiny(), seed=0)
    model = build_network(
        architecture, dropout=0.25, normalisation=Normalisation(momentum=0.8, epsilon=1e-5)
    )
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {(layer.momentum, layer.epsilon) for layer in norms} == {(0.8, 1e-5)}
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [
        0.25
    ]
    assert Normalisation() == Normalisation(momentum=0.9, epsilon=1e-3)  # PyTorch's momentum 0.1


def test_weight_decay_takes_kernels_only():
    model = build_network(random_architecture(tiny(), seed=4))
    decayed = {variable.name for variable in weight_decay_variables(model, no_decay="bn_bias")}
    others = {variable.name for variable in model.trainable_variables} - decayed
    assert all(name.endswith(("kernel:0", "depthwise_kernel:0")) for name in decayed)
    assert (
        all(name.endswith(("gamma:0", "beta:0", "bias:0")) for name in others)
        and "head/classifier/bias:0" in others
    )


def test_symmetric_padding_is_that_of_pytorch_and_differs_from_same():
    # Stride 2 on an even size: PyTorch's padding k // 2 centres the kernel on pixels 0, 2, 4, ...;
    # SAME on 1, 3, 5, ...
    outputs = {}
    for padding in ("same", "symmetric"):
        space = tiny(resolution=32)
        architecture = random_architecture(dataclasses.replace(space, padding=padding), seed=1)
        model = build_network(architecture)
        stem = keras.Model(model.input, model.get_layer("stem/conv").output)
        kernel = np.zeros((3, 3, 3, 16), np.float32)
        kernel[1, 1] = (
            # the centre tap alone: output pixel = sum of the input channels under the kernel's
            # centre
            1.0
        )
        model.get_layer("stem/conv").set_weights([kernel])
        image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
        outputs[padding] = stem(image).numpy()[0, :, :, 0]
        outputs[f"{padding} image"] = image[0].sum(-1)
    np.testing.assert_allclose(
        outputs["symmetric"], outputs["symmetric image"][0::2, 0::2], atol=1e-5
    )
    np.testing.assert_allclose(outputs["same"], outputs["same image"][1::2, 1::2], atol=1e-5)


def test_initial_kernels_have_he_fan_out_scale():
    # 3x3x16 -> 64: fan-out 576, standard deviation sqrt(2 / 576) = 0.0589; 9,216 draws, so 0.7 %
    # standard error; 5 sigma.
    draws = kernel_initializer()((3, 3, 16, 64)).numpy()
    assert draws.std() == pytest.approx((2 / 576) ** 0.5, rel=0.04)
    # A depthwise filter: fan-out is its k * k taps. 5x5 x 400 channels = 10,000 draws.
    draws = kernel_initializer()((5, 5, 400, 1)).numpy()
    assert draws.std() == pytest.approx((2 / 25) ** 0.5, rel=0.04)


def test_a_classifier_starts_within_the_root_of_its_inputs():
    """Uniform, so that a network's first answers are near those of no knowledge, ln(classes). 6,400
    draws: their deviation is 1 / sqrt(3 n) with a standard error of 0.6 %; 6 sigma."""
    draws = classifier_initializer()((64, 100)).numpy()
    assert np.abs(draws).max() <= 1 / 8
    assert draws.std() == pytest.approx(1 / 8 / 3**0.5, rel=0.04)


def test_one_network_by_hand():
    """A whole tiny network in numpy, loop by loop, equals the Keras model in inference."""
    space = tiny(resolution=8, classes=3)
    architecture = random_architecture(space, seed=6)
    keras.utils.set_random_seed(3)
    model = build_network(architecture)
    generator = np.random.default_rng(3)
    for variable in model.variables:
        if "kernel" not in variable.name:
            variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    image = generator.normal(size=(8, 8, 3))
    x = image
    for block in architecture.blocks:
        entry = x
        for layer in block.layers:
            x = x.mean((0, 1)) if layer.kind == "dense" else x
            x = by_hand(x, layer, f"{block.name}/{layer.name}", model)
        x = x + entry if block.shortcut and block.layers else x
    np.testing.assert_allclose(
        model(image[None].astype(np.float32)).numpy()[0], x, rtol=2e-4, atol=2e-4
    )


def by_hand(x: np.ndarray, layer, name: str, model: keras.Model) -> np.ndarray:
    weights = [weight.astype(np.float64) for weight in model.get_layer(name).get_weights()]
    if layer.kind == "dense":
        return x @ weights[0] + weights[1]
    k, s, size = layer.kernel, layer.stride, x.shape[0]
    total = max((layer.out_size - 1) * s + k - size, 0)  # SAME: the odd pixel goes to the far side
    padded = np.pad(x, ((total // 2, total - total // 2),) * 2 + ((0, 0),))
    y = np.zeros((layer.out_size, layer.out_size, layer.out_channels))
    for row in range(layer.out_size):
        for column in range(layer.out_size):
            patch = padded[row * s : row * s + k, column * s : column * s + k]
            if layer.kind == "depthwise":
                y[row, column] = (patch * weights[0][..., 0]).sum((0, 1))
            else:
                y[row, column] = np.einsum("hwi,hwio->o", patch, weights[0])
    gamma, beta, mean, variance = (
        weight.astype(np.float64) for weight in model.get_layer(f"{name}_bn").get_weights()
    )
    y = gamma * (y - mean) / np.sqrt(variance + 1e-3) + beta
    return np.clip(y, 0, 6) if layer.activation == "relu6" else y


@pytest.mark.slow
def test_same_architecture_at_another_width_keeps_its_walk():
    architecture = random_architecture(proxyless(width=0.35, resolution=64, classes=4), seed=2)
    model = build_network(architecture, batch_size=2)
    assert model.output_shape == (2, 4)
    assert complexity.parameters(architecture.blocks) == sum(
        int(tf.size(variable)) for variable in model.trainable_variables
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [("my space", "my_space"), ("größe", "gr__e"), ("_x", "n_x"), ("", "n"), ("a.b-2", "a.b-2")],
)
def test_a_space_may_have_any_name(name, shown):
    """TensorFlow takes few signs in the name of a graph's scope."""
    space = dataclasses.replace(tiny(resolution=8), name=name)
    model = build_network(random_architecture(space, seed=0))
    logits = tf.function(lambda images: model(images))(tf.zeros((1, 8, 8, 3)))
    assert logits.shape == (1, 10) and model.name == shown


def test_a_model_of_keras_3_is_told_what_it_is():
    kind = type("Functional", (), {"__module__": "keras.src.models.functional"})
    with pytest.raises(UserError, match="Keras 3") as error:
        refuse_keras_3(kind())
    assert "TF_USE_LEGACY_KERAS=1" in error.value.fix
    refuse_keras_3(keras.Sequential())
