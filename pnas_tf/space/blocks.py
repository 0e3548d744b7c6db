"""A block with its geometry, and the layers of which it consists.

Parameters, MACs, latency keys, Keras models and drawings all iterate these rows, so they cannot
disagree. Knows nothing of spaces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pnas_tf.space.backbone import make_divisible, strided
from pnas_tf.space.ops import Conv, Head, Identity, MBConv, Op, Pool, SepConv, Stem, Zero


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
