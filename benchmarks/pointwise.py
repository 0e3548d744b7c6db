"""Why the search computes convolutions of kernel 1 as products of matrices: time and memory of
both, with their two gradients.

  python -m benchmarks.pointwise --json=pointwise.json

takes about a minute on 2 cores. Times every distinct convolution of kernel 1 in the candidates of
`proxyless` at 64 px, batch 32, and at 96 px, batch 64, the two forms in turn; then counts how much
the resident memory of the process grows with sizes that it has not seen.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from benchmarks.timing import interleaved, main
from pnas_tf.space.mbconv import proxyless
from pnas_tf.space.ops import Zero
from pnas_tf.supernet.functional import pointwise

SIZES = ((64, 32), (96, 64))
ROUNDS, UNSEEN = 9, 60

Form = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def convolution(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The other form of `pointwise`."""
    return tf.nn.conv2d(x, kernel, 1, "SAME")


def with_gradients(form: Form) -> Callable[..., Any]:
    """(x, kernel, gradient of the output) -> (output, both gradients) as one compiled function for
    all sizes."""

    @tf.function(reduce_retracing=True, input_signature=[tf.TensorSpec([None] * 4)] * 3)
    def run(x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor) -> Any:
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = form(x, kernel)
        return y, tape.gradient(y, [x, kernel], output_gradients=upstream)

    return run


def sizes(resolution: int) -> list[tuple[int, int, int]]:
    """(pixels a side, channels in, channels out) of every distinct convolution of kernel 1 in the
    candidates of `proxyless`."""
    space = proxyless(resolution=resolution)
    layers = [
        layer
        for choice in space.choice_blocks
        for op in choice.candidates
        if not isinstance(op, Zero)
        for layer in space.candidate_block(choice, op).layers
        if (layer.kind, layer.kernel) == ("conv", 1)
    ]
    return sorted({(layer.out_size, layer.in_channels, layer.out_channels) for layer in layers})


def operands(
    batch: int, size: int, channels: int, out_channels: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    return (
        tf.random.normal((batch, size, size, channels)),
        tf.random.normal((1, 1, channels, out_channels)),
        tf.random.normal((batch, size, size, out_channels)),
    )


def resident_mb() -> float:
    """Resident memory of this process, with what malloc does not need given back."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def _of_no_round(form: Callable[..., Any], given: Sequence[Any]) -> Callable[[int], Any]:
    return lambda _: form(*given)


def run() -> dict[str, Any]:
    forms = {"convolution": with_gradients(convolution), "product": with_gradients(pointwise)}
    result: dict[str, Any] = {}
    for resolution, batch in SIZES:
        rows = []
        for size in sizes(resolution):
            given = operands(batch, *size)
            rows.append(
                interleaved(
                    {name: _of_no_round(form, given) for name, form in forms.items()},
                    rounds=ROUNDS,
                    reference="convolution",
                )
            )
        ratios = sorted(row["ratio"]["product"] for row in rows)
        total = {name: sum(row["median_ms"][name] for row in rows) for name in forms}
        result[f"{resolution} px, batch {batch}"] = {
            "sizes": len(rows),
            "least": ratios[0],
            "median": statistics.median(ratios),
            "most": ratios[-1],
            "ratio_of_sums": total["product"] / total["convolution"],
            "noise_percent": statistics.median(row["noise_percent"] for row in rows),
        }
    for name in ("product", "convolution"):
        forms[name](*operands(32, 8, 500, 24))
        before = resident_mb()
        for channels in range(200, 200 + UNSEEN):
            forms[name](*operands(32, 8, channels, 24))
        result[f"kB for an unseen size, {name}"] = 1024 * (resident_mb() - before) / UNSEEN
    return result


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
