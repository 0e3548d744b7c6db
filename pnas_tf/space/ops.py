"""The ops a block can hold, as frozen data (Cai et al. 2019, section 3.1 and table of appendix).

Knows nothing of sizes, channels or TensorFlow: an op becomes a layer only together with a block's
geometry.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Union

from pnas_tf.errors import UserError

ACTIVATIONS = ("relu6", "hswish")
POOLS = ("average", "max")


@dataclass(frozen=True)
class MBConv:
    """Inverted bottleneck: 1x1 expansion, depthwise k x k, 1x1 linear projection (Sandler et al.
    2018).

    expansion 1 has no expansion convolution. squeeze_excite and hswish are the MobileNetV3 variants
    (Howard et al. 2019).
    """

    kernel: int
    expansion: int
    squeeze_excite: bool = False
    activation: str = "relu6"

    def __post_init__(self) -> None:
        _check(
            isinstance(self.kernel, int) and self.kernel % 2 == 1 and 1 <= self.kernel <= 31,
            "MBConv kernel",
            "an odd integer from 1 to 31",
            self.kernel,
        )
        _check(
            isinstance(self.expansion, int) and 1 <= self.expansion <= 16,
            "MBConv expansion",
            "an integer from 1 to 16",
            self.expansion,
        )
        _check(
            isinstance(self.squeeze_excite, bool),
            "MBConv squeeze_excite",
            "true or false",
            self.squeeze_excite,
        )
        _check(
            self.activation in ACTIVATIONS,
            "MBConv activation",
            f"one of {ACTIVATIONS}",
            self.activation,
        )

    @property
    def key(self) -> str:
        """A short stable name, made from data and never parsed back: "mbconv_k5_e6"."""
        squeeze = "_se" if self.squeeze_excite else ""
        activation = "" if self.activation == "relu6" else f"_{self.activation}"
        return f"mbconv_k{self.kernel}_e{self.expansion}{squeeze}{activation}"


@dataclass(frozen=True)
class Zero:
    """Outputs nothing, so that a block with an identity shortcut is skipped (section 3.1)."""

    @property
    def key(self) -> str:
        return "zero"


@dataclass(frozen=True)
class Stem:
    """The first k x k convolution, with batch normalisation and ReLU6. Never searched."""

    kernel: int = 3

    @property
    def key(self) -> str:
        return f"stem_k{self.kernel}"


@dataclass(frozen=True)
class Head:
    """Feature-mix 1x1 convolution to `width`, global average pooling and the classifier. Never
    searched."""

    width: int

    @property
    def key(self) -> str:
        return f"head_w{self.width}"


@dataclass(frozen=True)
class Identity:
    """Outputs its input: an edge of a tree cell that does nothing."""

    @property
    def key(self) -> str:
        return "identity"


@dataclass(frozen=True)
class SepConv:
    """Depthwise k x k convolution, then 1x1 with batch normalisation and ReLU6: an edge of a tree
    cell."""

    kernel: int
    dilation: int = 1

    def __post_init__(self) -> None:
        _check(
            isinstance(self.kernel, int) and self.kernel % 2 == 1 and 1 <= self.kernel <= 31,
            "SepConv kernel",
            "an odd integer from 1 to 31",
            self.kernel,
        )
        _check(
            isinstance(self.dilation, int) and 1 <= self.dilation <= 8,
            "SepConv dilation",
            "an integer from 1 to 8",
            self.dilation,
        )

    @property
    def key(self) -> str:
        return f"sepconv_k{self.kernel}" + ("" if self.dilation == 1 else f"_d{self.dilation}")


@dataclass(frozen=True)
class Pool:
    """Average or largest of kernel x kernel positions; an average leaves positions outside the
    image out."""

    kind: str
    kernel: int

    def __post_init__(self) -> None:
        _check(self.kind in POOLS, "Pool kind", f"one of {POOLS}", self.kind)
        _check(
            isinstance(self.kernel, int) and 1 <= self.kernel <= 31,
            "Pool kernel",
            "an integer from 1 to 31",
            self.kernel,
        )

    @property
    def key(self) -> str:
        return f"{self.kind}pool_k{self.kernel}"


@dataclass(frozen=True)
class Conv:
    """k x k convolution with batch normalisation and an activation, or none. Never searched."""

    kernel: int
    activation: str | None

    @property
    def key(self) -> str:
        return f"conv_k{self.kernel}_{self.activation or 'linear'}"


CandidateOp = Union[MBConv, Zero, Identity, SepConv, Pool]
Op = Union[MBConv, Zero, Identity, SepConv, Pool, Stem, Head, Conv]

_CANDIDATES: dict[str, type] = {
    "mbconv": MBConv,
    "zero": Zero,
    "identity": Identity,
    "sepconv": SepConv,
    "pool": Pool,
}


def op_to_json(op: CandidateOp) -> dict[str, Any]:
    """{"op": "mbconv", "kernel": 5, "expansion": 6}; fields at their default are left out."""
    name = next(name for name, kind in _CANDIDATES.items() if type(op) is kind)
    defaults = {field.name: field.default for field in fields(op)}
    return {
        "op": name,
        **{key: value for key, value in asdict(op).items() if value != defaults[key]},
    }


def op_from_json(document: Any, *, where: str) -> CandidateOp:
    """The inverse of `op_to_json`. where: the place named in errors ("architecture.json, block 3").

    Raises UserError on an unknown op, a missing, unknown or ill-typed field.
    """
    _check(
        isinstance(document, dict)
        and isinstance(document.get("op"), str)
        and document["op"] in _CANDIDATES,
        f"op in {where}",
        f'an object with "op" one of {sorted(_CANDIDATES)}',
        document,
    )
    kind = _CANDIDATES[document["op"]]
    values = {key: value for key, value in document.items() if key != "op"}
    known = {field.name for field in fields(kind)}
    _check(set(values) <= known, f"op in {where}", f"fields among {sorted(known)}", sorted(values))
    for name, value in values.items():
        _check(
            not (isinstance(value, bool) and name in ("kernel", "expansion", "dilation")),
            f"{name} in {where}",
            "an integer",
            value,
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise UserError(
            f"op in {where}",
            expected=f"fields {sorted(known)}",
            received=str(document),
            fix="Add the missing field.",
        ) from error


def _check(holds: bool, what: str, expected: str, received: Any) -> None:
    if not holds:
        raise UserError(
            what, expected=expected, received=repr(received)[:200], fix="Correct the value."
        )
