"""Is a search from ImageNet's weights worth it? Five contenders at one measured latency, on real
photographs.

  python -m benchmarks.pretrained --flowers=FOLDER --output=runs/pretrained

FOLDER has train/ and test/ of Oxford's 17 flowers; the second task is elpv-dataset (pip install
elpv-dataset). Takes about 4 hours on 2 cores; what a stopped call has made is kept, and the same
call goes on. --only=flowers, --seeds=0, --shares=0.5, --contenders=searched,random do a part, and
add to what is there: what is measured, results.json and with --page=docs/transfer.md the last part
of that page are of everything in --output.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pnas_tf as pnas
from benchmarks.pretrained.contenders import CONTENDERS, Place, make
from benchmarks.pretrained.page import write_page
from benchmarks.pretrained.tasks import Task, flowers, solar_cells
from pnas_tf.config import LatencyConfig
from pnas_tf.io import atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import Artifact
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.published import published

FORMAT = {"format": "pnas_tf/pretrained_results", "version": 1}


def main() -> int:
    """Makes what is not there yet, measures all files of a task and budget in one session."""
    arguments = arguments_of()
    output = Path(arguments.output)
    tasks = [flowers(arguments.flowers)] if "flowers" in arguments.only else []
    if "solar" in arguments.only:
        tasks.append(solar_cells(output / "solar"))
    results = output / "results.json"
    rows = json.loads(results.read_text())["rows"] if results.is_file() else []
    for task in tasks:
        folder = output / task.name
        table = _table(task, folder)
        for share in arguments.shares:
            rows = [row for row in rows if (row["task"], row["share"]) != (task.name, share)]
            rows += _at_budget(task, table, share, folder / f"at_{share:g}", arguments)
            atomic.write_json(results, {**FORMAT, "rows": rows})
    if arguments.page:
        write_page(rows, Path(arguments.page))
    return 0


def _at_budget(
    task: Task, table: LatencyTable, share: float, folder: Path, arguments: argparse.Namespace
) -> list[dict[str, object]]:
    space = pnas.space("lite", resolution=task.resolution, classes=task.data.class_names)
    ops = published("efficientnet_lite0").ops
    target_ms = share * table.predict_ms(Architecture(space, ops))
    for seed in arguments.seeds:
        for name in arguments.contenders:
            place = Place(task, space, table, target_ms, seed, folder / f"{name}_{seed}")
            print(
                f"== {task.name}, {share:g} of EfficientNet-Lite0, {name}, seed {seed}", flush=True
            )
            print(f"   test accuracy {make(name, place)['accuracy']}", flush=True)
    rows, files = [], {}
    for path in sorted(folder.glob("*/result.json")):
        made, name = json.loads(path.read_text()), path.parent.name
        seed = int(name.rpartition("_")[2])
        rows.append(
            {"task": task.name, "share": share, "target_ms": target_ms, "seed": seed, **made}
        )
        files.update({f"{name}_{dtype}": file for dtype, file in made["files"].items()})
    measured = pnas.benchmark(files, progress=print)
    for row in rows:
        row["measured_ms"] = {
            dtype: measured[f"{row['contender']}_{row['seed']}_{dtype}"].median_ms
            for dtype in row["files"]
        }
    return rows


def _table(task: Task, folder: Path) -> LatencyTable:
    """Latencies of the blocks of `lite` at the task's size; measured once."""
    path = folder / Artifact.LATENCY_TABLE
    if path.is_file():
        return LatencyTable.load(path)
    space = pnas.space("lite", resolution=task.resolution, classes=task.data.class_names)
    table = pnas.measure_latency(space, pnas.device("host"), config=LatencyConfig(), progress=print)
    folder.mkdir(parents=True, exist_ok=True)
    table.save(path)
    return table


def arguments_of(words: Sequence[str] | None = None) -> argparse.Namespace:
    """words: of the command line; None: those of this process."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flowers", type=Path, help="folder with train/ and test/")
    parser.add_argument("--output", default="runs/pretrained", help="folder of all that is made")
    parser.add_argument("--page", default="", help="page to write, docs/transfer.md")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=["flowers", "solar"],
        help="tasks, comma-separated",
    )
    parser.add_argument(
        "--contenders",
        type=lambda text: text.split(","),
        default=list(CONTENDERS),
        help=f"comma-separated, of {', '.join(CONTENDERS)}",
    )
    parser.add_argument(
        "--seeds",
        type=lambda text: [int(seed) for seed in text.split(",")],
        default=[0, 1, 2],
        help="comma-separated",
    )
    parser.add_argument(
        "--shares",
        type=lambda text: [float(share) for share in text.split(",")],
        default=[0.4, 0.5, 0.8],
        help="budgets, in parts of the latency of EfficientNet-Lite0 at that size",
    )
    arguments = parser.parse_args(words)
    if "flowers" in arguments.only and arguments.flowers is None:
        parser.error("add --flowers=FOLDER, or leave the flowers out: --only=solar")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
