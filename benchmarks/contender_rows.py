"""Networks of contenders as rows of a Markdown table: means over the seeds of each, with their
standard error where there are several."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]
HEADER = (
    "| network | seeds | test accuracy, float32 | int8 | ms, float32 | ms, int8 | M MACs "
    "| kB, int8 | minutes |"
)
RULE = "|---|---|---|---|---|---|---|---|---|"
_DTYPES = ("float32", "int8")


def line_of(name: str, rows: Sequence[Row], *, decimals: int) -> str:
    """The row of one contender; decimals: of its accuracies, in percent."""

    def mean(what: str, dtype: str) -> float:
        return statistics.mean(value_of(row, what, dtype) for row in rows)

    # Of what was made in one go: a contender that was stopped has no time.
    minutes = [float(str(row["minutes"])) for row in rows if row["minutes"] is not None]
    accuracies = ([value_of(row, "accuracy", dtype) for row in rows] for dtype in _DTYPES)
    cells = [
        name,
        str(len(rows)),
        *(_percent(values, decimals) for values in accuracies),
        *(f"{mean('measured_ms', dtype):.3f}" for dtype in _DTYPES),
        f"{statistics.mean(float(str(row['macs'])) for row in rows) / 1e6:.1f}",
        f"{mean('bytes', 'int8') / 1000:.0f}",
        f"{statistics.mean(minutes):.1f}" if minutes else "",
    ]
    return f"| {' | '.join(cells)} |"


def value_of(row: Row, what: str, dtype: str) -> float:
    """A figure that a row has for each number format."""
    values = row[what]
    assert isinstance(values, dict)
    return float(values[dtype])


def grouped(rows: Sequence[Row], *keys: str) -> dict[tuple[object, ...], list[Row]]:
    """The rows by their values of these keys, in the order of their first."""
    groups: dict[tuple[object, ...], list[Row]] = collections.defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups


def _percent(values: Sequence[float], decimals: int) -> str:
    mean = f"{100 * statistics.mean(values):.{decimals}f} %"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * statistics.stdev(values) / len(values) ** 0.5:.{decimals}f}"
