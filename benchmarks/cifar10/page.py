"""docs/cifar10.md, from what the contenders reached."""

from __future__ import annotations

import collections
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pnas_tf.io import atomic

Row = Mapping[str, object]
SEARCHED = {"searched": "searched", "one_shot": "searched, one supernet for all budgets"}
NAMES = {
    **SEARCHED,
    "resnet8": "ResNet-8",
    "mobilenet_v2": "MobileNetV2's blocks",
    "efficientnet_lite": "EfficientNet-Lite's blocks",
    "random": "random of the space",
}
MARK = "<!-- results: python -m benchmarks.cifar10 -->"
END = "<!-- end of results -->"
HEAD = """# CIFAR-10 at the latency of MLPerf Tiny's network

"""
BEFORE = """
Made by `python -m benchmarks.cifar10 --page=docs/cifar10.md` from its results. MLPerf Tiny's image
classification is CIFAR-10 by ResNet-8: 12.5 M MACs, 78,666 parameters. Its file's latency is the
budget. Images are JPEGs of CIFAR-10, {train:,} to train, {validation:,} to validate and {test:,} to
test; the reference file never saw JPEG, so its *architecture* is trained on the same images. All
networks: {epochs} epochs, one recipe, post-training int8; test images are looked at once. ± is the
standard error over seeds. Latencies: medians of one interleaved session, one thread, float32 by
XNNPACK.
"""


def write_page(results: Mapping[str, object], path: Path) -> None:
    """Writes the page's figures; what stands outside of the marks is somebody's own words."""
    rows, images, train = (results[name] for name in ("rows", "images", "train"))
    assert isinstance(rows, list) and isinstance(images, dict) and isinstance(train, dict)
    lines = [BEFORE.format(**images, epochs=train["epochs"]).lstrip()]
    reference = results["reference"]
    assert isinstance(reference, dict)
    for share, group in sorted(
        _grouped(rows, "share").items(), key=lambda pair: -float(str(pair[0]))
    ):
        lines += _budget(float(str(share)), group, reference)
    costs = results["op_costs"]
    assert isinstance(costs, list)
    lines += [*_chosen(rows), *_op_costs(costs)]
    write_between(path, MARK, END, lines)


def write_between(path: Path, mark: str, end: str, lines: Sequence[str]) -> None:
    """Puts lines between two marks of a page, in the place of what stands there; at its end where
    it has none."""
    before, _, rest = (path.read_text() if path.is_file() else HEAD).partition(mark)
    after = rest.partition(end)[2]
    text = "\n".join([before.rstrip(), "", mark, "", *lines, end])
    atomic.write_text(path, text + (after or "\n"))


def _budget(share: float, rows: Sequence[Row], reference: Row) -> Iterable[str]:
    yield f"## {share:g} of the reference's latency\n"
    yield (
        "| network | seeds | top-1, float32 | int8 | ms, float32 | ms, int8 | M MACs | kB, int8 "
        "| minutes |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    by_name = _grouped(rows, "contender")
    for name, shown in NAMES.items():
        if name in by_name:
            yield _line(shown, by_name[name])
    cells = [
        "the reference file, which never saw JPEG",
        "",
        *(f"{100 * _of(reference, 'accuracy', dtype):.1f} %" for dtype in ("float32", "int8")),
        *(f"{_of(reference, 'measured_ms', dtype):.3f}" for dtype in ("float32", "int8")),
        "12.5",
        f"{_of(reference, 'bytes', 'int8') / 1000:.0f}",
        "",
    ]
    yield f"| {' | '.join(cells)} |\n"
    for name, shown in SEARCHED.items():
        if {name, "resnet8"} <= set(by_name):
            yield f"{shown.capitalize()}: {_difference(by_name[name], by_name['resnet8'])}"


def _difference(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Against ResNet-8, in words."""
    values = [[100 * _of(row, "accuracy", "float32") for row in rows] for rows in (ours, theirs)]
    gap = statistics.mean(values[0]) - statistics.mean(values[1])
    if min(map(len, values)) < 2:
        return f"{gap:+.2f} points from ResNet-8.\n"
    error = sum(statistics.variance(each) / len(each) for each in values) ** 0.5
    return f"{gap:+.2f} ± {error:.2f} points from ResNet-8, {gap / error:.1f} standard errors.\n"


def _line(name: str, rows: Sequence[Row]) -> str:
    def mean(what: str, dtype: str) -> float:
        return statistics.mean(_of(row, what, dtype) for row in rows)

    cells = [
        name,
        str(len(rows)),
        *(_percent([_of(row, "accuracy", dtype) for row in rows]) for dtype in ("float32", "int8")),
        *(f"{mean('measured_ms', dtype):.3f}" for dtype in ("float32", "int8")),
        f"{statistics.mean(float(str(row['macs'])) for row in rows) / 1e6:.1f}",
        f"{mean('bytes', 'int8') / 1000:.0f}",
        f"{statistics.mean(float(str(row['minutes'])) for row in rows):.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _chosen(rows: Sequence[Row]) -> Iterable[str]:
    found = [row for row in rows if row["contender"] in SEARCHED]
    if not found:
        return
    yield "## What the search chose\n"
    yield "| network | share | seed | ops, block by block |"
    yield "|---|---|---|---|"
    for row in found:
        ops = row["ops"]
        assert isinstance(ops, list)
        name = SEARCHED[str(row["contender"])]
        yield f"| {name} | {row['share']:g} | {row['seed']} | {', '.join(map(str, ops))} |"
    yield ""


def _op_costs(costs: Sequence[Row]) -> Iterable[str]:
    yield "## What the ops take\n"
    yield (
        "ms of one block, as the search sees it (float32, one thread), and ms for a million MACs: "
        "what this processor makes of each kind of op.\n"
    )
    places = _grouped(costs, "where")
    ops = list(_grouped(costs, "op"))
    yield f"| op | {' | '.join(map(str, places))} |"
    yield f"|---|{'---|' * len(places)}"
    for op in ops:
        cells = []
        for rows in places.values():
            found = [row for row in rows if row["op"] == op]
            if not found:
                cells.append("")
                continue
            ms, macs = float(str(found[0]["ms"])), float(str(found[0]["macs"]))
            cells.append(f"{ms:.4f} ({ms / macs * 1e6:.4f})")
        yield f"| {op} | {' | '.join(cells)} |"
    yield ""


def _percent(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.mean(values):.2f} %"
    if len(values) < 2:
        return mean
    return f"{mean} ± {100 * statistics.stdev(values) / len(values) ** 0.5:.2f}"


def _of(row: Row, what: str, dtype: str) -> float:
    values = row[what]
    assert isinstance(values, dict)
    return float(values[dtype])


def _grouped(rows: Sequence[Row], key: str) -> dict[object, list[Row]]:
    groups: dict[object, list[Row]] = collections.defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return groups
