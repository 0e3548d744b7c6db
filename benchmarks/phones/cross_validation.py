"""Every phone predicted from a few of its networks by what other phones teach, on networks that
were measured nowhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.phones.data import Data
from pnas_tf.latency.design import design
from pnas_tf.latency.op_features import OP_KINDS
from pnas_tf.latency.transfer import (
    Observed,
    Population,
    alone,
    condition,
    learn,
    leave_one_out_percent,
    non_negative,
    relative_line,
)

PHONE_FOLDS, NETWORK_FOLDS, REPEATS = 10, 10, 2
COUNTS = (3, 5, 10, 20)
INTERVAL = 0.9
MISFIT_COUNT = 10  # networks from which on a leave-one-out error says something


def folds(count: int, parts: int, seed: int) -> list[np.ndarray]:
    """Indices in random parts of about one size."""
    order = np.random.default_rng(seed).permutation(count)
    return [order[start::parts] for start in range(min(parts, count))]


@dataclass
class Tried:
    """Relative errors [phones, networks] of one way of predicting, where and whether the interval
    of 90 % held, and the leave-one-out error on the networks that it was predicted from."""

    error: np.ndarray
    held: np.ndarray
    left_out: np.ndarray

    @classmethod
    def empty(cls, data: Data) -> Tried:
        shape = data.latency_ms.shape
        return cls(*(np.full(shape, np.nan) for _ in range(3)))


Results = dict[tuple[str, int], Tried]


def cross_validate(data: Data, *, seed: int) -> Results:
    """(way, number of measured networks) -> what it gave, every phone and network predicted
    once."""
    found: Results = {}
    models = sorted(set(data.models))
    unknown = folds(len(data.features), NETWORK_FOLDS, 1000 + seed)
    for fold in folds(len(models), PHONE_FOLDS, seed):
        held_out = np.isin(data.models, [models[each] for each in fold])
        for test in unknown:
            pool = np.setdiff1d(np.arange(len(data.features)), test)
            _one_fold(data, np.flatnonzero(held_out), pool, test, found)
    return found


def _one_fold(
    data: Data, phones: np.ndarray, pool: np.ndarray, test: np.ndarray, found: Results
) -> None:
    others = np.setdiff1d(np.arange(len(data.phones)), phones)
    population = learn([_observed(data, phone, pool, others) for phone in others])
    plain = alone(data.features[pool], OP_KINDS)
    designs = {
        "others teach": design(population, data.features[pool], data.features[pool], COUNTS[-1]),
        "op kinds": design(plain, data.features[pool], data.features[pool], COUNTS[-1]),
    }
    designs["line in MACs"] = designs["op kinds"]
    for way, order in designs.items():
        for count in COUNTS:
            tried = found.setdefault((way, count), Tried.empty(data))
            chosen = pool[order[:count]]
            for phone in phones:
                _predict(data, (way, population), int(phone), chosen, test, tried)


def _observed(data: Data, phone: int, pool: np.ndarray, others: np.ndarray) -> Observed:
    known = pool[np.isfinite(data.latency_ms[phone, pool])]
    units = int((data.models[others] == data.models[phone]).sum())
    return Observed(data.features[known], data.latency_ms[phone, known], 1 / units)


def _predict(
    data: Data,
    way: tuple[str, Population],
    phone: int,
    chosen: np.ndarray,
    test: np.ndarray,
    tried: Tried,
) -> None:
    """Predicts the networks `test` of a phone from those `chosen`."""
    name, population = way
    known = chosen[np.isfinite(data.latency_ms[phone, chosen])]
    rows, latency_ms = data.features[known], data.latency_ms[phone, known]
    truth = data.latency_ms[phone, test]
    if name == "others teach":
        found = condition(population, rows, latency_ms)
        predicted = found.predict_ms(data.features[test])
        lower, upper = found.interval_ms(data.features[test], INTERVAL)
        tried.held[phone, test] = np.where(
            np.isfinite(truth), (lower <= truth) & (truth <= upper), np.nan
        )
        if len(known) == MISFIT_COUNT:
            tried.left_out[phone, test] = leave_one_out_percent(
                rows, latency_ms, lambda some, ms: condition(population, some, ms).mean
            )
    elif name == "op kinds":
        predicted = data.features[test] @ non_negative(rows, latency_ms, OP_KINDS)
    else:
        line = np.column_stack([data.macs, np.ones(len(data.macs))])
        predicted = line[test] @ relative_line(line[known], latency_ms)
    tried.error[phone, test] = predicted / truth - 1
