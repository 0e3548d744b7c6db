"""The compiled parts of a block's steps against the same arithmetic under a GradientTape."""

import numpy as np
import pytest
import tensorflow as tf

from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Conv, Head, Identity, MBConv, Pool, SepConv, Stem
from pnas_tf.supernet.compiled.block import (
    architecture_parts,
    gate_function,
    output_function,
    weight_parts,
)
from pnas_tf.supernet.functional import Arithmetic, Mode
from pnas_tf.supernet.initializers import Initial
from pnas_tf.supernet.mixed_op import BlockWeights

ARITHMETIC = Arithmetic(weight_decay=0.01, no_decay="none")
RATE, MOMENTUM = 0.1, 0.9
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


def made(block):
    weights = BlockWeights(block, arithmetic=ARITHMETIC, initial=Initial(0), name="b")
    generator = np.random.default_rng(0)
    for variable in weights.ordered:
        variable.assign_add(0.1 * generator.standard_normal(variable.shape).astype(np.float32))
    return weights


def inputs(block):
    generator = np.random.default_rng(1)
    shape = (
        (3, block.out_channels)
        if isinstance(block.op, Head)
        else (3, block.out_size, block.out_size, block.out_channels)
    )
    return (
        tf.constant(
            generator.standard_normal((3, block.in_size, block.in_size, block.in_channels)),
            tf.float32,
        ),
        tf.constant(generator.standard_normal(shape), tf.float32),
    )


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.op.key)
def test_weight_parts_are_the_taped_step(block, nesterov):
    ours, theirs = made(block), made(block)
    x, upstream = inputs(block)
    slots = [tf.Variable(tf.zeros_like(variable)) for variable in ours.trained]
    accumulated = [np.zeros(variable.shape) for variable in theirs.trained]
    parts = weight_parts(block, ARITHMETIC, nesterov=nesterov)
    for _ in range(2):  # so that momentum counts
        (y,), carried = parts.forward([x], ours.handles)
        (dx,), update = parts.backward(
            [upstream],
            carried,
            slots=[slot.handle for slot in slots],
            scalars=[tf.constant(RATE), tf.constant(MOMENTUM)],
        )
        assert update.run() is None
        with tf.GradientTape() as tape:
            tape.watch(x)
            expected = theirs.with_shortcut(x, mode=Mode.WEIGHTS)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        gradients = tape.gradient(expected, [x, *theirs.trained], output_gradients=upstream)
        np.testing.assert_allclose(dx, gradients[0], atol=1e-5, rtol=1e-5)
        for number, (variable, gradient) in enumerate(zip(theirs.trained, gradients[1:])):
            accumulated[number] = MOMENTUM * accumulated[number] + gradient.numpy()
            variable.assign_sub(
                RATE
                * (
                    gradient.numpy() + MOMENTUM * accumulated[number]
                    if nesterov
                    else accumulated[number]
                )
            )
        for left, right in zip(ours.ordered, theirs.ordered, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5, rtol=1e-5, err_msg=left.name)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.op.key)
def test_architecture_parts_are_the_taped_pass_and_update_nothing(block):
    weights = made(block)
    before = [variable.numpy() for variable in weights.ordered]
    x, upstream = inputs(block)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = weights.call(x, mode=Mode.ARCHITECTURE)
        expected = x + output if block.shortcut else output
    parts = architecture_parts(block, ARITHMETIC, input_gradient=True, gate=True)
    (y,), carried = parts.forward([x], weights.handles)
    (dx,), (gate,) = parts.backward([upstream], carried)
    product = np.sum(upstream.numpy() * output.numpy())
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(dx, tape.gradient(expected, x, output_gradients=upstream), atol=1e-5)
    assert float(gate) == pytest.approx(product, abs=1e-4)
    assert float(
        gate_function(block, ARITHMETIC)([x, *weights.handles, upstream])[0]
    ) == pytest.approx(product, abs=1e-4)
    np.testing.assert_allclose(
        output_function(block, ARITHMETIC, shortcut=True)([x, *weights.handles])[0],
        expected,
        atol=1e-5,
    )
    np.testing.assert_allclose(
        output_function(block, ARITHMETIC, shortcut=False)([x, *weights.handles])[0],
        output,
        atol=1e-5,
    )
    for variable, value in zip(weights.ordered, before):
        np.testing.assert_array_equal(variable, value)


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


@pytest.mark.parametrize(
    "op, stride, padding",
    [(MBConv(7, 6), 1, "same"), (MBConv(5, 3), 2, "symmetric"), (MBConv(7, 2), 2, "same")],
)
def test_shared_parts_are_right_for_the_second_block_too(op, stride, padding):
    """Parts that were made for one block, run for one of other sizes."""
    for block in (
        Block("b", MBConv(3, 3), 6, -(-6 // stride), 4, 8, stride, False, padding),
        Block("b", op, 8, -(-8 // stride), 6, 10, stride, False, padding),
    ):
        test_weight_parts_are_the_taped_step(block, True)
        test_architecture_parts_are_the_taped_pass_and_update_nothing(block)
