"""Projections fitted to a pretrained block's outputs by least squares, the rest as it was."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pnas_tf.config import SearchConfig
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import InputNormalisation, weights_of_network
from pnas_tf.networks.remapped_space import APPROXIMATED, Remapping
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.supernet import tape
from pnas_tf.supernet.functional import Mode
from pnas_tf.supernet.reconstruction import losses, reconstruct
from pnas_tf.supernet.supernet import Supernet

OWN = MBConv(5, 4)
SPACE = MBConvSpace(
    "source", 16, 5, 8, 4, (Stage(6, 2, 2), Stage(8, 1, 2)), 12, (OWN, MBConv(3, 4), MBConv(7, 2))
)
IMAGES = tf.constant(np.random.default_rng(0).uniform(-1, 1, (48, 16, 16, 3)), tf.float32)


def start_of(space, spare=None):
    """The remapping of a random network. spare: of each block so many middle channels are read by
    nobody."""
    architecture = Architecture(SPACE, (OWN,) * 3)
    network = build_network(architecture)
    generator = np.random.default_rng(1)
    for variable in network.variables:
        kernel = "kernel" in variable.name
        values = generator.normal(0, 0.4, variable.shape) if kernel else None
        variable.assign(generator.uniform(0.5, 1.5, variable.shape) if values is None else values)
        if spare and variable.name.endswith("project/kernel:0"):
            variable.assign(np.where(np.arange(variable.shape[2])[:, None] % 2, variable, 0.0))
    weights = weights_of_network(
        network,
        architecture,
        input=InputNormalisation.of(127.5, 127.5),
        bn_epsilon=1e-3,
        class_names=None,
        source="random",
    )
    return Remapping(weights, space, keep_classifier=True, added_gamma=0.3)


def outputs(supernet):
    """(the own op's output, each candidate's) of every choice block, for the own ops' inputs."""
    x = IMAGES
    for name in ("stem", "first"):
        x = tape.output(supernet.fixed[name], x, mode=Mode.ARCHITECTURE, shortcut=True)
    for mixed_op in supernet.mixed_ops:
        found = [
            tape.output(each, x, mode=Mode.ARCHITECTURE, shortcut=False).numpy()
            for each in mixed_op.candidates
            if each.block.layers
        ]
        yield found[0], found[1:]
        x = tape.output(mixed_op.candidates[0], x, mode=Mode.ARCHITECTURE, shortcut=True)


def inputs_of(supernet, index):
    """What a choice block takes where all before it compute the source's own op."""
    x = IMAGES
    for name in ("stem", "first"):
        x = tape.output(supernet.fixed[name], x, mode=Mode.ARCHITECTURE, shortcut=True)
    for mixed_op in supernet.mixed_ops[:index]:
        x = tape.output(mixed_op.candidates[0], x, mode=Mode.ARCHITECTURE, shortcut=True)
    return x.numpy()


def errors(supernet):
    return [
        np.mean((own - each) ** 2) / np.var(own)
        for own, others in outputs(supernet)
        for each in others
    ]


def test_what_is_fitted_is_nearer_and_the_rest_untouched():
    start = start_of(SPACE)
    supernet = Supernet(SPACE, SearchConfig(), start=start)
    named = supernet.named_variables()
    before, values = errors(supernet), {name: v.numpy() for name, v in named.items()}
    assert reconstruct(supernet, start, IMAGES) == 6
    after = errors(supernet)
    assert all(later < 0.9 * earlier for earlier, later in zip(before, after))
    assert max(after) < 1.0  # the mean alone would leave 1
    for name, variable in named.items():
        same = np.array_equal(variable.numpy(), values[name])
        assert same == ("project" not in name or OWN.key in name or "first" in name), name


def test_a_candidate_that_can_compute_the_source_does():
    """Half of the source's middle channels are read by nobody: an expansion of half of its own
    holds the others."""
    space = dataclasses.replace(SPACE, candidates=(OWN, MBConv(5, 2)))
    start = start_of(space, spare=True)
    functions = {origin.function for origin in start.origins() if origin.block.op == MBConv(5, 2)}
    assert functions == {APPROXIMATED}
    supernet = Supernet(space, SearchConfig(), start=start)
    kernels = [mixed.candidates[1].by_layer["project"][0] for mixed in supernet.mixed_ops]
    for kernel in kernels:
        kernel.assign(tf.zeros_like(kernel))  # and finds them itself
    assert reconstruct(supernet, start, IMAGES) == 3
    np.testing.assert_allclose(errors(supernet), 0.0, atol=1e-3)


def test_a_block_without_the_sources_op_ends_it():
    space = dataclasses.replace(SPACE, candidates=(MBConv(3, 4),))
    start = start_of(space)
    assert reconstruct(Supernet(space, SearchConfig(), start=start), start, IMAGES) == 0


def test_what_candidates_lose_is_told_in_parts_of_what_the_block_passes_on():
    """By plain arithmetic; less after fitting, where something was fitted."""
    space = dataclasses.replace(SPACE, skips=True)
    start = start_of(space)
    supernet = Supernet(space, SearchConfig(), start=start)
    before = losses(supernet, start, IMAGES)
    reconstruct(supernet, start, IMAGES)
    found = losses(supernet, start, IMAGES)
    assert list(found) == [0, 1, 2]
    for index, (own, others) in enumerate(outputs(supernet)):
        mixed_op = supernet.mixed_ops[index]
        whole = mixed_op.candidates[0]
        x = inputs_of(supernet, index)
        passed = own + (x if whole.block.shortcut else 0)
        spread = np.mean((passed - passed.mean(axis=(0, 1, 2))) ** 2)
        gaps = [np.mean((each - own) ** 2) / spread for each in [own, *others]]
        if isinstance(mixed_op.candidates[-1].block.op, Zero):
            gaps.append(np.mean(own**2) / spread)
        np.testing.assert_allclose(found[index], gaps, rtol=1e-4, atol=1e-7)
        assert (found[index][1 : 1 + len(others)] < before[index][1 : 1 + len(others)]).all()


@pytest.mark.parametrize("images", [1, 3])
def test_few_images_suffice_for_finite_weights(images):
    start = start_of(SPACE)
    supernet = Supernet(SPACE, SearchConfig(), start=start)
    reconstruct(supernet, start, IMAGES[:images])
    assert all(np.isfinite(variable.numpy()).all() for variable in supernet.variables)
