"""Weights for every candidate of a search space, from a network or a supernet of another one.

The stages of the two correspond, and in a stage the blocks by their order; a block beyond the
source's depth starts near the identity, as a copy of the stage's last one (Fang et al. 2020, "Fast
Neural Network Adaptation", section 3.1, depth level). What blocks pass on to each other, a stream,
keeps the same channels in all of them, chosen by what all of them say. `remapping` does the
arithmetic of a block. Knows nothing of training.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pnas_tf.errors import UserError, number_of
from pnas_tf.networks.pretrained import PretrainedBlock, PretrainedWeights
from pnas_tf.networks.remapping import (
    Channels,
    activation_deviation,
    form_of,
    remapped_block,
    remapped_conv,
)
from pnas_tf.networks.streams import (
    IMAGES,
    importance_by_stream,
    inputs_by_block,
    places_of,
    stream_of,
    widths_of,
)
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import UIB, CandidateOp, FusedMBConv, Head, MBConv, Stem, Zero

# What a block computes at the start: the source's function, as far as it has inputs; the part of it
# that matters most; nearly the identity; something random.
KEPT, APPROXIMATED, ADDED, NEW = "kept", "approximated", "added", "new"

_WORDS = {
    KEPT: "compute what theirs compute",
    APPROXIMATED: "start from the part of theirs that matters most",
    ADDED: "stand beyond their depth and start near the identity",
    NEW: "are new",
}


@dataclass(frozen=True)
class Origin:
    """Where a block starts from.

    Attributes:
        block: of the target space, with the op of one candidate.
        source: whose weights it takes; None: it is drawn.
        function: KEPT, APPROXIMATED, ADDED or NEW.
    """

    block: Block
    source: PretrainedBlock | None
    function: str

    def row(self) -> dict[str, str | None]:
        """For a file: which candidate starts from which block."""
        source = None
        if self.source is not None:
            source = f"{self.source.block.name} {self.source.block.op.key}"
        return {
            "block": self.block.name,
            "op": self.block.op.key,
            "from": source,
            "function": self.function,
        }


def words_on(origins: Iterable[Origin]) -> str:
    """How many blocks start how, for the terminal."""
    counts = collections.Counter(origin.function for origin in origins)
    return ", ".join(f"{counts[each]} {words}" for each, words in _WORDS.items() if counts[each])


def check_remappable(source: SearchSpace, target: SearchSpace, *, where: str) -> None:
    """Raises UserError where no weights of `source` can become weights of `target`.

    where: what the weights are called in the message.
    """
    for space in (source, target):
        if not isinstance(space, MBConvSpace):
            raise UserError(
                f"weights of {where} for space '{target.name}'",
                expected="two spaces of stages",
                received=f"'{space.name}', a space of another kind ({type(space).__name__})",
                fix="Search a space of stages, such as --space=lite, from weights of such a one, "
                "or leave --pretrained out.",
            )
    assert isinstance(source, MBConvSpace)
    assert isinstance(target, MBConvSpace)
    theirs, ours = _frame(source), _frame(target)
    if theirs != ours:
        raise UserError(
            f"weights of {where} do not suit space '{target.name}'",
            expected=f"{theirs}; widths, depths, kernels, expansions, classes and the resolution "
            "may differ",
            received=ours,
            fix="Search a space with the stages and fixed blocks of the weights (docs/spaces.md), "
            "or train such an architecture; ImageNet's weights suit --space=auto, lite "
            "and proxyless, and --architecture=efficientnet_lite0.",
        )


def _frame(space: MBConvSpace) -> str:
    """What two spaces must have in common: how many stages, and what stands around them."""
    first = "a first block" if space.first_width else "no first block"
    head = "a head with a hidden convolution" if space.head_hidden else "a head without one hidden"
    stages = number_of(len(space.stages), "stage")
    return f"{stages}, images of {space.channels} channels, {first}, {head}"


class Remapping:
    """The weights of every block that a network of `space` can hold, as far as a source knows them.

    Args:
        source: for the target's input normalisation and batch-normalisation epsilon
            (`PretrainedWeights.adapted`).
        space: the target.
        keep_classifier: take the classifier too, where the class counts agree.
        added_gamma: what gamma and beta behind the projection of an added block are multiplied by.

    Raises:
        UserError: as of `check_remappable`.
    """

    def __init__(
        self,
        source: PretrainedWeights,
        space: SearchSpace,
        *,
        keep_classifier: bool,
        added_gamma: float,
    ) -> None:
        check_remappable(source.space, space, where=source.source)
        self.source, self.space = source, space
        self.keep_classifier = keep_classifier and space.classes == source.space.classes
        self.added_gamma = np.float32(added_gamma)
        self._known, self._ops = _known_by_stage(source), _ops_by_stage(source)
        self._places = places_of(space)
        importance, widths = importance_by_stream(source), widths_of(space)
        self._streams = {
            stream: Channels.ranked(importance[stream], width) for stream, width in widths.items()
        }
        self._source_widths = widths_of(source.space)
        self._inputs = dict(inputs_by_block(space))

    def origins(self) -> Iterator[Origin]:
        """Of the fixed blocks and of every candidate but Zero."""
        for block in self.space.fixed_blocks():
            yield self.origin_of(block)
        for choice in self.space.choice_blocks:
            for op in choice.candidates:
                if not isinstance(op, Zero):
                    yield self.origin_of(self.space.candidate_block(choice, op))

    def origin_of(self, block: Block) -> Origin:
        """Where `block` starts from."""
        if block.name in self.source.fixed:
            source = self.source.fixed[block.name]
            return Origin(block, source, self._function(block, source.block))
        stage, position = self._places[block.name]
        there = self._known[stage]
        own = there[position] if position < len(there) else ()
        added = not own
        if added and block.shortcut:  # else it has no identity to be near to
            own = next((known for known in reversed(there) if _repeats(known)), ())
        fitting = [each for each in own if form_of(each.block) == form_of(block)]
        if not fitting:
            return Origin(block, None, NEW)
        source = min(fitting, key=lambda each: _distance(each.block, block))
        function = ADDED if added else self._function(block, source.block)
        return Origin(block, source, function)

    def own_ops(self, block: Block) -> set[CandidateOp]:
        """The ops that the source has in the place of a choice block."""
        stage, position = self._places[block.name]
        there = self._ops[stage]
        return there[position] if position < len(there) else set()

    def arrays_of(self, block: Block) -> Mapping[str, np.ndarray]:
        """The arrays that `block` starts from, by the names of its variables; what is not among
        them is drawn."""
        origin = self.origin_of(block)
        if origin.source is None:
            return {}
        arrays, inputs = origin.source.arrays, self._streams.get(self._inputs[block.name])
        if isinstance(block.op, Stem):
            images = Channels.all_of(block.in_channels)
            return remapped_conv(arrays, block.layers[0], images, self._streams["stem"])
        assert inputs is not None
        if isinstance(block.op, Head):
            return self._head(origin.source, block, inputs)
        found = remapped_block(
            origin.source, block, inputs, self._streams[stream_of(self._places, block.name)]
        )
        if origin.function == ADDED:
            for part in ("gamma", "beta"):
                name = f"{block.layers[-1].name}_bn/{part}"
                found[name] = found[name] * self.added_gamma
        return found

    def _head(
        self, source: PretrainedBlock, block: Block, inputs: Channels
    ) -> dict[str, np.ndarray]:
        """Features by what is read of them, in one layer or two, and the classifier itself."""
        arrays, x = source.arrays, inputs
        *convs, _ = block.layers
        found: dict[str, np.ndarray] = {}
        for layer, theirs, reader in zip(convs, source.block.layers, block.layers[1:]):
            kernel = arrays[f"{reader.name}/kernel"]
            read = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=1)
            y = Channels.ranked(read * activation_deviation(arrays, theirs), layer.out_channels)
            found |= remapped_conv(arrays, layer, x, y)
            x = y
        if self.keep_classifier:
            found["classifier/kernel"] = x.read(arrays["classifier/kernel"])
            found["classifier/bias"] = arrays["classifier/bias"]
        return found

    def _function(self, block: Block, source: Block) -> str:
        """KEPT or APPROXIMATED."""
        streams = [self._inputs[block.name]]
        if not isinstance(block.op, Head):
            streams.append(stream_of(self._places, block.name))
        narrower = any(
            len(self._streams[stream].source) < self._source_widths[stream]
            for stream in streams
            if stream != IMAGES
        )
        theirs = {layer.name: layer for layer in source.layers}
        ours = {layer.name: layer for layer in block.layers}
        lost = set(theirs) - set(ours)
        other = any(
            ours[name].kernel < layer.kernel
            or block.centre(ours[name]) != block.centre(replace(ours[name], kernel=layer.kernel))
            or (name != "classifier" and ours[name].out_channels < layer.out_channels)
            or ours[name].activation != layer.activation
            for name, layer in theirs.items()
            if name in ours
        )
        joined = (block.stride, block.shortcut) != (source.stride, source.shortcut)
        padded = block.padding != source.padding and block.stride > 1
        return APPROXIMATED if narrower or lost or other or joined or padded else KEPT


def _known_by_stage(
    source: PretrainedWeights,
) -> dict[int, list[tuple[PretrainedBlock, ...]]]:
    """Stage -> for each of its blocks the candidates whose weights are known; none where the source
    skips the block."""
    known: dict[int, list[tuple[PretrainedBlock, ...]]] = {}
    for choice, candidates in zip(source.space.choice_blocks, source.choices, strict=True):
        those = tuple(each for each in candidates if each.arrays)
        known.setdefault(choice.stage, []).append(those)
    return known


def _ops_by_stage(source: PretrainedWeights) -> dict[int, list[set[CandidateOp]]]:
    """Stage -> for each of its blocks the ops that the source has there."""
    ops: dict[int, list[set[CandidateOp]]] = {}
    for choice, candidates in zip(source.space.choice_blocks, source.choices, strict=True):
        those = {op for op in choice.candidates if op in [each.block.op for each in candidates]}
        ops.setdefault(choice.stage, []).append(those)
    return ops


def _repeats(known: Iterable[PretrainedBlock]) -> bool:
    """Whether a block may stand behind itself."""
    return any(each.block.shortcut for each in known)


def _distance(source: Block, target: Block) -> tuple[float, ...]:
    """How far a block is from another of its form: first of all it should hold what the other one
    needs."""
    theirs, ours = ({layer.name: layer for layer in each.layers} for each in (source, target))
    pairs = [(theirs[name], layer) for name, layer in ours.items() if name in theirs]
    expansion, wanted = (_expansion(each.op) for each in (source, target))
    return (
        any(a.activation != b.activation for a, b in pairs),
        set(theirs) != set(ours),
        expansion < wanted,
        any(a.kernel < b.kernel for a, b in pairs),
        abs(expansion - wanted),
        sum(abs(a.kernel - b.kernel) for a, b in pairs),
        source.op != target.op,
    )


def _expansion(op: object) -> int:
    return op.expansion if isinstance(op, (MBConv, FusedMBConv, UIB)) else 1
