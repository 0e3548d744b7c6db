"""A network that starts from weights of another: which of its blocks fit, and what is new.

Knows nothing of where the weights came from, or of training.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tf_keras as keras

from pnas_tf.config import RunConfig, SearchConfig
from pnas_tf.errors import number_of
from pnas_tf.io import atomic
from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import InputNormalisation, PretrainedWeights, set_block_arrays
from pnas_tf.networks.remapped_space import Remapping, check_remappable, words_on
from pnas_tf.run.layout import START
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Head, Zero

_DOCUMENT = {"format": "pnas_tf/train_start", "version": 1}
CLASSIFIER = "head/classifier"
# Of blocks beyond the depth of the weights: near the identity.
_ADDED_GAMMA = SearchConfig.shortcut_gamma
_CLASSIFIER = ("classifier/kernel", "classifier/bias")  # in its block


@dataclass(frozen=True)
class Takeover:
    """What a network took over from others' weights, for the user and for result.json.

    Attributes:
        source: of the weights.
        taken: variables whose values they are, and `parameters` how many numbers those hold.
        new: what starts anew, each with the reason.
        changed: what was computed from them instead of taken, each with the reason.
        remapped: the network is another than theirs, so that its batch-normalisation statistics
            are not those of its activations and have to be estimated anew.
    """

    source: str
    taken: int
    parameters: int
    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    remapped: bool = False

    def lines(self) -> list[str]:
        """For the terminal."""
        told = f"starts from {self.source}: {self.taken} arrays, {self.parameters:,} numbers"
        return [told, *(f"  new: {text}" for text in self.new), *map("  {}".format, self.changed)]

    def save(self, folder: str | os.PathLike) -> Path:
        """Writes it into a training's folder."""
        return atomic.write_json(Path(folder) / START, {**_DOCUMENT, **asdict(self)})


def network_from(
    architecture: Architecture,
    weights: PretrainedWeights,
    *,
    class_names: Sequence[str],
    input: InputNormalisation,
    normalisation: Normalisation = Normalisation(),
    seed: int = RunConfig.seed,
) -> tuple[keras.Model, Takeover]:
    """The network of `architecture` with the weights of each of its blocks.

    Args:
        architecture: what is built.
        weights: of the same blocks, or of others that can become them (`remapped_space`); images
            of another size are no hindrance.
        class_names: of what it shall learn. The classifier is taken over where `weights` have the
            same, else it is zero: every class is as likely, and the features get no gradient until
            it has learnt (Dosovitskiy et al. 2021, appendix B.1.1).
        input: normalisation of the images that it will see.
        normalisation: of its layers.
        seed: of what has no counterpart.

    Raises:
        UserError: the weights cannot become those of the architecture; says why.
    """
    adapted = weights.adapted(input, bn_epsilon=normalisation.epsilon)
    is_new = weights.class_names != tuple(class_names)
    found = counterparts(architecture, adapted)
    if found is None:
        remapping = Remapping(
            adapted, architecture.space, keep_classifier=not is_new, added_gamma=_ADDED_GAMMA
        )
        found, words = _remapped(architecture, remapping)
    else:
        words = _other_statistics(architecture, weights)
    model = build_network(architecture, normalisation=normalisation)
    model.set_weights(seeded_weights(model, seed=seed))
    taken = [
        _fill(model, block, found[block.name], is_new=is_new and isinstance(block.op, Head))
        for block in architecture.blocks
    ]
    new = []
    if is_new:
        before = weights.fixed["head"].block.out_channels
        new.append(f"classifier of {len(class_names)} classes, in the place of {before} others")
    changed = (*words, *changes_to(architecture.space, weights, input))
    arrays, numbers = map(sum, zip(*taken, strict=True))
    remapped = bool(words) or weights.space.padding != architecture.space.padding
    return model, Takeover(weights.source, arrays, numbers, tuple(new), changed, remapped)


def changes_to(
    space: SearchSpace, weights: PretrainedWeights, input: InputNormalisation
) -> list[str]:
    """What networks of `space` on images of that normalisation do in another way than those that
    the weights belong to, for the user."""
    changed = []
    if weights.input != input:
        changed.append(
            f"stem: images are {_normalised(input)} in the place of {_normalised(weights.input)}"
        )
    if weights.space.padding != space.padding:
        changed.append(f"padding is {space.padding} in the place of {weights.space.padding}")
    return changed


def _fill(
    model: keras.Model, block: Block, arrays: Mapping[str, np.ndarray], *, is_new: bool
) -> tuple[int, int]:
    """Gives a block its arrays. Returns (how many, how many numbers in them). is_new: it ends in a
    classifier of other classes, which becomes zero."""
    if is_new:
        arrays = {name: array for name, array in arrays.items() if name not in _CLASSIFIER}
        classifier = model.get_layer(CLASSIFIER)
        classifier.set_weights([np.zeros(weight.shape) for weight in classifier.weights])
    set_block_arrays(model, block, arrays)
    return len(arrays), sum(map(np.size, arrays.values()))


def check_takeover(architecture: Architecture, weights: PretrainedWeights) -> None:
    """Raises UserError where `weights` cannot become those of the architecture; builds nothing."""
    if counterparts(architecture, weights) is None:
        check_remappable(weights.space, architecture.space, where=weights.source)


def _remapped(
    architecture: Architecture, remapping: Remapping
) -> tuple[dict[str, Mapping[str, np.ndarray]], list[str]]:
    """(the arrays of each block, how many blocks start how)."""
    blocks = [block for block in architecture.blocks if not isinstance(block.op, Zero)]
    origins = [remapping.origin_of(block) for block in blocks]
    arrays = {block.name: remapping.arrays_of(block) for block in architecture.blocks}
    return arrays, [f"of {number_of(len(blocks), 'block')} {words_on(origins)}"]


def _other_statistics(architecture: Architecture, weights: PretrainedWeights) -> list[str]:
    """Why statistics of batch normalisation are not those of this network, whose blocks are all
    among theirs; empty where they are."""
    words = []
    if any(len(those) > 1 for those in weights.choices):
        words.append("batch-normalisation statistics are of one path, in the place of all paths")
    fixed = architecture.space.fixed_names
    own = [block.op for block in architecture.blocks if block.name not in fixed]
    skipped = [
        isinstance(op, Zero) and not any(isinstance(each.block.op, Zero) for each in those)
        for op, those in zip(own, weights.choices)
    ]
    if any(skipped):
        words.append(f"{number_of(sum(skipped), 'block')} of theirs skipped")
    return words


def counterparts(
    architecture: Architecture, weights: PretrainedWeights
) -> dict[str, Mapping[str, np.ndarray]] | None:
    """For each block of the architecture, by its name, the arrays of the same one among `weights`;
    None where a block has none."""
    fixed = architecture.space.fixed_names
    blocks = architecture.blocks
    choices = [block for block in blocks if block.name not in fixed]
    if len(choices) != len(weights.choices):
        return None
    offered = {
        **{name: (each,) for name, each in weights.fixed.items()},
        **{block.name: those for block, those in zip(choices, weights.choices)},
    }
    found: dict[str, Mapping[str, np.ndarray]] = {}
    for block in blocks:
        if isinstance(block.op, Zero):
            found[block.name] = {}
            continue
        those = offered.get(block.name, ())
        fitting = [each for each in those if _computes(each.block) == _computes(block)]
        if not fitting:
            return None
        found[block.name] = fitting[0].arrays
    return found


def _computes(block: Block) -> tuple[object, ...]:
    """What two blocks must have in common for one to take the other's weights: all but their sizes,
    padding and, of a head, its classes."""
    out = None if isinstance(block.op, Head) else block.out_channels
    return block.op, block.in_channels, out, block.stride, block.shortcut


def _normalised(input: InputNormalisation) -> str:
    def numbers(values: tuple[float, ...]) -> str:
        return " ".join(f"{value:g}" for value in dict.fromkeys(values))

    return f"(pixel - {numbers(input.mean)}) / {numbers(input.std)}"
