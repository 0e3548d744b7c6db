"""The CIFAR-10 space against its published numbers; trees as data."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from pnas_tf.errors import UserError
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.graph import Add, Choice, Concat, Fixed, Images, PadChannels, Slice, run_graph
from pnas_tf.space.mbconv import tiny
from pnas_tf.space.ops import Conv, Identity, MBConv, Pool, SepConv, Zero
from pnas_tf.space.registry import load_space, named_space, save_space, space_from_json
from pnas_tf.space.tree_cells import TREE_EDGES, TreeCellSpace, pyramid_tree

SMALL = TreeCellSpace(
    "small",
    8,
    3,
    start_width=8,
    added_width=4,
    stages=2,
    cells=1,
    head_width=8,
    candidates=TREE_EDGES,
    merges=("add", "concat"),
)


def channels_of(space):
    """Place -> (size, channels) of every node's value, computed from the nodes alone; asserts that
    neighbours fit."""
    shapes, choices = [], space.choice_blocks
    for node in space.topology:
        given = [shapes[source] for source in node.inputs]
        if isinstance(node, Images):
            shapes.append((space.resolution, space.channels))
        elif isinstance(node, Fixed):
            assert given == [(node.block.in_size, node.block.in_channels)], node.block.name
            shapes.append((node.block.out_size, node.block.out_channels))
        elif isinstance(node, Choice):
            place = choices[node.index]
            assert given == [(place.in_size, place.in_channels)]
            shapes.append((place.out_size, place.out_channels))
        elif isinstance(node, Add):
            assert len(set(given)) == 1
            shapes.append(given[0])
        elif isinstance(node, Concat):
            assert len({size for size, _ in given}) == 1
            shapes.append((given[0][0], sum(channels for _, channels in given)))
        elif isinstance(node, Slice):
            assert given[0][1] == node.channels and 0 <= node.start < node.stop <= node.channels
            shapes.append((given[0][0], node.stop - node.start))
        else:
            assert isinstance(node, PadChannels) and node.zeros > 0
            shapes.append((given[0][0], given[0][1] + node.zeros))
    return shapes


def test_published_counts():
    space = pyramid_tree()
    widths = space.block_widths
    assert (len(widths), widths[0], widths[-1]) == (54, 72, 400) and list(widths) == sorted(widths)
    assert len(space.choice_blocks) == 648 == 54 * (4 + 8) and space.architectures == 7**648
    assert {place.candidates for place in space.choice_blocks} == {TREE_EDGES}
    assert set(TREE_EDGES) == {
        Identity(),
        SepConv(3),
        SepConv(5),
        SepConv(7),
        SepConv(3, dilation=2),
        Pool("average", 3),
        Pool("max", 3),
    }
    assert [place.out_size for place in space.choice_blocks] == [32] * 216 + [16] * 216 + [8] * 216
    groups = [block for block in space.fixed_blocks() if block.op == Conv(3, "relu6")]
    assert len(groups) == 2 * 54 and all(
        2 * block.in_channels in space.cell_widths for block in groups
    )


def test_216_edges_branch_again_and_432_end_a_tree():
    topology = pyramid_tree().topology
    edges = {place for place, node in enumerate(topology) if isinstance(node, Choice)}
    branching = Counter(
        source for node in topology if isinstance(node, Choice) for source in node.inputs
    )
    assert set(branching.values()) == {2}
    assert len(edges & set(branching)) == 216 and len(edges - set(branching)) == 432
    # The other sources are the two groups of each cell.
    assert len(set(branching) - edges) == 108


@pytest.mark.parametrize(
    "space",
    [pyramid_tree(), SMALL, pyramid_tree(width=0.5, resolution=33)],
    ids=["published", "concat", "narrow"],
)
def test_neighbours_fit_and_choices_stand_in_order(space):
    assert channels_of(space)[-1] == (1, space.classes)
    assert [node.index for node in space.topology if isinstance(node, Choice)] == list(
        range(len(space.choice_blocks))
    )
    used = {source for node in space.topology for source in node.inputs}
    assert used == set(range(len(space.topology) - 1)), "a value that nothing reads"


@pytest.mark.parametrize("space", [pyramid_tree(), SMALL], ids=["published", "concat"])
def test_splits_give_each_channel_to_one_branch(space):
    parts: dict[int, list[Slice]] = {}
    for node in space.topology:
        if isinstance(node, Slice):
            parts.setdefault(node.inputs[0], []).append(node)
    assert len(parts) == {"pyramid_tree": 54, "small": 2 * (1 + 4)}[space.name]
    for siblings in parts.values():
        assert [part.start for part in siblings] == [0, siblings[0].stop] and siblings[
            1
        ].stop == siblings[0].channels


def test_a_latency_table_of_the_space_has_a_few_hundred_blocks():
    space = pyramid_tree()
    blocks = space.distinct_blocks()
    # 42 different widths of 54 cells: 7 edges each, and for the fixed blocks 144 more with their
    # input widths and strides.
    assert len(blocks) == 438 == 7 * 42 + 144 and len(space.fixed_blocks()) == 54 * 4 + 2 + 2
    assert {block.key for block in random_architecture(space, seed=0).blocks} <= set(blocks)


@pytest.mark.parametrize("space", [pyramid_tree(classes=3), SMALL], ids=["published", "small"])
def test_json_round_trips(space, tmp_path):
    assert space_from_json(json.loads(json.dumps(space.to_json())), where="test") == space
    assert load_space(save_space(space, tmp_path / "space.json")) == space
    architecture = random_architecture(space, seed=1)
    assert Architecture.load(architecture.save(tmp_path / "architecture.json")) == architecture


def test_kind_tells_the_spaces_apart():
    for document in (tiny().to_json(), {**tiny().to_json(), "kind": "mbconv"}):
        assert space_from_json(document, where="test") == tiny()
    for kind in ("forest", 3, None):
        with pytest.raises(UserError, match="kind"):
            space_from_json({**SMALL.to_json(), "kind": kind}, where="test")


@pytest.mark.parametrize(
    "change",
    [
        {"start_width": 0},
        {"start_width": 2, "added_width": 0},
        {"added_width": -1},
        {"start_width": 9, "added_width": 0, "bottleneck": 1},
        {"cells": True},
        {"merges": []},
        {"merges": "add"},
        {"merges": ["mean"]},
        {"merges": [["add"]]},
        {"candidates": []},
        {"candidates": [{"op": "zero"}]},
        {"candidates": None},
        {"candidates": [{"op": "mbconv", "kernel": 3, "expansion": 3}]},
        {"candidates": [{"op": "sepconv", "kernel": 4}]},
        {"candidates": [{"op": "sepconv", "kernel": 3, "dilation": 0}]},
        {"candidates": [{"op": "sepconv", "kernel": 3, "dilation": True}]},
        {"candidates": [{"op": "pool", "kind": "median", "kernel": 3}]},
        {"candidates": [{"op": "pool", "kind": ["max"], "kernel": 3}]},
        {"candidates": [{"op": "identity"}] * 2},
        {"padding": "valid"},
        {"skips": True},
        {"name": 3},
        {"head_width": None},
    ],
    ids=str,
)
def test_refused_in_four_parts(change):
    with pytest.raises(UserError) as caught:
        space_from_json({**SMALL.to_json(), **change}, where="mine.json")
    assert all(
        part
        for part in (
            caught.value.what,
            caught.value.expected,
            caught.value.received,
            caught.value.fix,
        )
    )


def test_zero_has_no_place_in_a_tree():
    with pytest.raises(UserError):
        TreeCellSpace(
            "zero",
            8,
            3,
            start_width=8,
            added_width=0,
            stages=1,
            cells=1,
            head_width=8,
            candidates=(Zero(), MBConv(3, 1)),
        )


def test_width_multiplier():
    half = named_space("pyramid_tree", classes=10, width=0.5)
    assert (half.block_widths[0], half.block_widths[-1], half.head_width) == (32, 200, 400)
    assert pyramid_tree(width=1) == pyramid_tree()
    with pytest.raises(UserError, match="width multiplier"):
        pyramid_tree(width=17)


def test_no_block_is_narrower_than_what_it_is_added_to():
    """Cells have even widths; the first one stands behind a stem that may have an odd one."""
    space = replace(SMALL, start_width=18, added_width=0, bottleneck=1)
    assert channels_of(space)[-1] == (1, 3)
    with pytest.raises(UserError, match="8 behind 9") as refused:
        space.with_width(0.5)
    assert "--width" in refused.value.fix
    assert channels_of(replace(space, bottleneck=2).with_width(0.5))[-1] == (1, 3)


def test_evaluate_follows_the_chain_and_stops_where_asked():
    """Tracing with strings shows the order."""

    def fixed(block, x):
        return f"{block.name}({x})"

    def choice(index, x):
        return f"{index}[{x}]"

    space = tiny()
    traced = run_graph(
        space.topology,
        "x",
        fixed=fixed,
        choice=choice,
        merge=lambda *_: pytest.fail("a chain has no merge ops"),
    )
    expected = "first(stem(x))"
    for index in range(9):
        expected = f"{index}[{expected}]"
    assert traced == f"head({expected})"
