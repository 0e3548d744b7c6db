"""The first networks within bounds without a solver: the best paths of a chain of blocks under
Lagrangian multipliers, of which those are given out that are proven to come first.

A path within the bounds costs at least what it costs with multipliers, and paths beyond the list
cost at least as much as its last one there; so what lies within the bounds and costs no more than
that is complete and in order (Fisher 1981, section 2). It saves `choice_program` a solve a network:
milliseconds in place of half a second each. What bounds share or take the largest of is left to
`Bound.holds`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import scipy.optimize

from pnas_tf.search.quantities import Bound
from pnas_tf.space.architecture import ChoiceIndices

LENGTH = 4096  # of the list
_ROUNDS, _LARGEST = 3, 12.0  # of the search for multipliers; of one, asinh
_MARGIN = 1e-9  # of the last cost, for its rounding


def first_paths(
    costs: Sequence[np.ndarray], bounds: Sequence[Bound], pairs: Sequence[np.ndarray]
) -> list[ChoiceIndices]:
    """Networks within the bounds, the one of the least costs first; none comes before or between
    them. Perhaps none, where bounds are tight. Arguments as of `choice_program.solutions`."""
    pairs = pairs or [np.zeros(shape) for shape in pairwise(map(len, costs))]
    multipliers = _multipliers(costs, bounds, pairs)
    blocks, constant = _with(costs, bounds, multipliers)
    paths, weighted = _best_paths(blocks, pairs)
    complete = len(paths) < LENGTH
    proven = math.inf if complete else weighted[-1] + constant
    own = sum(block[paths[:, place]] for place, block in enumerate(costs))
    own = own + sum(p[paths[:, b], paths[:, b + 1]] for b, p in enumerate(pairs))
    found = []
    for place in np.argsort(own, kind="stable"):
        if own[place] > proven - _MARGIN * max(1.0, abs(proven)):
            break
        path = tuple(map(int, paths[place]))
        if all(bound.holds(path) for bound in bounds):
            found.append(path)
    return found


def _with(
    costs: Sequence[np.ndarray], bounds: Sequence[Bound], multipliers: Sequence[float]
) -> tuple[list[np.ndarray], float]:
    blocks, constant = list(costs), 0.0
    for bound, multiplier in zip(bounds, multipliers, strict=True):
        if multiplier:
            added, more = bound.weighted(multiplier)
            blocks = [block + extra for block, extra in zip(blocks, added, strict=True)]
            constant += more
    return blocks, constant


def _multipliers(
    costs: Sequence[np.ndarray], bounds: Sequence[Bound], pairs: Sequence[np.ndarray]
) -> list[float]:
    """Those that raise the least weighted cost most, one after the other; it is concave in each."""
    found = [0.0] * len(bounds)

    def least(place: int, bent: float) -> float:
        tried = [*found[:place], math.sinh(bent), *found[place + 1 :]]
        blocks, constant = _with(costs, bounds, tried)
        total = blocks[0]
        for block, pair in zip(blocks[1:], pairs):
            total = np.min(total[:, None] + pair, axis=0) + block
        return -float(np.min(total)) - constant

    for _ in range(_ROUNDS if len(bounds) > 1 else 1):
        for place, bound in enumerate(bounds):
            lowest = -_LARGEST if math.isfinite(bound.least) else 0.0
            best = scipy.optimize.minimize_scalar(
                lambda bent, place=place: least(place, bent),
                bounds=(lowest, _LARGEST),
                method="bounded",
            )
            found[place] = math.sinh(float(best.x))
    return found


def _best_paths(
    blocks: Sequence[np.ndarray], pairs: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """([paths, blocks], their costs), the least first: all, or the LENGTH best (list Viterbi)."""
    totals = np.asarray(blocks[0], np.float64)[:, None]  # [candidates, best partial paths]
    partial = np.arange(len(blocks[0]))[:, None, None]  # [candidates, best partial paths, blocks]
    for block, pair in zip(blocks[1:], pairs):
        kept, longer = [], []
        for candidate in range(len(block)):
            sums = (totals + pair[:, candidate, None]).ravel()
            best = _least(sums)
            kept.append(sums[best] + block[candidate])
            before = partial.reshape(len(sums), -1)[best]
            longer.append(np.column_stack([before, np.full(len(best), candidate)]))
        totals, partial = np.stack(kept), np.stack(longer)
    flat = totals.ravel()
    best = _least(flat)
    return partial.reshape(len(flat), -1)[best], flat[best]


def _least(sums: np.ndarray) -> np.ndarray:
    """Places of the LENGTH least, in order."""
    some = np.arange(len(sums))
    if len(sums) > LENGTH:
        some = np.argpartition(sums, LENGTH - 1)[:LENGTH]
    return some[np.argsort(sums[some], kind="stable")]
