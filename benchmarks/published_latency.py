"""How long published networks take on this computer, float32 and int8, in one interleaved session.

  python -m benchmarks.published_latency --page=docs/applications.md

takes about 10 minutes on 2 cores. Weights are random: latency does not depend on them, and int8
ranges come from noise. MobileNetV2 and MobileNetV3-Large are keras.applications' own. Parameters
and MACs are held to the published ones before anything is measured; --no-measure ends there. Writes
the table below the page's mark.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras as keras

import pnas_tf as pnas
from pnas_tf import applications
from pnas_tf.devices.record import Measurement
from pnas_tf.io import atomic
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.model import TfliteModel

SIZE, IMAGES = 224, 8
MARK = "<!-- latencies: python -m benchmarks.published_latency -->"
# MobileNetV3's own default is images of any size.
_KERAS: dict[str, Any] = {
    "input_shape": (SIZE, SIZE, 3),
    "weights": None,
    "classifier_activation": None,
}
NETWORKS: Mapping[str, Callable[[], keras.Model]] = {
    "MobileNetV4-Conv-S": applications.MobileNetV4ConvSmall,
    "Proxyless-Mobile": applications.ProxylessMobile,
    "EfficientNet-Lite0": applications.EfficientNetLite0,
    "MobileNetV2": functools.partial(keras.applications.MobileNetV2, **_KERAS),
    "MobileNetV3-Large": functools.partial(
        keras.applications.MobileNetV3Large, include_preprocessing=False, **_KERAS
    ),
}
# Millions of parameters and MACs that their papers give, and how far ours may be from these: they
# count in other ways (EfficientNet-Lite0's authors 407 M), and round.
PUBLISHED = {
    "MobileNetV4-Conv-S": (3.8, 200.0),  # Qin et al. 2024, table 1
    "Proxyless-Mobile": (4.1, 320.0),  # Cai et al. 2019, and their repository
    "EfficientNet-Lite0": (4.7, 407.0),  # the authors' page
    "MobileNetV2": (3.4, 300.0),  # Sandler et al. 2018, table 4
    "MobileNetV3-Large": (5.4, 219.0),  # Howard et al. 2019, table 3
}
TOLERANCE = 0.08


def main() -> int:
    """Converts, measures, writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", default="", help="page whose table is renewed")
    parser.add_argument("--measure", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    page = arguments.page
    files: dict[str, Path] = {}
    sizes: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, build in NETWORKS.items():
            model = with_random_statistics(build())
            for dtype in ("float32", "int8"):
                content = converted(model, dtype)
                sizes[name] = checked(name, model, content)
                path = files[f"{name} {dtype}"] = Path(scratch) / f"{name}_{dtype}.tflite"
                path.write_bytes(content)
                words = "{:.2f} M parameters, {:.0f} M MACs".format(*sizes[name])
                print(f"{name}, {dtype}: {words}, {len(content) / 1e6:.1f} MB", flush=True)
        if not arguments.measure:
            return 0
        measured = pnas.benchmark(files, progress=print)
        lines = table(sizes, measured)
    print("\n".join(lines))
    if page:
        before = Path(page).read_text().partition(MARK)[0]
        atomic.write_text(Path(page), "\n".join([before + MARK, "", *lines, ""]))
    return 0


def with_random_statistics(model: keras.Model) -> keras.Model:
    """The model with weights under which no channel is 0 and no range is empty."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.get_weights()[0].shape
            gamma, variance = generator.uniform(0.5, 1.5, (2, *shape))
            beta, mean = generator.normal(0.0, 0.1, (2, *shape))
            layer.set_weights([gamma, beta, mean, variance])
    return model


def converted(model: keras.Model, dtype: str) -> bytes:
    """The file that an export of it has the ops of; int8 takes bytes and is calibrated on noise."""
    if dtype == "float32":
        return convert(model, dtype)
    noise = np.random.default_rng(0).uniform(-1, 1, (IMAGES, SIZE, SIZE, 3)).astype(np.float32)
    return convert(model, dtype, representative=noise, input_type="uint8")


def checked(name: str, model: keras.Model, content: bytes) -> tuple[float, float]:
    """Millions of trained parameters of the network and of MACs of its file. Raises ValueError
    where they are not the published ones."""
    parameters = sum(variable.shape.num_elements() for variable in model.trainable_variables)
    macs = sum(op.macs for op in TfliteModel(content).contents.ops)
    found = parameters / 1e6, macs / 1e6
    for ours, theirs in zip(found, PUBLISHED[name], strict=True):
        if abs(ours / theirs - 1) > TOLERANCE:
            raise ValueError(f"{name} has {found} M parameters and MACs, not {PUBLISHED[name]}")
    return found


def table(
    sizes: Mapping[str, tuple[float, float]], measured: Mapping[str, Measurement]
) -> list[str]:
    """One line a network. sizes: of `checked`. measured: by name and number format."""
    lines = [
        "| network | M parameters | M MACs | ms, float32 | ms, int8 |",
        "|---|---|---|---|---|",
    ]
    for name, (parameters, macs) in sizes.items():
        times = [measured[f"{name} {dtype}"].median_ms for dtype in ("float32", "int8")]
        lines.append(
            f"| {name} | {parameters:.2f} | {macs:.0f} | {times[0]:.2f} | {times[1]:.2f} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
