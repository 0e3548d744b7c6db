"""THE walk: from an architecture to its blocks, and from a block to its layers.

Parameters, MACs, latency keys, Keras models and drawings all iterate these rows, so they cannot
disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pnas_tf.space.backbone import ChoiceBlock, make_divisible, strided
from pnas_tf.space.ops import Conv, Head, Identity, MBConv, Op, Pool, SepConv, Stem, Zero
from pnas_tf.space.topology import Choice, Fixed

if TYPE_CHECKING:
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.search_space import SearchSpace


@dataclass(frozen=True)
class Block:
    """One row of the walk: an op with its geometry. Sizes are square, in pixels.

    `name` tells the place ("stem", "first", "block_03", "head"); all else is what the block
    computes, and two blocks that agree in it have one latency key.
    """

    name: str
    op: Op
    in_size: int
    out_size: int
    in_channels: int
    out_channels: int
    stride: int
    shortcut: bool
    padding: str

    @property
    def key(self) -> str:
        """The latency key: "mbconv_k5_e3 in=112x112x16 out=56x56x24 s2"."""
        marks = (
            f" s{self.stride}"
            + (" id" if self.shortcut else "")
            + ("" if self.padding == "same" else f" {self.padding}")
        )
        out = (
            f"{self.out_channels}"
            if isinstance(self.op, Head)
            else f"{self.out_size}x{self.out_size}x{self.out_channels}"
        )
        return f"{self.op.key} in={self.in_size}x{self.in_size}x{self.in_channels} out={out}{marks}"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers with parameters or MACs, in order of computation. None for Zero, Identity and
        Pool."""
        if isinstance(self.op, (Zero, Identity, Pool)):
            return ()
        if isinstance(self.op, Stem):
            return (
                self._conv(
                    "conv",
                    "conv",
                    self.op.kernel,
                    self.in_channels,
                    self.out_channels,
                    "relu6",
                    stride=self.stride,
                ),
            )
        if isinstance(self.op, Head):
            return (
                self._conv("mix", "conv", 1, self.in_channels, self.op.width, "relu6"),
                Layer(
                    "classifier",
                    "dense",
                    1,
                    1,
                    self.op.width,
                    self.out_channels,
                    1,
                    1,
                    None,
                    norm=False,
                    bias=True,
                ),
            )
        if isinstance(self.op, Conv):
            return (
                self._conv(
                    "conv",
                    "conv",
                    self.op.kernel,
                    self.in_channels,
                    self.out_channels,
                    self.op.activation,
                    stride=self.stride,
                ),
            )
        if isinstance(self.op, SepConv):
            depthwise = self._conv(
                "depthwise",
                "depthwise",
                self.op.kernel,
                self.in_channels,
                self.in_channels,
                None,
                stride=self.stride,
            )
            return (
                replace(depthwise, norm=False, dilation=self.op.dilation),
                Layer(
                    "pointwise",
                    "conv",
                    1,
                    1,
                    self.in_channels,
                    self.out_channels,
                    self.out_size,
                    self.out_size,
                    "relu6",
                ),
            )
        return self._mbconv_layers(self.op)

    def _mbconv_layers(self, op: MBConv) -> tuple[Layer, ...]:
        middle = self.in_channels * op.expansion
        rows = []
        if op.expansion > 1:
            rows.append(self._conv("expand", "conv", 1, self.in_channels, middle, op.activation))
        rows.append(
            self._conv(
                "depthwise",
                "depthwise",
                op.kernel,
                middle,
                middle,
                op.activation,
                stride=self.stride,
            )
        )
        if op.squeeze_excite:
            squeezed = make_divisible(middle / 4)
            rows.append(
                Layer(
                    "squeeze", "conv", 1, 1, middle, squeezed, 1, 1, "relu", norm=False, bias=True
                )
            )
            rows.append(
                Layer(
                    "excite",
                    "conv",
                    1,
                    1,
                    squeezed,
                    middle,
                    1,
                    1,
                    "hsigmoid",
                    norm=False,
                    bias=True,
                )
            )
        rows.append(
            Layer(
                "project",
                "conv",
                1,
                1,
                middle,
                self.out_channels,
                self.out_size,
                self.out_size,
                None,
            )
        )
        return tuple(rows)

    def _conv(
        self,
        name: str,
        kind: str,
        kernel: int,
        in_channels: int,
        out_channels: int,
        activation: str | None,
        *,
        stride: int = 1,
    ) -> Layer:
        out_size = strided(self.in_size, stride)
        return Layer(
            name,
            kind,
            kernel,
            stride,
            in_channels,
            out_channels,
            self.in_size,
            out_size,
            activation,
        )


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer of a block. kind: "conv", "depthwise" or "dense"; `norm`:
    batch normalisation follows."""

    name: str
    kind: str
    kernel: int
    stride: int
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    activation: str | None
    norm: bool = True
    bias: bool = False
    dilation: int = 1

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """[in, out] of a dense kernel, [height, width, in, out] of a convolution's, [height, width,
        in, 1] of a depthwise one's."""
        if self.kind == "dense":
            return (self.in_channels, self.out_channels)
        return (
            self.kernel,
            self.kernel,
            self.in_channels,
            1 if self.kind == "depthwise" else self.out_channels,
        )


def candidate_block(space: SearchSpace, choice: ChoiceBlock, op: Op) -> Block:
    """The row of choice block `choice` when it holds `op`."""
    return Block(
        choice.name,
        op,
        choice.in_size,
        choice.out_size,
        choice.in_channels,
        choice.out_channels,
        choice.stride,
        choice.shortcut,
        space.padding,
    )


def stem_block(space: SearchSpace) -> Block:
    """The row of the first convolution."""
    return Block(
        "stem",
        space.stem,
        space.resolution,
        strided(space.resolution, space.stem_stride),
        space.channels,
        space.stem_width,
        space.stem_stride,
        False,
        space.padding,
    )


def first_block(space: SearchSpace) -> Block:
    """The row of the fixed MBConv behind the stem."""
    size = strided(space.resolution, space.stem_stride)
    return Block(
        "first",
        space.first_op,
        size,
        size,
        space.stem_width,
        space.first_width,
        1,
        space.stem_width == space.first_width,
        space.padding,
    )


def head_block(space: SearchSpace) -> Block:
    """The row of the feature-mix convolution, pooling and classifier."""
    last = space.choice_blocks[-1]
    return Block(
        "head",
        space.head,
        last.out_size,
        1,
        last.out_channels,
        space.classes,
        1,
        False,
        space.padding,
    )


def walk(architecture: Architecture) -> tuple[Block, ...]:
    """Every block of the network in the order of the topology: the fixed ones, and one per choice
    block (Zero included)."""
    space = architecture.space
    choices, rows = space.choice_blocks, []
    for node in space.topology:
        if isinstance(node, Fixed):
            rows.append(node.block)
        elif isinstance(node, Choice):
            rows.append(candidate_block(space, choices[node.index], architecture.ops[node.index]))
    return tuple(rows)


def fixed_blocks(space: SearchSpace) -> tuple[Block, ...]:
    """The blocks that every network of the space has: stem, first block, head in a space of
    MBConvs."""
    return tuple(node.block for node in space.topology if isinstance(node, Fixed))


def distinct_blocks(space: SearchSpace) -> dict[str, Block]:
    """Latency key -> block, for every block that any network of the space can hold. Zero costs
    nothing and has none."""
    blocks = {block.key: block for block in fixed_blocks(space)}
    for choice in space.choice_blocks:
        for op in choice.candidates:
            if not isinstance(op, Zero):
                block = candidate_block(space, choice, op)
                blocks.setdefault(block.key, block)
    return blocks
