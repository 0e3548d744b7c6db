"""Weights remapped to other sizes: what becomes larger keeps its function, what becomes smaller
keeps what matters."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import (
    InputNormalisation,
    PretrainedBlock,
    PretrainedWeights,
    weights_of_network,
)
from pnas_tf.networks.remapped_space import (
    ADDED,
    APPROXIMATED,
    KEPT,
    NEW,
    Remapping,
    check_remappable,
)
from pnas_tf.networks.remapping import (
    Channels,
    activation_deviation,
    middle_importance,
    resized_kernel,
)
from pnas_tf.search.derive import path_of
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.blocks import Layer
from pnas_tf.space.mbconv import MBConvSpace, Stage, lite
from pnas_tf.space.ops import UIB, BasicBlock, Conv, FusedMBConv, MBConv, Zero
from pnas_tf.space.registry import named_space
from pnas_tf.supernet.supernet import Supernet

SMALL = (MBConv(3, 2), MBConv(5, 2))
LARGER = (MBConv(5, 3), MBConv(7, 2), MBConv(7, 4), MBConv(5, 2, squeeze_excite=True))
STAGES = (Stage(6, 2, 2), Stage(8, 3, 1), Stage(10, 1, 2))
SPACE = MBConvSpace(
    "source", 16, 5, stem_width=8, first_width=4, stages=STAGES, head_width=12, candidates=SMALL
)
IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 16, 16, 3)).astype(np.float32)


def with_candidates(*ops, **changes):
    return dataclasses.replace(SPACE, candidates=ops, **changes)


def all_of(space, op):
    return Architecture(space, (op,) * len(space.choice_blocks))


def random_network(architecture, seed=1):
    """With statistics, gamma and beta that are not those of a fresh layer."""
    network = build_network(architecture)
    generator = np.random.default_rng(seed)
    for variable in network.variables:
        spread = 0.3 if "kernel" in variable.name else 0.0
        values = generator.normal(0.0, spread, variable.shape) if spread else None
        variable.assign(generator.uniform(0.4, 1.6, variable.shape) if values is None else values)
    return network


def known(network, architecture):
    """What an earlier training of `network` leaves."""
    return weights_of_network(
        network,
        architecture,
        input=InputNormalisation.of(127.5, 127.5),
        bn_epsilon=1e-3,
        class_names=None,
        source="a random network",
    )


def start_of(source, space, *, keep_classifier=True, added_gamma=0.3):
    return Remapping(source, space, keep_classifier=keep_classifier, added_gamma=added_gamma)


def network_from(start, architecture):
    """The plain network of a path of the supernet that starts so."""
    supernet = Supernet(start.space, SearchConfig(), start=start, seed=3)
    network = build_network(architecture)
    supernet.inherit(network, path_of(architecture))
    return network


@pytest.fixture(scope="module")
def source():
    """A network with both candidates, and what it leaves."""
    architecture = Architecture(SPACE, (SMALL[0], SMALL[1]) * 3)
    network = random_network(architecture)
    return network, known(network, architecture)


def test_the_path_of_the_source_gives_its_outputs(source):
    network, weights = source
    space = with_candidates(*SMALL, *LARGER)
    start = start_of(weights, space)
    same = Architecture(space, (SMALL[0], SMALL[1]) * 3)
    found = network_from(start, same)
    np.testing.assert_allclose(found(IMAGES), network(IMAGES), atol=1e-5)
    for block in same.blocks:
        assert start.origin_of(block).function == KEPT


@pytest.mark.parametrize("seed", range(3))
def test_larger_candidates_keep_the_function(source, seed):
    """Kernels, expansions and gates beyond the source's, in any combination."""
    network, weights = source
    space = with_candidates(*LARGER, skips=False)
    start = start_of(weights, space)
    architecture = random_architecture(space, seed=seed)
    # Of these, (7, 2) and (5, 2) hold all that the source's (3, 2) and (5, 2) hold.
    found = network_from(start, architecture)
    expected = network(IMAGES).numpy()
    np.testing.assert_allclose(found(IMAGES), expected, atol=1e-5 * np.abs(expected).max())
    assert {origin.function for origin in start.origins()} == {KEPT}


def test_wider_streams_keep_the_function_and_have_gradients(source):
    network, weights = source
    wide = with_candidates(
        *SMALL,
        stem_width=11,
        first_width=9,
        stages=tuple(dataclasses.replace(stage, width=stage.width + 5) for stage in STAGES),
        head_width=20,
    )
    found = network_from(start_of(weights, wide), Architecture(wide, (SMALL[0], SMALL[1]) * 3))
    np.testing.assert_allclose(found(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-5)
    kernel = found.get_layer("block_02/expand").kernel
    silent = (kernel.numpy() == 0).all(axis=(0, 1, 3))
    assert silent.sum() == 5
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(found(IMAGES, training=True)))
    gradient = tape.gradient(loss, kernel).numpy()
    assert (np.abs(gradient[0, 0, silent]).sum(axis=1) > 0).all()


def test_embedding_and_extracting_is_the_identity(source):
    """Into a larger space, its channels shuffled, and back: every array is what it was. The shuffle
    is of whole streams, so what is extracted must be chosen alike in all blocks."""
    _, weights = source
    large = with_candidates(
        MBConv(7, 4),
        stem_width=16,
        first_width=8,
        stages=tuple(dataclasses.replace(stage, width=2 * stage.width) for stage in STAGES),
        head_width=24,
    )
    architecture = all_of(large, MBConv(7, 4))
    there = known(network_from(start_of(weights, large), architecture), architecture)
    back = start_of(there, SPACE)
    for origin in (each for each in start_of(weights, SPACE).origins()):
        if origin.block.op != origin.source.block.op:
            continue
        arrays = back.arrays_of(origin.block)
        assert set(arrays) == set(origin.source.arrays)
        for name, values in origin.source.arrays.items():
            np.testing.assert_array_equal(arrays[name], values, err_msg=origin.block.name + name)


# Each kind of op and form, and one of the same form that holds it.
FORMS = {
    FusedMBConv(3, 2): FusedMBConv(5, 3),
    FusedMBConv(3, 1): FusedMBConv(5, 1, squeeze_excite=True),
    BasicBlock(3): BasicBlock(5),
    UIB(3, 3, 2): UIB(5, 7, 3),
    UIB(3, 0, 2): UIB(5, 0, 3),
    UIB(0, 0, 2): FusedMBConv(3, 3),
    MBConv(3, 2): UIB(0, 5, 3),
    Conv(3, "relu6"): Conv(5, "relu6"),
}


def chain(ops, *, width, head_hidden):
    stages = tuple(Stage(width, 1, 2 if number == 0 else 1, (op,)) for number, op in enumerate(ops))
    space = dataclasses.replace(
        SPACE, stages=stages, candidates=(), first_width=0, head_hidden=head_hidden
    )
    return Architecture(space, tuple(ops))


def test_every_kind_of_op_keeps_its_function_when_it_grows_and_itself_when_it_shrinks():
    """Kernels, expansions, gates, streams and a head with a hidden convolution, in one network."""
    ours = chain(FORMS, width=6, head_hidden=9)
    network = random_network(ours)
    weights = known(network, ours)
    larger = chain(FORMS.values(), width=10, head_hidden=14)
    start = start_of(weights, larger.space)
    grown = network_from(start, larger)
    np.testing.assert_allclose(grown(IMAGES), network(IMAGES), rtol=1e-3, atol=1e-4)
    assert {start.origin_of(block).function for block in larger.blocks} == {KEPT}
    back = start_of(known(grown, larger), ours.space)
    gates = {block.name for block in larger.blocks if "squeeze" in [x.name for x in block.layers]}
    assert len(gates) == 1
    for block in ours.blocks:
        arrays = back.arrays_of(block)
        stored = start_of(weights, ours.space).origin_of(block).source.arrays
        assert set(arrays) == set(stored)
        for name, values in stored.items():
            # A gate that was added half open had the projection make up for it.
            scale = 6.0 / 5.5 if block.name in gates and name == "project/kernel" else 1.0
            np.testing.assert_allclose(
                arrays[name], scale * values, rtol=1e-6, err_msg=block.name + name
            )


def test_ops_of_other_forms_are_drawn():
    """A plain block says nothing about a fused one, nor one depthwise convolution about two."""
    ours = chain([BasicBlock(3), UIB(3, 0, 2)], width=6, head_hidden=0)
    other = chain([FusedMBConv(3, 2), UIB(3, 3, 2)], width=6, head_hidden=0)
    weights = known(random_network(ours), ours)
    start = start_of(weights, other.space)
    functions = {block.name: start.origin_of(block).function for block in other.blocks}
    assert functions == {"stem": KEPT, "block_00": NEW, "block_01": NEW, "head": KEPT}


def shuffled(weights, seed):
    """The same function with the channels of all streams and middles in another order."""
    generator = np.random.default_rng(seed)
    orders = {}

    def order(name, count):
        if name not in orders:
            orders[name] = generator.permutation(count)
        return orders[name]

    def block(each, stream_in, stream_out):
        arrays, result = each.arrays, {}
        layers = {layer.name: layer for layer in each.block.layers}
        ends = {"conv": (None, stream_out), "mix": (stream_in, "features")}
        ends |= {"classifier": ("features", None), "project": (each.block.name, stream_out)}
        ends |= {"expand": (stream_in, each.block.name)}
        if "expand" not in layers:
            ends["project"] = (stream_in, stream_out)
        ends["depthwise"] = (ends["project"][0],) * 2
        for name, values in arrays.items():
            layer = layers[name.split("/")[0].removesuffix("_bn")]
            before, after = ends[layer.name]
            if name.endswith("/kernel") and before:
                axis = values.ndim - 2
                values = np.take(values, order(before, values.shape[axis]), axis)
            if after and not (layer.name == "depthwise" and name.endswith("/kernel")):
                values = np.take(values, order(after, values.shape[-1]), -1)
            result[name] = values
        return PretrainedBlock(each.block, result)

    streams = [f"stage_{choice.stage}" for choice in weights.space.choice_blocks]
    before = ["first", *streams]
    fixed = {
        "stem": block(weights.fixed["stem"], None, "stem"),
        "first": block(weights.fixed["first"], "stem", "first"),
        "head": block(weights.fixed["head"], streams[-1], None),
    }
    choices = tuple(
        tuple(block(each, ins, out) for each in candidates)
        for candidates, ins, out in zip(weights.choices, before, streams)
    )
    return dataclasses.replace(weights, fixed=fixed, choices=choices)


@pytest.mark.slow
def test_channels_that_nobody_reads_are_those_left_out(source):
    """A network hidden in one of twice the width, in any order of channels, comes out whole."""
    network, weights = source
    large = with_candidates(
        *SMALL,
        stem_width=16,
        first_width=8,
        stages=tuple(dataclasses.replace(stage, width=2 * stage.width) for stage in STAGES),
        head_width=24,
    )
    hidden = Architecture(large, (SMALL[0], SMALL[1]) * 3)
    there = known(network_from(start_of(weights, large), hidden), hidden)
    mixed = start_of(shuffled(there, seed=5), SPACE)
    found = network_from(mixed, Architecture(SPACE, (SMALL[0], SMALL[1]) * 3))
    np.testing.assert_allclose(found(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-5)


def test_a_smaller_kernel_is_the_centre_of_a_larger_one():
    kernel = np.arange(25.0).reshape(5, 5, 1, 1)
    np.testing.assert_array_equal(resized_kernel(kernel, 3)[..., 0, 0], kernel[1:4, 1:4, 0, 0])
    np.testing.assert_array_equal(resized_kernel(resized_kernel(kernel, 9), 5), kernel)
    assert resized_kernel(kernel, 7).sum() == kernel.sum()


def test_the_most_important_channels_are_kept_in_their_order():
    chosen = Channels.ranked(np.array([0.1, 3.0, 0.2, 2.0]), 3)
    np.testing.assert_array_equal(chosen.source, [1, 2, 3])
    assert not chosen.silent.any()
    more = Channels.ranked(np.array([0.1, 3.0]), 5)
    np.testing.assert_array_equal(more.source, [0, 1, 1, 0, 1])
    np.testing.assert_array_equal(more.silent, [False, False, True, True, True])


RELU = np.sqrt(0.5 - 0.5 / np.pi)  # the deviation of relu of a standard normal


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        # Of a normal 8 +- 1 the part below 6 is all that relu6 lets through: its variance is
        # (1 + 4) p - 2 d - (d - 2 p) ** 2 with p = 0.02275 below -2 and the density d = 0.05399.
        ("relu6", [RELU, 0.5, 0.0, 0.0755]),
        ("relu", [RELU, 0.5, 0.0, 1.0]),
        ("hswish", [None, None, 0.0, 1.0]),
        (None, [1.0, 0.5, 1.0, 1.0]),
    ],
)
def test_deviation_behind_an_activation(activation, expected):
    """Far inside the linear range nothing is cut off, and far below 0 all is."""
    beta, gamma = np.array([0.0, 3.0, -9.0, 8.0]), np.array([-1.0, 0.5, 1.0, 1.0])
    layer = Layer("conv", "conv", 1, 1, 4, 4, 8, 8, activation)
    deviation = activation_deviation({"conv_bn/beta": beta, "conv_bn/gamma": gamma}, layer)
    for found, value in zip(deviation, expected, strict=True):
        assert value is None or found == pytest.approx(value, abs=2e-3)


def test_channels_matter_by_the_activations_of_their_own_network():
    """A channel that relu6 would cut off to a constant is the most important one behind relu."""
    for activation, place in (("relu", -1), ("relu6", 0)):
        op = MBConv(3, 2, activation=activation)
        ours = all_of(with_candidates(op), op)
        first = known(random_network(ours), ours).choices[0][0]
        arrays = {name: np.ones_like(values) for name, values in first.arrays.items()}
        arrays["depthwise_bn/beta"][1] = 9.0
        arrays["depthwise_bn/gamma"][1] = 2.0
        ranking = np.argsort(middle_importance(PretrainedBlock(first.block, arrays)))
        assert ranking[place] == 1


def test_a_channel_that_is_constant_or_unread_does_not_matter(source):
    _, weights = source
    block = weights.choices[0][0].block
    arrays = dict(weights.choices[0][0].arrays)
    arrays["depthwise_bn/gamma"] = arrays["depthwise_bn/gamma"].copy()
    arrays["project/kernel"] = arrays["project/kernel"].copy()
    arrays["depthwise_bn/gamma"][1] = 0.0
    arrays["project/kernel"][:, :, 2] = 0.0
    importance = middle_importance(PretrainedBlock(block, arrays))
    np.testing.assert_allclose(importance[[1, 2]], 0.0, atol=1e-6)
    assert (np.delete(importance, [1, 2]) > 1e-3).all()


def test_blocks_beyond_the_depth_start_near_the_identity(source):
    network, weights = source
    deep = with_candidates(
        *SMALL, stages=(Stage(6, 3, 2), Stage(8, 5, 1), Stage(10, 1, 2)), skips=True
    )
    start = start_of(weights, deep, added_gamma=0.25)
    added = [
        origin
        for origin in start.origins()
        if origin.function == ADDED and origin.block.op == origin.source.block.op
    ]
    assert [origin.block.name for origin in added] == ["block_02", "block_06", "block_07"]
    copied = added[0].source.arrays
    arrays = start.arrays_of(added[0].block)
    np.testing.assert_array_equal(arrays["project/kernel"], copied["project/kernel"])
    for name in ("project_bn/gamma", "project_bn/beta"):
        np.testing.assert_allclose(arrays[name], 0.25 * copied[name], rtol=1e-6)
    skipped = iter((SMALL[0], SMALL[1]) * 3)
    names = {origin.block.name for origin in added}
    ops = [Zero() if c.name in names else next(skipped) for c in deep.choice_blocks]
    found = network_from(start, Architecture(deep, tuple(ops)))
    np.testing.assert_allclose(found(IMAGES), network(IMAGES), atol=1e-5)


def test_a_block_without_an_identity_is_not_near_it(source):
    _, weights = source
    stages = (Stage(6, 3, 2, shortcuts=False), Stage(8, 5, 1, shortcuts=False), Stage(10, 1, 2))
    start = start_of(weights, with_candidates(*SMALL, stages=stages))
    functions = {origin.block.name: origin.function for origin in start.origins()}
    assert {functions[f"block_0{index}"] for index in (2, 6, 7)} == {NEW}
    assert ADDED not in functions.values()


@pytest.mark.parametrize(("pixels", "function"), [(15, KEPT), (16, APPROXIMATED)])
def test_a_kernel_that_moves_by_a_pixel_does_not_keep_the_function(pixels, function):
    """With stride 2 a 1x1 kernel is on pixels 0, 2, 4 of any size, the centre of a 3x3 one on
    pixels 1, 3, 5 of an even size."""
    space = with_candidates(MBConv(1, 2), resolution=pixels, stem_stride=1)
    architecture = all_of(space, MBConv(1, 2))
    network = random_network(architecture)
    larger = dataclasses.replace(space, candidates=(MBConv(3, 2),), skips=False)
    start = start_of(known(network, architecture), larger)
    first = larger.candidate_block(larger.choice_blocks[0], MBConv(3, 2))
    assert start.origin_of(first).function == function
    images = IMAGES[:, :pixels, :pixels]
    values = [
        keras.Model(each.input, each.get_layer("block_00/project_bn").output)(images).numpy()
        for each in (network, network_from(start, all_of(larger, MBConv(3, 2))))
    ]
    assert np.allclose(*values, rtol=1e-4, atol=1e-5) is (function == KEPT)


def test_a_skipped_block_of_the_source_starts_near_the_identity():
    ops = (SMALL[0], Zero(), SMALL[0], Zero(), SMALL[1], SMALL[0])
    architecture = Architecture(SPACE, ops)
    weights = known(random_network(architecture), architecture)
    functions = {o.block.name: o.function for o in start_of(weights, SPACE).origins()}
    # Stage 0 has no block that could stand behind itself; stage 1 has one.
    assert functions["block_01"] == NEW
    assert functions["block_03"] == ADDED


def test_a_supernet_gives_each_candidate_its_own_weights():
    supernet = Supernet(with_candidates(*SMALL, MBConv(3, 4)), seed=4)
    weights = known_supernet(supernet)
    space = with_candidates(*SMALL, MBConv(3, 4), MBConv(7, 4))
    start = start_of(weights, space)
    for choice in space.choice_blocks:
        for op, expected in [(op, op) for op in supernet.space.candidates] + [
            (MBConv(7, 4), MBConv(3, 4))  # all its channels are there
        ]:
            origin = start.origin_of(space.candidate_block(choice, op))
            assert origin.source.block.op == expected
    again = Supernet(supernet.space, seed=9, start=start_of(weights, supernet.space))
    before, after = supernet.named_variables(), again.named_variables()
    for name, variable in before.items():
        if not name.endswith("/alpha"):
            np.testing.assert_array_equal(after[name].numpy(), variable.numpy(), err_msg=name)


def known_supernet(supernet):
    def block(each):
        arrays = {name.removeprefix(f"{each.name}/"): v.numpy() for name, v in each.named.items()}
        return PretrainedBlock(each.block, arrays)

    return PretrainedWeights(
        supernet.space,
        {name: block(each) for name, each in supernet.fixed.items()},
        tuple(tuple(map(block, mixed.candidates)) for mixed in supernet.mixed_ops),
        InputNormalisation.of(127.5, 127.5),
        1e-3,
        None,
        "a supernet",
    )


def test_a_new_classifier_starts_at_zero(source):
    _, weights = source
    for classes, keep, kept in ((5, True, True), (5, False, False), (7, True, False)):
        start = start_of(weights, with_candidates(*SMALL, classes=classes), keep_classifier=keep)
        kernel = Supernet(start.space, start=start).fixed["head"].by_layer["classifier"][0].numpy()
        stored = weights.fixed["head"].arrays["classifier/kernel"]
        np.testing.assert_array_equal(kernel, stored if kept else np.zeros((12, classes)))


def test_every_candidate_of_every_width_of_lite_finds_its_arrays():
    """Shapes are the variables' own, at widths where streams shrink and grow."""
    architecture = Architecture(lite(classes=3, width=0.5), (MBConv(3, 6),) * 15)
    weights = known(build_network(architecture), architecture)
    for width in (0.35, 1.0):
        start = start_of(weights, lite(classes=3, width=width))
        for origin in start.origins():
            shapes = {layer.name: layer.kernel_shape for layer in origin.block.layers}
            arrays = start.arrays_of(origin.block)
            assert {n: a.shape for n, a in arrays.items() if n.endswith("/kernel")} == {
                f"{name}/kernel": shape for name, shape in shapes.items()
            }
            for name, array in arrays.items():
                layer = origin.block.layers[
                    [x.name for x in origin.block.layers].index(
                        name.split("/")[0].removesuffix("_bn")
                    )
                ]
                assert name.endswith("/kernel") or array.shape == (layer.out_channels,)


def test_spaces_that_do_not_suit_are_refused(source):
    _, weights = source
    for space, said in (
        (named_space("pyramid_tree", classes=5), "another kind"),
        (with_candidates(*SMALL, stages=STAGES[:2]), "2 stages"),
        (with_candidates(*SMALL, channels=1), "1 channels"),
        (with_candidates(*SMALL, first_width=0), "no first block"),
        (with_candidates(*SMALL, head_hidden=4), "head with a hidden convolution"),
    ):
        with pytest.raises(UserError, match=said):
            check_remappable(weights.space, space, where=weights.source)
