"""Latency, MACs, parameters, file size or peak RAM of a space's networks, as sums over their blocks
(eq. 5).

Knows latency as numbers for each candidate, and nothing of how they were measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Protocol

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.space import complexity
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Zero

_ROUNDING = 1e-9  # of sums in another order


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
class Shared:
    """What is paid once, however many blocks have it. users: (choice block, candidate) of each that
    does."""

    cost: float
    users: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Quantity:
    """Something of a network that is a sum over its blocks: slope * (fixed + sum_b choices[b][op of
    b]) + intercept.

    File size has things besides that several blocks share, and peak RAM the largest of the blocks:
    slope * (fixed + sum + largest + shared) + intercept. Neither can be an objective.

    Attributes:
        name: for the user.
        unit: "ms", "MACs", "parameters" or "kB".
        fixed: stem, first block and head together.
        choices: for each choice block one number a candidate, [candidates].
        slope, intercept: a latency table's calibration; 1 and 0 without one.
        peaks: for each choice block [candidates], of which the largest counts; none of a sum.
        fixed_peak: of stem, first block and head.
        shared: what is paid once.
        exact: of a path, where the whole is more than is known of its parts; the larger one counts.
    """

    name: str
    unit: str
    fixed: float
    choices: tuple[np.ndarray, ...]
    slope: float = 1.0
    intercept: float = 0.0
    peaks: tuple[np.ndarray, ...] = ()
    fixed_peak: float = 0.0
    shared: tuple[Shared, ...] = ()
    exact: Callable[[ChoiceIndices], float] | None = None

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

    def of(self, path: ChoiceIndices) -> float:
        """The quantity of the network that holds candidate path[b] in choice block b."""
        known = self.known(path)
        return known if self.exact is None else max(known, self.exact(path))

    def known(self, path: ChoiceIndices) -> float:
        """The same, by what is known of its blocks alone."""
        chosen = [float(choice[index]) for choice, index in zip(self.choices, path, strict=True)]
        places = set(enumerate(path)) if self.shared else set()
        chosen += [part.cost for part in self.shared if not places.isdisjoint(part.users)]
        if self.peaks:
            own = (float(peak[index]) for peak, index in zip(self.peaks, path, strict=True))
            chosen.append(max(self.fixed_peak, *own))
        return self._affine(math.fsum(chosen))

    def is_of_same(self, other: Quantity) -> bool:
        """Whether every network has as much of the other sum, whatever that is called."""
        numbers = ("unit", "fixed", "slope", "intercept")
        return all(getattr(self, each) == getattr(other, each) for each in numbers) and all(
            map(np.array_equal, self.choices, other.choices)
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

    @property
    def fastest(self) -> ChoiceIndices:
        """The least candidate of each choice block; the first of equals."""
        return tuple(int(np.argmin(choice)) for choice in self.choices)

    @property
    def slowest(self) -> ChoiceIndices:
        """The most candidate of each choice block; the first of equals."""
        return tuple(int(np.argmax(choice)) for choice in self.choices)

    @property
    def scale(self) -> float:
        """The mean candidate, by which a solver's numbers are divided."""
        of_candidates = self.peaks or self.choices
        return float(np.mean(np.abs(np.concatenate(of_candidates)))) or 1.0

    @property
    def range(self) -> tuple[float, float]:
        """(least, most) that any network takes, in the quantity's unit; of a sum."""
        return self.of(self.fastest), self.of(self.slowest)

    def _affine(self, choices_sum: float) -> float:
        return self.slope * (self.fixed + choices_sum) + self.intercept


@dataclass(frozen=True)
class Bound:
    """least <= quantity <= most, in its unit: a hard budget."""

    quantity: Quantity
    most: float
    least: float = -math.inf

    def holds(self, path: ChoiceIndices) -> bool:
        """Whether the network of a path keeps it."""
        return self.least <= self.quantity.of(path) <= self.most

    def weighted(self, multiplier: float) -> tuple[list[np.ndarray], float]:
        """(for each block [candidates], a constant): what a multiplier adds to the costs, at most 0
        for a path within. Positive ones hold down what is most, negative ones hold up the least,
        which sums alone have. A block bears its part of what blocks share."""
        quantity = self.quantity
        limit = self.most if multiplier >= 0 else self.least
        room = ((limit - quantity.intercept) / quantity.slope - quantity.fixed) / quantity.scale
        room -= (quantity.fixed_peak if quantity.peaks else 0.0) / quantity.scale
        choices = [choice / quantity.scale for choice in quantity.choices]
        for part in quantity.shared:
            blocks = len({block for block, _ in part.users})
            for block, candidate in part.users:
                choices[block][candidate] += part.cost / quantity.scale / blocks
        return [multiplier * choice for choice in choices], -multiplier * room

    def seems_held(self, paths: np.ndarray) -> np.ndarray:
        """[paths]: False where `holds` is, for paths [paths, blocks] at once; where True it
        decides."""
        quantity = self.quantity
        total = sum(each[paths[:, place]] for place, each in enumerate(quantity.choices))
        for part in quantity.shared:
            users = [paths[:, block] == candidate for block, candidate in part.users]
            total = total + part.cost * np.any(users, axis=0)
        if quantity.peaks:
            own = [each[paths[:, place]] for place, each in enumerate(quantity.peaks)]
            total = total + np.maximum(quantity.fixed_peak, np.max(own, axis=0))
        value = quantity.slope * (quantity.fixed + total) + quantity.intercept
        room = _ROUNDING * np.abs(value)
        above = value >= self.least - room
        return (value <= self.most + room) & (above if quantity.exact is None else True)

    def impossible(self) -> list[np.ndarray]:
        """For each block [candidates]: whether every network with that one is beyond what is
        most."""
        quantity = self.quantity
        peaks = quantity.peaks or tuple(np.zeros(len(choice)) for choice in quantity.choices)
        least = math.fsum(float(np.min(choice)) for choice in quantity.choices)
        limit = (self.most - quantity.intercept) / quantity.slope
        limit += _ROUNDING * abs(limit)
        return [
            quantity.fixed
            + (least - np.min(choice) + choice)
            + np.maximum(quantity.fixed_peak if quantity.peaks else 0.0, peak)
            > limit
            for choice, peak in zip(quantity.choices, peaks, strict=True)
        ]


def no_less(value: float) -> str:
    """Four digits that may be given for a bound that `value` itself just keeps."""
    return f"{float(Context(4, ROUND_CEILING).create_decimal_from_float(value)):.4g}"


def no_more(value: float) -> str:
    """As `no_less`, for a bound from above."""
    return f"{float(Context(4, ROUND_FLOOR).create_decimal_from_float(value)):.4g}"


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
