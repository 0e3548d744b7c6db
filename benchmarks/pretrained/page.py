"""The last part of docs/transfer.md, from what the contenders reached."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from pnas_tf.io import atomic

Row = Mapping[str, object]
NAMES = {
    "searched": "searched, from ImageNet's weights",
    "lite0_smaller": "EfficientNet-Lite0 at a lower resolution, ImageNet's weights",
    "random": "random network of the space, ImageNet's weights",
    "mobilenet_v2": "MobileNetV2's blocks, from scratch",
    "from_scratch": "searched from scratch",
}
MARK = "<!-- contenders: python -m benchmarks.pretrained -->"
HEAD = """
## Networks of one latency

Made by `python -m benchmarks.pretrained --flowers=FOLDER --page=docs/transfer.md` from its results.
Real photographs, few of them: Oxford's 17 flowers (64 + 16 a class), and solar cells (elpv-dataset,
intact or defective). Networks of one budget of latency, a part of what EfficientNet-Lite0 takes at
the same size of image; each trained for the same epochs; test images looked at once. Means over
seeds, with their standard error where there are several; latencies were measured in one interleaved
session, one thread.
"""


def write_page(rows: Sequence[Row], path: Path) -> None:
    """Writes the page's last part; what stands before its mark is somebody's own words."""
    before, _, _ = path.read_text().partition(MARK)
    lines = [before.rstrip() + "\n", MARK, HEAD]
    for (task, share), group in _grouped(rows, ("task", "share")).items():
        lines += [
            f"### {str(task).capitalize()}, {float(str(share)):g} of EfficientNet-Lite0\n",
            "| network | seeds | test accuracy, float32 | int8 | ms, float32 | ms, int8 | M MACs "
            "| kB, int8 | minutes |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        by_name = _grouped(group, ("contender",))
        lines += [_line(name, by_name[(name,)]) for name in NAMES if (name,) in by_name]
        lines.append("")
    atomic.write_text(path, "\n".join(lines))


def _line(name: str, rows: Sequence[Row]) -> str:
    cells = [
        NAMES[name],
        str(len(rows)),
        _percent([_of(row, "accuracy", "float32") for row in rows]),
        _percent([_of(row, "accuracy", "int8") for row in rows]),
        f"{statistics.mean(_of(row, 'measured_ms', 'float32') for row in rows):.3f}",
        f"{statistics.mean(_of(row, 'measured_ms', 'int8') for row in rows):.3f}",
        f"{statistics.mean(float(str(row['macs'])) for row in rows) / 1e6:.1f}",
        f"{statistics.mean(_of(row, 'bytes', 'int8') for row in rows) / 1000:.0f}",
        f"{statistics.mean(float(str(row['minutes'])) for row in rows):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _percent(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.mean(values):.1f} %"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * statistics.stdev(values) / len(values) ** 0.5:.1f}"


def _of(row: Row, what: str, dtype: str) -> float:
    values = row[what]
    assert isinstance(values, dict)
    return float(values[dtype])


def _grouped(rows: Sequence[Row], keys: Sequence[str]) -> dict[tuple[object, ...], list[Row]]:
    groups: dict[tuple[object, ...], list[Row]] = collections.defaultdict(list)
    for row in rows:
        groups[tuple(row[key] for key in keys)].append(row)
    return groups
