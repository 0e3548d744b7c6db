"""The streams of a space of stages: what its blocks pass on to each other, and how much each
channel of them matters.

Blocks with a shortcut add to the stream that they read; all blocks of a stage share one. NumPy
alone; knows nothing of what the importance is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pnas_tf.networks.pretrained import PretrainedBlock, PretrainedWeights
from pnas_tf.networks.remapping import activation_deviation, middle_importance, normalised_scale
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace

IMAGES = "images"
# The layers that read all channels of a block's input, in the order in which they stand.
_READERS = ("mix", "conv", "expand", "project")


def stream_of(places: Mapping[str, tuple[int, int]], block: str) -> str:
    """What the output of a block belongs to: "stem", "first", or its stage."""
    return f"stage_{places[block][0]}" if block in places else block


def places_of(space: SearchSpace) -> dict[str, tuple[int, int]]:
    """Name of a choice block -> its stage, and its position there."""
    places: dict[str, tuple[int, int]] = {}
    for choice in space.choice_blocks:
        position = sum(stage == choice.stage for stage, _ in places.values())
        places[choice.name] = (choice.stage, position)
    return places


def inputs_by_block(space: SearchSpace) -> Iterator[tuple[str, str]]:
    """(block, the stream that it reads), in the order of the chain."""
    places, stream = places_of(space), IMAGES
    for name in _chain(space):
        yield name, stream
        stream = stream_of(places, name)


def widths_of(space: SearchSpace) -> dict[str, int]:
    """Stream -> its channels, of a space of stages; "images" is not among them."""
    assert isinstance(space, MBConvSpace)
    stages = {f"stage_{number}": stage.width for number, stage in enumerate(space.stages)}
    first = {"first": space.first_width} if space.first_width else {}
    return {"stem": space.stem_width, **first, **stages}


def _chain(space: SearchSpace) -> tuple[str, ...]:
    """The names of all blocks, in their order."""
    stem, *first, head = (block.name for block in space.fixed_blocks())
    return (stem, *first, *(choice.name for choice in space.choice_blocks), head)


def importance_by_stream(source: PretrainedWeights) -> dict[str, np.ndarray]:
    """How much each channel of each stream matters: the deviation that the blocks write into it,
    times the weights by which others read it. Streams that a shortcut joins share it."""
    places, group = places_of(source.space), {IMAGES: IMAGES}
    written: dict[str, np.ndarray] = {}
    read: dict[str, np.ndarray] = {}
    known: dict[str, tuple[PretrainedBlock, ...]]
    known = {name: (each,) for name, each in source.fixed.items()}
    choices = zip(source.space.choice_blocks, source.choices, strict=True)
    known |= {choice.name: candidates for choice, candidates in choices}
    for name, stream in inputs_by_block(source.space):
        own = stream_of(places, name)
        shortcut = any(each.block.shortcut for each in known[name])
        group.setdefault(own, group[stream] if shortcut else own)
        there = [each for each in known[name] if each.arrays]
        for each in there:
            if stream != IMAGES:
                read[group[stream]] = read.get(group[stream], 0.0) + _read(each) / len(there)
            if name != "head":
                power = _written(each) ** 2 / len(there)
                written[group[own]] = written.get(group[own], 0.0) + power
    return {
        stream: np.sqrt(written[joined]) * read[joined]
        for stream, joined in group.items()
        if stream not in (IMAGES, "head")
    }


def _written(known: PretrainedBlock) -> np.ndarray:
    """The deviation of a block's output without its shortcut, [out channels]."""
    return activation_deviation(known.arrays, known.block.layers[-1])


def _read(known: PretrainedBlock) -> np.ndarray:
    """The sum of the weights by which a block reads each input channel, [in channels]."""
    arrays = known.arrays
    if "depthwise/kernel" in arrays and "expand/kernel" not in arrays:
        return middle_importance(known)  # each input channel has a middle channel of its own
    name = next(name for name in _READERS if f"{name}/kernel" in arrays)
    scale = normalised_scale(arrays, f"{name}_bn")
    read = (np.abs(arrays[f"{name}/kernel"]) * scale).sum(axis=(0, 1, 3))
    # Behind a first depthwise convolution a channel is as wide as gamma says.
    return read * np.abs(arrays["start_bn/gamma"]) if "start_bn/gamma" in arrays else read
