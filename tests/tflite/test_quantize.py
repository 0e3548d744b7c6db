"""Pruning, clustering and quantisation-aware training of a derived network: what they promise holds
after stripping."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_block_model, build_network
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.parity import Classifier
from pnas_tf.tflite.quantize import (
    Compression,
    FineTuning,
    check_plain,
    compress,
    distinct_weights,
    load_model,
    plain_network,
    restore_clusters,
    save_model,
    sparsity,
)

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).uniform(-1, 1, (64, 8, 8, 3)).astype(np.float32)
TARGETS = IMAGES.mean((1, 2)).argmax(-1).astype(np.int32)  # the brightest colour


@pytest.fixture(scope="module")
def network() -> keras.Model:
    space = MBConvSpace(
        "small", 8, 3, 8, 8, (Stage(8, 1, 1),), 16, (MBConv(3, 3),), padding="symmetric"
    )
    return build_network(Architecture(space, (MBConv(3, 3),)))


def tuning(epochs: int = 1) -> FineTuning:
    data = tf.data.Dataset.from_tensor_slices((IMAGES, TARGETS)).batch(8, drop_remainder=True)
    return FineTuning(
        lambda epoch: data, 8, epochs=epochs, learning_rate=0.01, momentum=0.9, label_smoothing=0.0
    )


def test_all_three_together_keep_what_each_promised(network: keras.Model, tmp_path: Path) -> None:
    before = network.get_weights()
    lines: list[str] = []
    aware = compress(
        network, Compression(prune=0.5, cluster=8, aware=True), tuning(), progress=lines.append
    )
    outcomes = [
        line for line in lines if ", steps" not in line
    ]  # a slow computer also prints its progress
    assert [line.split(":")[0] for line in outcomes] == ["prune", "cluster", "qat"]
    plain = plain_network(aware, network)
    assert 0.48 <= sparsity(plain) <= 0.55 and distinct_weights(plain) <= 8
    assert [type(layer) for layer in plain.layers] == [
        type(layer) for layer in network.layers
    ]  # stripped: plain layers only
    assert all(np.array_equal(a, b) for a, b in zip(before, network.get_weights()))
    # The file computes what the trained network with its ranges computes, to three steps of its
    # int8 output.
    classifier = Classifier(convert(aware, dtype="int8"))
    scale, _ = classifier.output["quantization"]
    assert np.abs(classifier.logits(IMAGES) - aware(IMAGES, training=False)).max() <= 3.01 * scale
    np.testing.assert_array_equal(
        load_model(save_model(aware, tmp_path / "network.h5"))(IMAGES), aware(IMAGES)
    )
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(save_model(aware, tmp_path / "network"))
    with pytest.raises(UserError, match=r"\.keras"):
        save_model(aware, tmp_path / "network.keras")
    with pytest.raises(UserError, match="quantisation-aware model"):
        convert(aware)
    (tmp_path / "network.h5").write_bytes((tmp_path / "network.h5").read_bytes()[:1000])
    with pytest.raises(UserError, match=r"network\.h5"):
        load_model(tmp_path / "network.h5")


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
    pruned = compress(network, Compression(prune=0.75), tuning())
    assert 0.72 <= sparsity(pruned) <= 0.78
    check_plain(pruned, "test")
    np.testing.assert_allclose(
        Classifier(convert(pruned, rewrites=("split_depthwise",))).logits(IMAGES),
        pruned(IMAGES),
        atol=1e-4,
    )


def test_squeeze_and_excitation_is_refused_by_name() -> None:
    space = MBConvSpace(
        "se", 8, 3, 8, 8, (Stage(8, 1, 1),), 16, (MBConv(3, 3, squeeze_excite=True),)
    )
    blocks = Architecture(space, space.candidates).blocks
    model = build_block_model(next(block for block in blocks if block.name == "block_00"))
    with pytest.raises(UserError, match="does not take squeeze-and-excitation"):
        compress(model, Compression(aware=True), tuning())


@pytest.mark.parametrize(
    "arguments",
    [{"prune": 1.0}, {"prune": -0.1}, {"cluster": 1}, {"cluster": 1000}, {"prune": float("nan")}],
)
def test_refuses_impossible_compression(arguments: dict) -> None:
    with pytest.raises(UserError, match=r"--prune|--cluster"):
        Compression(**arguments)
