"""Holds derived networks to the budgets of their files: what is predicted close to a budget, and
what is taken in the end, is exported with random weights and measured.

Weights decide neither a file's size nor its arena, so the trained network's file is as large. Knows
nothing of how networks are chosen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.run.loop import Row
from pnas_tf.search.budgets import OF_FILES, Budget, pair_of
from pnas_tf.search.choice_program import Bound, is_possible
from pnas_tf.search.conflicts import no_files, no_network
from pnas_tf.search.derive import path_of
from pnas_tf.tflite.export import untrained_file
from pnas_tf.tflite.export_inputs import metadata_of
from pnas_tf.tflite.footprint import ARENA_DTYPE, Footprint
from pnas_tf.tflite.footprint_reading import covering_networks, file_arena_bytes
from pnas_tf.tflite.options import rewrites_of
from pnas_tf.tflite.rewrites.choice import rewrites_of_blocks, wanted_among

if TYPE_CHECKING:
    from pnas_tf.data.dataset import Dataset
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace

# What is predicted within this part of a budget is measured at once; size is predicted within
# 0.6 %, RAM of a chain of blocks within 0.3 % (docs/howto/budgets.md).
_CLOSE = 0.01
_UNSPLIT = (
    " Unsplit kernels take less RAM: --rewrites=none, with a latency table by "
    "--latency_rewrites=none in another --run_dir (docs/howto/board.md)."
)


@dataclass(frozen=True)
class UntrainedFiles:
    """(network, number format) -> the file that its export will be, with random weights.

    Attributes:
        dataset: its labels and its name stand in the files.
        config: of the export.
        tables: number format -> latency table, whose rewrites the files have.
    """

    dataset: Dataset
    config: ExportConfig
    tables: Mapping[str, LatencyTable]

    def __call__(self, architecture: Architecture, dtype: str) -> bytes:
        return untrained_file(
            architecture,
            dtype,
            metadata_of(self.dataset, self.config, architecture),
            self.config,
            rewrites=self._rewrites(architecture, dtype),
        )

    def splits_kernels(self, space: SearchSpace) -> bool:
        """Whether int8 files of some networks have rewritten blocks."""
        return any(
            wanted_among(rewrites_of_blocks(each.blocks), self._rewrites(each, ARENA_DTYPE))
            for each in covering_networks(space)
        )

    def _rewrites(self, architecture: Architecture, dtype: str) -> tuple[str, ...]:
        measured = {kind: table.rewrites_of(architecture) for kind, table in self.tables.items()}
        return rewrites_of(self.config, measured)[dtype]


def check_resolution(
    budgets: Sequence[Budget], config: ExportConfig, resolution: int, *, also: bool
) -> None:
    """Raises UserError where files of another size than the space's are asked for beside a budget:
    all but parameters are judged at the space's own. also: whether further devices have one."""
    kinds = [f"--max_{budget.kind}" for budget in budgets if budget.kind != "parameters"]
    kinds += ["--also"] * also
    if kinds and config.export_resolution not in (None, resolution):
        raise UserError(
            f"{' '.join(kinds)} with --export_resolution={config.export_resolution}",
            expected=f"files at the space's own {resolution} pixels, which it is judged at",
            received=f"{config.export_resolution} pixels",
            fix=f"Export at --export_resolution={resolution}, or search at that size: "
            f"--resolution={config.export_resolution} in another --run_dir.",
        )


@dataclass
class FileLimits:
    """Budgets of files with the bounds that they are.

    Attributes:
        pairs: of every budget of the derivation, those of latency too.
        footprint: that predicts; None where no budget is of a file.
        files: the exporter, likewise.
        first_is_asked: whether the first one is asked for, and no target of the search.
    """

    pairs: Sequence[tuple[Budget, Bound]]
    footprint: Footprint | None = None
    files: UntrainedFiles | None = None
    first_is_asked: bool = False
    _contents: dict[tuple[str, str], tuple[int, int | None]] = field(default_factory=dict)
    # of networks whose files break one: ops -> (by which factor, network)
    _beyond: dict[str, tuple[float, Architecture]] = field(default_factory=dict, init=False)

    def accepts(self, architecture: Architecture) -> bool:
        """Whether the network's files keep the budgets, measured where a prediction is close."""
        chain = self.footprint is None or self.footprint.chain
        for budget, bound in self._of_files():
            is_close = bound.quantity.of(path_of(architecture)) > (1 - _CLOSE) * bound.most
            is_sure = chain or budget.kind != "ram_kb"
            if (is_close or not is_sure) and not self._holds(budget, bound, architecture):
                return False
        return True

    def keeps(self, architecture: Architecture) -> bool:
        """Whether they do, measured."""
        return all(self._holds(budget, bound, architecture) for budget, bound in self._of_files())

    def check_possible(self, space: SearchSpace) -> None:
        """Raises UserError where no network keeps them, by what is predicted."""
        bounds = [bound for _, bound in self.pairs]
        if not is_possible([len(choice.candidates) for choice in space.choice_blocks], bounds):
            raise self.refusal(space, bounds)

    def refusal(self, space: SearchSpace, bounds: Sequence[Bound]) -> UserError:
        """Why there is no network: its bounds exclude one another, or the files of all that were
        looked at break them."""
        splits = self.files is not None and self.files.splits_kernels(space)
        advice = _UNSPLIT * splits
        if not self._beyond:
            return no_network(space, bounds, ram_advice=advice)
        nearest = min(self._beyond.values(), key=lambda excess: excess[0])[1]
        measured = [(bound, self._measured(budget, nearest)) for budget, bound in self._of_files()]
        return no_files(space, measured, tried=len(self._beyond), ram_advice=advice)

    def rows(self, architecture: Architecture) -> tuple[Row, ...]:
        """A row for each budget: what it is of, its most, what is predicted of the network, and of
        files what was measured."""
        return tuple(
            {
                "kind": budget.kind,
                "dtype": budget.dtype if budget.kind == "size_kb" else None,
                "name": bound.quantity.name,
                "unit": bound.quantity.unit,
                "most": bound.most,
                "predicted": bound.quantity.of(path_of(architecture)),
                "measured": self._measured(budget, architecture)
                if budget.kind in OF_FILES
                else None,
            }
            for budget, bound in self.pairs
        )

    def swept(self, target: Target) -> FileLimits:
        """With this latency in the place of the search's target and of a budget of the same."""
        name = target.quantity.name
        kept = self.pairs[0 if self.first_is_asked else 1 :]
        others = [pair for pair in kept if pair[1].quantity.name != name]
        pairs = [pair_of(target), *others]
        return dataclasses.replace(self, pairs=pairs, first_is_asked=False)

    def _of_files(self) -> list[tuple[Budget, Bound]]:
        return [(budget, bound) for budget, bound in self.pairs if budget.kind in OF_FILES]

    def _holds(self, budget: Budget, bound: Bound, architecture: Architecture) -> bool:
        measured = self._measured(budget, architecture)
        if measured > bound.most:
            self._beyond[str(architecture.ops)] = (measured / bound.most, architecture)
        return measured <= bound.most

    def _measured(self, budget: Budget, architecture: Architecture) -> float:
        """Size or peak RAM of the network's file, in kB."""
        assert self.files is not None
        is_ram = budget.kind == "ram_kb"
        dtype = ARENA_DTYPE if is_ram else budget.dtype
        key = (str(architecture.ops), dtype)
        if key not in self._contents:
            content = self.files(architecture, dtype)
            arena = file_arena_bytes(content) if dtype == ARENA_DTYPE else None
            self._contents[key] = (len(content), arena)
        size, arena = self._contents[key]
        return (arena if is_ram and arena is not None else size) / 1000
