"""One derivation: what it chose and from what, and the budgets that it was held to.

Knows nothing of the supernet or of how networks are compared.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import DeriveConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact
from pnas_tf.run.loop import Row
from pnas_tf.search.budgets import Budget, bound_of
from pnas_tf.search.choice_program import Bound, largest
from pnas_tf.search.conflicts import check_possible
from pnas_tf.search.derive import log_probability, most_probable_few, path_of
from pnas_tf.search.file_limits import FileLimits, UntrainedFiles
from pnas_tf.search.judgement import SEARCHED
from pnas_tf.search.targets import latency_budget

if TYPE_CHECKING:
    import os

    import numpy as np

    from pnas_tf.latency.table import LatencyTable
    from pnas_tf.search.quantities import Quantity
    from pnas_tf.search.supernet_weights import Comparison
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.base import SearchSpace
    from pnas_tf.tflite.footprint import Footprint

_DERIVATION = {"format": "pnas_tf/derivation", "version": 1}
_KIND_OF_UNIT = {"ms": "latency_ms", "MACs": "macs", "parameters": "parameters"}


@dataclass(frozen=True)
class Derivation:
    """What one derivation gave.

    Attributes:
        architecture: the network taken.
        compared: a row for each network compared, the most probable one first: "ops" (keys),
            "log_probability" (None where it is -inf), "predicted" in "unit", "alpha_loss" and
            "trained_loss" (cross-entropies on the validation split, None where not computed).
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
    config: DeriveConfig,
    *,
    asked: Sequence[Budget],
    footprint: Footprint | None,
    files: UntrainedFiles | None,
) -> FileLimits:
    """All budgets of a derivation, its own latency's first; refuses what no network keeps.

    Args:
        space: that was searched.
        table: of the search's own device.
        targets: of the search; those of further devices are budgets too.
        config: its budget of latency.
        asked: the others.
        footprint, files: None where no budget is of a file.

    Raises:
        UserError: no network of the space keeps them all; says which exclude one another.
    """
    own = [budget for budget in asked if budget.kind == "latency_ms" and budget.table is None]
    if own:
        config = dataclasses.replace(config, max_latency_ms=min(budget.most for budget in own))
    first = derivation_budget(space, table, targets, config)
    pairs = [pair_of(target) for target in (first, *targets[1:])]
    others = [budget for budget in asked if budget not in own]
    pairs += [(budget, bound_of(budget, space, table, footprint)) for budget in others]
    check_possible(space, [bound for _, bound in pairs])
    return FileLimits(pairs, footprint, files)


def pair_of(target: Target) -> tuple[Budget, Bound]:
    """A target as a budget."""
    kind = _KIND_OF_UNIT[target.quantity.unit]
    return Budget(kind, target.value), Bound(target.quantity, target.value)


def derivation_budget(
    space: SearchSpace, table: LatencyTable, targets: Sequence[Target], config: DeriveConfig
) -> Target:
    """At most what a derived network may take: `config.max_latency_ms`, else the search's first
    target. Raises UserError when even the fastest network of the space takes longer."""
    if config.max_latency_ms is None:
        return targets[0]
    return latency_budget(space, table, config.max_latency_ms, flag="--max_latency_ms")


def candidates_within(
    space: SearchSpace,
    probabilities: Sequence[np.ndarray],
    limits: FileLimits,
    config: DeriveConfig,
    progress: Callable[[str], None] | None,
) -> tuple[list[Architecture], float]:
    """(the most probable networks to compare, the least of the first quantity that was asked).
    probabilities: of each choice block [candidates]. Raises UserError where none keeps the
    limits."""
    first, *others = (bound for _, bound in limits.pairs)
    quantity, most, count = first.quantity, first.most, config.derive_networks
    least = most * config.min_latency_fraction

    def few(at_least: float, count: int) -> list[Architecture]:
        bounds = [dataclasses.replace(first, least=at_least), *others]
        return most_probable_few(
            space, probabilities, bounds=bounds, count=count, accepts=limits.accepts
        )

    try:
        return few(least, count), least
    # A small space has gaps: a network below this one is better than none after the whole
    # search.
    except UserError:
        if not others:
            networks, words = few(-math.inf, 1), "the most probable below is taken"
        else:  # the other budgets may leave no more
            used = largest(quantity, (first, *others))
            networks = few(used * config.min_latency_fraction, count)
            words = f"beside the other budgets {used:.4g} {quantity.unit} is the most there is"
    if progress:
        progress(
            f"no network of the space lies between {least:.4g} and {most:.4g} {quantity.unit} "
            f"(--min_latency_fraction={config.min_latency_fraction:g}); {words}"
        )
    return networks, least


def network_row(
    network: Architecture,
    quantity: Quantity,
    probabilities: Sequence[np.ndarray],
    loss: float | None = None,
    trained_loss: float | None = None,
) -> Row:
    """The row of `Derivation.compared` of one network."""
    score = log_probability(network, probabilities)
    finite = trained_loss is not None and math.isfinite(trained_loss)
    return {
        "ops": [op.key for op in network.ops],
        "log_probability": score if math.isfinite(score) else None,
        "predicted": quantity.of(path_of(network)),
        "unit": quantity.unit,
        "alpha_loss": loss,
        "trained_loss": trained_loss if finite else None,
    }


def comparison_line(found: Comparison, number: int, quantities: str) -> str:
    """A line for the user on how the derived network was chosen."""
    line = (
        f"{len(found.losses)} most probable networks of {quantities} compared with the searched "
        "weights: cross-entropy on the search's validation split "
        f"{min(found.losses):.4f} to {max(found.losses):.4f}"
    )
    trained = [loss for loss in found.trained_losses if loss is not None]
    if trained:
        line += f"; {len(trained)} of them trained on: {min(trained):.4f} to {max(trained):.4f}"
    return f"{line}; number {number} is taken"
