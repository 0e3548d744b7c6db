"""How well predicted latencies agree with measured ones.

Arithmetic on milliseconds; knows nothing of tables or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pnas_tf.errors import UserError


@dataclass(frozen=True)
class Agreement:
    """How well predictions agree with measurements. Errors are (predicted - measured) / measured in
    percent.

    within_5_percent, within_10_percent: percent of the networks. spearman, kendall: None where all
    values are equal.
    """

    networks: int
    bias_percent: float
    mape_percent: float
    rmse_ms: float
    within_5_percent: float
    within_10_percent: float
    max_error_percent: float
    spearman: float | None
    kendall: float | None


def agreement(predicted_ms: Sequence[float], measured_ms: Sequence[float]) -> Agreement:
    """The figures of two equally long lists. Raises UserError below two networks."""
    from scipy import stats

    if len(predicted_ms) < 2 or len(predicted_ms) != len(measured_ms):
        raise UserError(
            "validation",
            expected="at least two networks with a prediction and a measurement",
            received=f"{len(predicted_ms)} and {len(measured_ms)}",
            fix="Validate on more networks, e.g. --networks=40.",
        )
    predicted, measured = np.array(predicted_ms), np.array(measured_ms)
    errors = (predicted / measured - 1) * 100
    ranked = np.ptp(predicted) > 0 and np.ptp(measured) > 0
    return Agreement(
        networks=len(errors),
        bias_percent=float(errors.mean()),
        mape_percent=float(np.abs(errors).mean()),
        rmse_ms=float(np.sqrt(np.mean((predicted - measured) ** 2))),
        within_5_percent=float(100 * np.mean(np.abs(errors) <= 5)),
        within_10_percent=float(100 * np.mean(np.abs(errors) <= 10)),
        max_error_percent=float(np.abs(errors).max()),
        spearman=float(stats.spearmanr(predicted, measured).statistic) if ranked else None,
        kendall=float(stats.kendalltau(predicted, measured).statistic) if ranked else None,
    )
