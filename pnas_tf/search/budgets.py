"""Hard budgets of a network, any of them together: what the user asks for, and the bounds that
follow for a space.

File size and peak RAM come from the space's footprint, latency from a table of each device. Knows
nothing of how a network is chosen within them.
"""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.config import DeriveConfig
from pnas_tf.errors import UserError
from pnas_tf.latency.table import LatencyTable
from pnas_tf.search.choice_program import Bound
from pnas_tf.search.derive import architecture_of
from pnas_tf.search.quantities import (
    Quantity,
    Shared,
    latency_quantity,
    macs_quantity,
    parameters_quantity,
)
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.tflite.footprint import (
    ARENA_DTYPE,
    BlockFootprint,
    Footprint,
    architecture_json,
    is_skipped,
)

if TYPE_CHECKING:
    from pnas_tf.search.targets import Target
    from pnas_tf.space.base import SearchSpace

KINDS = ("latency_ms", "size_kb", "ram_kb", "macs", "parameters")
FILE_DTYPES = ("int8", "float32")  # of the files that a size is of
OF_FILES = ("size_kb", "ram_kb")  # what needs a footprint
_KIND_OF_UNIT = {"ms": "latency_ms", "MACs": "macs", "parameters": "parameters"}
_KB = 1000


@dataclass(frozen=True)
class Budget:
    """At most so much of one thing.

    Attributes:
        kind: "latency_ms" (of `table`, else of the search's own), "size_kb" of the exported file in
            `dtype` and "ram_kb", the tensor arena of the int8 file, both in 1000 bytes, "macs" or
            "parameters".
        most: in the kind's unit.
        table: of the device of "latency_ms"; a LatencyTable or its file.
        dtype: of the file of "size_kb": "int8" or "float32".

    Raises:
        UserError: there is no such kind, the number is none, or the kind has no table or dtype.
    """

    kind: str
    most: float
    table: LatencyTable | str | os.PathLike | None = None
    dtype: str = DeriveConfig.size_dtype

    @property
    def thing(self) -> tuple[object, ...]:
        """What it is of; two of one thing hold together as the smaller does."""
        named = isinstance(self.table, str | os.PathLike)
        table = os.path.realpath(self.table) if named else self.table  # type: ignore[arg-type]
        return self.kind, table, self.dtype if self.kind == "size_kb" else None

    def __post_init__(self) -> None:
        of, one = f"of a budget of {self.kind}", "Choose one of these."
        kinds = f"one of {', '.join(KINDS)}"
        _require(self.kind in KINDS, "kind of a budget", kinds, self.kind, one)
        dtypes = FILE_DTYPES if self.kind == "size_kb" else (DeriveConfig.size_dtype,)
        expected = f"one of {', '.join(dtypes)}"
        _require(self.dtype in dtypes, f"number format {of}", expected, self.dtype, one)
        is_number = isinstance(self.most, numbers.Real) and not isinstance(self.most, bool)
        is_most, fix = is_number and 0 < self.most < math.inf, "Give how much it may be at most."
        _require(is_most, f"most {of}", "a number above 0", self.most, fix)
        tables = (LatencyTable, str, os.PathLike) * (self.kind == "latency_ms")
        is_table, fix = (
            isinstance(self.table, (*tables, type(None))),
            "Correct it, or leave it out.",
        )
        expected = "a latency table or its file" if tables else "none: latency_ms alone has one"
        _require(is_table, f"table {of}", expected, self.table, fix)


def _require(holds: bool, what: str, expected: str, received: object, fix: str) -> None:
    if not holds:
        raise UserError(what, expected=expected, received=repr(received)[:200], fix=fix)


def budgets_of(config: DeriveConfig) -> list[Budget]:
    """Those that the options ask for."""
    asked = {
        "latency_ms": config.max_latency_ms,
        "size_kb": config.max_size_kb,
        "ram_kb": config.max_ram_kb,
        "macs": config.max_macs,
        "parameters": config.max_parameters,
    }
    dtypes = {"size_kb": config.size_dtype}
    return [
        Budget(kind, float(most), dtype=dtypes.get(kind, DeriveConfig.size_dtype))
        for kind, most in asked.items()
        if most is not None
    ]


def pair_of(target: Target) -> tuple[Budget, Bound]:
    """A target as a budget."""
    kind = _KIND_OF_UNIT[target.quantity.unit]
    return Budget(kind, target.value), Bound(target.quantity, target.value)


def check_budgets(config: DeriveConfig, budgets: Sequence[Budget] = ()) -> None:
    """Raises UserError on options that would break a budget of theirs, or one of `budgets`."""
    asked = [*budgets_of(config), *budgets]
    if asked and config.derive != "budget":
        flags = " ".join(f"--max_{budget.kind}" for budget in asked)
        raise UserError(
            f"{flags} with --derive={config.derive}",
            expected="--derive=budget, which keeps them",
            received=f"--derive={config.derive}, which takes each block's own most probable op",
            fix="Leave out one of the two.",
        )


def file_dtypes(budgets: Sequence[Budget]) -> tuple[str, ...]:
    """The number formats of the files that budgets are of; none where there are no such."""
    found = [
        ARENA_DTYPE if budget.kind == "ram_kb" else budget.dtype
        for budget in budgets
        if budget.kind in OF_FILES
    ]
    return tuple(dict.fromkeys(found))


def bound_of(
    budget: Budget, space: SearchSpace, table: LatencyTable, footprint: Footprint | None
) -> Bound:
    """The bound that a budget is in a space.

    Raises:
        UserError: a table or the footprint lacks a block.
    """
    if budget.kind == "latency_ms":
        return Bound(_latency(budget, space, table), budget.most)
    if budget.kind == "macs":
        return Bound(macs_quantity(space), budget.most)
    if budget.kind == "parameters":
        return Bound(parameters_quantity(space), budget.most)
    assert footprint is not None, "asked for by `file_dtypes`"
    footprint.check_covers(space, file_dtypes([budget]))
    if budget.kind == "size_kb":
        return Bound(size_quantity(space, footprint, budget.dtype), budget.most)
    return Bound(ram_quantity(space, footprint), budget.most)


def _latency(budget: Budget, space: SearchSpace, table: LatencyTable) -> Quantity:
    if budget.table is None:
        table.check_covers(space)
        return latency_quantity(space, table)
    named = not isinstance(budget.table, LatencyTable)
    other = LatencyTable.load(budget.table) if named else budget.table  # type: ignore[arg-type]
    assert isinstance(other, LatencyTable)
    what = budget.table if named else other.identity.device
    other.check_covers(space, given=f"the table of {what}")
    return latency_quantity(space, other, name=f"latency by {what}")


def size_quantity(space: SearchSpace, footprint: Footprint, dtype: str) -> Quantity:
    """File size in kB, with what the file says of its own architecture."""
    choices = _of_candidates(space, footprint, lambda block: block.size_bytes[dtype])
    base = architecture_of(space, (0,) * len(choices))
    texts = _description_bytes(space, base)
    fixed = footprint.size_bytes[dtype] + len(architecture_json(base))
    return Quantity(
        f"size of the {dtype} file",
        "kB",
        fixed + sum(b.size_bytes[dtype] for b in _fixed(space, footprint)),
        tuple(choice + text for choice, text in zip(choices, texts, strict=True)),
        slope=1 / _KB,
        shared=_shared(space, footprint, dtype, part=0),
    )


def ram_quantity(space: SearchSpace, footprint: Footprint) -> Quantity:
    """Peak RAM in kB: the tensor arena of the int8 file."""
    fixed = _fixed(space, footprint)
    persistent = footprint.persistent_bytes + sum(block.persistent_bytes for block in fixed)

    def exact(path: ChoiceIndices) -> float:
        working = footprint.working_bytes(architecture_of(space, path))
        return sums.known(path) + working / _KB

    sums = Quantity(
        "peak RAM",
        "kB",
        persistent,
        _of_candidates(space, footprint, lambda block: block.persistent_bytes),
        slope=1 / _KB,
        shared=_shared(space, footprint, ARENA_DTYPE, part=1),
    )
    return Quantity(
        sums.name,
        sums.unit,
        sums.fixed,
        sums.choices,
        slope=sums.slope,
        peaks=_of_candidates(space, footprint, lambda block: block.working_bytes),
        fixed_peak=max(block.working_bytes for block in fixed),
        shared=sums.shared,
        exact=exact,
    )


def _of_candidates(
    space: SearchSpace, footprint: Footprint, of_block: Callable[[BlockFootprint], int]
) -> tuple[np.ndarray, ...]:
    """For each choice block [candidates]; 0 of one that is skipped."""
    found = []
    for choice in space.choice_blocks:
        blocks = [space.candidate_block(choice, op) for op in choice.candidates]
        numbers = [
            0 if is_skipped(block) else of_block(footprint.blocks[block.key]) for block in blocks
        ]
        found.append(np.array(numbers, np.float64))
    return tuple(found)


def _fixed(space: SearchSpace, footprint: Footprint) -> list[BlockFootprint]:
    return [footprint.blocks[block.key] for block in space.fixed_blocks()]


def _description_bytes(space: SearchSpace, base: Architecture) -> list[np.ndarray]:
    """For each choice block [candidates]: how much longer a file's description of its network is
    than that of `base`, which holds the first candidate everywhere."""
    length: dict[tuple[object, object], int] = {}
    found = []
    for choice in space.choice_blocks:
        texts = []
        for op in choice.candidates:
            pair = (choice.candidates[0], op)
            if pair not in length:
                ops = (*base.ops[: choice.index], op, *base.ops[choice.index + 1 :])
                changed = architecture_json(Architecture(space, ops))
                length[pair] = len(changed) - len(architecture_json(base))
            texts.append(length[pair])
        found.append(np.array(texts, np.float64))
    return found


def _shared(
    space: SearchSpace, footprint: Footprint, dtype: str, *, part: int
) -> tuple[Shared, ...]:
    """Constants that stand once in a file. part: 0 of its bytes, 1 of the arena's. Those that a
    fixed block has are in every network."""
    users: dict[str, list[tuple[int, int]]] = {}
    for choice in space.choice_blocks:
        for candidate, op in enumerate(choice.candidates):
            block = space.candidate_block(choice, op)
            for name in () if is_skipped(block) else footprint.blocks[block.key].constants[dtype]:
                users.setdefault(name, []).append((choice.index, candidate))
    always = {name for block in _fixed(space, footprint) for name in block.constants[dtype]}
    everywhere = tuple(
        (0, candidate) for candidate in range(len(space.choice_blocks[0].candidates))
    )
    of_all = sum(footprint.constants[dtype][name][part] for name in always)
    return (
        Shared(float(of_all), everywhere),
        *(
            Shared(float(footprint.constants[dtype][name][part]), tuple(found))
            for name, found in sorted(users.items())
            if name not in always
        ),
    )
