"""The effect model of a supernet: the cross-entropy of a path as a sum of contributions of each
choice and of each two neighbouring choices (after Nayman et al. 2022, section 3).

Fitted to paths that were judged, by ridge regression whose strength leave-one-out cross-validation
chooses. Knows neither supernets nor TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import scipy.linalg
import scipy.stats

from pnas_tf.errors import UserError, number_of
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import record_of, to_json
from pnas_tf.search.derive import Preference
from pnas_tf.space.architecture import ChoiceIndices

FORMAT, VERSION = "pnas_tf/effects", 1
HELD_OUT = 0.25  # of the paths: they judge the model that is fitted to the others
_PAIR_WEIGHTS = (0.0, 0.1, 0.3, 1.0)  # how much of a prior variance a pair has beside a choice's
_STRENGTHS = np.logspace(-3, 4, 29)
_SURE = 1.96  # standard errors of a 95 % interval
_MADE_BY = "pnas search --algorithm=one_shot --run_dir=..."


@dataclass(frozen=True)
class Agreement:
    """How an effect model orders paths that it was not fitted to.

    Attributes:
        paths: how many.
        spearman: rank correlation of predicted and supernet's cross-entropy.
        low, high: its 95 % interval (`rank_interval`).
    """

    paths: int
    spearman: float
    low: float
    high: float

    @property
    def words(self) -> str:
        return (
            f"Spearman {self.spearman:.2f} ({self.low:.2f} to {self.high:.2f}) on {self.paths} "
            "held-out paths"
        )


@dataclass(frozen=True)
class Effects:
    """cross-entropy of a path = mean + sum_b blocks[b][i_b] + sum_b pairs[b][i_b][i_b+1].

    Every effect is the mean over all choices beside it: those of a block add up to 0, and so does
    each row and each column of a pair.

    Attributes:
        mean: over all paths, in nats.
        blocks: for each choice block [candidates].
        pairs: for each block but the last [candidates][candidates of the next].
        strength: of the ridge; pair_weight: of pairs beside choices. Both by cross-validation.
        agreement: on held-out paths, of the model fitted to the others alone.
    """

    mean: float
    blocks: tuple[tuple[float, ...], ...]
    pairs: tuple[tuple[tuple[float, ...], ...], ...]
    strength: float
    pair_weight: float
    agreement: Agreement

    def of(self, path: ChoiceIndices) -> float:
        """Predicted cross-entropy of a path, in nats."""
        own = sum(block[index] for block, index in zip(self.blocks, path, strict=True))
        both = sum(pair[i][j] for pair, (i, j) in zip(self.pairs, pairwise(path), strict=True))
        return self.mean + own + both

    @property
    def preference(self) -> Preference:
        """For a derivation: the least cross-entropy is the best."""
        return Preference.scaled(list(map(np.array, self.blocks)), list(map(np.array, self.pairs)))

    @property
    def words(self) -> str:
        """One line for the user."""
        return f"effect model of {number_of(len(self.blocks), 'block')}: {self.agreement.words}"

    def save(self, path: str | os.PathLike, *, choices: Sequence[dict[str, Json]] = ()) -> Path:
        """Writes the JSON document. choices: what each is worth and costs, for readers."""
        document = {"format": FORMAT, "version": VERSION, "effects": to_json(self)}
        return atomic.write_json(path, {**document, "choices": list(choices)})

    @classmethod
    def load(cls, path: str | os.PathLike, *, sizes: Sequence[int]) -> Effects:
        """Reads what `save` wrote.

        Args:
            path: of the file.
            sizes: candidates of each block of the space.

        Raises:
            UserError: the file is absent, damaged or of another space.
        """
        document = atomic.read_document(
            path, format=FORMAT, version=VERSION, what="effect model", made_by=_MADE_BY
        )
        where, fix = f"effect model {path}", "Delete it; the next derivation makes it again."
        effects = record_of(cls, document.get("effects"), where=where, fix=fix)
        wanted = [(size, after) for size, after in pairwise(sizes)]
        found = [(len(pair), len(pair[0]) if pair else 0) for pair in effects.pairs]
        if [len(block) for block in effects.blocks] != list(sizes) or found != wanted:
            raise UserError(
                where,
                expected=f"for each block as many numbers as candidates: {list(sizes)}",
                received=str([len(block) for block in effects.blocks]),
                fix=fix,
            )
        return effects


def fit_effects(
    paths: Sequence[ChoiceIndices], losses: np.ndarray, *, sizes: Sequence[int]
) -> Effects:
    """The effect model of paths in a random order.

    Args:
        paths: that were judged.
        losses: their cross-entropies, [paths].
        sizes: candidates of each choice block.

    Raises:
        UserError: a cross-entropy is not finite.
    """
    losses = np.asarray(losses, np.float64)
    if not np.isfinite(losses).all():
        raise UserError(
            "effect model of a supernet",
            expected="finite cross-entropies",
            received=f"{np.count_nonzero(~np.isfinite(losses))} of {len(losses)} not finite",
            fix="Train the supernet at a lower rate: --warmup_learning_rate.",
        )
    drawn = np.array(paths, np.int64).reshape(len(paths), len(sizes))
    rest = len(drawn) - max(2, round(HELD_OUT * len(drawn)))
    part = _fitted(drawn[:rest], losses[:rest], sizes, _EVEN)
    predicted = np.array([part.of(tuple(path)) for path in drawn[rest:]])
    return _fitted(drawn, losses, sizes, agreement_of(predicted, losses[rest:]))


def agreement_of(predicted: np.ndarray, measured: np.ndarray) -> Agreement:
    """Rank correlation with its interval; 0 where either is the same for all."""
    both = np.ptp(predicted) > 0 and np.ptp(measured) > 0
    spearman = float(scipy.stats.spearmanr(predicted, measured).statistic) if both else 0.0
    return Agreement(len(predicted), spearman, *rank_interval(spearman, len(predicted)))


def rank_interval(spearman: float, count: int) -> tuple[float, float]:
    """95 % interval of a rank correlation of `count` pairs, by Fisher's z with the standard error
    sqrt((1 + r^2 / 2) / (count - 3)) (Bonett and Wright 2000)."""
    if count <= 3 or abs(spearman) == 1.0:
        return (-1.0, 1.0) if count <= 3 else (spearman, spearman)
    middle = np.arctanh(spearman)
    error = np.sqrt((1 + spearman**2 / 2) / (count - 3))
    return float(np.tanh(middle - _SURE * error)), float(np.tanh(middle + _SURE * error))


_EVEN = Agreement(0, 0.0, -1.0, 1.0)


def _fitted(
    paths: np.ndarray, losses: np.ndarray, sizes: Sequence[int], agreement: Agreement
) -> Effects:
    """Dual form: weights = Z^T a, with one row of Z a path, (K + strength) a = losses - mean."""
    same = [np.equal.outer(column, column) for column in paths.T]
    own = np.sum(same, axis=0, dtype=np.float64)
    both = sum((first & second for first, second in pairwise(same)), start=np.zeros(own.shape))
    best: tuple[float, float, float, np.ndarray] | None = None
    for weight in _PAIR_WEIGHTS:
        error, strength, dual = _best_strength(own + weight * both, losses)
        if best is None or error < best[0]:
            best = (error, strength, weight, dual)
    assert best is not None
    _, strength, weight, dual = best
    blocks = [np.bincount(c, weights=dual, minlength=size) for c, size in zip(paths.T, sizes)]
    pairs = []
    for (first, second), (rows, columns) in zip(pairwise(paths.T), pairwise(sizes)):
        sums = np.bincount(first * columns + second, weights=dual, minlength=rows * columns)
        pairs.append(weight * sums.reshape(rows, columns))
    raw = sum(block[c] for block, c in zip(blocks, paths.T))
    raw += sum(p[c, d] for p, (c, d) in zip(pairs, pairwise(paths.T)))
    mean = float(np.mean(losses - raw))
    return _centred(mean, blocks, pairs, (strength, weight), agreement)


def _best_strength(kernel: np.ndarray, losses: np.ndarray) -> tuple[float, float, np.ndarray]:
    """(mean squared leave-one-out error, strength, dual weights) of the best strength.

    The intercept is free: kernel and losses are centred. With the hat matrix H = 1/n + K (K +
    strength)^-1, the error at a path that is left out is (y - H y) / (1 - H_ii), exactly.
    """
    count = len(losses)
    centred = kernel - kernel.mean(0) - kernel.mean(1)[:, None] + kernel.mean()
    values, vectors = scipy.linalg.eigh(centred)
    values = np.maximum(values, 0.0)
    target = vectors.T @ (losses - losses.mean())
    found = []
    for strength in _STRENGTHS:
        shrunk = values / (values + strength)
        residual = losses - losses.mean() - vectors @ (shrunk * target)
        leverage = 1 / count + np.square(vectors) @ shrunk
        error = float(np.mean(np.square(residual / (1 - leverage))))
        found.append((error, float(strength)))
    error, strength = min(found)
    return error, strength, vectors @ (target / (values + strength))


def _centred(
    mean: float,
    blocks: list[np.ndarray],
    pairs: list[np.ndarray],
    ridge: tuple[float, float],
    agreement: Agreement,
) -> Effects:
    """The same sums with every effect the mean over what lies beside it."""
    for place, pair in enumerate(pairs):
        rows, columns = pair.mean(1), pair.mean(0)
        blocks[place] = blocks[place] + rows
        blocks[place + 1] = blocks[place + 1] + columns - pair.mean()
        pairs[place] = pair - rows[:, None] - columns + pair.mean()
    mean += float(sum(block.mean() for block in blocks))
    return Effects(
        mean,
        tuple(tuple((block - block.mean()).tolist()) for block in blocks),
        tuple(tuple(map(tuple, pair.tolist())) for pair in pairs),
        *ridge,
        agreement,
    )
