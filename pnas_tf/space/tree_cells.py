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
from typing import Any

from pnas_tf.errors import UserError
from pnas_tf.space.backbone import (
    ChoiceBlock,
    check_count,
    check_fields,
    check_padding,
    check_size,
    check_width_multiplier,
    json_list,
    json_object,
    strided,
)
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.graph import Add, Builder, Concat, PadChannels, Slice, Topology
from pnas_tf.space.ops import (
    CandidateOp,
    Conv,
    Head,
    Identity,
    Op,
    Pool,
    SepConv,
    Stem,
    op_from_json,
    op_to_json,
)

BRANCHES = 2
MERGES = ("add", "concat")


@dataclass(frozen=True)
class TreeCellSpace(SearchSpace):
    """`stages` stages of `cells` residual blocks, each a bottleneck around one tree cell. The
    interface of `SearchSpace`.

    start_width: channels of the stem. added_width: what the cells' widths rise by from the first to
    the last; a cell of width w stands in a block of bottleneck * w channels. merges: for each
    searched level of the tree "add" (each branch gets all channels, outputs are added) or "concat"
    (each branch gets its part, outputs are concatenated).
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
                fix="Raise start_width.",
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

    @property
    def topology(self) -> Topology:
        """Stem, residual blocks with their trees, head."""
        return _layout(self)[0]

    @property
    def choice_blocks(self) -> tuple[ChoiceBlock, ...]:
        """The learnable edges, cell by cell, each edge before those that follow it in its tree."""
        return _layout(self)[1]

    @property
    def architectures(self) -> int:
        """How many architectures the space holds."""
        return len(self.candidates) ** len(self.choice_blocks)

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

    def to_json(self) -> dict[str, Any]:
        """Everything needed to build any network of the space."""
        return {
            "kind": "tree_cells",
            "name": self.name,
            "resolution": self.resolution,
            "channels": self.channels,
            "classes": self.classes,
            "start_width": self.start_width,
            "added_width": self.added_width,
            "stages": self.stages,
            "cells": self.cells,
            "bottleneck": self.bottleneck,
            "head_width": self.head_width,
            "merges": list(self.merges),
            "candidates": [op_to_json(op) for op in self.candidates],
            "padding": self.padding,
        }

    @classmethod
    def from_json(cls, document: Any, *, where: str) -> TreeCellSpace:
        """The inverse of `to_json`, without its kind. Raises UserError on a missing, unknown or
        ill-typed field."""
        fields = dict(json_object(document, where))
        known = set(cls.__dataclass_fields__)
        check_fields(fields, known, where, kinds={"name": str, "padding": str})
        if "merges" in fields:
            fields["merges"] = tuple(
                str(merge) for merge in json_list(fields["merges"], where, "merges")
            )
        fields["candidates"] = tuple(
            op_from_json(op, where=f"{where}, candidate {number}")
            for number, op in enumerate(json_list(fields.get("candidates"), where, "candidates"))
        )
        try:
            return cls(**fields)
        except TypeError as error:
            raise UserError(
                f"space in {where}",
                expected=f"the fields {sorted(known)}",
                received=str(error),
                fix="Add the field.",
            ) from error


class _Layout:
    """Builds topology and choice blocks together, so that they agree."""

    def __init__(self, space: TreeCellSpace):
        self.space, self.graph, self.choices = space, Builder(), list[ChoiceBlock]()

    def build(self) -> tuple[Topology, tuple[ChoiceBlock, ...]]:
        space, size, channels = self.space, self.space.resolution, self.space.start_width
        place = self.graph.fixed(
            Block("stem", Stem(), size, size, space.channels, channels, 1, False, space.padding), 0
        )
        for number, width in enumerate(space.cell_widths):
            stage = number // space.cells
            stride = 2 if stage > 0 and number % space.cells == 0 else 1
            place = self._residual_block(number, place, stage, size, channels, width, stride)
            size, channels = strided(size, stride), space.bottleneck * width
        self.graph.fixed(
            Block(
                "head",
                Head(space.head_width),
                size,
                1,
                channels,
                space.classes,
                1,
                False,
                space.padding,
            ),
            place,
        )
        return self.graph.topology, tuple(self.choices)

    def _residual_block(
        self,
        number: int,
        source: int,
        stage: int,
        size: int,
        channels: int,
        width: int,
        stride: int,
    ) -> int:
        """1x1 convolution, tree cell, 1x1 convolution without activation, added to the shortcut;
        nothing behind the addition."""
        name, out_size, out_channels = (
            f"cell_{number:02d}",
            strided(size, stride),
            self.space.bottleneck * width,
        )
        inner = self._fixed(f"{name}_reduce", Conv(1, "relu6"), source, size, channels, width)
        cell = self._cell(name, inner, stage, size, width, stride)
        residual = self._fixed(f"{name}_expand", Conv(1, None), cell, out_size, width, out_channels)
        shortcut = source
        if stride > 1:
            shortcut = self._fixed(
                f"{name}_shortcut",
                Pool("average", stride),
                source,
                size,
                channels,
                channels,
                stride,
            )
        if out_channels > channels:
            shortcut = self.graph.add(PadChannels((shortcut,), out_channels - channels))
        return self.graph.add(Add((shortcut, residual)))

    def _cell(self, name: str, source: int, stage: int, size: int, width: int, stride: int) -> int:
        """The first level is the fixed 3x3 convolution of two groups, as two convolutions of half
        the channels each."""
        half, outputs = width // BRANCHES, []
        for branch in range(BRANCHES):
            part = self.graph.add(Slice((source,), branch * half, (branch + 1) * half, width))
            edge = self._fixed(
                f"{name}_group_{branch}", Conv(3, "relu6"), part, size, half, half, stride
            )
            outputs.append(self._tree(edge, 0, stage, strided(size, stride), half))
        return self.graph.add(Concat(tuple(outputs)))

    def _tree(self, source: int, level: int, stage: int, size: int, width: int) -> int:
        """Two learnable edges from `source`, below each the next level, and what merges them."""
        if level == len(self.space.merges):
            return source
        merge, outputs, middle = self.space.merges[level], [], -(-width // BRANCHES)
        for start, stop in ((0, middle), (middle, width)):
            place, channels = source, width
            if merge == "concat":
                place, channels = self.graph.add(Slice((source,), start, stop, width)), stop - start
            index = len(self.choices)
            self.choices.append(
                ChoiceBlock(
                    index, stage, channels, channels, size, size, 1, False, self.space.candidates
                )
            )
            outputs.append(
                self._tree(self.graph.choice(index, place), level + 1, stage, size, channels)
            )
        return self.graph.add(Add(tuple(outputs)) if merge == "add" else Concat(tuple(outputs)))

    def _fixed(
        self,
        name: str,
        op: Op,
        source: int,
        size: int,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
    ) -> int:
        block = Block(
            name,
            op,
            size,
            strided(size, stride),
            in_channels,
            out_channels,
            stride,
            False,
            self.space.padding,
        )
        return self.graph.fixed(block, source)


@functools.lru_cache(maxsize=16)
def _layout(space: TreeCellSpace) -> tuple[Topology, tuple[ChoiceBlock, ...]]:
    return _Layout(space).build()


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
