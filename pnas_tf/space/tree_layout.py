"""The graph of tree cells in residual blocks, laid out node by node (Cai et al. 2018,
Han et al. 2017).

Knows shapes and places; which cells there are is the space's (`tree_cells`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pnas_tf.space.graph import Add, Concat, PadChannels, Slice
from pnas_tf.space.layout import Layout, PlacedValue
from pnas_tf.space.ops import CandidateOp, Conv, Pool

BRANCHES = 2  # of every level of a tree


@dataclass(frozen=True)
class CellShape:
    """A tree cell: where it stands, its channels, and the stride of its first level."""

    stage: int
    width: int
    stride: int


class TreeLayout(Layout):
    """A layout with residual blocks around tree cells.

    Args:
        candidates: of every learnable edge.
        merges: of each searched level of the tree.
        padding: of every layer.
    """

    def __init__(
        self, candidates: tuple[CandidateOp, ...], merges: tuple[str, ...], padding: str
    ) -> None:
        super().__init__(padding)
        self._candidates, self._merges = candidates, merges

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
            place = self.add(PadChannels((place,), out_channels - x.channels))
        return replace(residual, place=self.add(Add((place, residual.place))))

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
        place = self.add(Concat(tuple(output.place for output in outputs)))
        return PlacedValue(place, outputs[0].size, shape.width)

    def _tree(self, x: PlacedValue, level: int, stage: int) -> PlacedValue:
        """Two learnable edges from `x`, below each the next level, and what merges them."""
        if level == len(self._merges):
            return x
        concatenates, middle = self._merges[level] == "concat", -(-x.channels // BRANCHES)
        outputs = []
        for start, stop in ((0, middle), (middle, x.channels)):
            part = self._slice(x, start, stop) if concatenates else x
            edge = self.choice(part, part.channels, self._candidates, stage=stage)
            outputs.append(self._tree(edge, level + 1, stage).place)
        merge = Concat(tuple(outputs)) if concatenates else Add(tuple(outputs))
        return replace(x, place=self.add(merge))

    def _slice(self, x: PlacedValue, start: int, stop: int) -> PlacedValue:
        place = self.add(Slice((x.place,), start, stop, x.channels))
        return replace(x, place=place, channels=stop - start)
