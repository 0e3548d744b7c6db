"""The supernet against plain Keras networks: same logits, same gradients, same step; unsampled
variables untouched."""

import dataclasses

import kinks
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from conforming import of_each_form
from reference_path import logits

from pnas_tf.config import OptimizerConfig, SearchConfig
from pnas_tf.networks.network import build_network, weight_decay_variables
from pnas_tf.networks.pretrained import block_arrays
from pnas_tf.search.derive import path_of
from pnas_tf.search.weight_step import Momentum, weight_step
from pnas_tf.space.mbconv import CHAIN_OPS, MBConvSpace, Stage
from pnas_tf.space.ops import Conv, MBConv
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet

DECAY = 0.01


def small_space(candidates, padding="same", skips=True):
    return MBConvSpace(
        "small",
        9,
        3,
        stem_width=4,
        first_width=4,
        stages=(Stage(4, 2, 1), Stage(8, 2, 2)),
        head_width=8,
        candidates=candidates,
        padding=padding,
        skips=skips,
    )


def batch_of(seed):
    generator = np.random.default_rng(seed)
    return tf.constant(generator.standard_normal((5, 9, 9, 3)), tf.float32), tf.constant(
        generator.integers(0, 3, 5), tf.int32
    )


@pytest.fixture
def batch():
    return batch_of(0)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize(
    "op",
    [MBConv(5, 3), MBConv(3, 2, squeeze_excite=True, activation="hswish")],
    ids=lambda op: op.key,
)
@pytest.mark.slow
def test_one_candidate_supernet_is_the_plain_network(padding, op):
    path = (0,) * 4

    def made(engine):
        return Supernet(
            small_space((op,), padding, skips=False),
            SearchConfig(weights_init="he_fout", engine=engine),
            numerics=Numerics(weight_decay=DECAY),
        )

    def stepped(seed):
        """The steps below by the engine that computes eagerly, for images far from kinks."""
        supernet, optimizer = made("tape"), Momentum(OptimizerConfig())
        for _ in range(2):
            weight_step(
                supernet,
                path,
                *batch_of(seed),
                optimizer=optimizer,
                learning_rate=0.1,
            )

    images, labels = batch_of(kinks.first_away(stepped)[0])
    supernet = made("auto")
    network = build_network(supernet.architecture_of(path))
    supernet.inherit(network, path)
    np.testing.assert_allclose(
        logits(supernet, images, path=path),
        network(images, training=True),
        atol=1e-5,
    )
    supernet.inherit(
        network, path
    )  # the call in training mode moved Keras' statistics; ours must not have moved

    # Two steps, so that momentum counts. PyTorch's and Keras' Nesterov agree while the rate is
    # constant.
    optimizer = Momentum(OptimizerConfig())
    reference = keras.optimizers.legacy.SGD(0.1, momentum=0.9, nesterov=True)
    decayed = {variable.ref() for variable in weight_decay_variables(network, no_decay="bn_bias")}
    for _ in range(2):
        loss, _ = weight_step(
            supernet,
            path,
            images,
            labels,
            optimizer=optimizer,
            learning_rate=0.1,
        )
        with tf.GradientTape() as tape:
            value = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(
                tf.one_hot(labels, 3), network(images, training=True)
            )
        gradients = tape.gradient(value, network.trainable_variables)
        gradients = [
            gradient + DECAY * variable if variable.ref() in decayed else gradient
            for gradient, variable in zip(gradients, network.trainable_variables)
        ]
        reference.apply_gradients(zip(gradients, network.trainable_variables))
        assert loss == pytest.approx(float(value), rel=1e-5)
    copied = build_network(supernet.architecture_of(path))
    supernet.inherit(copied, path)
    for ours, theirs in zip(copied.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_every_kind_of_op_is_inherited_whole(batch):
    """All forms of ops behind each other: the network is the path, its variables are the path's to
    the bit."""
    ops = [block.op for block in of_each_form() if block.shortcut]
    assert {type(op) for op in ops} >= set(CHAIN_OPS) - {Conv}  # whose list has none of stride 1
    stages = tuple(Stage(4, 1, 1, (op,)) for op in (*ops, Conv(3, "relu")))
    supernet = Supernet(dataclasses.replace(small_space((ops[0],)), stages=stages))
    generator = np.random.default_rng(0)
    for variable in supernet.named_variables().values():
        variable.assign_add(generator.uniform(0.0, 0.5, variable.shape))
    path = (0,) * len(stages)
    network = build_network(supernet.architecture_of(path))
    supernet.inherit(network, path)
    expected = logits(supernet, batch[0], path=path)
    difference = network(batch[0], training=True) - expected
    assert np.abs(difference).max() <= 1e-5 * max(1.0, np.abs(expected).max())
    supernet.inherit(network, path)
    for block in supernet.blocks_on(path):
        arrays = block_arrays(network, block.block)
        ours = {name.removeprefix(f"{block.name}/"): v for name, v in block.named.items()}
        assert set(arrays) == set(ours) and len(ours) > 0
        for name, array in arrays.items():
            np.testing.assert_array_equal(array, ours[name], err_msg=f"{block.name}/{name}")


@pytest.mark.slow
def test_unsampled_weights_statistics_and_momenta_are_bit_equal(batch):
    supernet = Supernet(
        small_space((MBConv(3, 2), MBConv(5, 2))),
        SearchConfig(weights_init="he_fout"),
        numerics=Numerics(weight_decay=DECAY),
    )
    optimizer = Momentum(OptimizerConfig(label_smoothing=0.0))
    for path in ((0, 0, 0, 0), (1, 1, 1, 1)):  # every candidate has momentum now
        weight_step(supernet, path, *batch, optimizer=optimizer, learning_rate=0.1)
    path = (0, 2, 1, 0)  # 2 is Zero
    on_path = {name for block in supernet.blocks_on(path) for name in block.named}
    before = {name: variable.numpy() for name, variable in supernet.named_variables().items()}
    momenta = {name: slot.numpy() for name, slot in optimizer.slots.items()}
    weight_step(supernet, path, *batch, optimizer=optimizer, learning_rate=0.1)
    for name, variable in supernet.named_variables().items():
        changed = not np.array_equal(variable.numpy(), before[name])
        assert changed == (name in on_path), name
    for name, slot in optimizer.slots.items():
        assert (not np.array_equal(slot.numpy(), momenta[name])) == (name in on_path), name


def test_path_and_architecture_are_inverse():
    supernet = Supernet(
        small_space((MBConv(3, 2), MBConv(5, 2))), SearchConfig(weights_init="he_fout")
    )
    path = (0, 2, 1, 2)
    assert path_of(supernet.architecture_of(path)) == path
    names = supernet.named_variables()
    assert len(names) == sum(len(block.ordered) for block in supernet.all_blocks()) + 4


def test_initial_weights_depend_on_seed_and_place_alone():
    small, large = (
        Supernet(small_space(ops), SearchConfig(weights_init="he_fout"), seed=3).named_variables()
        for ops in ((MBConv(3, 2),), (MBConv(5, 2), MBConv(3, 2)))
    )
    name = "block_02/mbconv_k3_e2/expand/kernel"
    np.testing.assert_array_equal(small[name], large[name])
    other = Supernet(
        small_space((MBConv(3, 2),)), SearchConfig(weights_init="he_fout"), seed=4
    ).named_variables()[name]
    assert not np.array_equal(small[name], other)
