"""What each block of a space adds to an exported file and to its arena, and what follows for any
network of the space.

The size of a file is a constant, a sum over blocks and the constants that several blocks share;
peak RAM is the greedy plan of all blocks' buffers, joined, and a sum of structures. So predicted, a
network needs no conversion. `footprint_reading` makes the record. Knows nothing of budgets.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.space.ops import Zero
from pnas_tf.tflite.arena import Lifetime, planned_bytes

if TYPE_CHECKING:
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.space.blocks import Block

FORMAT, VERSION = "pnas_tf/footprint", 1
ARENA_DTYPE = "int8"  # of the file whose arena is meant
_MADE_BY = "pnas search --run_dir=... --max_ram_kb=..."


@dataclass(frozen=True)
class BlockFootprint:
    """One block in a file.

    Attributes:
        size_bytes: number format -> bytes of its ops, tensors and weights.
        persistent_bytes: of its structures in the arena.
        working_bytes: of the plan of the buffers that are held while it runs; where the space is no
            chain, in the place of that key where it is least.
        ops: how many it is.
        input_last: the last of them, from 1, that reads the block's input.
        lifetimes: (bytes, first, last) of each buffer that it makes, in its own ops from 1; last is
            None of the one that the next block reads.
        constants: number format -> names of those that it shares with others.
    """

    size_bytes: Mapping[str, int]
    persistent_bytes: int
    working_bytes: int
    ops: int
    input_last: int
    lifetimes: tuple[tuple[int, int, int | None], ...]
    constants: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Footprint:
    """All blocks of a space, by latency key, and what is no block's.

    Attributes:
        blocks: latency key -> block.
        constants: number format -> name -> (bytes of a file, of the arena) of what stands there
            once, for however many blocks: the bounds of a slice, the axes of a mean, zeros.
        size_bytes: number format -> bytes of a file without all these and its architecture.json.
        persistent_bytes: of the arena, likewise.
        chain: whether the blocks follow one another, so that the plan of a network is known.
    """

    blocks: Mapping[str, BlockFootprint]
    constants: Mapping[str, Mapping[str, tuple[int, int]]]
    size_bytes: Mapping[str, int]
    persistent_bytes: int
    chain: bool

    def working_bytes(self, architecture: Architecture) -> int:
        """Of the arena's working part: the greedy plan of the network's buffers where the space is
        a chain, else that of the block that needs most."""
        blocks = [self.blocks[block.key] for block in architecture.blocks if not is_skipped(block)]
        largest = max(block.working_bytes for block in blocks)
        return max(largest, planned_bytes(_joined(blocks))) if self.chain else largest

    def save(self, path: str | os.PathLike) -> Path:
        """Writes what `load` reads."""
        return atomic.write_json(path, {"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Footprint:
        """Reads what `save` wrote.

        Raises:
            UserError: the file is absent, truncated or of another kind.
        """
        document = atomic.read_document(
            path, format=FORMAT, version=VERSION, what="footprint", made_by=_MADE_BY
        )
        fields = {key: document[key] for key in document if key not in ("format", "version")}
        return record_of(cls, fields, where=str(path), fix=f"Make it again: {_MADE_BY}")

    def check_covers(self, space: SearchSpace, dtypes: Sequence[str]) -> None:
        """Raises UserError when it lacks a block of the space or a number format."""
        absent = [key for key in space.distinct_blocks() if key not in self.blocks]
        absent += [dtype for dtype in dtypes if dtype not in self.size_bytes]
        if absent:
            raise UserError(
                f"footprint of space '{space.name}'",
                expected=f"its {len(space.distinct_blocks())} blocks in {', '.join(dtypes)}",
                received=f"none of {absent[0]} ({len(absent)} are absent)",
                fix=f"Make it again: {_MADE_BY}",
            )


def is_skipped(block: Block) -> bool:
    """Whether nothing of it stands in a file."""
    return isinstance(block.op, Zero) and block.shortcut


def architecture_json(architecture: Architecture) -> bytes:
    """What a file's own description of its network takes."""
    return atomic.json_bytes(architecture.to_json())


def _joined(blocks: Sequence[BlockFootprint]) -> list[Lifetime]:
    """The buffers of a chain of blocks."""
    buffers: list[Lifetime] = []
    before, carried = 0, None  # ops so far; (bytes, first op) of what the next block reads
    for block in blocks:
        if carried is not None:
            buffers.append(Lifetime(*carried, before + block.input_last))
        carried = None
        for size, first, last in block.lifetimes:
            if last is None:
                carried = (size, before + first)
            else:
                buffers.append(Lifetime(size, before + first, before + last))
        before += block.ops
    return sorted(buffers, key=lambda buffer: buffer.first)  # as tensors are numbered
