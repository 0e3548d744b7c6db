"""The first networks within bounds without a solver: the best paths of a chain of blocks under
Lagrangian multipliers, of which those are given out that are proven to come first.

A path within the bounds costs at least what it costs with multipliers, and paths beyond the list
cost at least as much as its last one there; so what lies within the bounds and costs no more than
that is complete and in order (Fisher 1981, section 2). It saves `choice_program` a solve a network:
milliseconds in place of half a second each. What takes the largest of its blocks is left to
`Bound.holds`, but for candidates that alone are beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import scipy.optimize

from pnas_tf.search.quantities import Bound
from pnas_tf.space.architecture import ChoiceIndices

LENGTHS = (2**12, 2**16, 2**18)  # of the list; the last takes seconds and 200 MB
_ROUNDS, _LARGEST = 3, 12.0  # of the search for multipliers; of one, asinh
_MARGIN = 1e-9  # of the last cost, for its rounding


def first_paths(
    costs: Sequence[np.ndarray],
    bounds: Sequence[Bound],
    pairs: Sequence[np.ndarray],
    *,
    length: int = LENGTHS[0],
) -> tuple[Iterator[ChoiceIndices], bool]:
    """(networks that seem to lie within the bounds, the one of the least costs first; whether that
    is all). None comes before or between them. Perhaps none, where bounds are tight.

    Arguments as of `choice_program.solutions`; length: of the list that they are taken from.
    """
    pairs = pairs or [np.zeros(shape) for shape in pairwise(map(len, costs))]
    for bound in bounds:
        costs = [np.where(no, np.inf, cost) for no, cost in zip(bound.impossible(), costs)]
    if not all(np.isfinite(cost).any() for cost in costs):
        return iter(()), True
    blocks, constant = _with(costs, bounds, _multipliers(costs, bounds, pairs))
    paths, beyond = _best_paths(blocks, pairs, bounds, length)
    proven = beyond + constant
    proven -= _MARGIN * max(1.0, abs(proven)) if math.isfinite(proven) else 0.0
    own = sum(block[paths[:, place]] for place, block in enumerate(costs))
    own = own + sum(p[paths[:, b], paths[:, b + 1]] for b, p in enumerate(pairs))
    wanted = np.isfinite(own) & (own <= proven)
    for bound in bounds:
        wanted &= bound.seems_held(paths)
    places = np.flatnonzero(wanted)
    ordered = paths[places[np.argsort(own[places], kind="stable")]]
    return (tuple(map(int, path)) for path in ordered), math.isinf(beyond)


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
    blocks: Sequence[np.ndarray],
    pairs: Sequence[np.ndarray],
    bounds: Sequence[Bound],
    length: int,
) -> tuple[np.ndarray, float]:
    """(paths [paths, blocks], the least that others cost): those that may lie within the bounds, or
    the `length` best of them, by what they cost with the best that may follow."""
    ahead = _least_ahead(blocks, pairs)
    limits = [bound.weighted(1.0) for bound in bounds]
    limits += [bound.weighted(-1.0) for bound in bounds if math.isfinite(bound.least)]
    paths: np.ndarray = np.zeros((1, 0), np.int16)
    costs, beyond = np.zeros(1), math.inf
    used = [np.full(1, constant) for _, constant in limits]
    for place, block in enumerate(blocks):
        linked = pairs[place - 1][paths[:, -1]] if place else 0.0
        costs = costs[:, None] + linked + block
        whole = costs + ahead[place]
        fits = np.isfinite(whole)
        for number, (weights, constant) in enumerate(limits):
            used[number] = used[number][:, None] + weights[place]
            rest = math.fsum(float(np.min(each)) for each in weights[place + 1 :])
            fits &= used[number] + rest <= _MARGIN * max(1.0, abs(constant))
        taken = np.flatnonzero(fits)
        if len(taken) > length:
            order = np.argpartition(whole.ravel()[taken], length)
            beyond = min(beyond, float(whole.ravel()[taken[order[length]]]))
            taken = taken[order[:length]]
        before, choice = np.divmod(taken, len(block))
        paths = np.column_stack([paths[before], choice.astype(np.int16)])
        costs, used = costs.ravel()[taken], [each.ravel()[taken] for each in used]
    return paths, beyond


def _least_ahead(blocks: Sequence[np.ndarray], pairs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """For each block [candidates]: the least that the blocks after it cost."""
    found = [np.zeros(len(blocks[-1]))]
    for block, pair in zip(reversed(blocks[1:]), reversed(pairs), strict=True):
        found.append(np.min(pair + (block + found[-1]), axis=1))
    return found[::-1]
