"""Networks and supernets of tree cells: parameters, one path and the plain network, joints,
.tflite."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from reference_path import logits

from pnas_tf.config import OptimizerConfig, SearchConfig
from pnas_tf.networks.layers import apply_merge
from pnas_tf.networks.network import build_network
from pnas_tf.search.weight_step import Momentum, weight_step
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.graph import Add, Concat, PadChannels, Slice
from pnas_tf.space.tree_cells import TREE_EDGES, TreeCellSpace
from pnas_tf.supernet.functional import merge_output
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.parity import compare

SPACE = TreeCellSpace(
    "trees",
    8,
    3,
    start_width=8,
    added_width=4,
    stages=2,
    cells=1,
    head_width=8,
    candidates=TREE_EDGES,
    merges=("add", "concat"),
)


def path_with_all_ops():
    return tuple(index % len(TREE_EDGES) for index in range(len(SPACE.choice_blocks)))


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    return tf.constant(generator.standard_normal((5, 8, 8, 3)), tf.float32), tf.constant(
        generator.integers(0, 3, 5), tf.int32
    )


@pytest.mark.parametrize(
    "merge, shapes",
    [
        (Add((1, 2)), [4, 4]),
        (Concat((1, 2)), [3, 2]),
        (Slice((1,), 0, 3, 5), [5]),
        (Slice((1,), 3, 5, 5), [5]),
        (PadChannels((1,), 3), [2]),
    ],
    ids=str,
)
def test_merges_of_network_and_supernet_are_what_numpy_says(merge, shapes):
    generator = np.random.default_rng(0)
    arrays = [
        generator.standard_normal((2, 4, 4, channels)).astype(np.float32) for channels in shapes
    ]
    expected = {
        Add: lambda: arrays[0] + arrays[-1],
        Concat: lambda: np.concatenate(arrays, -1),
        Slice: lambda: arrays[0][..., merge.start : merge.stop],
        PadChannels: lambda: np.concatenate([arrays[0], np.zeros((2, 4, 4, merge.zeros))], -1),
    }[type(merge)]()
    inputs = [keras.Input(array.shape[1:]) for array in arrays]
    model = keras.Model(inputs, apply_merge(7, merge, inputs))
    np.testing.assert_array_equal(model(arrays), expected)
    np.testing.assert_array_equal(
        merge_output(merge, [tf.constant(array) for array in arrays]), expected
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_parameters_are_those_of_the_built_model(seed):
    architecture = random_architecture(SPACE, seed=seed)
    built = build_network(architecture)
    assert built.output_shape == (None, 3)
    assert (
        sum(int(np.prod(variable.shape)) for variable in built.trainable_variables)
        == architecture.parameters
    )


@pytest.mark.slow
def test_one_path_is_the_plain_network_before_and_after_steps(batch):
    images, labels = batch
    supernet, path = (
        Supernet(SPACE, SearchConfig(weights_init="aligned"), numerics=Numerics(weight_decay=0.01)),
        path_with_all_ops(),
    )
    network = build_network(supernet.architecture_of(path))
    optimizer = Momentum(OptimizerConfig(label_smoothing=0.0))
    unsampled = {name: variable.numpy() for name, variable in supernet.named_variables().items()}
    on_path = {name for block in supernet.blocks_on(path) for name in block.named}
    for _ in range(2):
        supernet.inherit(network, path)
        weights = network.get_weights()
        by_batch_statistics = network(images, training=True)
        network.set_weights(weights)  # as its moving statistics were
        np.testing.assert_allclose(
            logits(supernet, images, path=path), by_batch_statistics, atol=1e-5
        )
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(
                    labels, network(images, training=True)
                )
            )
        loss, _ = weight_step(
            supernet,
            path,
            images,
            labels,
            optimizer=optimizer,
            learning_rate=0.1,
        )
        assert loss == pytest.approx(float(value), rel=1e-5)
        assert all(
            gradient is not None for gradient in tape.gradient(value, network.trainable_variables)
        )
    for name, variable in supernet.named_variables().items():
        assert np.array_equal(variable.numpy(), unsampled[name]) == (name not in on_path), name


@pytest.mark.slow
def test_tflite_of_a_small_tree_computes_the_same():
    path = path_with_all_ops()
    architecture = Architecture(
        SPACE, tuple(place.candidates[index] for place, index in zip(SPACE.choice_blocks, path))
    )
    keras.utils.set_random_seed(3)
    network = build_network(architecture)
    images = np.random.default_rng(4).standard_normal((4, 8, 8, 3)).astype(np.float32)
    for dtype in ("float32", "int8"):
        content = convert(network, dtype, representative=images if dtype == "int8" else None)
        report = compare(network, content, [(images, np.zeros(4, np.int32))], dtype=dtype)
        assert report.max_logit_difference < (
            1e-4 if dtype == "float32" else 0.3 * np.abs(network(images)).max()
        )
