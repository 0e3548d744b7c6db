"""One derivation: what it chose and from what, and the budgets that it was held to.

Knows nothing of the supernet or of how networks are compared.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact
from pnas_tf.run.loop import Row
from pnas_tf.search.budgets import OF_FILES, Budget, bound_of, pair_of
from pnas_tf.search.file_limits import FileLimits, UntrainedFiles
from pnas_tf.search.judgement import SEARCHED
from pnas_tf.search.targets import latency_budget, search_targets

if TYPE_CHECKING:
    import os

    from pnas_tf.config import SearchConfig
    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.supernet_weights import Comparison
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.footprint import Footprint

_DERIVATION = {"format": "pnas_tf/derivation", "version": 1}
_OWN_LATENCY = ("latency_ms", None, None)  # `Budget.thing`


@dataclass(frozen=True)
class Derivation:
    """What one derivation gave.

    Attributes:
        architecture: the network taken.
        compared: a row for each network compared, the one that was preferred first: "ops" (keys),
            "log_probability" (None where it is -inf), "effects_loss" (by the effect model, None
            without), "predicted" in "unit", "alpha_loss" and "trained_loss" (cross-entropies on
            the validation split) and "int8_accuracy" there, None where not computed.
        budgets: a row for each that it keeps (`FileLimits.rows`).
        origin: what it is: SEARCHED; DRAW_WITHIN_BUDGET, or DRAW of --derive=most_probable, where
            the supernet never was better than chance (`search.judgement`).
    """

    architecture: Architecture
    compared: tuple[Row, ...]
    budgets: tuple[Row, ...] = ()
    origin: str = SEARCHED

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Writes architecture.json and derivation.json into `folder`; returns their paths."""
        return [
            self.architecture.save(Path(folder) / Artifact.ARCHITECTURE),
            atomic.write_json(
                Path(folder) / Artifact.DERIVATION,
                {
                    **_DERIVATION,
                    "origin": self.origin,
                    "budgets": list(self.budgets),
                    "networks": list(self.compared),
                },
            ),
        ]


@dataclass(frozen=True)
class SweepPoint:
    """The architecture of one budget.

    Attributes:
        budget_ms: the budget.
        architecture: what was derived.
        predicted_ms: its predicted latency.
        validation_accuracy: top-1 on the search's validation split with the supernet's weights, a
            fraction.
    """

    budget_ms: float
    architecture: Architecture
    predicted_ms: float
    validation_accuracy: float


def limits_of(
    space: SearchSpace,
    table: LatencyTable,
    targets: Sequence[Target],
    asked: Sequence[Budget],
    *,
    footprint: Footprint | None,
    files: UntrainedFiles | None,
) -> FileLimits:
    """All budgets of a derivation; refuses what no network keeps.

    Args:
        space: that was searched.
        table: of the search's own device.
        targets: of the search, which are budgets too, unless `asked` has one of the same thing.
            That of the first one stands first.
        asked: what the user asks for.
        footprint, files: None where no budget is of a file.

    Raises:
        UserError: no network of the space keeps them all; says which exclude one another.
    """
    for budget in asked:
        if budget.thing == _OWN_LATENCY:  # told by what the fastest network takes
            latency_budget(space, table, budget.most, flag="--max_latency_ms")
    rest = [(budget, bound_of(budget, space, table, footprint)) for budget in asked]
    pairs, replaced = [], []
    for target in targets:
        is_same = [target.quantity.is_of_same(bound.quantity) for _, bound in rest]
        same = list(itertools.compress(rest, is_same))
        rest = [pair for pair, found in zip(rest, is_same) if not found]
        replaced.append(bool(same))
        pairs.append(min(same, key=lambda pair: pair[0].most, default=pair_of(target)))
    pairs += rest
    limits = FileLimits(pairs, footprint, files, first_is_asked=replaced[0])
    limits.check_possible(space)
    return limits


def check_together(
    space: SearchSpace, table: LatencyTable, config: SearchConfig, budgets: Sequence[Budget]
) -> None:
    """Raises UserError on targets and budgets that no network keeps together; those of files are
    not looked at."""
    targets = search_targets(space, table, config)
    asked = [budget for budget in budgets if budget.kind not in OF_FILES]
    limits_of(space, table, targets, asked, footprint=None, files=None)


def comparison_line(found: Comparison, number: int, quantities: str, *, words: str) -> str:
    """A line for the user on how the derived network was chosen. words: what the networks are."""
    line = (
        f"{len(found.losses)} {words} networks of {quantities} compared with the searched "
        "weights: cross-entropy on the search's validation split "
        f"{min(found.losses):.4f} to {max(found.losses):.4f}"
    )
    trained = [loss for loss in found.trained_losses if loss is not None]
    if trained:
        line += f"; {len(trained)} of them trained on: {min(trained):.4f} to {max(trained):.4f}"
    int8 = [accuracy for accuracy in found.int8_accuracies if accuracy is not None]
    if int8:
        line += f", int8 accuracy {100 * min(int8):.2f} to {100 * max(int8):.2f} %"
    return f"{line}; number {number} is taken"
