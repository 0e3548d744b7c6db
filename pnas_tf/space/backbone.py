"""What search spaces of every kind share: the choice block, the arithmetic of sizes, and the checks
of their fields.

Knows nothing of a particular kind of space, of layers or of TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pnas_tf.errors import UserError
from pnas_tf.space.ops import CandidateOp

PADDINGS = ("same", "symmetric")
MAX_CHOICE_BLOCKS = (
    10_000  # the paper's largest space has 648; a number in a file must not become a day of work
)
MAX_CANDIDATES = 1_000


@dataclass(frozen=True)
class ChoiceBlock:
    """One block whose op is searched: where it stands and what it may hold.

    Sizes are square and in pixels. `shortcut`: an identity shortcut exists, so Zero is among the
    candidates.
    """

    index: int
    stage: int
    in_channels: int
    out_channels: int
    in_size: int
    out_size: int
    stride: int
    shortcut: bool
    candidates: tuple[CandidateOp, ...]

    @property
    def name(self) -> str:
        """ "block_03": the name of its rows in the walk and of its variables."""
        return f"block_{self.index:02d}"


def strided(size: int, stride: int) -> int:
    """Output size of a convolution with odd kernel, "same" or "symmetric" padding."""
    return -(-size // stride)


def make_divisible(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor`, at least `divisor`, never less than 0.9 of `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def check_count(what: str, value: Any, *, least: int = 1) -> None:
    """Raises UserError unless `value` is an integer from `least` to a million."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= 1_000_000:
        expected = "a positive integer" if least == 1 else f"an integer from {least}"
        raise UserError(
            what, expected=expected, received=repr(value)[:200], fix="Correct the value."
        )


def check_size(space: str, *, choice_blocks: int, candidates: int) -> None:
    """Raises UserError beyond `MAX_CHOICE_BLOCKS` or `MAX_CANDIDATES` ops a block."""
    for what, count, most in (
        ("choice blocks", choice_blocks, MAX_CHOICE_BLOCKS),
        ("candidates", candidates, MAX_CANDIDATES),
    ):
        if count > most:
            raise UserError(
                f"{what} of space '{space}'",
                expected=f"at most {most}",
                received=str(count),
                fix="Make a smaller space.",
            )


def check_padding(space: str, padding: Any) -> None:
    """Raises UserError unless `padding` is one of PADDINGS."""
    if padding not in PADDINGS:
        raise UserError(
            f"padding of space '{space}'",
            expected=f"one of {PADDINGS}",
            received=repr(padding),
            fix="Choose one of these.",
        )


def check_width_multiplier(multiplier: float) -> None:
    """Raises UserError unless the multiplier is above 0 and at most 16."""
    if not 0 < multiplier <= 16:
        raise UserError(
            "width multiplier",
            expected="above 0, at most 16",
            received=repr(multiplier),
            fix="Choose e.g. 0.5.",
        )


def json_object(document: Any, where: str) -> dict[str, Any]:
    """`document` itself. Raises UserError unless it is an object."""
    if not isinstance(document, dict):
        raise UserError(
            f"space in {where}",
            expected="an object",
            received=repr(document)[:200],
            fix="Make it again.",
        )
    return document


def json_list(document: Any, where: str, name: str) -> list[Any]:
    """`document` itself. Raises UserError unless it is a list of at most 10,000."""
    if not isinstance(document, list) or len(document) > 10_000:
        raise UserError(
            f"{name} of space in {where}",
            expected="a list",
            received=repr(document)[:200],
            fix="Make it again.",
        )
    return document


def check_fields(
    fields: dict[str, Any], known: set[str], where: str, *, kinds: dict[str, type]
) -> None:
    """Raises UserError on an unknown field, or on one of `kinds` that is of another type."""
    if not set(fields) <= known:
        raise UserError(
            f"space in {where}",
            expected=f"fields among {sorted(known)}",
            received=str(sorted(fields)),
            fix="Remove the unknown field.",
        )
    for name, kind in kinds.items():
        if name in fields and not isinstance(fields[name], kind):
            raise UserError(
                f"{name} of space in {where}",
                expected=kind.__name__,
                received=repr(fields[name]),
                fix="Correct it.",
            )
