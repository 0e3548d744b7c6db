"""Quantisation-aware training against post-training quantisation on Fashion-MNIST, with the same training budget.

    python benchmarks/qat_accuracy.py --offline_files=/usr/share/datasets/fashion-mnist --json=qat.json

One network of space tiny is trained; then it is trained on for the same further epochs, with the same data in the same
order and the same schedule, once as it is and quantised afterwards (PTQ), once quantisation-aware (QAT). Prints the test
accuracy of both int8 files, and of the QAT weights calibrated afterwards (what an export with split convolutions takes).
Takes about 12 minutes on 2 cores; --help shows the budget. Without --offline_files TFDS downloads the images.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import pnas_tf  # noqa: F401  sets the Keras switch before TensorFlow is imported
from pnas_tf import files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline_files", default="", help="folder with the four published archives")
    parser.add_argument("--data_dir", default="", help="TFDS data folder")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of the float network")
    parser.add_argument("--finetune_epochs", type=int, default=1, help="further epochs, with and without quantisation ranges")
    parser.add_argument("--learning_rate", type=float, default=0.01, help="initial rate of the further epochs")
    parser.add_argument("--width", type=float, default=0.5, help="width multiplier: narrow networks suffer most from int8")
    parser.add_argument("--kernels", default="3,5,7", help="kernels of the blocks, in turn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="file for all figures")
    options = parser.parse_args()

    from pnas_tf.config import DataConfig, TrainConfig
    from pnas_tf.export.convert import convert
    from pnas_tf.export.parity import compare
    from pnas_tf.export.quantize import Compression, FineTuning, compress, plain_network, train_on
    from pnas_tf.export.rewrite_choice import REWRITES
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.ops import MBConv
    from pnas_tf.space.search_space import tiny
    from pnas_tf.training.data import load_dataset
    from pnas_tf.training.loop import train_network

    space = tiny(resolution=28, width=options.width)
    kernels = [int(kernel) for kernel in options.kernels.split(",")]
    architecture = Architecture(space, tuple(MBConv(kernels[index % len(kernels)], 3) for index in range(len(space.choice_blocks))))
    dataset = load_dataset(DataConfig(dataset="fashion_mnist", data_dir=options.data_dir, offline_files=options.offline_files),
                           resolution=space.resolution)
    recipe = TrainConfig(epochs=options.epochs)
    with tempfile.TemporaryDirectory() as folder:
        base = train_network(architecture, dataset, recipe, folder, seed=options.seed).model
    tuning = FineTuning(lambda epoch: dataset.training(batch_size=recipe.batch_size, seed=options.seed + 1, epoch=epoch),
                        dataset.batches("training", batch_size=recipe.batch_size), epochs=options.finetune_epochs,
                        learning_rate=options.learning_rate, label_smoothing=recipe.label_smoothing)
    further = train_on(base, tuning)
    aware = compress(base, Compression(aware=True), tuning)
    shadow = plain_network(aware, base)
    representative = dataset.representative_images(200)
    models = {"ptq": (further, ()), "ptq, split": (further, REWRITES), "qat": (aware, ()),
              "qat weights, split, calibrated": (shadow, REWRITES)}
    rows = {}
    for name, (model, rewrites) in models.items():
        content = convert(model, dtype="int8", representative=representative, rewrites=rewrites)
        reference = further if name.startswith("ptq") else shadow
        report = compare(reference, content, dataset.test(batch_size=500).as_numpy_iterator(), dtype="int8")
        rows[name] = report.to_json()
        print(f"{name:34s} int8 {report.tflite_accuracy or 0:.2%}, its float network {report.keras_accuracy or 0:.2%}", flush=True)
    if options.json:
        files.write_json(options.json, {"format": "pnas_tf/qat_accuracy", "version": 1, "options": vars(options), "results": rows})
    best_qat = rows["qat"]["tflite_accuracy"]
    print("met" if best_qat >= rows["ptq"]["tflite_accuracy"] else "MISSED", "QAT int8 is at least PTQ int8")
    return 0 if best_qat >= rows["ptq"]["tflite_accuracy"] else 1


if __name__ == "__main__":
    sys.exit(main())
