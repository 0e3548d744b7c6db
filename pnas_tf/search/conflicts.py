"""Why no network keeps all budgets: the fewest that exclude one another, and what each could be.

Knows bounds and the program that looks for networks, nothing of probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence

from pnas_tf.errors import UserError, number_of
from pnas_tf.search.choice_program import Bound, is_possible, smallest, without_range
from pnas_tf.search.quantities import no_less
from pnas_tf.space.base import SearchSpace

_ANOTHER_SPACE = "search a space with another width or resolution."


def irreducible(space: SearchSpace, bounds: Sequence[Bound]) -> list[Bound]:
    """Of bounds that no network keeps together, some that none keeps either, and of which none can
    be left out (deletion filter)."""
    kept = list(bounds)
    for bound in bounds:
        others = [other for other in kept if other is not bound]
        if not is_possible(_sizes(space), others):
            kept = others
    return kept


def no_network(space: SearchSpace, bounds: Sequence[Bound], *, ram_advice: str = "") -> UserError:
    """The refusal of bounds that no network keeps. ram_advice: what else to do where one is of peak
    RAM."""
    bounds = irreducible(space, bounds)
    advice = ram_advice if any(bound.quantity.peaks for bound in bounds) else ""
    if len(bounds) == 1:
        return _beyond(space, bounds[0], advice)
    lines = []
    for bound in bounds:
        others = [without_range(other) for other in bounds if other is not bound]
        beside, alone = smallest(bound.quantity, others), smallest(bound.quantity, ())
        unit, name = bound.quantity.unit, bound.quantity.name
        lines.append(
            f"{name} at least {no_less(beside)} {unit} beside the others "
            f"({no_less(alone)} {unit} alone)"
        )
    return UserError(
        f"no network of space '{space.name}' keeps these budgets together",
        expected="one of: " + "; ".join(lines),
        received=", ".join(_words(bound) for bound in bounds),
        fix=f"Raise one of them so far, or {_ANOTHER_SPACE}{advice}",
    )


def no_files(
    space: SearchSpace, nearest: Sequence[tuple[Bound, float]], *, tried: int, ram_advice: str = ""
) -> UserError:
    """The refusal of bounds whose networks have files that do not keep them.

    Args:
        space: of the networks.
        nearest: the bounds of files, each with what was measured of the network nearest to them.
        tried: how many were exported.
        ram_advice: as of `no_network`.
    """
    beyond = [(bound, value) for bound, value in nearest if value > bound.most]
    takes = [
        f"{bound.quantity.name} {no_less(value)} {bound.quantity.unit}" for bound, value in beyond
    ]
    advice = ram_advice if any(bound.quantity.peaks for bound, _ in beyond) else ""
    return UserError(
        f"no network of space '{space.name}' was found whose files keep these budgets",
        expected=", ".join(_words(bound) for bound, _ in nearest),
        received=f"{', '.join(takes)} of the nearest of {number_of(tried, 'network')} exported",
        fix=f"Raise the budget so far, or {_ANOTHER_SPACE}{advice}",
    )


def _beyond(space: SearchSpace, bound: Bound, advice: str) -> UserError:
    """The refusal of a single bound."""
    quantity = bound.quantity
    fast = quantity.unit == "ms"
    least = smallest(quantity, ())
    wanted = (
        f"a budget from {no_less(least)} {quantity.unit}, which the "
        f"{'fastest' if fast else 'smallest'} network takes"
    )
    if not quantity.peaks and not quantity.shared:
        most = quantity.range[1]
        wanted += f", to {most:.4g} {quantity.unit}, the {'slowest' if fast else 'largest'}"
    return UserError(
        f"no network of space '{space.name}' fits the budget of {quantity.name}",
        expected=wanted,
        received=_words(bound),
        fix=f"Change the budget, or {_ANOTHER_SPACE}{advice}",
    )


def _words(bound: Bound) -> str:
    most = f"{bound.quantity.name} of {bound.most:.6g} {bound.quantity.unit}"
    return most if bound.least <= 0 else f"{most}, at least {bound.least:.6g} of it used"


def _sizes(space: SearchSpace) -> list[int]:
    return [len(choice.candidates) for choice in space.choice_blocks]
