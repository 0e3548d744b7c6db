"""Lays out the graph of a space node by node, and its choice blocks with it, so that they agree.

Knows shapes and places; which blocks there are is the space's.
"""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.space.backbone import ChoiceBlock, strided
from pnas_tf.space.blocks import Block
from pnas_tf.space.graph import Choice, Fixed, Images, Node
from pnas_tf.space.ops import CandidateOp, Head, Op


@dataclass(frozen=True)
class PlacedValue:
    """What a node gives: its place in the graph, and square images of `channels`."""

    place: int
    size: int
    channels: int


class Layout:
    """Nodes in an order of computation.

    Args:
        padding: of every layer.

    Attributes:
        nodes: of the topology; node 0 is the images.
        choices: the choice blocks.
    """

    def __init__(self, padding: str) -> None:
        self._padding = padding
        self.nodes: list[Node] = [Images()]
        self.choices: list[ChoiceBlock] = []

    def add(self, node: Node) -> int:
        """Appends `node`; returns its place."""
        self.nodes.append(node)
        return len(self.nodes) - 1

    def fixed(
        self,
        name: str,
        op: Op,
        x: PlacedValue,
        out_channels: int,
        *,
        stride: int = 1,
        shortcut: bool = False,
    ) -> PlacedValue:
        """Appends a block that every network has."""
        size = 1 if isinstance(op, Head) else strided(x.size, stride)
        block = Block(
            name, op, x.size, size, x.channels, out_channels, stride, shortcut, self._padding
        )
        return PlacedValue(self.add(Fixed((x.place,), block)), size, out_channels)

    def choice(
        self,
        x: PlacedValue,
        out_channels: int,
        candidates: tuple[CandidateOp, ...],
        *,
        stage: int,
        stride: int = 1,
        shortcut: bool = False,
    ) -> PlacedValue:
        """Appends the next choice block."""
        choice = ChoiceBlock(
            index=len(self.choices),
            stage=stage,
            in_channels=x.channels,
            out_channels=out_channels,
            in_size=x.size,
            out_size=strided(x.size, stride),
            stride=stride,
            shortcut=shortcut,
            candidates=candidates,
        )
        self.choices.append(choice)
        place = self.add(Choice((x.place,), choice.index))
        return PlacedValue(place, choice.out_size, out_channels)
