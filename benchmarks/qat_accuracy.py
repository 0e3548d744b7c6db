"""Quantisation-aware training against post-training quantisation on Fashion-MNIST, with the same
training budget.

    python -m benchmarks.qat_accuracy --offline_files=/usr/share/datasets/fashion-mnist
    --json=qat.json

For each seed one network of space tiny is trained; then it is trained on for the same further
epochs, with the same data in the same order and the same schedule, once as it is and quantised
afterwards (PTQ), once quantisation-aware (QAT). --squeeze_excite and --activation=hswish make its
blocks those of MobileNetV3. Prints the test accuracy of both int8 files of every seed, and the mean
difference with its standard error. With kernels above 5 it also shows what an export with split
convolutions takes, the QAT weights calibrated afterwards. Takes about 6 minutes a seed on 2 cores;
exits 1 when the mean of QAT is below that of PTQ. Without --offline_files TFDS downloads the
images.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import statistics
import sys
import tempfile
from typing import Any

import pnas_tf  # noqa: F401  sets the Keras switch before TensorFlow is imported
from pnas_tf.config import ExportConfig
from pnas_tf.io import atomic
from pnas_tf.space.ops import ACTIVATIONS


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--offline_files", default="", help="folder with the four published archives"
    )
    parser.add_argument("--data_dir", default="", help="TFDS data folder")
    parser.add_argument(
        "--train_images", type=int, default=20_000, help="training images, class-balanced"
    )
    parser.add_argument("--epochs", type=int, default=4, help="epochs of the float network")
    parser.add_argument(
        "--finetune_epochs",
        type=int,
        default=ExportConfig.finetune_epochs,
        help="further epochs, with and without quantisation ranges",
    )
    parser.add_argument(
        "--learning_rate",
        type=float,
        default=ExportConfig.finetune_learning_rate,
        help="initial rate of those epochs",
    )
    parser.add_argument(
        "--width",
        type=float,
        default=0.25,
        help="width multiplier: narrow networks suffer most from int8",
    )
    parser.add_argument("--kernels", default="3,5,3", help="kernels of the blocks, in turn")
    parser.add_argument("--squeeze_excite", action="store_true", help="in every block")
    parser.add_argument("--activation", default="relu6", choices=ACTIVATIONS, help="of the blocks")
    parser.add_argument("--seeds", default="0,1,2,3", help="one comparison each, comma-separated")
    parser.add_argument("--json", help="file for all figures")
    options = parser.parse_args()

    rows = {}
    for seed in map(int, options.seeds.split(",")):
        rows[seed] = compare_once(seed, options)
        for name, report in rows[seed].items():
            print(
                f"seed {seed}: {name:30s} int8 {report['tflite_accuracy']:.2%}, its float network "
                f"{report['keras_accuracy']:.2%}",
                flush=True,
            )
    differences = [
        100 * (row["qat"]["tflite_accuracy"] - row["ptq"]["tflite_accuracy"])
        for row in rows.values()
    ]
    mean, error = (
        statistics.mean(differences),
        statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0,
    )
    for name in ("ptq", "qat"):
        print(
            f"{name}: mean int8 test accuracy "
            f"{statistics.mean(row[name]['tflite_accuracy'] for row in rows.values()):.2%}"
        )
    if options.json:
        atomic.write_json(
            options.json,
            {
                "format": "pnas_tf/qat_accuracy",
                "version": 2,
                "options": vars(options),
                "results": rows,
                "qat_minus_ptq_points": differences,
                "mean_points": mean,
                "standard_error_points": error,
            },
        )
    print(
        f"{'met' if mean >= 0 else 'MISSED'}: QAT int8 minus PTQ int8 {mean:+.2f} points, "
        f"standard error {error:.2f}, "
        f"{len(differences)} seeds"
    )
    return 0 if mean >= 0 else 1


def compare_once(seed: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Way to int8 -> its parity report, all from one network of this seed."""
    from benchmarks.evidence.debian_archives import published_archives
    from pnas_tf.config import DataConfig, ExportConfig, OptimizerConfig, TrainConfig
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.mbconv import tiny
    from pnas_tf.space.ops import MBConv
    from pnas_tf.tflite.convert import convert
    from pnas_tf.tflite.parity import compare
    from pnas_tf.tflite.quantize import FineTuning, compress, train_on
    from pnas_tf.tflite.rewrites.choice import REWRITES
    from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites
    from pnas_tf.training.loop import TrainRecipe, train_network

    ops = [
        MBConv(int(kernel), 3, options.squeeze_excite, options.activation)
        for kernel in options.kernels.split(",")
    ]
    space = dataclasses.replace(
        tiny(resolution=28, width=options.width),
        candidates=tuple(dict.fromkeys(ops)),
        activation=options.activation,
    )
    blocks = itertools.islice(itertools.cycle(ops), len(space.choice_blocks))
    architecture = Architecture(space, tuple(blocks))
    dataset = load_dataset(
        DataConfig(
            dataset="fashion_mnist",
            data_dir=options.data_dir,
            offline_files=str(published_archives(options.offline_files))
            if options.offline_files
            else "",
            train_images=options.train_images,
        ),
        resolution=space.resolution,
    )
    recipe = TrainConfig(epochs=options.epochs)
    with tempfile.TemporaryDirectory() as folder:
        base = train_network(architecture, dataset, TrainRecipe(recipe, seed=seed), folder).model
    tuning = FineTuning(
        lambda epoch: dataset.fit_batches(recipe, seed=seed + 1, epoch=epoch),
        dataset.fit_steps(recipe),
        ExportConfig(
            quantize="qat",
            finetune_epochs=options.finetune_epochs,
            finetune_learning_rate=options.learning_rate,
        ),
        OptimizerConfig(),
    )
    further, made = train_on(base, tuning), compress(base, tuning)
    aware, shadow = made.aware, made.plain
    ways: dict[str, tuple[Any, Any, tuple[str, ...]]] = {
        "ptq": (further, further, ()),
        "qat": (aware, shadow, ()),
    }
    if applicable(base):
        ways |= {
            "ptq, split": (further, further, REWRITES),
            "qat weights, split, calibrated": (shadow, shadow, REWRITES),
        }
    representative = dataset.representative_images(200)
    return {
        name: compare(
            reference,
            convert(apply_rewrites(model, rewrites), "int8", representative=representative),
            dataset.test_batches(batch_size=500).as_numpy_iterator(),
            dtype="int8",
        ).to_json()
        for name, (model, reference, rewrites) in ways.items()
    }


if __name__ == "__main__":
    sys.exit(main())
