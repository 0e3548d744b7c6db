"""Sizes and parity of every export format: the four published networks and one trained on digits,
in one table.

    python benchmarks/export_formats.py --output=docs/export_formats.md

The published networks have random weights whose batch normalisation is set to the statistics of the
images, which are noise: they show sizes and logit differences. The digits network is trained here,
12 epochs, and shows accuracy on the test split. Takes about 8 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import tempfile
import textwrap
from typing import Any

import numpy as np

import pnas_tf  # noqa: F401  sets the Keras switch before TensorFlow is imported
from pnas_tf.io import atomic

NETWORKS = ("proxyless_mobile", "proxyless_cpu", "proxyless_gpu", "proxyless_mobile_14")
COLUMNS = (
    "| network | format | kB | largest logit difference | mean | largest logit | top-1 agreement "
    "| test accuracy (Keras) |\n"
    "|---|---|---|---|---|---|---|---|"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="docs/export_formats.md")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument(
        "--images", type=int, default=16, help="noise images for the published networks"
    )
    parser.add_argument("--epochs", type=int, default=12, help="epochs of the digits network")
    options = parser.parse_args()
    rows = [
        row for name in NETWORKS for row in published_rows(name, options.resolution, options.images)
    ]
    rows += digits_rows(options.epochs)
    about = (
        "Every format of the four published networks (random weights, "
        f"{options.resolution} pixels, {options.images} noise images) and of a network trained on "
        f"digits ({options.epochs} epochs, the whole test split), against Keras, through the "
        "LiteRT interpreter. The files give logits. The softmax that `pnas export` puts behind "
        "them changes neither logits nor answers. Made by `python benchmarks/export_formats.py "
        f"--resolution={options.resolution} --images={options.images} --epochs={options.epochs}`."
    )
    atomic.write_text(
        options.output,
        "\n".join(
            [
                "# Export formats: sizes and parity",
                "",
                "*A reference.*",
                "",
                textwrap.fill(about, 100, break_on_hyphens=False),
                "",
                COLUMNS,
                *rows,
                "",
            ]
        ),
    )
    print(f"wrote {options.output}")


def published_rows(name: str, resolution: int, count: int) -> list[str]:
    from pnas_tf.networks.network import build_network
    from pnas_tf.space.published import published
    from pnas_tf.training.evaluate import reestimate_batch_norm

    model = build_network(published(name, resolution=resolution))
    images = (
        np.random.default_rng(0)
        .uniform(-1, 1, (count, resolution, resolution, 3))
        .astype(np.float32)
    )
    reestimate_batch_norm(model, [(images, None)])
    return format_rows(model, name, representative=images, images=images, labels=None)


def digits_rows(epochs: int) -> list[str]:
    from pnas_tf.config import DataConfig, TrainConfig
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.space.mbconv import tiny
    from pnas_tf.space.ops import MBConv
    from pnas_tf.training.loop import TrainRecipe, train_network

    space = tiny()
    kernels = (3, 5, 7)
    architecture = Architecture(
        space, tuple(MBConv(kernels[index % 3], 3) for index in range(len(space.choice_blocks)))
    )
    dataset = load_dataset(DataConfig(dataset="digits"), resolution=space.resolution)
    with tempfile.TemporaryDirectory() as folder:
        model = train_network(
            architecture, dataset, TrainRecipe(TrainConfig(epochs=epochs)), folder
        ).model
    images, labels = dataset.test_arrays()
    return format_rows(
        model,
        "tiny, digits",
        representative=dataset.representative_images(200),
        images=images,
        labels=labels,
    )


def format_rows(
    model: Any,
    name: str,
    *,
    representative: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray | None,
) -> list[str]:
    """One row a format, with all rewrites. labels None: no accuracy."""
    from pnas_tf.tflite.classifier import Classifier
    from pnas_tf.tflite.convert import convert
    from pnas_tf.tflite.formats import DTYPES
    from pnas_tf.tflite.parity import report_of
    from pnas_tf.tflite.rewrites.choice import REWRITES
    from pnas_tf.tflite.rewrites.rewrite import apply_rewrites

    rows = []
    ours = np.concatenate(
        [
            model(images[start : start + 64], training=False).numpy()
            for start in range(0, len(images), 64)
        ]
    )
    for dtype in DTYPES:
        content = convert(apply_rewrites(model, REWRITES), dtype, representative=representative)
        report = report_of(
            ours, Classifier(content).logits(images), labels, dtype=dtype, size_bytes=len(content)
        )
        # Untrained logits lie within an int8 step of each other: which is largest says nothing.
        agreement = "-" if labels is None else f"{report.top1_agreement:.1%}"
        accuracy = (
            "-"
            if labels is None
            else f"{report.tflite_accuracy or 0:.2%} ({report.keras_accuracy or 0:.2%})"
        )
        rows.append(
            f"| {name} | {dtype} | {len(content) / 1000:.0f} | {report.max_logit_difference:.2g} | "
            f"{report.mean_logit_difference:.2g} | {report.max_logit:.1f} | {agreement} | "
            f"{accuracy} |"
        )
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
