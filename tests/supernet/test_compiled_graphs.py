"""What the compiled graphs of a block's steps hold, and who shares them; their values stand in
tests/supernet/test_engines.py."""

import dataclasses
import gc
import weakref

import pytest

from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Conv, Head, Identity, MBConv, Pool, SepConv, Stem
from pnas_tf.supernet import engine_choice
from pnas_tf.supernet.compiled.engine import CompiledEngine
from pnas_tf.supernet.engine_choice import engine_of
from pnas_tf.supernet.numerics import Numerics

ENGINE = CompiledEngine()
NUMERICS = Numerics(weight_decay=0.01, no_decay="none")
BLOCKS = [
    Block("b", MBConv(5, 3), 6, 6, 4, 4, 1, True, "same"),
    Block(
        "b",
        MBConv(3, 2, squeeze_excite=True, activation="hswish"),
        6,
        3,
        4,
        8,
        2,
        False,
        "symmetric",
    ),
    Block("b", SepConv(3, dilation=2), 6, 6, 4, 4, 1, False, "same"),
    Block("b", Pool("average", 3), 6, 6, 4, 4, 1, False, "same"),
    Block("b", Identity(), 6, 6, 4, 4, 1, False, "same"),
    Block("b", Conv(3, None), 6, 6, 4, 8, 1, False, "same"),
    Block("b", Stem(3), 6, 3, 3, 8, 2, False, "same"),
    Block("b", Head(8), 6, 1, 4, 5, 1, False, "same"),
]


def weight_graphs(block, *, engine=ENGINE, input_gradient=True):
    return engine.weight_graphs(block, NUMERICS, nesterov=True, input_gradient=input_gradient)


def test_every_convolution_stands_in_one_graph_alone():
    """Nothing is computed twice, and an architecture step computes no gradient of a kernel."""
    block = BLOCKS[0]  # expansion, depthwise convolution, projection

    def convolutions(graph):
        return [
            sum(op in kinds for op in graph.ops)
            for kinds in (  # the projections are products of matrices
                ("MatMul", "DepthwiseConv2dNative"),
                ("MatMul transpose_b", "DepthwiseConv2dNativeBackpropInput"),
                ("MatMul transpose_a", "DepthwiseConv2dNativeBackpropFilter"),
            )
        ]

    weight = weight_graphs(block)
    assert [convolutions(graph) for graph in weight.graphs] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    architecture = ENGINE.architecture_graphs(block, NUMERICS, input_gradient=True, gate=True)
    assert [convolutions(graph) for graph in architecture.graphs] == [[3, 0, 0], [0, 3, 0]]
    _, backward, update = weight_graphs(block, input_gradient=False).graphs
    assert backward is None and convolutions(update) == [0, 2, 3]


def test_blocks_of_one_shape_share_their_graphs():
    other = dataclasses.replace(BLOCKS[0], name="elsewhere")
    assert weight_graphs(BLOCKS[0]) is weight_graphs(other)
    assert weight_graphs(BLOCKS[0]) is not weight_graphs(BLOCKS[1])


@pytest.mark.slow
def test_graphs_go_with_their_engine():
    engine = CompiledEngine()
    graphs = weakref.ref(weight_graphs(BLOCKS[0], engine=engine))
    assert graphs() is weight_graphs(BLOCKS[0], engine=engine) is not weight_graphs(BLOCKS[0])
    del engine
    gc.collect()
    assert graphs() is None


def test_supernets_of_one_numerics_share_an_engine_and_few_are_kept():
    first, kept = Numerics(weight_decay=0.011), engine_choice.KEPT_ENGINES
    engine = engine_of("compiled", first)
    assert engine_of("compiled", Numerics(weight_decay=0.011)) is engine
    for number in range(kept):
        engine_of("compiled", Numerics(weight_decay=0.02 + number))
    assert engine_of("compiled", first) is not engine


def test_mbconvs_share_their_graphs_whatever_their_sizes():
    def graphs(op, *, size=6, width=4, stride=1, padding="same", shortcut=True):
        block = Block(
            "b",
            op,
            size,
            -(-size // stride),
            width,
            width,
            stride,
            shortcut and stride == 1,
            padding,
        )
        return weight_graphs(block)

    first = graphs(MBConv(3, 3))
    assert all(
        first is other
        for other in (
            graphs(MBConv(7, 6)),
            graphs(MBConv(5, 2), size=9),
            graphs(MBConv(3, 3), width=24),
        )
    )
    assert (
        graphs(MBConv(3, 3, squeeze_excite=True)) is not first and graphs(MBConv(3, 1)) is not first
    )  # no expansion, other layers
    assert (
        graphs(MBConv(3, 3), shortcut=False) is not first
        and graphs(MBConv(3, 3), stride=2) is not first
    )
    # A stride with symmetric padding pads by the kernel, so there the kernel is part of the
    # numerics.
    symmetric = [
        graphs(MBConv(kernel, expansion), stride=2, padding="symmetric")
        for kernel, expansion in ((3, 3), (3, 6), (7, 3))
    ]
    assert symmetric[0] is symmetric[1] and symmetric[0] is not symmetric[2]
