"""Blocks: rows join, keys are faithful, and complexity equals a count from first principles."""

from itertools import pairwise

import pytest

from pnas_tf.space import complexity
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import proxyless, tiny
from pnas_tf.space.mobilenet_v4 import mnv4
from pnas_tf.space.ops import UIB, BasicBlock, FusedMBConv, Head, MBConv, Zero
from pnas_tf.space.published import published
from pnas_tf.space.small_images import cifar


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "space",
    [proxyless(), tiny(), tiny(resolution=29), cifar(), mnv4(resolution=96)],
    ids=["proxyless", "tiny", "odd", "cifar", "mnv4"],
)
def test_rows_join(space, seed):
    blocks = random_architecture(space, seed=seed).blocks
    assert [block.name for block in blocks] == [
        "stem",
        *(["first"] if space.first_width else []),
        *(f"block_{i:02d}" for i in range(len(space.choice_blocks))),
        "head",
    ]
    for before, after in pairwise(blocks):
        assert (before.out_size, before.out_channels) == (after.in_size, after.in_channels)
    for block in blocks:
        for before, after in pairwise(block.layers):
            assert before.out_channels == after.in_channels or after.name in ("squeeze", "project")
            assert (
                before.out_size == after.in_size
                or "squeeze" in (before.name, after.name)
                or (before.name in ("mix", "excite"))
            )
        if block.layers and not isinstance(block.op, Head):
            ends = block.layers[0].in_size, block.layers[-1].out_size
            assert ends == (block.in_size, block.out_size)


def test_a_walk_holds_only_blocks_of_the_table():
    keys = set(proxyless().distinct_blocks())
    for seed in range(20):
        for block in random_architecture(proxyless(), seed=seed).blocks:
            assert isinstance(block.op, Zero) or block.key in keys


def test_equal_keys_mean_equal_blocks_but_for_the_name():
    def content(block: Block):
        return tuple(value for name, value in vars(block).items() if name != "name")

    seen: dict[str, tuple] = {}
    for space in (
        proxyless(),
        proxyless(width=1.4),
        tiny(),
        tiny(classes=26),
        cifar(),
        mnv4(),
        published("proxyless_mobile").space,
        published("proxyless_mobile_14").space,
    ):
        for block in space.distinct_blocks().values():
            assert seen.setdefault(block.key, content(block)) == content(block)
    assert len(set(seen.values())) == len(seen)


def test_keys_differ_in_everything_that_costs():
    choice = proxyless().choice_blocks[1]
    key = proxyless().candidate_block(choice, MBConv(3, 3)).key
    others = [
        MBConv(5, 3),
        MBConv(3, 6),
        MBConv(3, 3, squeeze_excite=True),
        MBConv(3, 3, activation="hswish"),
    ]
    assert len({key, *(proxyless().candidate_block(choice, op).key for op in others)}) == 5
    assert key == "mbconv_k3_e3 in=56x56x24 out=56x56x24 s1 id"
    assert (
        published("proxyless_mobile")
        .space.candidate_block(
            published("proxyless_mobile").space.choice_blocks[1],
            MBConv(3, 3),
        )
        .key.endswith("symmetric")
    )


@pytest.mark.parametrize("expansion", [1, 3, 6])
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("squeeze_excite", [False, True])
def test_mbconv_counts_from_first_principles(kernel, expansion, squeeze_excite):
    n, i, o, size = 24, 24, 40, 28
    m = i * expansion
    block = Block(
        "b", MBConv(kernel, expansion, squeeze_excite), 2 * size, size, n, o, 2, False, "same"
    )
    macs = size * size * (kernel * kernel * m + m * o)
    parameters = kernel * kernel * m + 2 * m + m * o + 2 * o
    if expansion > 1:
        macs += (2 * size) ** 2 * i * m
        parameters += i * m + 2 * m
    if squeeze_excite:
        s = {24: 8, 72: 24, 144: 40}[m]  # a quarter, to the nearest multiple of 8
        macs += 2 * m * s
        parameters += 2 * m * s + m + s
    assert (complexity.parameters([block]), complexity.macs([block])) == (parameters, macs)


def test_zero_costs_nothing():
    choice = proxyless().choice_blocks[1]
    block = proxyless().candidate_block(choice, Zero())
    assert block.layers == () and complexity.macs([block]) == complexity.parameters([block]) == 0


def counts(op, *, stride=2, i=24, o=40, size=28):
    """(parameters, MACs) of `op` from `stride * size` pixels and i channels to size and o."""
    block = Block("b", op, stride * size, size, i, o, stride, False, "same")
    return complexity.parameters([block]), complexity.macs([block])


@pytest.mark.parametrize("kernel", [3, 5])
def test_fused_and_basic_counts_from_first_principles(kernel):
    i, o, area, taps = 24, 40, 28 * 28, kernel * kernel
    m = 4 * i
    assert counts(FusedMBConv(kernel, 4)) == (
        taps * i * m + 2 * m + m * o + 2 * o,
        area * (taps * i * m + m * o),
    )
    assert counts(FusedMBConv(kernel, 1)) == (taps * i * o + 2 * o, area * taps * i * o)
    assert counts(BasicBlock(kernel)) == (
        taps * (i * o + o * o) + 4 * o,
        area * taps * (i * o + o * o),
    )


@pytest.mark.parametrize(("start", "middle"), [(5, 3), (0, 3), (5, 0), (0, 0)])
def test_uib_counts_from_first_principles(start, middle):
    stride = 2 if start or middle else 1
    i, o, small = 24, 40, 28 * 28
    m, large = 3 * i, small * stride**2
    at_start = large if middle else small  # the last depthwise convolution has the stride
    parameters = i * m + 2 * m + m * o + 2 * o
    macs = (large if middle else small) * i * m + small * m * o
    if start:
        parameters += start**2 * i + 2 * i
        macs += at_start * start**2 * i
    if middle:
        parameters += middle**2 * m + 2 * m
        macs += small * middle**2 * m
    assert counts(UIB(start, middle, 3), stride=stride) == (parameters, macs)


def test_an_inverted_bottleneck_is_that_of_both_names():
    for kernel, expansion, stride in ((3, 4, 1), (5, 3, 2)):
        ours = counts(UIB(0, kernel, expansion), stride=stride)
        assert ours == counts(MBConv(kernel, expansion), stride=stride)
