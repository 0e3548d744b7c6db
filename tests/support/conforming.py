"""Every op a block can hold, once each: the list that conformance tests run through."""

from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import CHAIN_OPS, mcu
from pnas_tf.space.mobilenet_v4 import mnv4
from pnas_tf.space.ops import (
    UIB,
    BasicBlock,
    CandidateOp,
    Conv,
    FusedMBConv,
    Head,
    Identity,
    MBConv,
    Pool,
    SepConv,
    Stem,
    Zero,
)


def choice(op: CandidateOp, *, stride: int = 1, padding: str = "same") -> Block:
    """`op` at 8x8x8: with the shortcut for stride 1, to 4x4x16 for stride 2."""
    return Block("block_00", op, 8, 8 // stride, 8, 8 * stride, stride, stride == 1, padding)


CONFORMING = [
    *(
        choice(MBConv(kernel, expansion), stride=stride)
        for kernel, expansion, stride in (
            (3, 3, 1),
            (3, 6, 2),
            (5, 3, 2),
            (5, 6, 1),
            (7, 3, 1),
            (7, 6, 2),
            (3, 1, 1),
        )
    ),
    choice(MBConv(7, 3), stride=2, padding="symmetric"),
    choice(MBConv(3, 3, squeeze_excite=True)),
    choice(MBConv(5, 3, activation="hswish"), stride=2),
    choice(MBConv(3, 3, squeeze_excite=True, activation="hswish")),
    choice(FusedMBConv(3, 1)),
    choice(FusedMBConv(3, 2)),
    choice(FusedMBConv(3, 4), stride=2),
    choice(FusedMBConv(3, 1), stride=2, padding="symmetric"),
    choice(FusedMBConv(5, 2, squeeze_excite=True, activation="hswish")),
    choice(BasicBlock(3)),
    choice(BasicBlock(3), stride=2),
    choice(BasicBlock(5, "relu"), stride=2, padding="symmetric"),
    *(
        choice(UIB(start, middle, expansion), stride=stride)
        for start, middle, expansion, stride in (
            (3, 3, 4, 1),
            (5, 3, 3, 2),
            (3, 0, 4, 1),
            (3, 0, 4, 2),
            (0, 5, 2, 2),
            (0, 0, 2, 1),
        )
    ),
    choice(UIB(5, 3, 3), stride=2, padding="symmetric"),
    # One of a kind is enough: the others differ in kernels and expansion alone.
    *(choice(op) for op in mnv4().choice_blocks[5].candidates if not isinstance(op, Zero)),
    choice(UIB(0, 5, 3, "relu")),
    choice(UIB(3, 3, 6, "relu")),
    *(choice(op) for op in mcu().candidates),
    choice(Conv(3, "relu"), stride=2),
    Block("block_01", Conv(1, "relu"), 8, 8, 8, 6, 1, False, "same"),
    choice(Zero()),
    *(
        Block("block_00", op, 8, 8, 6, 6, 1, False, "same")
        for op in (
            Identity(),
            SepConv(3),
            SepConv(5),
            SepConv(7),
            SepConv(3, dilation=2),
            Pool("average", 3),
            Pool("max", 3),
        )
    ),
    Block("shortcut", Pool("average", 2), 9, 5, 4, 4, 2, False, "same"),
    Block("reduce", Conv(1, "relu6"), 5, 5, 8, 6, 1, False, "same"),
    Block("expand", Conv(1, None), 5, 5, 6, 8, 1, False, "same"),
    Block("group", Conv(3, "relu6"), 8, 4, 4, 4, 2, False, "symmetric"),
    Block("stem", Stem(), 9, 5, 3, 8, 2, False, "same"),
    Block("stem", Stem(), 8, 4, 3, 8, 2, False, "symmetric"),
    Block("stem", Stem(activation="relu"), 9, 5, 3, 8, 2, False, "same"),
    Block("head", Head(32), 4, 1, 8, 5, 1, False, "same"),
    Block("head", Head(16, 24, "relu"), 4, 1, 8, 5, 1, False, "same"),
]


def of_each_form() -> list[Block]:
    """One of each kind of op in a chain, set of layers, hard-swish or not, stride and padding: the
    others differ in kernels, expansion and kind of ReLU."""
    found: dict[tuple[object, ...], Block] = {}
    for block in CONFORMING:
        if isinstance(block.op, CHAIN_OPS) and (block.in_size, block.in_channels) == (8, 8):
            layers = tuple((layer.name, layer.activation == "hswish") for layer in block.layers)
            place = block.stride, block.padding, block.shortcut
            found.setdefault((type(block.op), layers, place), block)
    return list(found.values())
