"""The published networks against the published counts, which stand in published_facts.json as
numbers."""

import json
from pathlib import Path

import pytest

from pnas_tf.errors import UserError
from pnas_tf.space import complexity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mobilenet_v4 import CONV_SMALL_OPS, mnv4
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.space.published import PUBLISHED, published

FACTS = json.loads((Path(__file__).parent / "published_facts.json").read_text())["networks"]


def test_totals_are_the_four_of_the_paper():
    parameters = {name: facts["parameters"] for name, facts in FACTS.items()}
    assert parameters == {
        "proxyless_mobile": 4_080_512,
        "proxyless_cpu": 4_361_648,
        "proxyless_gpu": 7_119_848,
        "proxyless_mobile_14": 6_857_568,
    }
    others = {name for name in PUBLISHED if not name.startswith("proxyless")}
    assert set(PUBLISHED) == set(FACTS) | others  # those are held to counts and checkpoints below


@pytest.mark.parametrize("name", sorted(FACTS))
def test_walk_counts_equal_the_published_ones(name):
    architecture = published(name)
    assert architecture.parameters == FACTS[name]["parameters"] == PUBLISHED[name].parameters
    assert architecture.macs == FACTS[name]["macs"] == PUBLISHED[name].macs


@pytest.mark.parametrize("name", sorted(FACTS))
def test_every_block_equals_the_published_row(name):
    stem, *blocks, head = published(name).blocks
    rows = []
    for block in blocks:
        kernel, expansion = (
            (block.op.kernel, block.op.expansion) if isinstance(block.op, MBConv) else (None, None)
        )
        rows.append(
            [
                kernel,
                expansion,
                block.in_channels,
                block.out_channels,
                block.stride,
                block.in_size,
                block.out_size,
                complexity.parameters([block]),
                complexity.macs([block]),
            ]
        )
    assert rows == FACTS[name]["blocks"]
    assert (stem.out_channels, stem.in_size, stem.out_size) == (FACTS[name]["stem_width"], 224, 112)
    assert (head.op.width, head.out_channels) == (FACTS[name]["head_width"], 1000)


@pytest.mark.parametrize("name", sorted(FACTS))
def test_skipped_blocks(name):
    zeros = sum(isinstance(op, Zero) for op in published(name).ops)
    assert (
        1 + 21 - zeros == FACTS[name]["active_blocks"]
    )  # the first block is fixed and always there


def test_macs_of_another_resolution_scale_with_its_area():
    # Every size of 448 px is exactly twice that of 224 px, so all but the classifier takes four
    # times the MACs.
    small, large = published("proxyless_mobile"), published("proxyless_mobile", resolution=448)
    classifier = 1280 * 1000
    assert large.macs - classifier == 4 * (small.macs - classifier)
    assert large.parameters == small.parameters


def test_unknown_name_is_refused():
    with pytest.raises(UserError, match="proxyless_mobile"):
        published("proxyless_toaster")


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    # Millions and billions, as implementations of the published stages count them; Qin et al. 2024
    # give 0.2 and 1.0 billion in table 5.
    [("mobilenet_v4_conv_small", "3.77", "0.2"), ("mobilenet_v4_conv_medium", "9.72", "1.1")],
)
def test_mobilenet_v4_counts_are_the_published_ones(name, parameters, macs):
    architecture = published(name)
    assert f"{architecture.parameters / 1e6:.2f}" == parameters
    assert f"{architecture.macs / 1e9:.1f}" == macs
    assert architecture.parameters == PUBLISHED[name].parameters
    assert architecture.macs == PUBLISHED[name].macs


def test_the_space_around_mobilenet_v4_holds_the_published_network():
    found, known = Architecture(mnv4(), CONV_SMALL_OPS), published("mobilenet_v4_conv_small")
    assert (found.parameters, found.macs) == (known.parameters, known.macs)


def test_mobilenet_v4_stages_are_the_published_ones():
    blocks = published("mobilenet_v4_conv_small").blocks
    shapes = [(block.out_size, block.out_channels) for block in blocks[1:-1]]
    expected = [(56, 32), (56, 32), (28, 96), (28, 64), *[(14, 96)] * 6, *[(7, 128)] * 6]
    assert shapes == expected and not any(block.shortcut for block in blocks[1:5])
    blocks = published("mobilenet_v4_conv_medium").blocks
    shapes = [(block.out_size, block.out_channels) for block in blocks[1:-1]]
    assert shapes == [(64, 48), *[(32, 80)] * 2, *[(16, 160)] * 8, *[(8, 256)] * 11]
