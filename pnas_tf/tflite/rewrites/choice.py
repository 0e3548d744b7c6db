"""Which rewrites there are for a block, and which of them pay on a device. Arithmetic on names and
milliseconds.

A rewrite goes by its short name ("split_depthwise": wherever it fits) or with one shape
("split_depthwise[k7 s1 56x56x144]"). Knows no TensorFlow, so that a latency table can choose;
`rewrite` does the rewriting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from pnas_tf.errors import UserError
from pnas_tf.space.blocks import Block, Layer
from pnas_tf.tflite.rewrites.tiling import MAX_TAPS

AUTO, NONE = "auto", "none"
MIN_MARGIN = 0.02  # the noise of a good measurement


def split_name(
    *,
    kernel: tuple[int, int],
    stride: int,
    rows: int,
    columns: int,
    channels: int,
    padding: str = "",
) -> str:
    """The name with its shape: of a depthwise convolution on an input [rows, columns, channels].
    padding: "" for SAME, "padded" for zeros of a layer before it, "valid" for none."""
    size = "x".join(str(side) for side in dict.fromkeys(kernel))
    return (
        f"split_depthwise[k{size} s{stride} {rows}x{columns}x{channels}{padding and f' {padding}'}]"
    )


def rewrites_of_blocks(blocks: Iterable[Block]) -> tuple[str, ...]:
    """The names, with their shapes, of all rewrites that would change the exported blocks: what
    `rewrite.applicable` says of their Keras models."""
    found = (
        name_in(block, layer)
        for block in blocks
        for layer in block.layers
        for name_in in _IN_BLOCKS.values()
    )
    return tuple(sorted({name for name in found if name is not None}))


def _split_in(block: Block, layer: Layer) -> str | None:
    if layer.kind != "depthwise" or layer.kernel**2 <= MAX_TAPS or layer.dilation != 1:
        return None
    return split_name(
        kernel=(layer.kernel, layer.kernel),
        stride=layer.stride,
        rows=layer.in_size,
        columns=layer.in_size,
        channels=layer.in_channels,
        padding="padded" if block.padding == "symmetric" and layer.stride > 1 else "",
    )


# Short name -> the name with its shape of what it would change, None where that is nothing.
_IN_BLOCKS: dict[str, Callable[[Block, Layer], str | None]] = {"split_depthwise": _split_in}
REWRITES = tuple(_IN_BLOCKS)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names as a tuple. Raises UserError on one that is no rewrite's."""
    wanted = tuple(names)
    unknown = [name for name in wanted if name.split("[")[0] not in REWRITES]
    if unknown:
        raise UserError(
            "unknown export rewrite",
            expected=f"some of {REWRITES}",
            received=str(unknown),
            fix="Choose among these.",
        )
    return wanted


def check_shapes(wanted: Iterable[str], names: Iterable[str]) -> None:
    """Raises UserError on a rewrite that is asked for by a shape that the network does not have.
    names: those that fit it, with their shapes."""
    fitting = tuple(names)
    absent = [name for name in wanted if "[" in name and name not in fitting]
    if absent:
        raise UserError(
            f"--rewrites={','.join(absent)}",
            expected=f"shapes of this network: {', '.join(fitting) or 'none'}",
            received="others, so that nothing would be rewritten",
            fix="Choose among these, or a rewrite by its name alone for all of its shapes.",
        )


def wanted_among(names: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Those of `names` (with shapes) that `wanted` asks for, by shape or by short name."""
    asked = set(wanted)
    return tuple(name for name in names if name in asked or name.split("[")[0] in asked)


def faster(
    plain_ms: Mapping[str, float],
    rewritten_ms: Mapping[str, float],
    *,
    margins: Mapping[str, float],
) -> tuple[str, ...]:
    """The rewrites worth having on the device that was measured.

    plain_ms, rewritten_ms: name with shape -> latency in ms of the same block without and with it.
    margins: name -> the part that the rewrite must save, the noise of its measurement; default and
    least: `MIN_MARGIN`. A rewrite that pays for every shape measured goes by its short name. Raises
    KeyError when one variant of a name was not measured.
    """
    chosen = set()
    for name in plain_ms.keys() | rewritten_ms.keys():
        margin = max(MIN_MARGIN, margins.get(name, 0.0))
        if rewritten_ms[name] < plain_ms[name] * (1 - margin):
            chosen.add(name)
    names: list[str] = []
    for rewrite in REWRITES:
        measured = {name for name in plain_ms if name.split("[")[0] == rewrite}
        names += [rewrite] if measured and measured <= chosen else sorted(measured & chosen)
    return tuple(names)
