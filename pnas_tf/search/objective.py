"""What an architecture step minimises: cross-entropy, with a term for latency, MACs or parameters
(section 3.2, eq. 6).

Closed forms in float64, value and derivative side by side. Knows nothing of networks or sampling.
docs/algorithms.md, "Differences from the original", gives the reasons for the form of the logarithm
below 2.7 ms and for the treatment of several devices.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.config import SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import ChoiceIndices

REGULARISERS = ("multiplicative_log", "additive_linear", "hinge", "absolute", "none")
COMBINATIONS = ("sum", "worst")


@dataclass(frozen=True)
class RegularisedObjective:
    """Cross-entropy CE with one regulariser over the targets; with none, or without targets, CE
    itself.

    With E the expected quantity (eq. 5) and T its target:

        multiplicative_log   weight * CE * (log E / log T) ** exponent   (eq. 6; 0.2 and 0.3)
        additive_linear      CE + slope * (E - T) / T         (published: 0.1); rewards E < T
        hinge                CE + slope * max(0, (E - T) / T)               nothing below T
        absolute             CE + slope * |E - T| / T         (Bender et al. 2020); pulls E < T up

    log is `tempered_log`: the natural logarithm of ms (or MACs, parameters) from e upwards, as
    published. Several targets: "sum" multiplies the factors of multiplicative_log (adds their
    logarithms) and adds the terms of the others, so every device keeps its full pull; "worst" takes
    the largest factor or term.
    """

    targets: tuple[Target, ...]
    regulariser: str
    weight: float
    exponent: float
    slope: float
    combination: str

    def __post_init__(self) -> None:
        for what, allowed, value in (
            ("regulariser", REGULARISERS, self.regulariser),
            ("combination", COMBINATIONS, self.combination),
        ):
            if value not in allowed:
                raise UserError(
                    f"unknown {what}",
                    expected=f"one of {allowed}",
                    received=repr(value),
                    fix="Choose one of these.",
                )

    def expected(self, probabilities: Sequence[np.ndarray]) -> tuple[float, ...]:
        """The expectation of every target's quantity, in order. probabilities: for each choice
        block [candidates]."""
        return tuple(target.quantity.expected(probabilities) for target in self.targets)

    def value(self, cross_entropy: float, expected: Sequence[float]) -> float:
        """The objective from its parts. expected: one number for each target, in its unit."""
        return self._derive(cross_entropy, expected)[0]

    def partials(
        self, cross_entropy: float, probabilities: Sequence[np.ndarray]
    ) -> tuple[float, float, list[np.ndarray]]:
        """(value, d value / d cross-entropy, for each choice block d value / d p [candidates])."""
        value, by_cross_entropy, by_expected = self._derive(
            cross_entropy, self.expected(probabilities)
        )
        by_probability = [np.zeros(len(p)) for p in probabilities]
        for target, slope in zip(self.targets, by_expected, strict=True):
            for total, gradient in zip(
                by_probability, target.quantity.by_probability(), strict=True
            ):
                total += slope * gradient
        return value, by_cross_entropy, by_probability

    def _derive(
        self, cross_entropy: float, expected: Sequence[float]
    ) -> tuple[float, float, list[float]]:
        """(value, d value / d CE, d value / dE for each target)."""
        if self.regulariser == "none" or not self.targets:
            return cross_entropy, 1.0, [0.0] * len(self.targets)
        pairs = list(zip(expected, self.targets, strict=True))
        if self.regulariser == "multiplicative_log":
            factors, log_slopes = zip(
                *(_log_factor(e, target, self.exponent) for e, target in pairs)
            )
            active = _active(factors, self.combination)
            factor = self.weight * math.prod(factors[index] for index in active)
            slopes = [
                cross_entropy * factor * log_slopes[index] if index in active else 0.0
                for index in range(len(pairs))
            ]
            return cross_entropy * factor, factor, slopes
        terms = [(e - target.value) / target.value for e, target in pairs]
        signs = [1.0] * len(terms)
        if self.regulariser in ("hinge", "absolute"):
            signs = [
                float(np.sign(term)) if self.regulariser == "absolute" else float(term > 0.0)
                for term in terms
            ]
            terms = [sign * term for sign, term in zip(signs, terms)]
        active = _active(terms, self.combination)
        slopes = [
            signs[index] * self.slope / target.value if index in active else 0.0
            for index, (_, target) in enumerate(pairs)
        ]
        return cross_entropy + self.slope * math.fsum(terms[index] for index in active), 1.0, slopes


@dataclass(frozen=True)
class SearchTargets:
    """The targets of a search, in the three forms that its loop needs.

    Attributes:
        targets: the one that the search is named for first.
        config: how they enter the objective.
        measured: where given, the latency in ms of one path on the first target's device, instead
            of its table's sum.
    """

    targets: tuple[Target, ...]
    config: SearchConfig
    measured: Callable[[ChoiceIndices], float] | None = None

    @functools.cached_property
    def objective(self) -> RegularisedObjective:
        """What architecture steps by gradient minimise."""
        return RegularisedObjective(
            targets=self.targets,
            regulariser=self.config.regulariser,
            weight=self.config.regulariser_alpha,
            exponent=self.config.regulariser_beta,
            slope=self.config.regulariser_lambda,
            combination=self.config.combination,
        )

    def expected(self, probabilities: Sequence[np.ndarray]) -> float:
        """The expected value of the first target's quantity, in its unit."""
        return self.targets[0].quantity.expected(probabilities)

    def latency_ratios(self, path: ChoiceIndices) -> tuple[float, ...]:
        """latency / target of one path, for each target in order."""
        values = [target.quantity.of(path) for target in self.targets]
        if self.measured is not None:
            values[0] = self.measured(path)
        return tuple(
            value / target.value for value, target in zip(values, self.targets, strict=True)
        )


def tempered_log(x: float) -> float:
    """ln x for x >= e and its tangent x / e below: positive, increasing and smooth for every x > 0.

    The published term divides natural logarithms of ms, which is sound for the tens of ms of its
    phones; at 1 ms the logarithm is 0, and below it negative, so a small network on a fast machine
    would have no term at all.
    """
    return math.log(x) if x >= math.e else x / math.e


def _log_factor(expected: float, target: Target, exponent: float) -> tuple[float, float]:
    """((log E / log T) ** exponent, its derivative by E divided by itself)."""
    if expected <= 0:
        raise UserError(
            f"expected {target.quantity.name} is not positive",
            expected=f"more than 0 {target.quantity.unit}",
            received=repr(expected),
            fix="The table's calibration does not suit this space: build the table again.",
        )
    ratio = tempered_log(expected) / tempered_log(target.value)
    # d ln(l(E)^b) / dE = b l'(E) / l(E), with l' = 1 / max(E, e)
    return ratio**exponent, exponent / (max(expected, math.e) * tempered_log(expected))


def _active(terms: Sequence[float], combination: str) -> list[int]:
    """The targets that count: all, or the first of the worst."""
    return list(range(len(terms))) if combination == "sum" else [int(np.argmax(terms))]
