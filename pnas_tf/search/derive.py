"""From path probabilities, or from what each choice is worth, to an architecture: the best one, or
the best one within hard budgets.

Within budgets it is a mixed-integer program (one candidate a block, sum of log-probabilities or of
effects), solved exactly (`choice_program`). Knows nothing of the supernet or of how these were
learned.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.search.choice_program import OBJECTIVE_RANGE, Bound, solutions
from pnas_tf.search.conflicts import no_network
from pnas_tf.space.architecture import Architecture, ChoiceIndices
from pnas_tf.space.base import SearchSpace

_LOOKS = 20


class Limits(Protocol):
    """What else a network must keep than its bounds."""

    def accepts(self, architecture: Architecture) -> bool: ...
    def refusal(self, space: SearchSpace, bounds: Sequence[Bound]) -> UserError: ...


@dataclass(frozen=True)
class Preference:
    """What speaks against each choice, in the solver's units: the network of the least sum is the
    best.

    Attributes:
        blocks: for each choice block [candidates].
        pairs: of neighbours together, for each block but the last [candidates, candidates of the
            next]; none where blocks alone count.
    """

    blocks: Sequence[np.ndarray]
    pairs: Sequence[np.ndarray] = ()

    @classmethod
    def scaled(cls, blocks: Sequence[np.ndarray], pairs: Sequence[np.ndarray]) -> Preference:
        """Of any numbers, of which the least sum is the best."""
        spread = max(float(np.ptp(part)) for part in (*blocks, *pairs)) or 1.0
        unit = OBJECTIVE_RANGE / spread
        return cls(
            [unit * (part - np.min(part)) for part in blocks],
            [unit * (part - np.min(part)) for part in pairs],
        )


def most_probable(space: SearchSpace, probabilities: Sequence[np.ndarray]) -> Architecture:
    """The most probable op of each choice block (section 3.3); the first of equals. probabilities:
    for each block [candidates]."""
    return architecture_of(space, tuple(int(np.argmax(p)) for p in _checked(space, probabilities)))


def preference_of(space: SearchSpace, probabilities: Sequence[np.ndarray]) -> Preference:
    """By the product of probabilities. Raises UserError where they are not of this space."""
    return Preference(_regrets(_checked(space, probabilities)))


def best_few(
    space: SearchSpace,
    preference: Preference,
    *,
    bounds: Sequence[Bound],
    count: int,
    limits: Limits | None = None,
) -> list[Architecture]:
    """The best architectures within the bounds, the best one first.

    Architectures that are one network, because they skip other blocks of one shape, count as one:
    the best of them. No more than the _LOOKS * count best architectures are looked at.

    Args:
        space: that the preference is of.
        preference: what speaks against each choice.
        bounds: networks outside one are passed over.
        count: how many, or all that there are.
        limits: so are those that it does not accept.

    Raises:
        UserError: no network lies there; says which bounds leave none, and what would.
    """
    found: dict[str, Architecture] = {}
    paths = solutions(preference.blocks, bounds, pairs=preference.pairs)
    for path in itertools.islice(paths, _LOOKS * count):
        architecture = architecture_of(space, path)
        is_new = architecture.computation not in found
        if is_new and (limits is None or limits.accepts(architecture)):
            found[architecture.computation] = architecture
        if len(found) == count:
            break
    if not found:
        raise limits.refusal(space, bounds) if limits else no_network(space, bounds)
    return list(found.values())


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
    scale = OBJECTIVE_RANGE / (max(largest) or 1.0)
    return [
        scale * np.where(np.isfinite(regret), regret, 2.0 * sum(largest) + 1.0 / scale)
        for regret in regrets
    ]


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
