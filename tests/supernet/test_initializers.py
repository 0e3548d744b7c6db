"""Initial weights: the original's spread, and candidates that start as one function."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from reference_path import block_output, first_choice_input, mixed_output

from pnas_tf.config import SearchConfig
from pnas_tf.space.mbconv import MBCONV_3_5_7, MBConvSpace, Stage, tiny
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.functional import Mode
from pnas_tf.supernet.supernet import Supernet

SPACE = MBConvSpace(
    "aligned",
    9,
    3,
    stem_width=4,
    first_width=4,
    stages=(Stage(6, 2, 1), Stage(8, 2, 2)),
    head_width=8,
    candidates=MBCONV_3_5_7,
)


def test_aligned_candidates_start_as_one_function():
    images = tf.constant(np.random.default_rng(0).standard_normal((4, 9, 9, 3)), tf.float32)
    supernet = Supernet(SPACE, SearchConfig(weights_init="aligned", shortcut_gamma=0.0), seed=1)
    x = first_choice_input(supernet, images)
    outputs = [mixed_output(supernet.mixed_ops[0], x, active=index) for index in range(6)]
    assert np.abs(outputs[0]).max() > 0.1
    for output in outputs[1:]:
        np.testing.assert_allclose(output, outputs[0], atol=1e-5)
    residual = supernet.mixed_ops[1]
    for index in range(7):
        np.testing.assert_array_equal(mixed_output(residual, outputs[0], active=index), outputs[0])


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_candidates_with_a_stride_start_as_one_function_at_an_even_size(padding):
    """There a 1x1 kernel and the centre of a larger one are on other pixels."""
    ops = tuple(MBConv(kernel, 3) for kernel in (1, 3, 5, 7))
    space = replace(SPACE, stages=(Stage(6, 1, 2),), candidates=ops, padding=padding, stem_stride=1)
    for resolution in (8, 9):
        supernet = Supernet(replace(space, resolution=resolution), SearchConfig(), seed=1)
        images = np.random.default_rng(0).standard_normal((4, resolution, resolution, 3))
        x = first_choice_input(supernet, tf.constant(images, tf.float32))
        outputs = [mixed_output(supernet.mixed_ops[0], x, active=index) for index in range(4)]
        assert np.abs(outputs[0]).max() > 0.1
        for output in outputs[1:]:
            np.testing.assert_allclose(output, outputs[0], atol=1e-5)


@pytest.mark.slow
def test_a_block_with_a_shortcut_adds_its_gamma_times_one_function():
    x = tf.constant(np.random.default_rng(0).standard_normal((4, 9, 9, 6)), tf.float32)

    def added(gamma, index):
        residual = Supernet(
            SPACE, SearchConfig(weights_init="aligned", shortcut_gamma=gamma), seed=1
        ).mixed_ops[1]
        return mixed_output(residual, x, active=index) - x

    whole = added(1.0, 0)
    assert np.abs(whole).max() > 0.5
    for index in range(6):
        np.testing.assert_allclose(added(0.3, index), 0.3 * whole, atol=1e-5)
    np.testing.assert_array_equal(added(0.3, 6), np.zeros_like(x))  # Zero


def test_aligned_zeros_have_gradients():
    """Taps and channels that start at 0 are not stuck there, once gamma has moved from 0 where it
    does."""
    supernet = Supernet(SPACE, SearchConfig(weights_init="aligned"), seed=1)
    largest = supernet.mixed_ops[0].candidates[5]
    assert largest.block.op == MBConv(7, 6)
    x = tf.constant(np.random.default_rng(0).standard_normal((4, 5, 5, 4)), tf.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(3.0 * block_output(largest, x, mode=Mode.WEIGHTS)))
    depthwise, project = (largest.by_layer[name][0] for name in ("depthwise", "project"))
    by_depthwise, by_project = tape.gradient(loss, [depthwise, project])
    assert (depthwise.numpy()[0, 0, :12] == 0).all() and (
        np.abs(by_depthwise.numpy()[0, 0, :12, 0]) > 0
    ).any()
    assert (project.numpy()[0, 0, 12:] == 0).all() and (
        np.abs(by_project.numpy()[0, 0, 12:]) > 0
    ).mean() > 0.5


@pytest.mark.parametrize("weights_init", ["he_fout", "aligned"])
def test_kernels_have_hes_spread(weights_init):
    """Standard deviation sqrt(2 / fan-out) of the stem's 27 * 16 numbers: within 20 %, 5.9 standard
    errors (fixed seed besides)."""
    kernel = (
        Supernet(tiny(), SearchConfig(weights_init=weights_init))
        .fixed["stem"]
        .by_layer["conv"][0]
        .numpy()
    )
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 16)), rel=0.2)


@pytest.mark.parametrize("weights_init", ["he_fout", "he_fin", "aligned"])
def test_a_classifier_starts_as_that_of_a_network_trained_alone(weights_init):
    """Within 1 / sqrt(inputs), and as uniform as 640 numbers are: a share in each quarter within 6
    standard errors."""
    space = tiny(classes=10)
    head = Supernet(space, SearchConfig(weights_init=weights_init)).fixed["head"]
    kernel = head.by_layer["classifier"][0].numpy()
    inside = kernel * kernel.shape[0] ** 0.5
    assert np.abs(inside).max() <= 1
    shares = np.histogram(inside, 4, (-1, 1))[0] / kernel.size
    np.testing.assert_allclose(shares, 0.25, atol=6 * (0.25 * 0.75 / kernel.size) ** 0.5)
