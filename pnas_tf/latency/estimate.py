"""From measured networks to prices of blocks: by a prior, by op kinds alone, or by an old table.

Each way says what error to expect, and where a device does not fit. Arithmetic on records; measures
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from pnas_tf.latency.few_shot import (
    BY_PRIOR,
    LEAVE_ONE_OUT,
    MEASURE_BLOCKS,
    FewShot,
    MeasuredNetwork,
    Price,
)
from pnas_tf.latency.op_features import OP_KINDS, features_of
from pnas_tf.latency.prior import Prior
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.transfer import (
    alone,
    condition,
    leave_one_out_percent,
    non_negative,
    relative_line,
)
from pnas_tf.latency.within_networks import factors, prices_ms
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block

# From so many networks on a leave-one-out error says something; that of 3 says nothing.
LEAVE_ONE_OUT_FROM = 10
# A device whose leave-one-out error is above this does not fit: of 105 phones 8 % stayed above 10 %
# with all their networks, and this finds them.
MISFIT_PERCENT = 6.0


@dataclass(frozen=True)
class Few:
    """Measured networks of one device. latency_ms: [networks], drift taken out."""

    space: SearchSpace
    networks: Mapping[str, MeasuredNetwork]
    latency_ms: np.ndarray

    @property
    def architectures(self) -> list[Architecture]:
        return [Architecture(self.space, each.ops) for each in self.networks.values()]

    @property
    def features(self) -> np.ndarray:
        """[networks, features]."""
        return np.array([features_of(each.blocks) for each in self.architectures])


def by_prior(few: Few, prior: Prior, doubts: tuple[str, ...]) -> FewShot:
    """Prices by what other devices teach. doubts: of the prior's use here; where there are some,
    the error of its own devices is not this one's."""
    taught, latency_ms = prior.taught, few.latency_ms
    features = np.array([taught.features_of(each.blocks) for each in few.architectures])
    found = condition(taught.population, features, latency_ms)
    error, basis = _left_out(
        few, features, lambda rows, ms: condition(taught.population, rows, ms).mean
    )
    if error is None and not doubts:
        error = prior.expected_error_percent(len(latency_ms))
        basis = "" if error is None else BY_PRIOR
    prices = _prices(
        few.space,
        taught.features_of,
        lambda rows: (found.predict_ms(rows), found.deviation_ms(rows)),
    )
    told = (*doubts, *_misfit(few, error, basis))
    return FewShot("prior", prior.describe(), few.networks, prices, error, basis, told)


def by_op_kinds(few: Few) -> FewShot:
    """Prices that are not negative, of each kind of work."""
    features, latency_ms = few.features, few.latency_ms
    found = non_negative(features, latency_ms, OP_KINDS)
    error, basis = _left_out(few, features, lambda rows, ms: non_negative(rows, ms, OP_KINDS))
    spread = condition(alone(features, OP_KINDS), features, latency_ms)
    told = _misfit(few, error, basis)
    if len(latency_ms) < LEAVE_ONE_OUT_FROM:
        told = (
            *told,
            f"{len(latency_ms)} networks without a prior: measure {LEAVE_ONE_OUT_FROM} to 20, or "
            "give --prior",
        )
    prices = _prices(few.space, features_of, lambda rows: (rows @ found, spread.deviation_ms(rows)))
    return FewShot("op kinds", "", few.networks, prices, error, basis, told)


def by_old_table(few: Few, old: LatencyTable, doubts: tuple[str, ...] = ()) -> FewShot:
    """An old table times one factor, or from `LEAVE_ONE_OUT_FROM` networks on by a new line where
    that has the lower leave-one-out error and gives every block a price. doubts: of the table's use
    here."""
    before_ms = np.array([old.predict_ms(each) for each in few.architectures])
    rows = {
        "factor": before_ms[:, None],
        "line": np.column_stack([before_ms, np.ones(len(before_ms))]),
    }
    lines = {name: relative_line(rows[name], few.latency_ms).tolist() for name in rows}
    scales = {name: factors(old, few.space, *line) for name, line in lines.items()}
    errors = {name: _left_out(few, rows[name], relative_line) for name in rows}
    known = {
        name: error
        for name, (error, _) in errors.items()
        if error is not None and (name == "factor" or min(scales[name]) > 0)
    }
    method = min(known, key=lambda name: known[name]) if known else "factor"
    error, basis = errors[method]
    ratios = few.latency_ms / before_ms
    spread = float(np.abs(ratios / np.median(ratios) - 1).max() * 100)
    if len(ratios) == 1:
        spread = MISFIT_PERCENT  # nothing tells
    deviation = (spread if error is None else error) / 100
    prices = {
        key: Price(price_ms, deviation * price_ms)
        for key, price_ms in prices_ms(old, few.space, *scales[method]).items()
    }
    source = f"{lines[method][0]:.3f} times the table of {old.identity.describe()}"
    told = (*doubts, *_carries_over(len(ratios), method, error, spread))
    return FewShot(method, source, few.networks, prices, error, basis, told)


def _carries_over(
    networks: int, method: str, error: float | None, spread: float
) -> tuple[str, ...]:
    """What must be told of an old table. spread: of the networks' ratios to it, in percent."""
    if error is not None:
        if error <= MISFIT_PERCENT:
            return ()
        return (
            f"the old table does not carry over: its predictions are off by {error:.1f} % after "
            f"the {method}, so more has changed than speed (another delegate or kernel?); "
            f"calibrate with --old_table=, or measure the blocks: {MEASURE_BLOCKS}",
        )
    if networks == 1:
        return (
            "one network cannot tell whether the old table carries over: --measurements=3 shows "
            "whether their ratios to it agree",
        )
    if spread <= MISFIT_PERCENT:
        return (f"the networks' ratios to the old table agree within {spread:.1f} %",)
    return (
        f"the old table may not carry over: the networks' ratios to it differ by up to "
        f"{spread:.1f} %; --measurements={LEAVE_ONE_OUT_FROM} tries a line besides the factor, and "
        "states the error",
    )


def _prices(
    space: SearchSpace,
    features: Callable[[Iterable[Block]], np.ndarray],
    price: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
) -> dict[str, Price]:
    blocks = space.distinct_blocks()
    latencies, deviations = price(np.array([features([block]) for block in blocks.values()]))
    return {
        key: Price(max(0.0, float(ms)), float(deviation))
        for key, ms, deviation in zip(blocks, latencies, deviations)
    }


def _left_out(
    few: Few, rows: np.ndarray, fit: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> tuple[float | None, str]:
    if len(few.latency_ms) < LEAVE_ONE_OUT_FROM:
        return None, ""
    return leave_one_out_percent(rows, few.latency_ms, fit), LEAVE_ONE_OUT


def _misfit(few: Few, error: float | None, basis: str) -> tuple[str, ...]:
    """That the device does not fit, with the likely cause by what its measurements say."""
    if error is None or basis != LEAVE_ONE_OUT or error <= MISFIT_PERCENT:
        return ()
    problems = [problem for each in few.networks.values() for problem in each.measurement.problems]
    hot = any(word in problem for problem in problems for word in ("throttling", "clock", "drift"))
    spread = any(word in problem for problem in problems for word in ("spread", "disturbed"))
    if hot:
        cause = "it slowed down while it was measured (heat, clock): let it cool, and repeat"
    elif spread:
        cause = "its times scatter (other programs, or threads moved between kinds of cores)"
    else:
        cause = (
            "its measurements are steady: the runtime executes some op otherwise than elsewhere (a "
            "missing kernel, a delegate)"
        )
    return (
        f"the device does not fit: leave-one-out error {error:.1f} % is above {MISFIT_PERCENT:g} "
        f"%; {cause}. Measure the blocks: {MEASURE_BLOCKS}",
    )
