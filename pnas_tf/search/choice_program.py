"""The mixed-integer program behind a derivation: one candidate a block, within bounds, least costs
first.

Costs are sums over blocks, and over pairs of neighbouring blocks; a bound is of a sum, of the
largest of its blocks, or of what several blocks share and pay once. Solved exactly by HiGHS; what
is found is forbidden and the next best one solved for. The first ones need no solver
(`path_list`). Knows no probabilities and no supernet.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import scipy.optimize
import scipy.sparse

from pnas_tf.search.path_list import LENGTHS, first_paths
from pnas_tf.search.quantities import Bound, Quantity
from pnas_tf.space.architecture import ChoiceIndices

# HiGHS takes an objective 1e-6 from the best for the best. The largest regret of one block is made
# this, so that networks of nearly equal probability, early in a search, are still told apart.
OBJECTIVE_RANGE = 1e3
_MAX_MISSES = 200  # in a row, in solves
_LISTED = 0.02  # of a solve: a miss among listed networks
_SOLVES = 4  # between two lists
_SMALLEST_LOOKS = 50
_GAP = 0.02  # of `largest`
_INFEASIBLE = 2  # scipy's status
_TOLERANCE = 1e-9  # of a bound, of its own size: the solver's own is wider


def solutions(
    costs: Sequence[np.ndarray],
    bounds: Sequence[Bound],
    *,
    pairs: Sequence[np.ndarray] = (),
    also: Quantity | None = None,
) -> Iterator[ChoiceIndices]:
    """Every network within the bounds, the one of the least costs first, until many in a row
    lie just beyond one.

    Args:
        costs: for each block [candidates], from 0 to `OBJECTIVE_RANGE`.
        bounds: that all hold.
        pairs: costs of two neighbours together, for each block but the last [candidates, candidates
            of the next]; none where blocks alone cost.
        also: its largest block and what is shared are costs too, as its own sum is; then `costs`
            are of it, in units of its `scale`.
    """
    program = _Program([len(block) for block in costs], bounds, also, pairs=bool(pairs))
    lengths = list(LENGTHS) if also is None else []
    objective, misses = program.objective(costs, pairs), 0.0
    seen: set[ChoiceIndices] = set()
    for number in itertools.count():
        listed = bool(lengths) and number % _SOLVES == 0
        if listed:
            paths, are_all = first_paths(costs, bounds, pairs, length=lengths.pop(0))
        else:
            path = program.solved(objective)
            paths, are_all = iter(() if path is None else (path,)), path is None
        for path in paths:
            if listed and path in seen:
                continue
            seen.add(path)
            # Within the solver's tolerance, or what is known in part, it may yet be outside.
            holds = all(bound.holds(path) for bound in bounds)
            if holds or not listed:
                program.forbid(path)
            misses = 0.0 if holds else misses + (_LISTED if listed else 1.0)
            if holds:
                yield path
            elif misses > _MAX_MISSES:
                return
        if are_all:
            return


def smallest(quantity: Quantity, bounds: Sequence[Bound]) -> float:
    """The least of a quantity that a network within the bounds takes; infinity where there is
    none."""
    scale = quantity.scale
    costs = [choice / scale for choice in quantity.choices]
    best = math.inf
    for path in itertools.islice(solutions(costs, bounds, also=quantity), _SMALLEST_LOOKS):
        best = min(best, quantity.of(path))
        if quantity.known(path) >= best * (1 - _TOLERANCE):
            break
    return best


def largest(quantity: Quantity, bounds: Sequence[Bound]) -> float:
    """About the most of a sum that a network within the bounds takes, -infinity where there is
    none: its distance from the space's largest is exact to `_GAP`. To find the very sum nearest
    below a bound of its own kind takes minutes."""
    costs = [(np.max(choice) - choice) / quantity.scale for choice in quantity.choices]
    program = _Program([len(block) for block in costs], bounds, None, pairs=False)
    path = program.solved(program.objective(costs, ()), gap=_GAP)
    return -math.inf if path is None else quantity.of(path)


def is_possible(sizes: Sequence[int], bounds: Sequence[Bound]) -> bool:
    """Whether some network keeps all bounds. sizes: candidates of each block."""
    return next(solutions([np.zeros(size) for size in sizes], bounds), None) is not None


class _Program:
    """Columns: a binary one for each candidate; then for each quantity with peaks its largest
    block, and for each thing that blocks share whether it is there; then, with `pairs`, for each
    two candidates of neighbouring blocks whether both are taken."""

    def __init__(
        self,
        sizes: Sequence[int],
        bounds: Sequence[Bound],
        also: Quantity | None,
        *,
        pairs: bool,
    ):
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        self._also = also
        quantities = list({id(b.quantity): b.quantity for b in bounds}.values())
        if also is not None and all(also is not quantity for quantity in quantities):
            quantities.append(also)
        self._extra: dict[int, tuple[int, int]] = {}  # id of a quantity -> its columns
        columns = int(self._starts[-1])
        for quantity in quantities:
            count = bool(quantity.peaks) + len(quantity.shared)
            self._extra[id(quantity)] = (columns, columns + count)
            columns += count
        self._pairs_from = columns
        if pairs:
            columns += sum(first * second for first, second in pairwise(sizes))
        self._columns = columns
        self._low, self._high = np.zeros(columns), np.ones(columns)
        for bound in bounds:
            self._high[: self._starts[-1]][np.concatenate(bound.impossible())] = 0.0
        self._constraints = [self._one_each(sizes)]
        for quantity in quantities:
            self._constraints += self._define(quantity)
        if pairs:
            self._constraints.append(self._linked(sizes))
        self._constraints += [self._bound(bound) for bound in bounds]

    def objective(self, costs: Sequence[np.ndarray], pairs: Sequence[np.ndarray]) -> np.ndarray:
        """[columns]."""
        row = np.zeros(self._columns)
        row[: self._starts[-1]] = np.concatenate(costs)
        row[self._pairs_from :] = np.concatenate([np.zeros(0), *map(np.ravel, pairs)])
        if self._also is not None:
            start, stop = self._extra[id(self._also)]
            row[start:stop] = self._weights(self._also)
        return row

    def forbid(self, path: ChoiceIndices) -> None:
        """Exactly this network from now on."""
        row = np.zeros((1, self._columns))
        row[0, self._starts[:-1] + np.array(path)] = 1.0
        self._constraints.append(scipy.optimize.LinearConstraint(row, -np.inf, len(path) - 1))

    def solved(self, objective: np.ndarray, *, gap: float = 0.0) -> ChoiceIndices | None:
        """The choice of least costs, to a relative gap, None where the constraints leave none."""
        binary = np.arange(self._columns) < self._starts[-1]
        found = scipy.optimize.milp(
            objective,
            integrality=binary.astype(int),
            bounds=scipy.optimize.Bounds(self._low, self._high),
            constraints=self._constraints,
            options={"mip_rel_gap": gap},
        )
        if found.x is not None:
            return tuple(
                int(np.argmax(found.x[start:stop])) for start, stop in pairwise(self._starts)
            )
        if found.status != _INFEASIBLE:
            raise RuntimeError(f"HiGHS: {found.message}")
        return None

    def _one_each(self, sizes: Sequence[int]) -> scipy.optimize.LinearConstraint:
        """One candidate for each block."""
        rows = scipy.sparse.block_diag([np.ones((1, size)) for size in sizes], format="csr")
        rows.resize(len(sizes), self._columns)
        return scipy.optimize.LinearConstraint(rows, 1, 1)

    def _linked(self, sizes: Sequence[int]) -> scipy.optimize.LinearConstraint:
        """The product of two neighbours' columns: those of a candidate with all of the next block
        add up to its own, and likewise the other way. With binary candidates that leaves 1 for the
        two that are taken, 0 for all others, and no column but theirs need be binary."""
        blocks, left = [], []
        for place, (rows, columns) in enumerate(pairwise(sizes)):
            ones = scipy.sparse.identity(rows), scipy.sparse.identity(columns)
            sums = scipy.sparse.vstack(
                [
                    scipy.sparse.kron(ones[0], np.ones((1, columns))),
                    scipy.sparse.kron(np.ones((1, rows)), ones[1]),
                ]
            )
            own = scipy.sparse.lil_matrix((rows + columns, self._pairs_from))
            first, second = self._starts[place], self._starts[place + 1]
            own[:rows, first : first + rows] = -ones[0]
            own[rows:, second : second + columns] = -ones[1]
            blocks.append(sums)
            left.append(own)
        matrix = scipy.sparse.hstack([scipy.sparse.vstack(left), scipy.sparse.block_diag(blocks)])
        return scipy.optimize.LinearConstraint(matrix.tocsr(), 0, 0)

    def _weights(self, quantity: Quantity) -> np.ndarray:
        """Of its own columns in its sum, in units of `scale`."""
        peak = [1.0] if quantity.peaks else []
        return np.array([*peak, *(part.cost / quantity.scale for part in quantity.shared)])

    def _define(self, quantity: Quantity) -> list[scipy.optimize.LinearConstraint]:
        """Its own columns: at least every chosen block's peak; 1 where a chosen block shares."""
        start, stop = self._extra[id(quantity)]
        rows: list[tuple[int, dict[int, float]]] = []  # (own column, others -> coefficient)
        if quantity.peaks:
            self._low[start] = quantity.fixed_peak / quantity.scale
            self._high[start] = np.inf
            for first, peaks in zip(self._starts, quantity.peaks):
                rows.append(
                    (start, {first + i: p / quantity.scale for i, p in enumerate(peaks) if p})
                )
        shared_from = start + bool(quantity.peaks)
        for column, part in zip(range(shared_from, stop), quantity.shared):
            by_block: dict[int, dict[int, float]] = {}
            for block, candidate in part.users:
                by_block.setdefault(block, {})[self._starts[block] + candidate] = 1.0
            rows += [(column, users) for users in by_block.values()]
        if not rows:
            return []
        matrix = scipy.sparse.lil_matrix((len(rows), self._columns))
        for number, (own, others) in enumerate(rows):
            matrix[number, own] = 1.0
            for column, coefficient in others.items():
                matrix[number, column] = -coefficient
        return [scipy.optimize.LinearConstraint(matrix.tocsr(), 0, np.inf)]

    def _bound(self, bound: Bound) -> scipy.optimize.LinearConstraint:
        """In units of the mean candidate, so that the solver's absolute tolerance means the same
        for ms and for MACs."""
        quantity = bound.quantity
        assert bound.least == -math.inf or not (quantity.peaks or quantity.shared)
        row = np.zeros((1, self._columns))
        row[0, : self._starts[-1]] = np.concatenate(quantity.choices) / quantity.scale
        start, stop = self._extra[id(quantity)]
        row[0, start:stop] = self._weights(quantity)
        low, high = (
            ((value - quantity.intercept) / quantity.slope - quantity.fixed) / quantity.scale
            for value in (bound.least, bound.most)
        )
        return scipy.optimize.LinearConstraint(row, low, high)


def without_range(bound: Bound) -> Bound:
    """The same budget, of which nothing need be used."""
    return replace(bound, least=-math.inf)
