"""What a search is guided by besides the loss: targets for latency, MACs or parameters, on one
device or several.

Brings the options of a search and the tables of its devices together. Knows nothing of weights,
data or steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.config import SearchConfig
from pnas_tf.search.objective import RegularisedObjective, Target
from pnas_tf.supernet.supernet import Path


@dataclass(frozen=True)
class Guidance:
    """The targets of a search, in the three forms that its loop needs.

    measured: where given, the latency in ms of one path on the first target's device, instead of
    its table's sum.
    """

    targets: tuple[Target, ...]
    objective: RegularisedObjective
    measured: Callable[[Path], float] | None = None

    def expected(self, probabilities: Sequence[np.ndarray]) -> float:
        """The expected value of the first target's quantity, in its unit."""
        return self.targets[0].quantity.expected(probabilities)

    def latency_ratios(self, path: Path) -> tuple[float, ...]:
        """latency / target of one path, for each target in order."""
        values = [target.quantity.of(path) for target in self.targets]
        if self.measured is not None:
            values[0] = self.measured(path)
        return tuple(
            value / target.value for value, target in zip(values, self.targets, strict=True)
        )


def guidance(
    targets: Sequence[Target],
    config: SearchConfig,
    *,
    measured: Callable[[Path], float] | None = None,
) -> Guidance:
    """The guidance that the options in `config` describe."""
    objective = RegularisedObjective(
        targets=tuple(targets),
        regulariser=config.regulariser,
        weight=config.regulariser_alpha,
        exponent=config.regulariser_beta,
        slope=config.regulariser_lambda,
        combination=config.combination,
    )
    return Guidance(tuple(targets), objective, measured)
