"""Pruning, clustering and quantisation-aware training of a derived network: what they promise holds
after stripping."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import ExportConfig, OptimizerConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_block_model, build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import UIB, BasicBlock, FusedMBConv, MBConv
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.quantize import (
    COMPRESSED_LAYERS,
    FineTuning,
    check_plain,
    compress,
    restore_clusters,
)
from pnas_tf.tflite.rewrites.rewrite import apply_rewrites

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 3)).astype(np.float32)
TARGETS = IMAGES.mean((1, 2)).argmax(-1).astype(np.int32)  # the brightest colour


@pytest.fixture(scope="module")
def network() -> keras.Model:
    space = MBConvSpace(
        "small", 8, 3, 8, 8, (Stage(8, 1, 1),), 16, (MBConv(3, 3),), padding="symmetric"
    )
    return build_network(Architecture(space, (MBConv(3, 3),)))


def tuning(**compression) -> FineTuning:
    data = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(8, drop_remainder=True)
    config = ExportConfig(finetune_epochs=1, finetune_learning_rate=0.01, **compression)
    return FineTuning(lambda epoch: data, 8, config, OptimizerConfig(label_smoothing=0.0))


def kernels(model: keras.Model) -> list[np.ndarray]:
    """The weights that pruning and clustering govern."""
    return [layer.kernel.numpy() for layer in model.layers if type(layer) in COMPRESSED_LAYERS]


def sparsity(model: keras.Model) -> float:
    return np.mean(np.concatenate([kernel.ravel() for kernel in kernels(model)]) == 0)


def test_all_three_together_keep_what_each_promised(network: keras.Model) -> None:
    before = network.get_weights()
    lines: list[str] = []
    made = compress(network, tuning(prune=0.5, cluster=8, quantize="qat"), progress=lines.append)
    aware, plain = made.aware, made.plain
    outcomes = [
        line for line in lines if ", steps" not in line
    ]  # a slow computer also prints its progress
    assert [line.split(":")[0] for line in outcomes] == ["prune", "cluster", "qat"]
    assert 0.48 <= sparsity(plain) <= 0.55
    assert max(len(np.unique(kernel)) for kernel in kernels(plain)) <= 8
    assert [type(layer) for layer in plain.layers] == [
        type(layer) for layer in network.layers
    ]  # stripped: plain layers only
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights()))
    # The file computes what the trained network with its ranges computes: on average to one step of
    # its int8 output. A value that rounds to the other side in one layer may be several steps away.
    classifier = Classifier(convert(aware, dtype="int8"))
    scale, _ = classifier.output["quantization"]
    assert np.abs(classifier.logits(IMAGES) - aware(IMAGES, training=False)).mean() <= scale
    with pytest.raises(UserError, match="quantisation-aware model"):
        convert(aware, "float32")


def test_lost_clusters_come_back_as_their_means(network: keras.Model) -> None:
    import tensorflow_model_optimization as tfmot

    clustered = keras.models.clone_model(network)
    layer = clustered.get_layer("first/project")
    kernel = np.tile([0.0, 0.5, -1.0, 2.0], layer.kernel.shape.num_elements() // 4).reshape(
        layer.kernel.shape
    )
    layer.set_weights([kernel])
    with tfmot.quantization.keras.quantize_scope():
        aware = tfmot.quantization.keras.quantize_model(clustered)
    variable = next(
        weight
        for weight in aware.get_layer("quant_first/project").weights
        if weight.name.endswith("kernel:0")
    )
    drift = np.random.default_rng(0).normal(size=kernel.shape)
    variable.assign(kernel + drift)  # as if training had moved each weight on its own
    restore_clusters(aware, clustered)
    for value in (0.5, -1.0, 2.0):
        np.testing.assert_allclose(
            variable.numpy()[kernel == value], value + drift[kernel == value].mean(), rtol=1e-5
        )
    assert (variable.numpy()[kernel == 0] == 0).all()  # pruned weights stay pruned


def test_pruned_network_is_plain_and_converts(network: keras.Model) -> None:
    pruned = compress(network, tuning(prune=0.75))
    assert 0.72 <= sparsity(pruned) <= 0.78
    check_plain(pruned, "test")
    np.testing.assert_allclose(
        Classifier(convert(apply_rewrites(pruned, ("split_depthwise",)), "float32")).logits(IMAGES),
        pruned(IMAGES),
        atol=1e-4,
    )


def test_plain_and_fused_convolutions_and_universal_bottlenecks_are_taken() -> None:
    ops = (FusedMBConv(3, 2), BasicBlock(3), UIB(3, 5, 2), UIB(3, 0, 2), UIB(0, 0, 2))
    stages = tuple(Stage(8, 1, 1, (op,)) for op in ops)
    space = MBConvSpace(
        "others", 8, 3, 8, 0, stages, 16, (), stem_stride=1, head_hidden=16, activation="relu"
    )
    made = compress(build_network(Architecture(space, ops)), tuning(quantize="qat"))
    classifier = Classifier(convert(made.aware, dtype="int8"))
    scale, _ = classifier.output["quantization"]
    expected = made.aware(IMAGES, training=False)
    # Half a step of rounding in each of 14 layers, in random directions, is about two steps.
    assert np.abs(classifier.logits(IMAGES) - expected).mean() <= 2 * scale


def test_squeeze_and_excitation_is_refused_by_name() -> None:
    space = MBConvSpace(
        "se", 8, 3, 8, 8, (Stage(8, 1, 1),), 16, (MBConv(3, 3, squeeze_excite=True),)
    )
    blocks = Architecture(space, space.candidates).blocks
    model = build_block_model(next(block for block in blocks if block.name == "block_00"))
    with pytest.raises(UserError, match="does not take squeeze-and-excitation"):
        compress(model, tuning(quantize="qat"))
