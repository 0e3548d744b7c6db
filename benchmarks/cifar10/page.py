"""docs/cifar10.md, from what the contenders reached."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.contender_rows import HEADER, RULE, Row, grouped, line_of, value_of
from docs.wrap import wrapped
from pnas_tf.config import OptimizerConfig, TrainConfig
from pnas_tf.io import atomic
from pnas_tf.options import asked_options

SEARCHED = {
    "searched": "searched",
    "one_shot": "searched, one supernet for all budgets",
    "published": "the network of tflite_models/",
}
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
Made by `python -m benchmarks.cifar10 --data=DATA --page=docs/cifar10.md --budgets={budgets}
--seeds={seeds} --contenders={contenders} --epochs={epochs}` from its results, on {device}. MLPerf
Tiny's image classification is CIFAR-10 by ResNet-8: 12.5 M MACs, 78,666 parameters. Its files'
latencies, float32 and int8, are the budget. Images are JPEGs of CIFAR-10, {train:,} to train,
{validation:,} to validate and {test:,} to test; the reference file never saw JPEG, so its
*architecture* is trained on the same images. All networks: {epochs} epochs, one recipe ({recipe}),
post-training int8; test images are looked at once. ± is the standard error over seeds. Latencies:
medians of one interleaved session, one thread, float32 by XNNPACK.
"""


def write_page(results: Mapping[str, object], path: Path) -> None:
    """Writes the page's figures; what stands outside of the marks is somebody's own words."""
    rows, images, train = (results[name] for name in ("rows", "images", "train"))
    assert isinstance(rows, list) and isinstance(images, dict) and isinstance(train, dict)
    made = {
        option: ",".join(dict.fromkeys(f"{row[name]}" for row in rows))
        for option, name in (("budgets", "share"), ("seeds", "seed"), ("contenders", "contender"))
    }
    given = asked_options(TrainConfig(epochs=train["epochs"]), TrainConfig(**train))
    optimizer = results["optimizer"]
    assert isinstance(optimizer, dict)
    given |= asked_options(OptimizerConfig(), OptimizerConfig(**optimizer))
    recipe = ", ".join(f"`--{name}={value}`" for name, value in given.items())
    about = {"epochs": train["epochs"], "device": results["device"]}
    about["recipe"] = recipe or "the defaults of `pnas train`"
    lines = [BEFORE.format(**images, **made, **about).lstrip()]
    reference = results["reference"]
    assert isinstance(reference, dict)
    by_share = {float(str(share)): rows for (share,), rows in grouped(rows, "share").items()}
    for share in sorted(by_share, reverse=True):
        lines += _budget(share, by_share[share], reference)
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
    atomic.write_text(path, wrapped(text + (after or "\n")))


def _budget(share: float, rows: Sequence[Row], reference: Row) -> Iterable[str]:
    yield f"## {share:g} of the reference's latency\n"
    yield from (HEADER, RULE)
    by_name = {name: rows for (name,), rows in grouped(rows, "contender").items()}
    for name, shown in NAMES.items():
        if name in by_name:
            yield line_of(shown, by_name[name], decimals=2)
    cells = [
        "the reference file, which never saw JPEG",
        "",
        *(f"{100 * value_of(reference, 'accuracy', dtype):.1f} %" for dtype in ("float32", "int8")),
        *(f"{value_of(reference, 'measured_ms', dtype):.3f}" for dtype in ("float32", "int8")),
        "12.5",
        f"{value_of(reference, 'bytes', 'int8') / 1000:.0f}",
        "",
    ]
    yield f"| {' | '.join(cells)} |\n"
    for name, shown in SEARCHED.items():
        if {name, "resnet8"} <= set(by_name):
            yield f"{shown.capitalize()}: {_difference(by_name[name], by_name['resnet8'])}"


def _difference(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Against ResNet-8, in words."""
    values = [
        [100 * value_of(row, "accuracy", "float32") for row in rows] for rows in (ours, theirs)
    ]
    gap = statistics.mean(values[0]) - statistics.mean(values[1])
    if min(map(len, values)) < 2:
        return f"{gap:+.2f} points from ResNet-8.\n"
    error = sum(statistics.variance(each) / len(each) for each in values) ** 0.5
    return f"{gap:+.2f} ± {error:.2f} points from ResNet-8, {gap / error:.1f} standard errors.\n"


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
    places = grouped(costs, "where")
    ops = [op for (op,) in grouped(costs, "op")]
    yield f"| op | {' | '.join(str(place) for (place,) in places)} |"
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
