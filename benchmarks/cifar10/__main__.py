"""CIFAR-10 at the latency of MLPerf Tiny's network: what a search finds, by two paths or from one
supernet of uniform paths, and the network of tflite_models/, beside ResNet-8 itself, MobileNetV2's
and EfficientNet-Lite's blocks and random networks, all trained alike.

  python -m benchmarks.cifar10 --data=cifar10 --page=docs/cifar10.md

`--data` is a folder with train/ and test/ and one folder a class in them. The reference files are
those of MLPerf Tiny's benchmark/training/image_classification/trained_models (Apache-2.0), in a
folder mlperf_tiny beside --data or where --reference and --reference_int8 say. Budgets are those of
both. Other budgets than the reference's have the first seed alone. Takes about 8 hours of 2 cores,
most of a minute an epoch and network. The same command goes on where it was stopped; with other
--seeds, --contenders or --budgets it adds to what is there, and several may run side by side: what
is measured last, and the page, are of everything in --output.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import pnas_tf as pnas
from benchmarks.cifar10.budget import Reference
from benchmarks.cifar10.contenders import CONTENDERS, Place, Workshop, make
from benchmarks.cifar10.networks import accuracy_of_reference, images_of
from benchmarks.cifar10.page import write_page
from benchmarks.cifar10.resnet import check_against
from pnas_tf.config import DataConfig, LatencyConfig, OptimizerConfig, SearchConfig, TrainConfig
from pnas_tf.data.image_data import ImageData
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import Artifact
from pnas_tf.space.complexity import macs
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.tflite.model import TfliteModel

FORMAT = {"format": "pnas_tf/cifar10_results", "version": 1}
# At other budgets than the reference's own (a), (b) and (e) compete.
ELSEWHERE = ("searched", "one_shot", "resnet8", "random")


def main() -> int:
    """Makes what is not there yet, then measures all files in one session."""
    arguments = _arguments()
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    beside = Path(arguments.data).absolute().parent / "mlperf_tiny"
    files = {
        "float32": Path(arguments.reference or beside / "pretrainedResnet.tflite"),
        "int8": Path(arguments.reference_int8 or beside / "pretrainedResnet_quant.tflite"),
    }
    check_against(TfliteModel.read(files["float32"]))
    shop = _workshop(arguments, Reference(files), output)
    shop.rows()  # refuses what was made otherwise before any work
    for seed in arguments.seeds:
        for share in arguments.budgets:
            for name in arguments.contenders:
                if share != 1.0 and (name not in ELSEWHERE or seed != arguments.seeds[0]):
                    continue
                print(f"== {name}, {share:g} of the reference, seed {seed}", flush=True)
                folder = output / f"{name}_{share:g}_{seed}"
                made = make(name, Place(shop, share, seed, folder))
                print(f"   test accuracy {made['accuracy']}", flush=True)
    if arguments.measure:
        results = _measured(shop)
        atomic.write_json(output / "results.json", results)
        if arguments.page:
            write_page(results, Path(arguments.page))
    return 0


def _measured(shop: Workshop) -> dict[str, object]:
    """The results of every contender, all files measured in one session."""
    rows, files = shop.rows(), shop.reference.files
    session = {f"reference_{dtype}": path for dtype, path in files.items()}
    for number, row in enumerate(rows):
        made = row["files"]
        assert isinstance(made, dict)
        session |= {f"{number}_{dtype}": Path(path) for dtype, path in made.items()}
    measured = pnas.benchmark(session, progress=print)
    for number, row in enumerate(rows):
        row["measured_ms"] = {dtype: measured[f"{number}_{dtype}"].median_ms for dtype in files}
    reference = {
        "accuracy": {
            dtype: accuracy_of_reference(path, shop.dataset) for dtype, path in files.items()
        },
        "measured_ms": {dtype: measured[f"reference_{dtype}"].median_ms for dtype in files},
        "bytes": {dtype: path.stat().st_size for dtype, path in files.items()},
    }
    return {
        **FORMAT,
        "reference": reference,
        "rows": rows,
        "images": images_of(shop.dataset),
        "train": dataclasses.asdict(shop.train),
        "optimizer": dataclasses.asdict(shop.optimizer),
        "op_costs": _op_costs(shop),
        "device": shop.tables["float32"].describe(),
    }


def _op_costs(shop: Workshop) -> list[dict[str, object]]:
    """What each candidate takes in one block of each kind, in ms, as the search sees it."""
    rows, seen = [], set()
    for choice in shop.space.choice_blocks:
        where = (choice.in_size, choice.in_channels, choice.out_channels, choice.stride)
        if where in seen:
            continue
        seen.add(where)
        for op in choice.candidates:
            block = shop.space.candidate_block(choice, op)
            if op.key == "zero":
                continue
            rows.append(
                {
                    "where": "{} px, {} to {} channels, stride {}".format(*where),
                    "op": op.key,
                    "ms": shop.tables["float32"].share_ms(block.key),
                    "macs": macs([block]),
                }
            )
    return rows


def _workshop(arguments: argparse.Namespace, reference: Reference, output: Path) -> Workshop:
    config = DataConfig(
        dataset=f"folder:{arguments.data}",
        train_images=arguments.train_images,
    )
    data = ImageData(config)
    space = pnas.space("cifar", classes=data.class_names)
    assert isinstance(space, MBConvSpace)
    own = json.loads(arguments.train)
    train = record_of(
        TrainConfig,
        {"epochs": arguments.epochs, "evaluate_epochs": 0, **own},
        where="--train",
        fix="Give options of pnas train as JSON.",
    )
    search = SearchConfig(
        warmup_epochs=arguments.warmup_epochs, search_epochs=arguments.search_epochs
    )
    tables = {dtype: _table(space, output, dtype) for dtype in reference.files}
    reference_ms = reference.latency_ms(output / "reference_ms.json")
    optimizer = record_of(
        OptimizerConfig,
        json.loads(arguments.optimizer),
        where="--optimizer",
        fix="Give options of pnas train as JSON.",
    )
    return Workshop(data, space, tables, reference, reference_ms, train, optimizer, search, output)


def _table(space: MBConvSpace, output: Path, dtype: str) -> LatencyTable:
    """Latencies of the blocks of the space; measured once."""
    path = output / dtype / Artifact.LATENCY_TABLE
    if not path.is_file():
        config = LatencyConfig(latency_dtype=dtype)
        table = pnas.measure_latency(space, pnas.device("host"), config=config, progress=print)
        table.save(path)
    return LatencyTable.load(path)


def _arguments() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",")]

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with train/ and test/")
    add("--reference", default="", help="pretrainedResnet.tflite of MLPerf Tiny")
    add("--reference_int8", default="", help="pretrainedResnet_quant.tflite")
    add("--output", default="runs/cifar10", help="folder of all that is made")
    add("--page", default="", help="page to write, docs/cifar10.md")
    add("--seeds", type=numbers, default=[0, 1, 2], help="comma-separated")
    add(
        "--budgets",
        type=lambda text: [float(share) for share in text.split(",")],
        default=[1.0, 0.5, 2.0],
        help="in parts of the reference's latency, comma-separated",
    )
    add(
        "--contenders",
        type=lambda text: text.split(","),
        default=list(CONTENDERS),
        help=f"some of {','.join(CONTENDERS)}",
    )
    add("--epochs", type=int, default=20, help="of every training")
    add("--train", default="{}", help='more options of pnas train, JSON: {"ema_decay": 0.999}')
    add("--optimizer", default="{}", help='of that too, JSON: {"weight_decay": 0.0005}')
    add("--warmup_epochs", type=int, default=2, help="of the search")
    add("--search_epochs", type=int, default=8, help="of the search")
    add("--train_images", type=int, default=None, help="use so many of the training images")
    add(
        "--measure",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure everything in --output at the end",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
