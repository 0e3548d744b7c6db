"""The graph of tree cells in residual blocks, laid out node by node (Cai et al. 2018,
Han et al. 2017).

Knows shapes and places; which cells there are is the space's (`tree_cells`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pnas_tf.space.backbone import ChoiceBlock, strided
from pnas_tf.space.blocks import Block
from pnas_tf.space.graph import Add, Builder, Concat, PadChannels, Slice
from pnas_tf.space.ops import CandidateOp, Conv, Head, Op, Pool

BRANCHES = 2  # of every level of a tree


@dataclass(frozen=True)
class CellShape:
    """A tree cell: where it stands, its channels, and the stride of its first level."""

    stage: int
    width: int
    stride: int


@dataclass(frozen=True)
class PlacedValue:
    """What a node of the graph gives: its place, and square images of `channels`."""

    place: int
    size: int
    channels: int


class TreeLayout:
    """Builds topology and choice blocks together, so that they agree.

    Args:
        candidates: of every learnable edge.
        merges: of each searched level of the tree.
        padding: of every layer.
    """

    def __init__(
        self, candidates: tuple[CandidateOp, ...], merges: tuple[str, ...], padding: str
    ) -> None:
        self._candidates, self._merges, self._padding = candidates, merges, padding
        self.graph = Builder()
        self.choices: list[ChoiceBlock] = []

    def fixed(
        self, name: str, op: Op, x: PlacedValue, out_channels: int, *, stride: int = 1
    ) -> PlacedValue:
        """A block that every network has."""
        size = 1 if isinstance(op, Head) else strided(x.size, stride)
        block = Block(
            name, op, x.size, size, x.channels, out_channels, stride, False, self._padding
        )
        return PlacedValue(self.graph.fixed(block, x.place), size, out_channels)

    def residual_block(
        self, name: str, x: PlacedValue, shape: CellShape, out_channels: int
    ) -> PlacedValue:
        """1x1 convolution, tree cell, 1x1 convolution without activation, added to the shortcut;
        nothing behind the addition (Han et al. 2017)."""
        reduced = self.fixed(f"{name}_reduce", Conv(1, "relu6"), x, shape.width)
        cell = self._cell(name, reduced, shape)
        residual = self.fixed(f"{name}_expand", Conv(1, None), cell, out_channels)
        shortcut = x
        if shape.stride > 1:
            pool = Pool("average", shape.stride)
            shortcut = self.fixed(f"{name}_shortcut", pool, x, x.channels, stride=shape.stride)
        place = shortcut.place
        if out_channels > x.channels:
            place = self.graph.add(PadChannels((place,), out_channels - x.channels))
        return replace(residual, place=self.graph.add(Add((place, residual.place))))

    def _cell(self, name: str, x: PlacedValue, shape: CellShape) -> PlacedValue:
        """The first level is the fixed 3x3 convolution of two groups, as two convolutions of half
        the channels each."""
        half, outputs = shape.width // BRANCHES, []
        for branch in range(BRANCHES):
            part = self._slice(x, branch * half, (branch + 1) * half)
            group = self.fixed(
                f"{name}_group_{branch}", Conv(3, "relu6"), part, half, stride=shape.stride
            )
            outputs.append(self._tree(group, 0, shape.stage))
        place = self.graph.add(Concat(tuple(output.place for output in outputs)))
        return PlacedValue(place, outputs[0].size, shape.width)

    def _tree(self, x: PlacedValue, level: int, stage: int) -> PlacedValue:
        """Two learnable edges from `x`, below each the next level, and what merges them."""
        if level == len(self._merges):
            return x
        concatenates, middle = self._merges[level] == "concat", -(-x.channels // BRANCHES)
        outputs = []
        for start, stop in ((0, middle), (middle, x.channels)):
            part = self._slice(x, start, stop) if concatenates else x
            edge = replace(part, place=self._choice(part, stage))
            outputs.append(self._tree(edge, level + 1, stage).place)
        merge = Concat(tuple(outputs)) if concatenates else Add(tuple(outputs))
        return replace(x, place=self.graph.add(merge))

    def _slice(self, x: PlacedValue, start: int, stop: int) -> PlacedValue:
        place = self.graph.add(Slice((x.place,), start, stop, x.channels))
        return replace(x, place=place, channels=stop - start)

    def _choice(self, x: PlacedValue, stage: int) -> int:
        index, size, channels = len(self.choices), x.size, x.channels
        self.choices.append(
            ChoiceBlock(index, stage, channels, channels, size, size, 1, False, self._candidates)
        )
        return self.graph.choice(index, x.place)
