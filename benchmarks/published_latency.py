"""How long published networks take on this computer, float32 and int8, in one interleaved session.

  python -m benchmarks.published_latency --page=docs/applications.md

takes about 10 minutes on 2 cores. Weights are random: latency does not depend on them, and int8
ranges come from noise. MobileNetV2 and MobileNetV3-Large are keras.applications' own. Writes the
table below the page's mark.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tf_keras as keras

import pnas_tf as pnas
from pnas_tf import applications
from pnas_tf.devices.record import Measurement
from pnas_tf.io import atomic
from pnas_tf.tflite.convert import convert

SIZE, IMAGES = 224, 8
MARK = "<!-- latencies: python -m benchmarks.published_latency -->"
NETWORKS: Mapping[str, Callable[[], keras.Model]] = {
    "MobileNetV4-Conv-S": applications.MobileNetV4ConvSmall,
    "Proxyless-Mobile": applications.ProxylessMobile,
    "EfficientNet-Lite0": applications.EfficientNetLite0,
    "MobileNetV2": functools.partial(
        keras.applications.MobileNetV2, weights=None, classifier_activation=None
    ),
    "MobileNetV3-Large": functools.partial(
        keras.applications.MobileNetV3Large, weights=None, classifier_activation=None
    ),
}


def main() -> int:
    """Converts, measures, writes the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--page", default="", help="page whose table is renewed")
    page = parser.parse_args().page
    files: dict[str, Path] = {}
    parameters: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, build in NETWORKS.items():
            model = with_random_statistics(build())
            parameters[name] = model.count_params() / 1e6
            for dtype in ("float32", "int8"):
                path = files[f"{name} {dtype}"] = Path(scratch) / f"{name}_{dtype}.tflite"
                path.write_bytes(converted(model, dtype))
                print(f"{name}, {dtype}: {path.stat().st_size / 1e6:.1f} MB", flush=True)
        measured = pnas.benchmark(files, progress=print)
        lines = table(parameters, measured)
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


def table(parameters: Mapping[str, float], measured: Mapping[str, Measurement]) -> list[str]:
    """One line a network. parameters: millions by name. measured: by name and number format."""
    lines = ["| network | M parameters | ms, float32 | ms, int8 |", "|---|---|---|---|"]
    for name, count in parameters.items():
        times = [measured[f"{name} {dtype}"].median_ms for dtype in ("float32", "int8")]
        lines.append(f"| {name} | {count:.2f} | {times[0]:.2f} | {times[1]:.2f} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
