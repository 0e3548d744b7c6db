"""Rewrites leave the function as it is, over the whole grid of shapes, and are chosen by measured
latencies."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_block_model, build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace, Stage, proxyless, tiny
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite.rewrites import rewrite
from pnas_tf.tflite.rewrites.choice import REWRITES, faster, rewrites_of_blocks
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites

SPLIT = ("split_depthwise",)
GRID = list(itertools.product(range(5, 12), (1, 2), (3, 6, 8, 13), ("same", "symmetric")))


def depthwise_model(
    kernel: int, stride: int, size: int, padding: str, *, use_bias: bool = False, norm: bool = True
) -> keras.Model:
    image = x = keras.Input((size, size, 3))
    if padding == "symmetric":
        x = keras.layers.ZeroPadding2D(kernel // 2)(x)
    x = keras.layers.DepthwiseConv2D(
        kernel,
        stride,
        "same" if padding == "same" else "valid",
        use_bias=use_bias,
        name="depthwise",
    )(x)
    if norm:
        x = keras.layers.BatchNormalization()(x)
    model = keras.Model(image, keras.layers.ReLU(6.0)(x))
    randomise(model)
    return model


def randomise(model: keras.Model) -> None:
    """Weights of which no part can be left out unseen: statistics, scales and offsets too."""
    generator = np.random.default_rng(0)
    model.set_weights(
        [
            generator.normal(0, 1 / np.sqrt(np.prod(weight.shape[:-1]) + 1), weight.shape)
            if weight.ndim > 1
            else generator.uniform(0.5, 1.5, weight.shape)
            for weight in model.get_weights()
        ]
    )


@pytest.mark.parametrize("kernel", range(5, 12))
@pytest.mark.slow
def test_sum_of_pieces_is_the_convolution_everywhere(kernel: int) -> None:
    generator = np.random.default_rng(1)
    for _, stride, size, padding in (row for row in GRID if row[0] == kernel):
        model = depthwise_model(kernel, stride, size, padding)
        rewritten = apply_rewrites(model, SPLIT)
        images = generator.normal(size=(2, size, size, 3)).astype(np.float32)
        expected, received = model(images).numpy(), rewritten(images).numpy()
        assert received.shape == expected.shape
        np.testing.assert_allclose(
            received,
            expected,
            atol=1e-5,
            rtol=0,
            err_msg=f"stride {stride}, size {size}, {padding}",
        )
        if kernel == 5:
            assert rewritten is model
            continue
        kernels = [
            layer.kernel_size
            for layer in rewritten.layers
            if isinstance(layer, keras.layers.DepthwiseConv2D)
        ]
        assert all(np.prod(size) <= 25 for size in kernels)
        assert not any(
            isinstance(layer, keras.layers.BatchNormalization) for layer in rewritten.layers
        )


def test_bias_and_missing_normalisation_are_kept() -> None:
    images = np.random.default_rng(1).normal(size=(2, 9, 9, 3)).astype(np.float32)
    for use_bias, norm in itertools.product((True, False), repeat=2):
        model = depthwise_model(7, 1, 9, "same", use_bias=use_bias, norm=norm)
        np.testing.assert_allclose(
            apply_rewrites(model, REWRITES)(images), model(images), atol=1e-5
        )


def small_network(resolution: int = 33, *, padding: str = "symmetric") -> keras.Model:
    space = MBConvSpace(
        "small",
        resolution,
        10,
        8,
        8,
        (Stage(8, 2, 2), Stage(16, 1, 2)),
        32,
        (MBConv(3, 3), MBConv(5, 3), MBConv(7, 3)),
        padding=padding,
    )
    model = build_network(Architecture(space, (MBConv(7, 3), MBConv(5, 3), MBConv(7, 3))))
    randomise(model)
    return model


def test_network_with_shortcuts_keeps_its_logits_and_its_weights() -> None:
    model = small_network()
    before = model.get_weights()
    rewritten = apply_rewrites(model, REWRITES)
    images = np.random.default_rng(0).uniform(-1, 1, (4, 33, 33, 3)).astype(np.float32)
    np.testing.assert_allclose(rewritten(images), model(images), atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    assert applicable(rewritten) == ()  # nothing is left to rewrite


def test_one_shape_alone_can_be_rewritten() -> None:
    model = small_network(padding="same")
    names = applicable(model)
    assert names == ("split_depthwise[k7 s2 17x17x24]", "split_depthwise[k7 s2 9x9x24]")
    assert applicable(apply_rewrites(model, names[:1])) == names[1:]


def test_measured_latencies_choose() -> None:
    fast, slow = "split_depthwise[k7 s1 14x14x288]", "split_depthwise[k7 s2 56x56x144]"
    assert faster({fast: 1.5, slow: 3.0}, {fast: 0.3, slow: 0.8}, margins={}) == (
        "split_depthwise",
    )
    assert faster({fast: 1.5, slow: 3.0}, {fast: 0.3, slow: 2.99}, margins={}) == (
        fast,
    )  # within the noise
    assert faster({fast: 1.5, slow: 3.0}, {fast: 0.3, slow: 2.8}, margins={slow: 0.1}) == (
        fast,
    )  # within this measurement's noise
    assert faster({fast: 1.5, slow: 3.0}, {fast: 0.3, slow: 2.8}, margins={slow: 0.05}) == (
        "split_depthwise",
    )
    assert faster({fast: 1.0}, {fast: 2.0}, margins={}) == ()
    assert faster({}, {}, margins={}) == ()
    with pytest.raises(KeyError):
        faster({fast: 1.0}, {}, margins={})


@pytest.mark.parametrize(
    "space",
    [
        tiny(),
        proxyless(resolution=96, width=0.25),
        replace(proxyless(resolution=64), padding="symmetric"),
    ],
    ids=lambda space: f"{space.name} {space.padding}",
)
@pytest.mark.slow
def test_a_blocks_rewrites_are_known_without_its_model(space: SearchSpace) -> None:
    for block in space.distinct_blocks().values():
        if "k7" in block.key or block.op in (space.stem, space.head) or space == tiny():
            assert rewrites_of_blocks([block]) == applicable(build_block_model(block)), block.key


def test_a_rewrite_stands_beside_blocks_and_beside_layers() -> None:
    assert set(rewrite._AT_LAYERS) == set(REWRITES)


def test_refuses_what_it_cannot_rewrite() -> None:
    model = small_network()
    with pytest.raises(UserError, match="unknown export rewrite"):
        apply_rewrites(model, ("unroll",))
    assert apply_rewrites(model, ()) is model
    layer = keras.layers.Conv2D(3, 3, padding="same")
    image = keras.Input((8, 8, 3))
    twice = keras.Model(image, keras.layers.DepthwiseConv2D(7, padding="same")(layer(layer(image))))
    with pytest.raises(UserError, match="flat graph"):
        apply_rewrites(twice, REWRITES)
