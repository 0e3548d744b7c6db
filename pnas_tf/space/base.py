"""What every search space offers, whatever its kind (Cai et al. 2019, section 3.1).

A kind of space is a frozen dataclass that gives its layout; its choice blocks, its graph and the
blocks that its networks are made of follow from it. Knows nothing of a particular kind, of layers
or latency.
"""

from __future__ import annotations

import functools
import math
from dataclasses import Field, field, fields, is_dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, get_args

from pnas_tf.io.serialization import Json
from pnas_tf.space.backbone import ChoiceBlock
from pnas_tf.space.blocks import Block
from pnas_tf.space.graph import Fixed, Topology
from pnas_tf.space.layout import Layout
from pnas_tf.space.ops import CandidateOp, Op, Zero, op_to_json

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Value = TypeVar("Value")


class SearchSpace(Protocol):
    """A backbone with choice blocks.

    Attributes:
        name: of the space.
        resolution: pixels of the square images.
        classes: logits of the head.
        channels: of the images.
        padding: "same" is TensorFlow's; "symmetric" pads k // 2 on both sides, as PyTorch does.
    """

    name: str
    resolution: int
    classes: int
    channels: int
    padding: str
    __dataclass_fields__: ClassVar[dict[str, Field]]

    @property
    def layout(self) -> Layout:
        """The blocks and how they are joined; laid out once a space."""
        ...

    @functools.cached_property
    def choice_blocks(self) -> tuple[ChoiceBlock, ...]:
        """All searched blocks in the order of the network."""
        return tuple(self.layout.choices)

    @functools.cached_property
    def topology(self) -> Topology:
        """How the blocks are joined, the same for every network of the space."""
        return tuple(self.layout.nodes)

    def with_width(self, multiplier: float) -> SearchSpace:
        """The same space with every width multiplied and made divisible by 8.

        Raises:
            UserError: the multiplier is not above 0 and at most 16.
        """
        ...

    def to_json(self) -> dict[str, Json]:
        """Everything needed to build any network of the space."""
        return _fields_of(self)

    @property
    def architectures(self) -> int:
        """How many architectures the space holds."""
        return math.prod(len(block.candidates) for block in self.choice_blocks)

    def candidate_block(self, choice: ChoiceBlock, op: Op) -> Block:
        """The block that stands in choice block `choice` when it holds `op`."""
        return Block(
            choice.name,
            op,
            choice.in_size,
            choice.out_size,
            choice.in_channels,
            choice.out_channels,
            choice.stride,
            choice.shortcut,
            self.padding,
        )

    def fixed_blocks(self) -> tuple[Block, ...]:
        """The blocks that every network has: stem, first block, head in a space of MBConvs."""
        return tuple(node.block for node in self.topology if isinstance(node, Fixed))

    @functools.cached_property
    def fixed_names(self) -> frozenset[str]:
        """The names of these."""
        return frozenset(block.name for block in self.fixed_blocks())

    def distinct_blocks(self) -> dict[str, Block]:
        """Latency key -> block, for every block that any network of the space can hold.

        Zero costs nothing and has none.
        """
        blocks = {block.key: block for block in self.fixed_blocks()}
        for choice in self.choice_blocks:
            for op in choice.candidates:
                if not isinstance(op, Zero):
                    block = self.candidate_block(choice, op)
                    blocks.setdefault(block.key, block)
        return blocks


def since(default: Value) -> Value:
    """A field that files had no need of before it was there: written only where it is set, so that
    what was made with the space without it stays of the same space."""
    return field(default=default, metadata={"left_out_at": default})


def _fields_of(record: DataclassInstance) -> dict[str, Json]:
    values = {entry.name: getattr(record, entry.name) for entry in fields(record)}
    left_out = {
        entry.name
        for entry in fields(record)
        if "left_out_at" in entry.metadata and values[entry.name] == entry.metadata["left_out_at"]
    }
    return {name: _plain(value) for name, value in values.items() if name not in left_out}


def _plain(value: object) -> Json:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, get_args(CandidateOp)):
        return op_to_json(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _fields_of(value)
    return value
