"""A network that starts from another's weights computes what that one did, and what does not fit is
refused by its block."""

import dataclasses

import numpy as np
import pytest
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import (
    InputNormalisation,
    PretrainedBlock,
    block_arrays,
    weights_of_network,
)
from pnas_tf.networks.remapped_space import Remapping
from pnas_tf.networks.takeover import check_takeover, network_from
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.supernet.variables import variables_of

SPACE = MBConvSpace(
    "learnt", 16, 3, 8, 8, (Stage(16, 2, 2), Stage(24, 1, 1)), 32, (MBConv(3, 2), MBConv(5, 3))
)
ARCHITECTURE = Architecture(SPACE, (MBConv(5, 3), MBConv(3, 2), MBConv(3, 2)))
NAMES = ("ant", "bee", "cat")
THEIRS = InputNormalisation((120.0, 100.0, 90.0), (60.0, 50.0, 40.0))
OURS = InputNormalisation.of(127.5, 127.5)


def scrambled(model, seed=0):
    """The model with every variable random, statistics too."""
    generator = np.random.default_rng(seed)
    model.set_weights([generator.uniform(0.5, 1.5, each.shape) for each in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def learnt():
    return scrambled(build_network(ARCHITECTURE, normalisation=Normalisation(epsilon=0.1)))


@pytest.fixture(scope="module")
def weights(learnt):
    return weights_of_network(
        learnt,
        ARCHITECTURE,
        input=THEIRS,
        bn_epsilon=0.1,
        class_names=NAMES,
        source="elsewhere",
    )


def pixels():
    return np.random.default_rng(1).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)


def test_it_computes_the_same_by_another_epsilon(learnt, weights):
    model, takeover = network_from(ARCHITECTURE, weights, class_names=NAMES, input=THEIRS)
    images = ((pixels() - THEIRS.mean) / THEIRS.std).astype(np.float32)
    np.testing.assert_allclose(model(images), learnt(images), rtol=1e-4)
    assert model.get_layer("stem/conv_bn").epsilon == Normalisation().epsilon != 0.1
    assert (takeover.new, takeover.changed) == ((), ())
    assert takeover.parameters == sum(map(np.size, learnt.get_weights()))


def test_another_input_normalisation_is_the_same_function_where_nothing_is_padded(learnt, weights):
    model, takeover = network_from(ARCHITECTURE, weights, class_names=NAMES, input=OURS)
    stems = [
        keras.Model(each.input, each.get_layer("stem/conv_bn").output)(
            ((pixels() - input.mean) / input.std).astype(np.float32)
        ).numpy()
        for each, input in ((learnt, THEIRS), (model, OURS))
    ]
    # 16 pixels by stride 2 are padded at the end alone: the last row and column see it.
    np.testing.assert_allclose(stems[0][:, :-1, :-1], stems[1][:, :-1, :-1], rtol=1e-4, atol=1e-4)
    assert np.abs(stems[0][:, -1] - stems[1][:, -1]).max() > 0.01
    assert takeover.changed == (
        "stem: images are (pixel - 127.5) / 127.5 in the place of (pixel - 120 100 90) / 60 50 40",
    )


def test_a_new_classifier_holds_every_class_for_as_likely(learnt, weights):
    space = dataclasses.replace(SPACE, classes=5, resolution=24)
    other = Architecture(space, ARCHITECTURE.ops)
    model, takeover = network_from(other, weights, class_names=tuple("abcde"), input=THEIRS)
    assert model.input_shape[1:3] == (24, 24)
    np.testing.assert_array_equal(model(np.ones((2, 24, 24, 3))), np.zeros((2, 5)))
    assert takeover.new == ("classifier of 5 classes, in the place of 3 others",)
    classifier = 32 * 3 + 3
    assert takeover.parameters == sum(map(np.size, learnt.get_weights())) - classifier
    for block in ARCHITECTURE.blocks[:-1]:
        kernel = f"{block.layers[0].name}/kernel"
        np.testing.assert_array_equal(
            block_arrays(model, block)[kernel], block_arrays(learnt, block)[kernel]
        )


def test_as_many_other_classes_are_others(weights):
    model, takeover = network_from(ARCHITECTURE, weights, class_names=NAMES[::-1], input=THEIRS)
    assert takeover.new and not model.get_layer("head/classifier").get_weights()[0].any()


def test_of_a_supernet_each_network_takes_its_own_candidates(weights):
    """Candidate number n of every choice block is filled with n + 1."""
    choices = tuple(
        tuple(
            PretrainedBlock(
                block := SPACE.candidate_block(choice, op),
                {} if isinstance(op, Zero) else filled(block, number + 1.0),
            )
            for number, op in enumerate(choice.candidates)
        )
        for choice in SPACE.choice_blocks
    )
    supernet = dataclasses.replace(weights, choices=choices, bn_epsilon=Normalisation().epsilon)
    ops = (MBConv(3, 2), Zero(), MBConv(5, 3))
    architecture = Architecture(SPACE, ops)
    model, takeover = network_from(architecture, supernet, class_names=NAMES, input=THEIRS)
    assert takeover.remapped and "of one path" in takeover.lines()[1]
    for place, value in ((0, 1.0), (2, 2.0)):
        found = model.get_layer(f"block_{place:02d}/project").get_weights()[0]
        np.testing.assert_array_equal(found, np.full(found.shape, value))


def test_a_network_without_one_of_their_blocks_has_other_statistics(weights):
    architecture = Architecture(SPACE, (MBConv(5, 3), Zero(), MBConv(3, 2)))
    _, same = network_from(ARCHITECTURE, weights, class_names=NAMES, input=THEIRS)
    _, other = network_from(architecture, weights, class_names=NAMES, input=THEIRS)
    assert not same.remapped and other.remapped
    assert "1 block of theirs skipped" in other.lines()[1]


def test_with_another_padding_statistics_are_others(weights):
    """The stem and the first stage see other pixels."""
    space = dataclasses.replace(SPACE, padding="symmetric")
    other = Architecture(space, ARCHITECTURE.ops)
    _, takeover = network_from(other, weights, class_names=NAMES, input=THEIRS)
    assert takeover.remapped
    assert takeover.changed == ("padding is symmetric in the place of same",)


def test_what_has_no_counterpart_is_drawn_from_the_seed(weights):
    """So that a training from there that was killed goes on from the same network."""
    gated = MBConv(3, 2, squeeze_excite=True)
    space = dataclasses.replace(SPACE, candidates=(*SPACE.candidates, gated))
    architecture = Architecture(space, (MBConv(5, 3), gated, MBConv(3, 2)))

    def found(seed):
        model, _ = network_from(architecture, weights, class_names=NAMES, input=THEIRS, seed=seed)
        return model.get_weights()

    first, again, other = found(0), found(0), found(1)
    assert all(map(np.array_equal, first, again))
    assert not all(map(np.array_equal, first, other))


def filled(block, value):
    return {spec.name: np.full(spec.shape, value, np.float32) for spec in variables_of(block)}


@pytest.mark.parametrize(
    ("space", "ops", "words"),
    [
        (SPACE, (MBConv(3, 2), MBConv(3, 2), MBConv(3, 2)), "1 start from the part"),
        (
            dataclasses.replace(SPACE, stages=(Stage(16, 2, 2), Stage(32, 1, 1))),
            ARCHITECTURE.ops,
            "of 6 blocks 6 compute",
        ),
        (
            dataclasses.replace(SPACE, stages=(Stage(16, 3, 2), Stage(24, 1, 1))),
            (*ARCHITECTURE.ops[:2], *ARCHITECTURE.ops[1:]),
            "1 stand beyond their depth",
        ),
        (dataclasses.replace(SPACE, stem_width=16), ARCHITECTURE.ops, "of 6 blocks"),
        (dataclasses.replace(SPACE, head_width=64), ARCHITECTURE.ops, "of 6 blocks"),
    ],
    ids=["kernel", "width", "depth", "stem", "head"],
)
def test_weights_of_another_network_are_remapped(weights, space, ops, words):
    """As a supernet's candidates are (`test_remapping` has what that keeps)."""
    architecture = Architecture(space, ops)
    check_takeover(architecture, weights)
    model, takeover = network_from(architecture, weights, class_names=NAMES, input=THEIRS)
    assert takeover.remapped and words in takeover.lines()[1]
    remapping = Remapping(
        weights.adapted(THEIRS, bn_epsilon=1e-3), space, keep_classifier=True, added_gamma=0.3
    )
    for block in architecture.blocks:
        found = block_arrays(model, block)
        for name, array in remapping.arrays_of(block).items():
            np.testing.assert_array_equal(found[name], array)


def test_weights_of_another_kind_of_network_are_refused(weights):
    other = Architecture(
        dataclasses.replace(SPACE, stages=(Stage(16, 2, 2),)), ARCHITECTURE.ops[:2]
    )
    for refuses in (
        lambda: check_takeover(other, weights),
        lambda: network_from(other, weights, class_names=NAMES, input=THEIRS),
    ):
        with pytest.raises(UserError, match="2 stages") as refused:
            refuses()
        assert "elsewhere" in str(refused.value)
