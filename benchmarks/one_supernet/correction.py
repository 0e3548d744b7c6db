"""An effect model corrected by a few trained networks: what they have beyond a line in the model is
shared out among choices, by ridge regression."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np

from pnas_tf.search.effects import Effects, agreement_of
from pnas_tf.space.architecture import ChoiceIndices

DRAWS = 200  # of the networks that correct


def rank_on_others(
    effects: Effects, paths: Sequence[ChoiceIndices], losses: np.ndarray, *, count: int
) -> tuple[float, float]:
    """Rank correlations with the losses of trained networks, mean over `DRAWS` random choices of
    `count` of them that correct the model: (as it is, corrected), both on the others alone.

    Args:
        effects: the model.
        paths: of trained networks.
        losses: of these, [paths]; whatever falls with their quality.
        count: how many correct it.
    """
    model = np.array([effects.of(path) for path in paths])
    kernel = np.equal(np.array(paths)[:, None], np.array(paths)[None]).sum(-1).astype(float)
    generator = np.random.default_rng(0)
    plain, better = [], []
    for _ in range(DRAWS):
        order = generator.permutation(len(paths))
        few, rest = order[:count], order[count:]
        predicted = _predicted(model, kernel, losses, few)
        plain.append(agreement_of(model[rest], losses[rest]).spearman)
        better.append(agreement_of(predicted[rest], losses[rest]).spearman)
    return fmean(plain), fmean(better)


def _predicted(
    model: np.ndarray, kernel: np.ndarray, losses: np.ndarray, few: np.ndarray
) -> np.ndarray:
    """Of all paths: a line in the model through `few`, and ridge regression of what is left, of the
    strength that is best for those left out one by one."""
    slope = max(np.polyfit(model[few], losses[few], 1)[0], 0.0)  # never turned about
    left = losses - slope * model
    left = left - left[few].mean()
    own = kernel[np.ix_(few, few)]
    best: tuple[float, np.ndarray] | None = None
    for strength in np.logspace(-1, 4, 11):
        inverse = np.linalg.inv(own + strength * np.eye(len(few)))
        dual = inverse @ left[few]
        error = float(np.mean(np.square(dual / np.diag(inverse))))
        if best is None or error < best[0]:
            best = (error, dual)
    assert best is not None
    return slope * model + kernel[:, few] @ best[1]
