"""From path probabilities to an architecture: the most probable one, or the most probable one that
fits a budget.

The budgeted problem is a multiple-choice knapsack (one candidate a block, sum of log-probabilities,
sum of latencies), solved exactly by HiGHS. Knows nothing of the supernet or of how the
probabilities were learned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import scipy.optimize
import scipy.sparse

from pnas_tf.errors import UserError
from pnas_tf.search.quantities import Quantity
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.space.base import SearchSpace

# HiGHS takes an objective 1e-6 from the best for the best. The largest regret of one block is made
# this, so that networks of nearly equal probability, early in a search, are still told apart.
_OBJECTIVE_RANGE = 1e3
_MAX_MISSES = 1000
_LOOKS = 20
_INFEASIBLE = 2  # scipy's status


def most_probable(space: SearchSpace, probabilities: Sequence[np.ndarray]) -> Architecture:
    """The most probable op of each choice block (section 3.3); the first of equals. probabilities:
    for each block [candidates]."""
    return architecture_of(space, tuple(int(np.argmax(p)) for p in _checked(space, probabilities)))


def most_probable_few(
    space: SearchSpace,
    probabilities: Sequence[np.ndarray],
    *,
    quantity: Quantity,
    budget: float,
    at_least: float = -math.inf,
    count: int,
) -> list[Architecture]:
    """The architectures with the largest products of probabilities that fit a budget, the most
    probable one first.

    Architectures that are one network, because they skip other blocks of one shape, count as one:
    the most probable of them. No more than the _LOOKS * count most probable architectures are
    looked at.

    Args:
        space: that the probabilities are of.
        probabilities: for each choice block [candidates].
        quantity: what the budget is of.
        budget: networks with more are passed over.
        at_least: networks with less are passed over too, for a search that shall use its budget.
        count: how many, or all that there are.

    Raises:
        UserError: no network lies there; says what the fastest and the slowest take.
    """
    arrays = _checked(space, probabilities)
    least, most = quantity.range
    possible = at_least <= budget and least <= budget and most >= at_least
    found: dict[str, Architecture] = {}
    for path in itertools.islice(
        _knapsacks(arrays, quantity, at_least, budget), _LOOKS * count if possible else 0
    ):
        architecture = architecture_of(space, path)
        found.setdefault(architecture.computation, architecture)
        if len(found) == count:
            break
    if not found:
        raise _no_network(space, quantity, budget, at_least)
    return list(found.values())


def _no_network(
    space: SearchSpace, quantity: Quantity, budget: float, at_least: float
) -> UserError:
    least, most = quantity.range
    wanted = f"{budget:.4g} {quantity.unit}"
    return UserError(
        f"no network of space '{space.name}' fits the budget of {quantity.name}",
        expected=f"a budget from {least:.4g} {quantity.unit}, which the fastest network takes, "
        f"to {most:.4g} {quantity.unit}, the slowest",
        received=wanted if at_least == -math.inf else f"from {at_least:.4g} to {wanted}",
        fix="Change the budget, or search a space with another width or resolution.",
    )


def architecture_of(space: SearchSpace, path: ChoiceIndices) -> Architecture:
    """The architecture that holds candidate path[b] in choice block b."""
    return Architecture(
        space,
        tuple(
            choice.candidates[index]
            for choice, index in zip(space.choice_blocks, path, strict=True)
        ),
    )


def path_of(architecture: Architecture) -> ChoiceIndices:
    """The inverse of `architecture_of`."""
    return tuple(
        choice.candidates.index(op)
        for choice, op in zip(architecture.space.choice_blocks, architecture.ops, strict=True)
    )


def log_probability(architecture: Architecture, probabilities: Sequence[np.ndarray]) -> float:
    """Sum over the blocks of ln p of the op that stands there; -inf where one has probability 0."""
    with np.errstate(divide="ignore"):
        return math.fsum(
            float(np.log(p[index]))
            for p, index in zip(probabilities, path_of(architecture), strict=True)
        )


def _regrets(probabilities: Sequence[np.ndarray]) -> list[np.ndarray]:
    """ln max p - ln p of each candidate, scaled for the solver; an op of probability 0 is worse
    than all others together."""
    with np.errstate(divide="ignore"):
        regrets = [
            np.log(np.max(p)) - np.log(p) if np.max(p) > 0 else np.zeros(len(p))
            for p in probabilities
        ]
    largest = [float(np.max(regret[np.isfinite(regret)])) for regret in regrets]
    scale = _OBJECTIVE_RANGE / (max(largest) or 1.0)
    return [
        scale * np.where(np.isfinite(regret), regret, 2.0 * sum(largest) + 1.0 / scale)
        for regret in regrets
    ]


def _knapsacks(
    probabilities: Sequence[np.ndarray], quantity: Quantity, at_least: float, budget: float
) -> Iterator[ChoiceIndices]:
    """One index a block with at_least <= quantity.of(...) <= budget: the most probable choice
    first, then the next, until none is left."""
    sizes = [len(block) for block in probabilities]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    constraints = [_one_each(sizes), _bounds(quantity, at_least, budget)]
    regrets = np.concatenate(_regrets(probabilities))
    path: ChoiceIndices | None = tuple(int(np.argmax(block)) for block in probabilities)
    misses = 0
    while path is not None:  # the first one needs no solver where it fits
        if at_least <= quantity.of(path) <= budget:
            yield path
        else:  # within the solver's tolerance and yet outside the bounds
            misses += 1
            if misses > _MAX_MISSES:
                raise RuntimeError(
                    f"more than {_MAX_MISSES} networks lie within the solver's tolerance of "
                    f"{budget} {quantity.unit}"
                )
        row = np.zeros((1, starts[-1]))  # forbids exactly this network
        row[0, starts[:-1] + np.array(path)] = 1.0
        constraints.append(scipy.optimize.LinearConstraint(row, -np.inf, len(path) - 1))
        path = _solved(regrets, constraints, starts)


def _one_each(sizes: Sequence[int]) -> scipy.optimize.LinearConstraint:
    """One candidate for each block."""
    rows = scipy.sparse.block_diag([np.ones((1, size)) for size in sizes], format="csr")
    return scipy.optimize.LinearConstraint(rows, 1, 1)


def _bounds(quantity: Quantity, at_least: float, budget: float) -> scipy.optimize.LinearConstraint:
    """at_least <= quantity <= budget, in units of the mean candidate, so that the solver's absolute
    tolerance means the same for ms and for MACs."""
    candidates = np.concatenate(quantity.choices)
    unit = float(np.mean(np.abs(candidates))) or 1.0
    low, high = (
        ((bound - quantity.intercept) / quantity.slope - quantity.fixed) / unit
        for bound in (at_least, budget)
    )
    return scipy.optimize.LinearConstraint(candidates[None] / unit, low, high)


def _solved(
    regrets: np.ndarray,
    constraints: Sequence[scipy.optimize.LinearConstraint],
    starts: np.ndarray,
) -> ChoiceIndices | None:
    """The choice of least regret, None where the constraints leave none."""
    found = scipy.optimize.milp(
        regrets,
        integrality=np.ones(len(regrets)),
        bounds=(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    if found.x is not None:
        return tuple(int(np.argmax(found.x[start:stop])) for start, stop in pairwise(starts))
    if found.status != _INFEASIBLE:
        raise RuntimeError(f"HiGHS: {found.message}")
    return None


def _checked(space: SearchSpace, probabilities: Sequence[np.ndarray]) -> list[np.ndarray]:
    expected = [len(choice.candidates) for choice in space.choice_blocks]
    arrays = [np.asarray(p, np.float64) for p in probabilities]
    if [p.shape for p in arrays] != [(size,) for size in expected] or not all(
        np.isfinite(p).all() and (p >= 0).all() for p in arrays
    ):
        raise UserError(
            f"path probabilities do not suit space '{space.name}'",
            expected=f"for each block as many numbers from 0 to 1 as candidates: {expected}",
            received=str([p.shape for p in arrays])[:300],
            fix="Use the search of this space.",
        )
    return arrays
