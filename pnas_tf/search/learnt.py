"""What a search learnt of its choices, and the networks that this speaks for: path probabilities,
or the effect model of a supernet without alpha. Knows neither data nor weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.config import DeriveConfig
from pnas_tf.errors import UserError
from pnas_tf.run.loop import Row
from pnas_tf.search.choice_program import largest
from pnas_tf.search.derive import (
    Preference,
    best_few,
    log_probability,
    path_of,
    preference_of,
)
from pnas_tf.search.effects import Effects
from pnas_tf.search.file_limits import FileLimits
from pnas_tf.search.quantities import Quantity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace


@dataclass(frozen=True)
class Learnt:
    """Exactly one of the two.

    Attributes:
        space: that was searched.
        probabilities: for each choice block [candidates].
        effects: of the supernet.
    """

    space: SearchSpace
    probabilities: Sequence[np.ndarray] | None = None
    effects: Effects | None = None

    @property
    def preference(self) -> Preference:
        """For a derivation."""
        if self.effects is not None:
            return self.effects.preference
        assert self.probabilities is not None
        return preference_of(self.space, self.probabilities)

    @property
    def words(self) -> str:
        """What its first networks are."""
        return "most probable" if self.effects is None else "by the effect model best"

    def row(
        self,
        network: Architecture,
        quantity: Quantity,
        loss: float | None = None,
        trained_loss: float | None = None,
        int8_accuracy: float | None = None,
    ) -> Row:
        """A network that was compared, as of `Derivation.compared`."""
        effects, probabilities = self.effects, self.probabilities
        score = -math.inf if probabilities is None else log_probability(network, probabilities)
        finite = trained_loss is not None and math.isfinite(trained_loss)
        return {
            "ops": [op.key for op in network.ops],
            "log_probability": score if math.isfinite(score) else None,
            "effects_loss": None if effects is None else effects.of(path_of(network)),
            "predicted": quantity.of(path_of(network)),
            "unit": quantity.unit,
            "alpha_loss": loss,
            "trained_loss": trained_loss if finite else None,
            "int8_accuracy": int8_accuracy,
        }

    def candidates(
        self, limits: FileLimits, config: DeriveConfig, progress: Callable[[str], None] | None
    ) -> tuple[list[Architecture], float]:
        """(the networks to compare, the best first; the least of the first quantity that was
        asked). Raises UserError where no network keeps the budgets."""
        first, *others = (bound for _, bound in limits.pairs)
        quantity, fraction = first.quantity, config.min_latency_fraction
        most = min(first.most, quantity.range[1])
        if others:
            left = max(largest(quantity, (first, *others)), 0.0)
            if left < most * (1 + fraction) / 2:  # of the range that is to be used a half at least
                if progress:
                    progress(
                        f"beside the other budgets {left:.4g} {quantity.unit} is the most there "
                        f"is, of {first.most:.4g}"
                    )
                most = left
        least = most * fraction

        def few(at_least: float) -> list[Architecture]:
            bounds = [dataclasses.replace(first, least=at_least), *others]
            count = config.derive_networks
            return best_few(self.space, self.preference, bounds=bounds, count=count, limits=limits)

        try:
            return few(least), least
        # A small space has gaps: a network below this one is better than none after the whole
        # search.
        except UserError:
            networks = few(-math.inf)
        if progress:
            progress(
                f"no network of the space lies between {least:.4g} and {most:.4g} {quantity.unit} "
                f"(--min_latency_fraction={fraction:g}); those below that are {self.words} are "
                "compared"
            )
        return networks, least
