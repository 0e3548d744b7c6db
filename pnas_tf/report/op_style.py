"""How an op is named and coloured wherever it is shown. Knows nothing of drawings and plots."""

from __future__ import annotations

import colorsys
import zlib

from pnas_tf.space.ops import UIB, BasicBlock, CandidateOp, Conv, FusedMBConv, MBConv, Op, Zero

KERNEL_COLORS = {1: "#b9c4cc", 3: "#8ecae6", 5: "#ffb703", 7: "#e76f51", 9: "#9d6bb3"}
ZERO_COLOR = "#9aa5ad"


def kernel_color(kernel: int) -> str:
    """The colour of a kernel size; sizes beyond the named ones get further hues."""
    return KERNEL_COLORS.get(kernel) or _hex((0.33 + 0.11 * kernel) % 1.0, 0.65, 0.45)


def kernel_and_expansion(op: Op) -> tuple[int, int] | None:
    """(the largest kernel, expansion) of the blocks of a chain; None of other ops."""
    match op:
        case MBConv() | FusedMBConv():
            return op.kernel, op.expansion
        case UIB():
            return max(op.start_kernel, op.middle_kernel, 1), op.expansion
        case BasicBlock() | Conv():
            return op.kernel, 1
    return None


def op_color(op: CandidateOp) -> str:
    """MBConv: the kernel's colour, darker with larger expansion. Zero is grey; other ops have a hue
    by their key."""
    if isinstance(op, Zero):
        return ZERO_COLOR
    if not isinstance(op, MBConv):
        return _hex(zlib.crc32(op.key.encode()) % 997 / 997, 0.6, 0.55)
    code = kernel_color(op.kernel)
    hue, lightness, saturation = colorsys.rgb_to_hls(
        *(int(code[start : start + 2], 16) / 255 for start in (1, 3, 5))
    )
    shade = max(0.25, min(0.86, lightness + 0.13 - 0.045 * op.expansion))
    return _hex(hue, shade, saturation * (0.8 if op.squeeze_excite else 1.0))


def op_label(op: CandidateOp) -> str:
    """A few characters: "5×5 e6", "fused 3×3 e4", "skip", or the op's key."""
    return " ".join(op_words(op))


def op_words(op: Op) -> list[str]:
    """The parts of a name: ["5×5", "e6", "SE", "hswish"], ["skip"], or the op's key."""
    match op:
        case Zero():
            return ["skip"]
        case MBConv():
            words = [_square(op.kernel), f"e{op.expansion}"]
        case FusedMBConv():
            words = [f"fused {_square(op.kernel)}", f"e{op.expansion}"]
        case UIB():
            kernels = [_square(kernel) for kernel in (op.start_kernel, op.middle_kernel) if kernel]
            order = "" if op.middle_kernel or not kernels else "ConvNext "
            words = [order + ("+".join(kernels) or "FFN"), f"e{op.expansion}"]
        case BasicBlock():
            words = [f"basic {_square(op.kernel)}"]
        case Conv():
            words = [f"conv {_square(op.kernel)}"]
        case _:
            return [op.key]
    if getattr(op, "squeeze_excite", False):
        words.append("SE")
    return words if op.activation == "relu6" else [*words, op.activation or "linear"]


def _square(kernel: int) -> str:
    return f"{kernel}×{kernel}"


def op_order(op: CandidateOp) -> tuple[int, int, int, str]:
    """From cheap to dear, Zero first, ops without expansion by their key."""
    if isinstance(op, Zero):
        return (0, 0, 0, "")
    shape = kernel_and_expansion(op)
    return (1, 0, 0, op.key) if shape is None else (2, *shape, op.key)


def _hex(hue: float, lightness: float, saturation: float) -> str:
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
