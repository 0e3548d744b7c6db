"""A block with its geometry, and the layers of which it consists.

Parameters, MACs, latency keys, Keras models and drawings all iterate these rows, so they cannot
disagree. Knows nothing of spaces.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pnas_tf.space.backbone import make_divisible
from pnas_tf.space.ops import (
    UIB,
    BasicBlock,
    Conv,
    FusedMBConv,
    Head,
    Identity,
    MBConv,
    Op,
    Pool,
    SepConv,
    Stem,
    Zero,
)


@dataclass(frozen=True)
class Block:
    """An op with its geometry. Sizes are square, in pixels.

    Two blocks that agree in all but their name compute the same, and have one latency key.

    Attributes:
        name: the place: "stem", "first", "block_03", "head".
        shortcut: the input is added to the output.
        padding: "same" or "symmetric", see `MBConvSpace`.
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
        op = self.op
        if isinstance(op, MBConv):
            return self._mbconv_layers(op)
        if isinstance(op, FusedMBConv):
            return self._fused_layers(op)
        if isinstance(op, BasicBlock):
            first = self._conv("conv", op.kernel, self.out_channels, op.activation)
            return first, replace(
                self._last_pointwise("project", self.out_channels, None), kernel=op.kernel
            )
        if isinstance(op, UIB):
            return self._uib_layers(op)
        if isinstance(op, SepConv):
            depthwise = self._depthwise(op.kernel, self.in_channels, None)
            depthwise = replace(depthwise, norm=False, dilation=op.dilation)
            return depthwise, self._last_pointwise("pointwise", self.in_channels, "relu6")
        if isinstance(op, Head):
            return self._head_layers(op)
        if isinstance(op, (Stem, Conv)):
            return (self._conv("conv", op.kernel, self.out_channels, op.activation),)
        if isinstance(op, (Zero, Identity, Pool)):
            return ()
        raise TypeError(f"{type(op).__name__} has no layers: add them to Block.layers")

    def centre(self, layer: Layer) -> int:
        """The pixel of a row that the centre of a layer's kernel is on at its first position: 0
        but for "same" padding with a stride, where it goes by the size and the kernel."""
        if self.padding == "symmetric" or layer.stride == 1:
            return 0
        span = (layer.out_size - 1) * layer.stride + layer.kernel
        return layer.kernel // 2 - max(span - layer.in_size, 0) // 2

    def _mbconv_layers(self, op: MBConv) -> tuple[Layer, ...]:
        """Expansion, depthwise, squeeze and excitation, linear projection (Sandler et al. 2018,
        table 1; Howard et al. 2019, section 5.3)."""
        middle = self.in_channels * op.expansion
        rows = []
        if op.expansion > 1:
            rows.append(_pointwise("expand", self.in_size, self.in_channels, middle, op.activation))
        rows.append(self._depthwise(op.kernel, middle, op.activation))
        if op.squeeze_excite:
            rows += _squeeze_excite(middle)
        return (*rows, self._last_pointwise("project", middle, None))

    def _fused_layers(self, op: FusedMBConv) -> tuple[Layer, ...]:
        """Expansion, squeeze and excitation, linear projection; one layer for expansion 1 (Tan and
        Le 2021, figure 2 and table 4)."""
        if op.expansion == 1:
            gate = _squeeze_excite(self.in_channels) if op.squeeze_excite else []
            return (*gate, self._conv("project", op.kernel, self.out_channels, op.activation))
        middle = self.in_channels * op.expansion
        rows = [self._conv("expand", op.kernel, middle, op.activation)]
        if op.squeeze_excite:
            rows += _squeeze_excite(middle)
        return (*rows, self._last_pointwise("project", middle, None))

    def _uib_layers(self, op: UIB) -> tuple[Layer, ...]:
        """Depthwise, expansion, depthwise, linear projection, as far as they are there (Qin et al.
        2024, figure 4)."""
        middle, rows, size = self.in_channels * op.expansion, [], self.in_size
        if op.start_kernel:
            start = self._depthwise(op.start_kernel, self.in_channels, None)
            if op.middle_kernel:  # which then has the stride
                start = replace(start, stride=1, out_size=self.in_size)
            rows.append(replace(start, name="start"))
            size = start.out_size
        rows.append(_pointwise("expand", size, self.in_channels, middle, op.activation))
        if op.middle_kernel:
            rows.append(self._depthwise(op.middle_kernel, middle, op.activation))
        return (*rows, self._last_pointwise("project", middle, None))

    def _head_layers(self, op: Head) -> tuple[Layer, ...]:
        """Feature-mix convolution; behind the pooling the hidden one, if any, and the
        classifier."""
        rows = [_pointwise("mix", self.in_size, self.in_channels, op.width, op.activation)]
        if op.hidden:
            rows.append(_pointwise("hidden", 1, op.width, op.hidden, op.activation))
        classifier = _pointwise("classifier", 1, rows[-1].out_channels, self.out_channels, None)
        return (*rows, replace(classifier, kind="dense", norm=False, bias=True))

    def _conv(self, name: str, kernel: int, channels: int, activation: str | None) -> Layer:
        layer = _pointwise(name, self.in_size, self.in_channels, channels, activation)
        return replace(layer, kernel=kernel, stride=self.stride, out_size=self.out_size)

    def _depthwise(self, kernel: int, channels: int, activation: str | None) -> Layer:
        layer = _pointwise("depthwise", self.in_size, channels, channels, activation)
        return replace(
            layer, kind="depthwise", kernel=kernel, stride=self.stride, out_size=self.out_size
        )

    def _last_pointwise(self, name: str, channels: int, activation: str | None) -> Layer:
        return _pointwise(name, self.out_size, channels, self.out_channels, activation)


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer of a block.

    Attributes:
        name: unique in its block.
        kind: "conv", "depthwise" or "dense".
        kernel: square, in pixels.
        in_size: pixels of a square side; 1 behind a pooling.
        activation: "relu6", "relu", "hswish", "hsigmoid", or None behind a linear layer.
        norm: batch normalisation follows.
        bias: it has one.
        dilation: pixels between two taps of the kernel.
    """

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


def _squeeze_excite(channels: int) -> list[Layer]:
    squeezed = make_divisible(channels / 4)
    squeeze = _pointwise("squeeze", 1, channels, squeezed, "relu")
    excite = _pointwise("excite", 1, squeezed, channels, "hsigmoid")
    return [replace(layer, norm=False, bias=True) for layer in (squeeze, excite)]


def _pointwise(
    name: str, size: int, in_channels: int, out_channels: int, activation: str | None
) -> Layer:
    return Layer(name, "conv", 1, 1, in_channels, out_channels, size, size, activation)
