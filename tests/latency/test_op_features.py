"""Amounts of work against sums by hand and against the MACs of the one walk."""

import numpy as np
import pytest

from pnas_tf.latency.op_features import FEATURES, OP_KINDS, features_of, work_of
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import proxyless, tiny
from pnas_tf.space.ops import Head, MBConv, Zero
from pnas_tf.space.tree_cells import pyramid_tree


def named(blocks):
    return {name: value for name, value in zip(FEATURES, features_of(blocks)) if value}


def test_a_block_by_hand():
    block = Block("a", MBConv(5, 3), 14, 14, 8, 8, 1, True, "same")
    area = 14 * 14
    assert named([block]) == {
        "ops": 4,  # expansion, depthwise, projection, add
        "convolution MACs": 2 * area * 8 * 24,
        "convolution activations read": area * (8 + 24),
        "convolution activations written": area * (24 + 8),
        "weights": 2 * 8 * 24,
        "depthwise 5 MACs from 10 px": area * 25 * 24,
        "depthwise activations from 10 px": 2 * area * 24,
        "merged activations": 3 * area * 8,
    }


def test_a_head_and_a_skipped_block_by_hand():
    head = Block("head", Head(32), 7, 1, 8, 10, 1, False, "same")
    assert named([head]) == {
        "ops": 3,  # convolution, pooling, classifier
        "convolution MACs": 49 * 8 * 32,
        "convolution activations read": 49 * 8,
        "convolution activations written": 49 * 32,
        "merged activations": 49 * 32 + 32,
        "weights": 8 * 32 + 32 * 10,
    }
    assert not named([Block("b", Zero(), 14, 14, 8, 8, 1, True, "same")])


@pytest.mark.parametrize("space", [proxyless(), tiny(), pyramid_tree(classes=10)])
def test_all_macs_of_a_network_are_some_ops(space):
    network = random_architecture(space, seed=3)
    works = [work for block in network.blocks for work in work_of(block)]
    assert sum(work.macs for work in works) == network.macs
    dense = sum(work.macs for work in works if work.kind == "dense")
    counted = sum(value for name, value in named(network.blocks).items() if "MACs" in name)
    assert counted + dense == network.macs
    np.testing.assert_allclose(
        features_of(network.blocks), sum(features_of([block]) for block in network.blocks)
    )


def test_every_feature_is_of_one_op_kind():
    assert OP_KINDS.shape[0] == len(FEATURES) and (OP_KINDS.sum(axis=1) == 1).all()
