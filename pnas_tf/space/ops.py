"""The ops a block can hold, as frozen data (Cai et al. 2019, section 3.1 and table of appendix).

`key` is a short stable name, made from data and never parsed back. Knows nothing of sizes, channels
or TensorFlow: an op becomes a layer only together with a block's geometry.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import ClassVar, Union

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import Json

ACTIVATIONS = ("relu6", "hswish", "relu")
POOLS = ("average", "max")


@dataclass(frozen=True)
class MBConv:
    """Inverted bottleneck: 1x1 expansion, depthwise k x k, 1x1 linear projection (Sandler et al.
    2018).

    expansion 1 has no expansion convolution. squeeze_excite and hswish are the MobileNetV3 variants
    (Howard et al. 2019).
    """

    json_tag: ClassVar[tuple[str, str]] = ("op", "mbconv")
    kernel: int
    expansion: int
    squeeze_excite: bool = False
    activation: str = "relu6"

    def __post_init__(self) -> None:
        _check_kernel("MBConv", self.kernel)
        _check_range("MBConv expansion", self.expansion, most=16)
        _check_choice("MBConv squeeze_excite", self.squeeze_excite, (False, True))
        _check_choice("MBConv activation", self.activation, ACTIVATIONS)

    @property
    def key(self) -> str:
        """ "mbconv_k5_e6"."""
        squeeze = "_se" if self.squeeze_excite else ""
        activation = _activation_mark(self.activation)
        return f"mbconv_k{self.kernel}_e{self.expansion}{squeeze}{activation}"


@dataclass(frozen=True)
class FusedMBConv:
    """k x k expansion convolution, then 1x1 linear projection (Gupta and Akin 2020, section 3.1;
    Tan and Le 2021, figure 2).

    expansion 1 is one k x k convolution with its activation, as in EfficientNetV2.
    """

    json_tag: ClassVar[tuple[str, str]] = ("op", "fused_mbconv")
    kernel: int
    expansion: int
    squeeze_excite: bool = False
    activation: str = "relu6"

    def __post_init__(self) -> None:
        _check_kernel("FusedMBConv", self.kernel)
        _check_range("FusedMBConv expansion", self.expansion, most=16)
        _check_choice("FusedMBConv squeeze_excite", self.squeeze_excite, (False, True))
        _check_choice("FusedMBConv activation", self.activation, ACTIVATIONS)

    @property
    def key(self) -> str:
        """ "fused_k3_e4"."""
        squeeze = "_se" if self.squeeze_excite else ""
        return f"fused_k{self.kernel}_e{self.expansion}{squeeze}{_activation_mark(self.activation)}"


@dataclass(frozen=True)
class BasicBlock:
    """Two k x k convolutions, the second without activation (He et al. 2016, figure 2; as in the
    other blocks, nothing follows the sum)."""

    json_tag: ClassVar[tuple[str, str]] = ("op", "basic_block")
    kernel: int
    activation: str = "relu6"

    def __post_init__(self) -> None:
        _check_kernel("BasicBlock", self.kernel)
        _check_choice("BasicBlock activation", self.activation, ACTIVATIONS)

    @property
    def key(self) -> str:
        """ "basic_k3"."""
        return f"basic_k{self.kernel}{_activation_mark(self.activation)}"


@dataclass(frozen=True)
class UIB:
    """Universal inverted bottleneck (Qin et al. 2024, section 3 and figure 4): a depthwise
    convolution before the expansion, one behind it, both or none.

    A kernel of 0 stands for none. Both: extra depthwise. The middle one: inverted bottleneck. The
    first one: ConvNext-like. None: feed-forward network, which cannot have a stride. The depthwise
    convolution before the expansion has no activation; the last one of the block has the stride.
    """

    json_tag: ClassVar[tuple[str, str]] = ("op", "uib")
    start_kernel: int
    middle_kernel: int
    expansion: int
    activation: str = "relu6"

    def __post_init__(self) -> None:
        for name, kernel in (("start", self.start_kernel), ("middle", self.middle_kernel)):
            if kernel != 0:
                _check_kernel(f"UIB {name}", kernel)
        _check_range("UIB expansion", self.expansion, most=16)
        _check_choice("UIB activation", self.activation, ACTIVATIONS)

    @property
    def key(self) -> str:
        """ "uib_k5_k3_e4"; k0 where there is none."""
        kernels = f"k{self.start_kernel}_k{self.middle_kernel}"
        return f"uib_{kernels}_e{self.expansion}{_activation_mark(self.activation)}"


@dataclass(frozen=True)
class Zero:
    """Outputs nothing, so that a block with an identity shortcut is skipped (section 3.1)."""

    json_tag: ClassVar[tuple[str, str]] = ("op", "zero")

    @property
    def key(self) -> str:
        """ "zero"."""
        return "zero"


@dataclass(frozen=True)
class Stem:
    """The first k x k convolution, with batch normalisation and an activation. Never searched."""

    kernel: int = 3
    activation: str = "relu6"

    @property
    def key(self) -> str:
        """ "stem_k3"."""
        return f"stem_k{self.kernel}{_activation_mark(self.activation)}"


@dataclass(frozen=True)
class Head:
    """Feature-mix 1x1 convolution to `width`, global average pooling and the classifier. Never
    searched.

    hidden: channels of one more 1x1 convolution between pooling and classifier, as in MobileNetV3
    and MobileNetV4 (Howard et al. 2019, section 5.1); 0 for none.
    """

    width: int
    hidden: int = 0
    activation: str = "relu6"

    @property
    def key(self) -> str:
        """ "head_w1280"."""
        hidden = f"_h{self.hidden}" if self.hidden else ""
        return f"head_w{self.width}{hidden}{_activation_mark(self.activation)}"


@dataclass(frozen=True)
class Identity:
    """Outputs its input: an edge of a tree cell that does nothing."""

    json_tag: ClassVar[tuple[str, str]] = ("op", "identity")

    @property
    def key(self) -> str:
        """ "identity"."""
        return "identity"


@dataclass(frozen=True)
class SepConv:
    """Depthwise k x k convolution, then 1x1 with batch normalisation and ReLU6: an edge of a tree
    cell."""

    json_tag: ClassVar[tuple[str, str]] = ("op", "sepconv")
    kernel: int
    dilation: int = 1

    def __post_init__(self) -> None:
        _check_kernel("SepConv", self.kernel)
        _check_range("SepConv dilation", self.dilation, most=8)

    @property
    def key(self) -> str:
        """ "sepconv_k3_d2"."""
        return f"sepconv_k{self.kernel}" + ("" if self.dilation == 1 else f"_d{self.dilation}")


@dataclass(frozen=True)
class Pool:
    """Average or largest of kernel x kernel positions; an average leaves positions outside the
    image out."""

    json_tag: ClassVar[tuple[str, str]] = ("op", "pool")
    kind: str
    kernel: int

    def __post_init__(self) -> None:
        _check_choice("Pool kind", self.kind, POOLS)
        _check_range("Pool kernel", self.kernel, most=31)

    @property
    def key(self) -> str:
        """ "averagepool_k3"."""
        return f"{self.kind}pool_k{self.kernel}"


@dataclass(frozen=True)
class Conv:
    """k x k convolution with batch normalisation and an activation, or none."""

    json_tag: ClassVar[tuple[str, str]] = ("op", "conv")
    kernel: int
    activation: str | None

    def __post_init__(self) -> None:
        _check_kernel("Conv", self.kernel)
        _check_choice("Conv activation", self.activation, (*ACTIVATIONS, None))

    @property
    def key(self) -> str:
        """ "conv_k1_relu6"."""
        return f"conv_k{self.kernel}_{self.activation or 'linear'}"


CandidateOp = Union[MBConv, FusedMBConv, BasicBlock, UIB, Conv, Zero, Identity, SepConv, Pool]
Op = Union[CandidateOp, Stem, Head]


def op_to_json(op: CandidateOp) -> dict[str, Json]:
    """{"op": "mbconv", "kernel": 5, "expansion": 6}; fields at their default are left out.
    `serialization` reads it back."""
    defaults = {field.name: field.default for field in fields(op)}
    values = {name: value for name, value in asdict(op).items() if value != defaults[name]}
    return {op.json_tag[0]: op.json_tag[1], **values}


def _activation_mark(activation: str) -> str:
    return "" if activation == "relu6" else f"_{activation}"


def _check_kernel(what: str, kernel: int) -> None:
    if not isinstance(kernel, int) or kernel % 2 == 0 or not 1 <= kernel <= 31:
        raise wrong_value(f"{what} kernel", "an odd integer from 1 to 31", kernel)


def _check_range(what: str, value: int, *, most: int) -> None:
    if not isinstance(value, int) or not 1 <= value <= most:
        raise wrong_value(what, f"an integer from 1 to {most}", value)


def _check_choice(
    what: str, value: str | bool | None, choices: tuple[str | bool | None, ...]
) -> None:
    if value not in choices:
        raise wrong_value(what, f"one of {choices}", value)


def wrong_value(what: str, expected: str, received: object) -> UserError:
    """That a field of an op or a space, `what`, holds something else than it may."""
    return UserError(
        what, expected=expected, received=repr(received)[:200], fix="Correct the value."
    )
