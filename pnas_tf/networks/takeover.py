"""A network that starts from weights of another: which of its blocks fit, and what is new.

Knows nothing of where the weights came from, or of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import (
    InputNormalisation,
    PretrainedBlock,
    PretrainedWeights,
    set_block_arrays,
)
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Head, Zero
from pnas_tf.space.published import PUBLISHED

CLASSIFIER = "head/classifier"
_CLASSIFIER = ("classifier/kernel", "classifier/bias")  # in its block


@dataclass(frozen=True)
class Takeover:
    """What a network took over from others' weights, for the user and for result.json.

    Attributes:
        source: of the weights.
        taken: variables whose values they are, and `parameters` how many numbers those hold.
        new: what starts anew, each with the reason.
        changed: what was computed from them instead of taken, each with the reason.
    """

    source: str
    taken: int
    parameters: int
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For the terminal."""
        told = f"starts from {self.source}: {self.taken} arrays, {self.parameters:,} numbers"
        return [told, *(f"  new: {text}" for text in self.new), *map("  {}".format, self.changed)]


def network_from(
    architecture: Architecture,
    weights: PretrainedWeights,
    *,
    class_names: Sequence[str],
    input: InputNormalisation,
    normalisation: Normalisation = Normalisation(),
) -> tuple[keras.Model, Takeover]:
    """The network of `architecture` with the weights of each of its blocks.

    Args:
        architecture: what is built.
        weights: of the same blocks; images of another size are no hindrance.
        class_names: of what it shall learn. The classifier is taken over where `weights` have the
            same, else it is zero: every class is as likely, and the features get no gradient until
            it has learnt (Dosovitskiy et al. 2021, appendix B.1.1).
        input: normalisation of the images that it will see.
        normalisation: of its layers.

    Raises:
        UserError: a block of the architecture has no counterpart; names it, and what would fit.
    """
    adapted = weights.adapted(input, bn_epsilon=normalisation.epsilon)
    found = counterparts(architecture, adapted)
    model = build_network(architecture, normalisation=normalisation)
    is_new = weights.class_names != tuple(class_names)
    taken, numbers = 0, 0
    for block in architecture.blocks:
        arrays = dict(found[block.name].arrays)
        if is_new and isinstance(block.op, Head):
            arrays = {name: array for name, array in arrays.items() if name not in _CLASSIFIER}
            model.get_layer(CLASSIFIER).set_weights(
                [np.zeros(weight.shape) for weight in model.get_layer(CLASSIFIER).weights]
            )
        set_block_arrays(model, block, arrays)
        taken, numbers = taken + len(arrays), numbers + sum(map(np.size, arrays.values()))
    new = []
    if is_new:
        before = weights.fixed["head"].block.out_channels
        new.append(f"classifier of {len(class_names)} classes, in the place of {before} others")
    changed = _changes(architecture, weights, input)
    return model, Takeover(weights.source, taken, numbers, tuple(new), tuple(changed))


def _changes(
    architecture: Architecture, weights: PretrainedWeights, input: InputNormalisation
) -> list[str]:
    changed = []
    if weights.input != input:
        changed.append(
            f"stem: images are {_normalised(input)} in the place of {_normalised(weights.input)}"
        )
    if weights.space.padding != architecture.space.padding:
        changed.append(
            f"padding is {architecture.space.padding} in the place of {weights.space.padding}"
        )
    return changed


def counterparts(
    architecture: Architecture, weights: PretrainedWeights
) -> dict[str, PretrainedBlock]:
    """For each block of the architecture, by its name, the one whose weights it takes; builds
    nothing.

    Raises:
        UserError: a block has none; names it, and what would fit.
    """
    fixed = {block.name for block in architecture.space.fixed_blocks()}
    blocks = architecture.blocks
    choices = [block for block in blocks if block.name not in fixed]
    if len(choices) != len(weights.choices):
        raise _refused(
            architecture,
            weights,
            f"{len(choices)} blocks between first and head",
            f"{len(weights.choices)}",
        )
    offered = {
        **{name: (each,) for name, each in weights.fixed.items()},
        **{block.name: those for block, those in zip(choices, weights.choices)},
    }
    found = {}
    for block in blocks:
        if isinstance(block.op, Zero):
            found[block.name] = PretrainedBlock(block, {})
            continue
        those = offered.get(block.name, ())
        fitting = [each for each in those if _computes(each.block) == _computes(block)]
        if not fitting:
            held = ", ".join(_described(each.block) for each in those) or "no such block"
            raise _refused(architecture, weights, f"{block.name}: {_described(block)}", held)
        found[block.name] = fitting[0]
    return found


def _computes(block: Block) -> tuple[object, ...]:
    """What two blocks must have in common for one to take the other's weights: all but their sizes,
    padding and, of a head, its classes."""
    out = None if isinstance(block.op, Head) else block.out_channels
    return block.op, block.in_channels, out, block.stride, block.shortcut


def _described(block: Block) -> str:
    return f"{block.op.key} {block.in_channels} -> {block.out_channels} channels, stride " + str(
        block.stride
    )


def _refused(
    architecture: Architecture, weights: PretrainedWeights, expected: str, received: str
) -> UserError:
    theirs = weights.space.name
    fit = f"--architecture={theirs}" if theirs in PUBLISHED else f"the network of '{theirs}'"
    return UserError(
        f"weights of {weights.source} for network '{architecture.space.name}'",
        expected=expected,
        received=received,
        fix=f"They fit {fit}; or give weights of '{architecture.space.name}'.",
    )


def _normalised(input: InputNormalisation) -> str:
    def numbers(values: tuple[float, ...]) -> str:
        return " ".join(f"{value:g}" for value in dict.fromkeys(values))

    return f"(pixel - {numbers(input.mean)}) / {numbers(input.std)}"
