"""What the compiled parts of a block's steps hold, and who shares them; their values stand in
tests/supernet/test_engines.py."""

from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Conv, Head, Identity, MBConv, Pool, SepConv, Stem
from pnas_tf.supernet.compiled.block import (
    architecture_parts,
    weight_parts,
)
from pnas_tf.supernet.functional import Arithmetic

ARITHMETIC = Arithmetic(weight_decay=0.01, no_decay="none")
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


def test_every_convolution_stands_in_one_part_alone():
    """Nothing is computed twice, and an architecture step computes no gradient of a kernel."""
    block = BLOCKS[0]  # expansion, depthwise convolution, projection

    def convolutions(part):
        return [
            sum(op in kinds for op in part.ops)
            for kinds in (  # the projections are products of matrices
                ("MatMul", "DepthwiseConv2dNative"),
                ("MatMul transpose_b", "DepthwiseConv2dNativeBackpropInput"),
                ("MatMul transpose_a", "DepthwiseConv2dNativeBackpropFilter"),
            )
        ]

    weight = weight_parts(block, ARITHMETIC, nesterov=True)
    assert [convolutions(part) for part in (weight._forward, weight._backward, weight._move)] == [
        [3, 0, 0],
        [0, 3, 0],
        [0, 0, 3],
    ]
    architecture = architecture_parts(block, ARITHMETIC, input_gradient=True, gate=True)
    assert [convolutions(part) for part in (architecture._forward, architecture._backward)] == [
        [3, 0, 0],
        [0, 3, 0],
    ]
    first = weight_parts(block, ARITHMETIC, nesterov=True, input_gradient=False)
    assert first._backward is None and convolutions(first._move) == [0, 2, 3]


def test_blocks_of_one_shape_share_their_parts():
    other = Block(
        "elsewhere",
        *[getattr(BLOCKS[0], name) for name in list(BLOCKS[0].__dataclass_fields__)[1:]],
    )
    assert weight_parts(BLOCKS[0], ARITHMETIC, nesterov=True) is weight_parts(
        other, ARITHMETIC, nesterov=True
    )
    assert weight_parts(BLOCKS[0], ARITHMETIC, nesterov=True) is not weight_parts(
        BLOCKS[1], ARITHMETIC, nesterov=True
    )


def test_mbconvs_share_their_parts_whatever_their_sizes():
    def parts(op, *, size=6, width=4, stride=1, padding="same", shortcut=True):
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
        return weight_parts(block, ARITHMETIC, nesterov=True)

    first = parts(MBConv(3, 3))
    assert all(
        first is other
        for other in (
            parts(MBConv(7, 6)),
            parts(MBConv(5, 2), size=9),
            parts(MBConv(3, 3), width=24),
        )
    )
    assert (
        parts(MBConv(3, 3, squeeze_excite=True)) is not first and parts(MBConv(3, 1)) is not first
    )  # no expansion, other layers
    assert (
        parts(MBConv(3, 3), shortcut=False) is not first
        and parts(MBConv(3, 3), stride=2) is not first
    )
    # A stride with symmetric padding pads by the kernel, so there the kernel is part of the
    # arithmetic.
    symmetric = [
        parts(MBConv(kernel, expansion), stride=2, padding="symmetric")
        for kernel, expansion in ((3, 3), (3, 6), (7, 3))
    ]
    assert symmetric[0] is symmetric[1] and symmetric[0] is not symmetric[2]
