"""The CIFAR-10 space: PyramidNet whose 3x3 convolutions are tree-structured cells (Cai et al. 2019,
section 4.1).

Backbone after Han et al. 2017 (bottleneck blocks whose widths rise block by block, shortcuts by
average pooling and zero channels), cells after Cai et al. 2018 ("Path-level network
transformation"). docs/spaces.md says what was chosen where the text leaves it open. Knows nothing
of layers, latency or TensorFlow.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import Json
from pnas_tf.space.backbone import (
    check_count,
    check_padding,
    check_size,
    check_width_multiplier,
)
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.layout import PlacedValue
from pnas_tf.space.ops import CandidateOp, Head, Identity, Pool, SepConv, Stem
from pnas_tf.space.tree_layout import BRANCHES, CellShape, TreeLayout

MERGES = ("add", "concat")


@dataclass(frozen=True)
class TreeCellSpace(SearchSpace):
    """`stages` stages of `cells` residual blocks, each a bottleneck around one tree cell.

    Attributes:
        start_width: channels of the stem.
        added_width: what the cells' widths rise by from the first to the last.
        bottleneck: a cell of width w stands in a block of bottleneck * w channels.
        merges: for each searched level of the tree "add" (each branch gets all channels, outputs
            are added) or "concat" (each branch gets its part, outputs are concatenated).
        candidates: the ops of every learnable edge.
        head_width: channels that the classifier reads.
    """

    name: str
    resolution: int
    classes: int
    start_width: int
    added_width: int
    stages: int
    cells: int
    head_width: int
    candidates: tuple[CandidateOp, ...]
    merges: tuple[str, ...] = ("add", "add")
    bottleneck: int = 4
    channels: int = 3
    padding: str = "same"

    def __post_init__(self) -> None:
        for name in (
            "resolution",
            "classes",
            "start_width",
            "stages",
            "cells",
            "head_width",
            "bottleneck",
            "channels",
        ):
            check_count(f"{name} of space '{self.name}'", getattr(self, name))
        check_count(f"added_width of space '{self.name}'", self.added_width, least=0)
        edges = sum(BRANCHES ** (level + 2) for level in range(len(self.merges[:5])))
        check_size(
            self.name,
            choice_blocks=self.stages * self.cells * edges,
            candidates=len(self.candidates),
        )
        check_padding(self.name, self.padding)
        if not 1 <= len(self.merges) <= 4 or any(merge not in MERGES for merge in self.merges):
            raise UserError(
                f"merges of space '{self.name}'",
                expected=f"1 to 4 of {MERGES}, one for each searched level",
                received=repr(self.merges)[:200],
                fix="Correct the list.",
            )
        if (
            not self.candidates
            or len(set(self.candidates)) != len(self.candidates)
            or any(not isinstance(op, (Identity, SepConv, Pool)) for op in self.candidates)
        ):
            raise UserError(
                f"space '{self.name}' cannot be searched",
                expected="distinct candidates that keep shapes: identity, sepconv, pool",
                received=str([op.key for op in self.candidates]),
                fix="Correct the candidates.",
            )
        least = BRANCHES ** (1 + self.merges.count("concat"))
        if self.cell_widths[0] < least:
            raise UserError(
                f"space '{self.name}' is too narrow",
                expected=f"at least {least} channels in the first cell, which its splits need",
                received=str(self.cell_widths[0]),
                fix="Raise start_width, or --width.",
            )
        if self.block_widths[0] < self.start_width:
            raise UserError(
                f"space '{self.name}' narrows behind its stem",
                expected="at least as many channels in the first block as in the stem",
                received=f"{self.block_widths[0]} behind {self.start_width}",
                fix="Raise bottleneck, or choose a start_width or --width that makes an even stem.",
            )

    @property
    def cell_widths(self) -> tuple[int, ...]:
        """Channels inside each cell; even, since the first level splits them in two."""
        count = self.stages * self.cells
        widths = (
            round(self.start_width + self.added_width * (number + 1) / count)
            for number in range(count)
        )
        return tuple(width - width % BRANCHES for width in widths)

    @property
    def block_widths(self) -> tuple[int, ...]:
        """Channels that each residual block puts out: 72 to 400 in the published space."""
        return tuple(self.bottleneck * width for width in self.cell_widths)

    def with_width(self, multiplier: float) -> TreeCellSpace:
        """The same space with the widths multiplied; the head widens only above 1."""
        if multiplier == 1:
            return self
        check_width_multiplier(multiplier)
        return replace(
            self,
            start_width=max(1, round(self.start_width * multiplier)),
            added_width=round(self.added_width * multiplier),
            head_width=round(self.head_width * max(1.0, multiplier)),
        )

    def to_json(self) -> dict[str, Json]:
        """As of `SearchSpace`, with the kind by which `registry` knows the class."""
        return {"kind": "tree_cells", **super().to_json()}

    @functools.cached_property
    def layout(self) -> TreeLayout:
        """Stem, residual blocks with their trees, head."""
        layout = TreeLayout(self.candidates, self.merges, self.padding)
        images = PlacedValue(0, self.resolution, self.channels)
        x = layout.fixed("stem", Stem(), images, self.start_width)
        for number, width in enumerate(self.cell_widths):
            stage, position = divmod(number, self.cells)
            shape = CellShape(stage, width, stride=2 if stage > 0 and position == 0 else 1)
            x = layout.residual_block(f"cell_{number:02d}", x, shape, self.bottleneck * width)
        layout.fixed("head", Head(self.head_width), x, self.classes)
        return layout


TREE_EDGES: tuple[CandidateOp, ...] = (
    Identity(),
    SepConv(3),
    SepConv(5),
    SepConv(7),
    SepConv(3, dilation=2),
    Pool("average", 3),
    Pool("max", 3),
)


def pyramid_tree(*, resolution: int = 32, classes: int = 10, width: float = 1.0) -> TreeCellSpace:
    """The CIFAR-10 space of the paper: 54 residual blocks of 72 to 400 channels, 648 learnable
    edges, 7 ops an edge."""
    return TreeCellSpace(
        "pyramid_tree",
        resolution,
        classes,
        start_width=16,
        added_width=84,
        stages=3,
        cells=18,
        head_width=400,
        candidates=TREE_EDGES,
    ).with_width(width)
