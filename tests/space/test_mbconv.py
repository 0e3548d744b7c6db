"""Published facts of the ImageNet space, and what a space refuses."""

import dataclasses
import json

import pytest

from pnas_tf.errors import UserError
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.backbone import strided
from pnas_tf.space.mbconv import MBConvSpace, Stage, lite, make_divisible, proxyless, tiny
from pnas_tf.space.mobilenet_v4 import mnv4
from pnas_tf.space.ops import UIB, BasicBlock, FusedMBConv, MBConv, SepConv, Zero
from pnas_tf.space.published import PUBLISHED, open_architecture, published
from pnas_tf.space.registry import (
    load_space,
    named_space,
    open_space,
    save_space,
    space_from_json,
)
from pnas_tf.space.small_images import cifar


def test_proxyless_space_has_the_published_size():
    choices = proxyless().choice_blocks
    assert len(choices) == 21
    assert sum(Zero() in choice.candidates for choice in choices) == 15
    assert proxyless().architectures == 7**15 * 6**6
    assert sum(len(choice.candidates) for choice in choices) == 15 * 7 + 6 * 6 == 141


def test_lite_has_the_stages_of_efficientnet_lite0():
    theirs, ours = published("efficientnet_lite0"), lite()
    assert dataclasses.replace(theirs.space, name="lite") == ours
    assert Architecture(ours, theirs.ops).parameters == 4_652_008
    choices = ours.choice_blocks
    assert [len(choice.candidates) for choice in choices].count(7) == 9
    assert all(choice.shortcut == (Zero() in choice.candidates) for choice in choices)


def test_proxyless_space_at_224_px_has_66_distinct_choice_blocks():
    distinct, fixed = proxyless().distinct_blocks(), proxyless().fixed_blocks()
    assert len(set(distinct) - {block.key for block in fixed}) == 66
    assert len(distinct) == 69
    # An oracle without keys: what a block computes, as a bare tuple.
    bare = {
        (
            choice.in_size,
            choice.in_channels,
            choice.out_channels,
            choice.stride,
            choice.shortcut,
            op,
        )
        for choice in proxyless().choice_blocks
        for op in choice.candidates
        if not isinstance(op, Zero)
    }
    assert len(bare) == 66


def test_zero_stands_exactly_where_a_shortcut_exists():
    for space in (proxyless(), tiny(), proxyless(width=1.4), tiny(resolution=28)):
        for choice in space.choice_blocks:
            alike = choice.stride == 1 and choice.in_channels == choice.out_channels
            assert choice.shortcut == alike == (Zero() in choice.candidates)


def test_proxyless_backbone_is_that_of_the_paper():
    choices = proxyless().choice_blocks
    assert [choice.out_channels for choice in choices] == [24] * 4 + [40] * 4 + [80] * 4 + [
        96
    ] * 4 + [192] * 4 + [320]
    assert [choice.out_size for choice in choices] == [56] * 4 + [28] * 4 + [14] * 8 + [7] * 5
    assert choices[0].in_channels == 16 and choices[0].in_size == 112


@pytest.mark.parametrize("resolution", [28, 32])
def test_tiny_space_is_for_small_images(resolution):
    space = tiny(resolution=resolution)
    assert 8 <= len(space.choice_blocks) <= 10
    assert space.choice_blocks[-1].out_size >= 4


# MobileNetV2's own widths at multipliers 0.35, 0.5, 0.75, 1.3 and 1.4 (Sandler et al. 2018 and the
# released checkpoints).
MOBILENET_V2_WIDTHS = {
    0.35: [16, 8, 8, 16, 24, 32, 56, 112],
    0.5: [16, 8, 16, 16, 32, 48, 80, 160],
    0.75: [24, 16, 24, 24, 48, 72, 120, 240],
    1.3: [40, 24, 32, 40, 80, 128, 208, 416],
    1.4: [48, 24, 32, 48, 88, 136, 224, 448],
}


@pytest.mark.parametrize("multiplier", MOBILENET_V2_WIDTHS)
def test_make_divisible_gives_mobilenet_v2_widths(multiplier):
    scaled = [make_divisible(width * multiplier) for width in (32, 16, 24, 32, 64, 96, 160, 320)]
    assert scaled == MOBILENET_V2_WIDTHS[multiplier]


def test_make_divisible_gives_the_published_widths_of_proxyless_mobile_14():
    # Stem, first block, head and stages 2, 3, 4 and 6 of Mobile-14 are Mobile's times 1.4; stages 1
    # and 5 were set apart.
    mobile, wide = PUBLISHED["proxyless_mobile"], PUBLISHED["proxyless_mobile_14"]
    pairs = [
        (mobile.stem_width, wide.stem_width),
        (mobile.first_width, wide.first_width),
        (mobile.head_width, wide.head_width),
    ]
    pairs += [(mobile.stage_widths[stage], wide.stage_widths[stage]) for stage in (1, 2, 3, 5)]
    assert [make_divisible(narrow * 1.4) for narrow, _ in pairs] == [width for _, width in pairs]


def test_make_divisible_never_loses_more_than_a_tenth():
    for channels in range(1, 2000):
        rounded = make_divisible(channels)
        assert (
            rounded % 8 == 0
            and rounded >= 8
            and rounded >= 0.9 * channels
            and rounded <= max(8, 1.1 * channels + 8)
        )


def test_width_multiplier_widens_the_head_only_above_one():
    assert proxyless(width=0.5).head_width == 1280
    assert proxyless(width=1.4).head_width == 1792
    assert proxyless(width=1.0) == proxyless()
    assert [stage.width for stage in proxyless(width=0.5).stages] == [16, 24, 40, 48, 96, 160]


def test_a_hidden_convolution_of_the_head_widens_as_the_head_does():
    assert mnv4(width=1.4).head_hidden == 1792 and mnv4(width=1.4).head_width == 1344
    assert mnv4(width=0.5).head_hidden == mnv4().head_hidden == 1280
    assert proxyless(width=1.4).head_hidden == 0


def test_a_number_is_refused_by_both_its_bounds():
    for classes in (0, 1_000_001):
        with pytest.raises(UserError, match="an integer from 1 to 1,000,000"):
            tiny(classes=classes)
    with pytest.raises(UserError, match="an integer from 0 to 1,000,000"):
        dataclasses.replace(tiny(), head_hidden=1_000_001)


def test_no_resolution_is_none_and_0_is_not(tmp_path):
    own = str(save_space(tiny(), tmp_path / "own.json"))
    network = str(random_architecture(tiny(), seed=0).save(tmp_path / "network.json"))
    for name in ("tiny", own):
        assert open_space(name, classes=10, resolution=None, width=1.0) == tiny()
        with pytest.raises(UserError, match="resolution"):
            open_space(name, classes=10, resolution=0, width=1.0)
    for name in ("mobilenet_v2", "mobilenet_v4_conv_small", network):
        with pytest.raises(UserError, match="resolution"):
            open_architecture(name, resolution=0)


def test_an_unknown_field_of_a_file_is_refused_wherever_it_stands(tmp_path):
    path = save_space(tiny(), tmp_path / "own.json")
    document = json.loads(path.read_text())
    for change in ({"widht": 2.0}, {"space": {**document["space"], "widht": 2.0}}):
        path.write_text(json.dumps({**document, **change}))
        with pytest.raises(UserError, match=r"own\.json") as caught:
            load_space(path)
        assert "widht" in caught.value.received


def test_strided_counts_the_positions_of_a_padded_kernel():
    for size in range(1, 40):
        for stride in (1, 2, 3):
            assert strided(size, stride) == len(range(0, size, stride))


@pytest.mark.parametrize(
    "space",
    [proxyless(), tiny(classes=3), proxyless(width=0.35, resolution=96), tiny(resolution=28)],
    ids=["proxyless", "tiny", "narrow", "28"],
)
def test_json_round_trip(space):
    assert space_from_json(json.loads(json.dumps(space.to_json())), where="test") == space


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 0},
        {"resolution": "224"},
        {"resolution": True},
        {"classes": 2.5},
        {"stages": []},
        {"stages": "none"},
        {"stages": [{"width": 8}]},
        {"stages": [{"width": 8, "blocks": 1, "stride": -1}]},
        {"stages": [3]},
        {"candidates": []},
        {"candidates": [{"op": "zero"}]},
        {"candidates": [{"op": "mbconv", "kernel": 4, "expansion": 3}]},
        {"candidates": [{"op": "mbconv", "kernel": 3}]},
        {"candidates": [{"op": "teapot"}]},
        {"candidates": [{"op": "mbconv", "kernel": 3, "expansion": 3}] * 2},
        {"padding": "valid"},
        {"padding": []},
        {"skips": 1},
        {"name": 3},
        {"unknown": 1},
        {"head_width": None},
    ],
    ids=str,
)
def test_refused_with_the_place_named(change):
    document = {**tiny().to_json(), **change}
    with pytest.raises(UserError) as caught:
        space_from_json(document, where="spaces/mine.json")
    assert all(
        part
        for part in (
            caught.value.what,
            caught.value.expected,
            caught.value.received,
            caught.value.fix,
        )
    )


@pytest.mark.parametrize(
    "missing", ["name", "resolution", "classes", "stages", "head_width", "candidates"]
)
def test_missing_field_is_refused(missing):
    document = tiny().to_json()
    del document[missing]
    with pytest.raises(UserError):
        space_from_json(document, where="mine.json")


def test_named_space_refuses_unknown_names_and_widths():
    with pytest.raises(UserError, match="unknown search space"):
        named_space("mobile", classes=10)
    for width in (0, -1, 17):
        with pytest.raises(UserError, match="width multiplier"):
            named_space("tiny", classes=10, width=width)


def test_spaces_are_frozen_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny().name = "other"
    assert hash(tiny()) == hash(tiny()) and tiny() != tiny(classes=11)
    custom = MBConvSpace("mine", 24, 5, 8, 8, (Stage(8, 2, 1),), 32, (MBConv(3, 2),), skips=False)
    assert custom.architectures == 1


def chain(*stages, candidates=(MBConv(3, 2),), **fields):
    return MBConvSpace("chain", 16, 4, 8, 8, stages, 16, candidates, **fields)


def test_a_stage_names_its_own_candidates():
    own = (FusedMBConv(3, 2), BasicBlock(3))
    space = chain(Stage(8, 2, 1), Stage(16, 2, 2, own), Stage(16, 1, 1, own[:1]))
    found = [choice.candidates for choice in space.choice_blocks]
    plain = (MBConv(3, 2), Zero())
    assert found == [plain, plain, own, (*own, Zero()), own[:1]]


def test_what_has_no_taps_to_leave_out_takes_no_stride():
    ffn, convnext = UIB(0, 0, 2), UIB(3, 0, 2)
    space = chain(Stage(16, 2, 2), candidates=(ffn, convnext))
    assert [choice.candidates for choice in space.choice_blocks] == [
        (convnext,),
        (ffn, convnext, Zero()),
    ]
    with pytest.raises(UserError, match=r"candidate of stage 0 that takes its stride"):
        chain(Stage(16, 2, 2), candidates=(ffn,))


def test_without_first_block_and_with_a_hidden_layer_in_the_head():
    space = dataclasses.replace(tiny(), first_width=0, head_hidden=24, activation="relu")
    stem, head = space.fixed_blocks()
    assert space.choice_blocks[0].in_channels == stem.out_channels == 16
    assert [layer.name for layer in head.layers] == ["mix", "hidden", "classifier"]
    assert {layer.activation for layer in (*stem.layers, *head.layers)} == {"relu", None}
    assert head.layers[2].in_channels == 24 and space.with_width(0.5).first_width == 0


@pytest.mark.parametrize("space", [cifar(), mnv4(), chain(Stage(8, 2, 1, (BasicBlock(3),)))])
def test_spaces_of_other_ops_come_back_from_their_files(space):
    document = json.loads(json.dumps(space.to_json()))
    assert space_from_json(document, where="mine.json") == space


def test_files_of_spaces_without_other_ops_are_as_they_were():
    """So that runs that were made with them stay of the same space."""
    document = tiny().to_json()
    assert not {"head_hidden", "activation"} & set(document)
    assert document["stages"][0] == {"width": 16, "blocks": 3, "stride": 1}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"activation": "tanh"}, "activation of space"),
        ({"first_width": -1}, "first_width"),
        ({"stages": (Stage(8, 1, 1, (SepConv(3),)),)}, "distinct candidates of stage 0"),
        ({"stages": (Stage(8, 1, 1, (MBConv(3, 2),) * 2),)}, "distinct candidates of stage 0"),
        ({"candidates": ()}, "distinct candidates of stage 0"),
    ],
)
def test_wrong_spaces_of_other_ops_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        dataclasses.replace(tiny(), **fields)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FusedMBConv(4, 2), "FusedMBConv kernel"),
        (lambda: FusedMBConv(3, 0), "FusedMBConv expansion"),
        (lambda: BasicBlock(2), "BasicBlock kernel"),
        (lambda: UIB(2, 3, 2), "UIB start kernel"),
        (lambda: UIB(0, 3, 17), "UIB expansion"),
    ],
)
def test_wrong_ops_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
