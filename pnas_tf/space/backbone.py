"""What search spaces of every kind share: the choice block, the sizes of layers, and the checks of
their fields.

Knows nothing of a particular kind of space, of layers or of TensorFlow.
"""

from __future__ import annotations

from dataclasses import dataclass

from pnas_tf.space.ops import CandidateOp, wrong_value

PADDINGS = ("same", "symmetric")
MAX_CHOICE_BLOCKS = (
    10_000  # the paper's largest space has 648; a number in a file must not become a day of work
)
MAX_CANDIDATES = 1_000
MAX_COUNT = 1_000_000  # of anything: channels, pixels, classes


@dataclass(frozen=True)
class ChoiceBlock:
    """One block whose op is searched: where it stands and what it may hold.

    Attributes:
        index: its place among the choice blocks.
        stage: which stage of the backbone it belongs to.
        in_size: pixels of a square side, as out_size.
        shortcut: an identity shortcut exists, so that Zero may be among the candidates.
        candidates: the ops that it may hold.
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
        """ "block_03": the name of its blocks and of their variables."""
        return f"block_{self.index:02d}"


def strided(size: int, stride: int) -> int:
    """Output size of a convolution with odd kernel, "same" or "symmetric" padding."""
    return -(-size // stride)


def make_divisible(channels: float) -> int:
    """The nearest multiple of 8, at least 8, never less than 0.9 of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def check_count(what: str, value: object, *, least: int = 1) -> None:
    """Raises UserError unless `value` is an integer from `least` to `MAX_COUNT`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_COUNT:
        raise wrong_value(what, f"an integer from {least} to {MAX_COUNT:,}", value)


def check_size(space: str, *, choice_blocks: int, candidates: int) -> None:
    """Raises UserError beyond `MAX_CHOICE_BLOCKS` or `MAX_CANDIDATES` ops a block."""
    for what, count, most in (
        ("choice blocks", choice_blocks, MAX_CHOICE_BLOCKS),
        ("candidates", candidates, MAX_CANDIDATES),
    ):
        if count > most:
            raise wrong_value(f"{what} of space '{space}'", f"at most {most}", count)


def check_padding(space: str, padding: object) -> None:
    """Raises UserError unless `padding` is one of PADDINGS."""
    if padding not in PADDINGS:
        raise wrong_value(f"padding of space '{space}'", f"one of {PADDINGS}", padding)


def check_width_multiplier(multiplier: float) -> None:
    """Raises UserError unless the multiplier is above 0 and at most 16."""
    if not 0 < multiplier <= 16:
        raise wrong_value("width multiplier", "above 0, at most 16", multiplier)
