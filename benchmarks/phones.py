"""A new phone in a few measurements: what other phones teach, tried on phones and networks that
taught nothing.

  python -m benchmarks.phones --data=DIR --page=docs/phones.md

DIR holds networks.json (layer listings of chains of MBConv blocks) and latency_ms.csv (one line a
phone, one column a network). Phones and networks are cross-validated: the units of a model
(NAME_0, NAME_1) are held out together, and the networks that are predicted were measured nowhere.
Takes about 2 minutes on one core. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from docs.wrap import wrapped
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.latency.estimate import MISFIT_PERCENT
from pnas_tf.latency.op_features import OP_KINDS, features_of
from pnas_tf.latency.transfer import (
    Observed,
    Population,
    alone,
    condition,
    design,
    learn,
    leave_one_out_percent,
    non_negative,
    relative_line,
)
from pnas_tf.space.blocks import Block
from pnas_tf.space.complexity import macs
from pnas_tf.space.ops import Conv, Head, MBConv, Op, Stem

PHONE_FOLDS, NETWORK_FOLDS, REPEATS = 10, 10, 2
COUNTS = (3, 5, 10, 20)
INTERVAL = 0.9
MISFIT_COUNT = 10  # networks from which on a leave-one-out error says something
BAD_PERCENT = 10.0


@dataclass(frozen=True)
class Layer:
    """A row of networks.json."""

    kind: str
    in_size: int
    out_size: int
    in_channels: int
    out_channels: int
    kernel: int
    stride: int


def blocks_of(layers: Sequence[Layer]) -> tuple[Block, ...] | None:
    """The chain as blocks; None where an expansion is no whole number, so that it is no chain of
    MBConvs. An expansion of 1 is a convolution of its own here."""
    rows = [layer for layer in layers if layer.kind != "act"]
    stem, rest, found = rows[0], rows[1:], []
    found.append(_block("stem", Stem(stem.kernel), stem, stem))
    while len(rest) > 3 and rest[1].kind == "dw":
        expand, depthwise, project = rest[:3]
        expansion, left = divmod(expand.out_channels, expand.in_channels)
        if left:
            return None
        shortcut = rest[3].kind == "add"
        rest = rest[3 + shortcut :]
        if expansion == 1:
            found.append(_block("expand", Conv(1, "relu6"), expand, expand))
        op = MBConv(depthwise.kernel, expansion)
        found.append(_block("block", op, expand, project, depthwise.stride, shortcut))
    mix, pool, *dense = rest
    if pool.kind != "pool" or not dense or any(layer.out_size > 1 for layer in dense):
        raise UserError(
            "network of networks.json",
            expected="stem, MBConvs, 1x1 convolution, pooling and 1x1 convolutions of one pixel",
            received=" ".join(layer.kind for layer in rest),
            fix="Leave the network out.",
        )
    found.append(_block("head", Head(mix.out_channels), mix, dense[0]))
    found += [_block("dense", Conv(1, None), layer, layer) for layer in dense[1:]]
    return tuple(found)


def _block(
    name: str, op: Op, first: Layer, last: Layer, stride: int | None = None, shortcut: bool = False
) -> Block:
    return Block(
        name,
        op,
        first.in_size,
        last.out_size,
        first.in_channels,
        last.out_channels,
        first.stride if stride is None else stride,
        shortcut,
        "same",
    )


@dataclass(frozen=True)
class Data:
    """features: [networks, features]. latency_ms: [phones, networks], NaN where not measured."""

    phones: tuple[str, ...]
    features: np.ndarray
    macs: np.ndarray
    latency_ms: np.ndarray

    @property
    def models(self) -> np.ndarray:
        """[phones]: names without the number of the unit."""
        return np.array([re.sub(r"_\d+$", "", phone) for phone in self.phones])


def read(folder: Path) -> Data:
    """The networks that are chains of whole MBConvs, on all phones."""
    document = json.loads((folder / "networks.json").read_text())
    blocks = {
        entry["network"]: blocks_of([Layer(**layer) for layer in entry["layers"]])
        for entry in document["networks"]
    }
    header, *rows = list(csv.reader((folder / "latency_ms.csv").open()))
    whole = [name for name in header[1:] if blocks[name] is not None]
    columns = [header.index(name) for name in whole]
    latency_ms = [[float(row[column] or "nan") for column in columns] for row in rows]
    chains = [chain for name in whole if (chain := blocks[name]) is not None]
    return Data(
        tuple(row[0] for row in rows),
        np.array([features_of(chain) for chain in chains]),
        np.array([macs(chain) for chain in chains], float),
        np.array(latency_ms),
    )


def folds(count: int, parts: int, seed: int) -> list[np.ndarray]:
    """Indices in random parts of about one size."""
    order = np.random.default_rng(seed).permutation(count)
    return [order[start::parts] for start in range(min(parts, count))]


@dataclass
class Tried:
    """Relative errors [phones, networks] of one way of predicting, where and whether the interval
    of 90 % held, and the leave-one-out error [phones] on the measured networks."""

    error: np.ndarray
    held: np.ndarray
    left_out: np.ndarray

    @classmethod
    def empty(cls, data: Data) -> Tried:
        shape = data.latency_ms.shape
        return cls(np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape[0], np.nan))


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
            error = leave_one_out_percent(
                rows, latency_ms, lambda some, ms: condition(population, some, ms).mean
            )
            tried.left_out[phone] = np.nanmean([tried.left_out[phone], error])
    elif name == "op kinds":
        predicted = data.features[test] @ non_negative(rows, latency_ms, OP_KINDS)
    else:
        line = np.column_stack([data.macs, np.ones(len(data.macs))])
        predicted = line[test] @ relative_line(line[known], latency_ms)
    tried.error[phone, test] = predicted / truth - 1


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
    flagged = np.mean([each.left_out for each in tried], axis=0) > MISFIT_PERCENT
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


def page(data: Data, rows: Sequence[Row], found: Flag, folder: str) -> str:
    """The report, as Markdown."""
    lines = [
        "# Calibrating on other people's phones",
        "",
        f"Made by `python -m benchmarks.phones --data={folder} --page=docs/phones.md`.",
        f"{len(data.phones)} phones of {len(set(data.models))} models, {len(data.features)} "
        "networks; random chains of MBConv blocks with kernels 3, 5 and 7, expansions 3 and 6, at "
        "224 px (iitm-sysdl/Generalizable-DNN-cost-models, IISWC 2020, Apache-2.0; TFLite of 2020, "
        "1 thread, weights int8). Phones and networks are cross-validated: "
        f"{PHONE_FOLDS} parts of phone models, units of a model together, times {NETWORK_FOLDS} "
        f"parts of networks, {REPEATS} times with other parts; the networks that are predicted were "
        "measured nowhere. Figures are percent, medians over phones of the mean absolute error; the "
        f"interval is of {INTERVAL:.0%}, and the share that it held is over all predictions.",
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
        f"networks. A leave-one-out error above {MISFIT_PERCENT:g} % on these flags {found.flagged}, "
        f"{found.both} of them rightly: it finds {found.both} of {found.bad}.",
        "",
        "| bar | |",
        "|---|---|",
        *(f"| {words} | {'met' if met else 'missed'} |" for words, met in bars(rows)),
        "",
        "How a phone of one's own is calibrated: [howto/calibrate.md](howto/calibrate.md).",
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Cross-validates, prints and, with --page, writes. Exit status 1 when a bar was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="folder of networks.json and latency_ms.csv")
    parser.add_argument("--page", help="Markdown file to write")
    options = parser.parse_args()
    data = read(Path(options.data))
    repeats = []
    for seed in range(REPEATS):
        repeats.append(cross_validate(data, seed=seed))
        print(f"{seed + 1} of {REPEATS} partitions done", flush=True)
    rows = summary(data, repeats)
    text = wrapped(page(data, rows, flag(repeats), options.data))
    print(text)
    if options.page:
        print(f"wrote {atomic.write_text(options.page, text)}")
    return 0 if all(met for _, met in bars(rows)) else 1


if __name__ == "__main__":
    sys.exit(main())
