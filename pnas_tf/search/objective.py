"""What an architecture step minimises: cross-entropy, with a term for latency, MACs or parameters
(section 3.2, eq. 5 and 6).

Closed forms in float64, value and derivative side by side. Knows latency as numbers for each
candidate, and nothing of networks, sampling or how the numbers were measured. docs/search.md,
"Differences from the original", gives the reasons for the form of the logarithm below 2.7 ms and
for the treatment of several devices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.space import complexity
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Zero

REGULARISERS = ("multiplicative_log", "additive_linear", "hinge", "absolute", "none")
COMBINATIONS = ("sum", "worst")


class Calibration(Protocol):
    """The affine map from a sum of isolated blocks to a whole network: slope * sum +
    intercept_ms."""

    @property
    def slope(self) -> float: ...
    @property
    def intercept_ms(self) -> float: ...


class BlockLatencies(Protocol):
    """The part of a latency table that an objective needs."""

    @property
    def calibration(self) -> Calibration | None: ...
    def share_ms(self, key: str) -> float: ...


@dataclass(frozen=True)
class Quantity:
    """Something of a network that is a sum over its blocks: slope * (fixed + sum_b choices[b][op of
    b]) + intercept.

    fixed: stem, first block and head together. choices: for each choice block one number a
    candidate, [candidates]. slope and intercept: a latency table's calibration; 1 and 0 without
    one. unit: "ms", "MACs" or "parameters".
    """

    name: str
    unit: str
    fixed: float
    choices: tuple[np.ndarray, ...]
    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        numbers = np.concatenate([[self.fixed, self.slope, self.intercept], *self.choices])
        if not np.isfinite(numbers).all() or self.slope <= 0:
            raise UserError(
                f"{self.name} cannot be an objective",
                expected="finite numbers and a positive slope",
                received=f"slope {self.slope}, {np.count_nonzero(~np.isfinite(numbers))} numbers "
                "not finite",
                fix="Build the latency table again, with its calibration.",
            )

    def of(self, path: Sequence[int]) -> float:
        """The quantity of the network that holds candidate path[b] in choice block b."""
        return self._affine(
            math.fsum(
                float(choice[index]) for choice, index in zip(self.choices, path, strict=True)
            )
        )

    def expected(self, probabilities: Sequence[np.ndarray]) -> float:
        """E = slope * (fixed + sum_b <p_b, choices_b>) + intercept   (eq. 5). probabilities: for
        each block [candidates]."""
        return self._affine(
            math.fsum(
                float(np.dot(p, choice))
                for p, choice in zip(probabilities, self.choices, strict=True)
            )
        )

    def by_probability(self) -> list[np.ndarray]:
        """dE / dp, for each choice block [candidates]; E is linear in p."""
        return [self.slope * choice for choice in self.choices]

    def by_alpha(self, probabilities: Sequence[np.ndarray]) -> list[np.ndarray]:
        """dE / d alpha_i = slope * p_i (F_i - sum_j p_j F_j) with p = softmax(alpha), for each
        choice block [candidates]."""
        return [
            self.slope * p * (choice - np.dot(p, choice))
            for p, choice in zip(probabilities, self.choices, strict=True)
        ]

    def _affine(self, choices_sum: float) -> float:
        return self.slope * (self.fixed + choices_sum) + self.intercept


def latency_quantity(
    space: SearchSpace, table: BlockLatencies, *, name: str = "latency"
) -> Quantity:
    """Latency in ms of the networks of `space` by a table, calibrated where the table is. Zero
    takes no time.

    Raises the table's UserError when it lacks a block.
    """
    calibration = table.calibration
    slope, intercept = (
        (1.0, 0.0) if calibration is None else (calibration.slope, calibration.intercept_ms)
    )
    return _quantity(
        space, name, "ms", lambda block: table.share_ms(block.key), slope=slope, intercept=intercept
    )


def macs_quantity(space: SearchSpace) -> Quantity:
    """Multiply-accumulates of the networks of `space` for one image."""
    return _quantity(space, "macs", "MACs", lambda block: complexity.macs([block]))


def parameters_quantity(space: SearchSpace) -> Quantity:
    """Trainable parameters of the networks of `space`."""
    return _quantity(
        space, "parameters", "parameters", lambda block: complexity.parameters([block])
    )


def _quantity(
    space: SearchSpace,
    name: str,
    unit: str,
    of_block: Callable[[Block], float],
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> Quantity:
    choices = tuple(
        np.array(
            [
                0.0 if isinstance(op, Zero) else of_block(space.candidate_block(choice, op))
                for op in choice.candidates
            ],
            np.float64,
        )
        for choice in space.choice_blocks
    )
    return Quantity(
        name,
        unit,
        math.fsum(of_block(block) for block in space.fixed_blocks()),
        choices,
        slope,
        intercept,
    )


@dataclass(frozen=True)
class Target:
    """A quantity and the value it shall have, in the quantity's unit. One for each device."""

    quantity: Quantity
    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise UserError(
                f"target of {self.quantity.name}",
                expected=f"a positive number of {self.quantity.unit}",
                received=repr(self.value),
                fix="Give a target above 0.",
            )


@dataclass(frozen=True)
class RegularisedObjective:
    """Cross-entropy CE with one regulariser over the targets; with none, or without targets, CE
    itself.

    multiplicative_log: weight * CE * (log E / log T) ** exponent   (published: weight 0.2, exponent
    0.3) additive_linear:    CE + slope * (E - T) / T                    (published: slope 0.1);
    rewards being below the target hinge:              CE + slope * max(0, (E - T) / T);
    nothing below the target absolute:           CE + slope * |E - T| / T                    (Bender
    et al. 2020); what is below the target is pulled up to it log is `tempered_log`: the natural
    logarithm of ms (or MACs, parameters) from e upwards, as published. Several targets: "sum"
    multiplies the factors of multiplicative_log (adds their logarithms) and adds the terms of the
    others, so every device keeps its full pull; "worst" takes the largest factor or term.
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
