"""Figures over phones, bars and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from benchmarks.phones.cross_validation import (
    INTERVAL,
    MISFIT_COUNT,
    NETWORK_FOLDS,
    PHONE_FOLDS,
    REPEATS,
    Results,
)
from benchmarks.phones.data import Data
from pnas_tf.latency.estimate import MISFIT_PERCENT

BAD_PERCENT = 10.0


@dataclass(frozen=True)
class Row:
    """Figures of one way at one number of measured networks; percent, medians over phones."""

    way: str
    measurements: int
    mape: float
    within_5: float
    within_10: float
    spearman: float
    upper_quarter: float
    held: float


def summary(data: Data, repeats: Sequence[Results]) -> list[Row]:
    """Rows of all ways; each phone's figures are means over the repeats."""
    rows = []
    for way, count in repeats[0]:
        tried = [results[way, count] for results in repeats]
        errors = np.stack([np.abs(each.error) * 100 for each in tried])
        mape = np.nanmean(errors, axis=(0, 2))
        ranks = [_ranks(data, each.error) for each in tried]
        rows.append(
            Row(
                way,
                count,
                float(np.median(mape)),
                float(np.median(_share(errors, 5))),
                float(np.median(_share(errors, 10))),
                float(np.median(np.mean(ranks, axis=0))),
                float(np.quantile(mape, 0.75)),
                100 * float(np.mean([_mean(each.held) for each in tried])),
            )
        )
    return rows


def _share(errors: np.ndarray, bound: float) -> np.ndarray:
    """[phones], percent. errors: [repeats, phones, networks], NaN where nothing was predicted."""
    known = np.isfinite(errors)
    return 100 * ((errors <= bound) & known).sum(axis=(0, 2)) / known.sum(axis=(0, 2))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def _ranks(data: Data, error: np.ndarray) -> list[float]:
    found = []
    for latency_ms, relative in zip(data.latency_ms, error):
        known = np.isfinite(relative)
        predicted = latency_ms[known] * (1 + relative[known])
        found.append(float(spearmanr(predicted, latency_ms[known]).statistic))
    return found


@dataclass(frozen=True)
class Flag:
    """How well a leave-one-out error finds phones that stay badly predicted."""

    bad: int
    flagged: int
    both: int
    phones: int


def flag(repeats: Sequence[Results]) -> Flag:
    """Phones flagged by their measured networks, against those above `BAD_PERCENT` on others."""
    tried = [results["others teach", MISFIT_COUNT] for results in repeats]
    bad = np.nanmean([np.abs(each.error) for each in tried], axis=(0, 2)) * 100 > BAD_PERCENT
    flagged = np.nanmean([each.left_out for each in tried], axis=(0, 2)) > MISFIT_PERCENT
    return Flag(int(bad.sum()), int(flagged.sum()), int((bad & flagged).sum()), len(bad))


# (way, number of measured networks, attribute, at most or at least, bound)
BARS = (
    ("others teach", 3, "mape", "at most", 3.2),
    ("others teach", 5, "mape", "at most", 3.0),
    ("others teach", 10, "mape", "at most", 2.8),
    ("others teach", 5, "within_10", "at least", 98.0),
    ("op kinds", 10, "mape", "at most", 4.2),
    ("op kinds", 20, "mape", "at most", 3.6),
    ("others teach", 5, "held", "at least", 85.0),
    ("others teach", 5, "held", "at most", 95.0),
)


def bars(rows: Sequence[Row]) -> list[tuple[str, bool]]:
    """(words, met) of each bar."""
    by = {(row.way, row.measurements): row for row in rows}
    found = []
    for way, count, name, side, bound in BARS:
        value = getattr(by[way, count], name)
        met = value <= bound if side == "at most" else value >= bound
        words = f"{way}, {count} networks: {name} {value:.2f} %, {side} {bound:g}"
        found.append((words, bool(met)))
    return found


def page(data: Data, rows: Sequence[Row], found: Flag, *, source: str = "") -> str:
    """The report, as Markdown. source: where the data are from and how they were measured, which
    the files do not say."""
    lines = [
        "# Calibrating on other people's phones",
        "",
        "*An explanation.*",
        "",
        "Made by `python -m benchmarks.phones --data=DIR --source=WORDS --page=docs/phones.md`.",
        f"{len(data.phones)} phones of {len(set(data.models))} models, {len(data.features)} "
        f"networks: {data.networks}{f' ({source})' * bool(source)}. "
        "Phones and networks are cross-validated: "
        f"{PHONE_FOLDS} parts of phone models, units of a model together, times {NETWORK_FOLDS} "
        f"parts of networks, {REPEATS} times with other parts; the networks that are predicted "
        "were measured nowhere. Figures are percent, medians over phones of the mean absolute "
        f"error; the interval is of {100 * INTERVAL:.0f} %, and the share that it held is over all "
        "predictions.",
        "",
        "The ways: `others teach` is a prior of the other phones, as `pnas learn-prior` makes it. "
        "`op kinds` and `line in MACs` know the measured networks alone: a price for each kind of "
        "op, and a line in their MACs.",
        "",
        "| way | measured networks | MAPE | upper quarter | within 5 % | within 10 % | Spearman | "
        "interval held |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        held = "" if np.isnan(row.held) else f"{row.held:.0f}"
        lines.append(
            f"| {row.way} | {row.measurements} | {row.mape:.2f} | {row.upper_quarter:.1f} | "
            f"{row.within_5:.0f} | {row.within_10:.1f} | {row.spearman:.3f} | {held} |"
        )
    lines += [
        "",
        f"{found.bad} of {found.phones} phones stay above {BAD_PERCENT:g} % with {MISFIT_COUNT} "
        f"networks. A leave-one-out error above {MISFIT_PERCENT:g} % on these flags "
        f"{found.flagged}, {found.both} of them rightly: it finds {found.both} of {found.bad}.",
        "",
        "| bar | |",
        "|---|---|",
        *(f"| {words} | {'met' if met else 'missed'} |" for words, met in bars(rows)),
        "",
        "How a phone of one's own is calibrated: [howto/calibrate.md](howto/calibrate.md).",
    ]
    return "\n".join(lines) + "\n"
