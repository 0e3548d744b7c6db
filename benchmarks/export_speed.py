"""How fast are our exports? The published networks through our export and through the stock
converter, and MobileNetV2-1.4.

    python benchmarks/export_speed.py --json=speed.json

One thread, pinned to one core, all models interleaved in rounds in one process; the median of all
invocations counts. Each network's own file is timed twice as two models, and the largest ratio
between models of the same bytes is printed as the noise floor (a network without large kernels is
exported as the stock converter does: the same bytes). Weights are random: latency does not depend
on them. Takes about 4 minutes on 2 quiet cores, exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import time

import pnas_tf  # noqa: F401  sets the Keras switch before TensorFlow is imported
from pnas_tf.io import atomic

NETWORKS = ("proxyless_mobile", "proxyless_cpu", "proxyless_gpu", "proxyless_mobile_14")
BASELINE = "mobilenet_v2_1.4"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--networks", default=",".join(NETWORKS), help="comma-separated published networks"
    )
    parser.add_argument("--rounds", type=int, default=12, help="visits to each model")
    parser.add_argument("--invocations", type=int, default=4, help="timed invocations a visit")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument(
        "--core", type=int, default=-1, help="core to pin to; -1 is the last one allowed"
    )
    parser.add_argument("--json", help="file for all figures, raw times included")
    options = parser.parse_args()
    networks = options.networks.split(",")
    contents: dict[str, bytes] = {}
    for network in networks:
        contents |= exports(network, options.resolution)
        print(f"exported {network}", flush=True)
    contents |= baseline(options.resolution)
    core = options.core if options.core >= 0 else max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    times_ms = measure(contents, rounds=options.rounds, invocations=options.invocations)
    medians = {name: statistics.median(times) for name, times in times_ms.items()}
    pairs = [
        (one, other)
        for one, other in itertools.combinations(contents, 2)
        if contents[one] == contents[other]
    ]
    floor = (
        max(
            max(medians[one], medians[other]) / min(medians[one], medians[other])
            for one, other in pairs
        )
        - 1
    )
    bars = check(medians, networks, floor)
    report(medians, {name: len(content) for name, content in contents.items()}, floor, bars)
    if options.json:
        import ai_edge_litert

        atomic.write_json(
            options.json,
            {
                "format": "pnas_tf/export_speed",
                "version": 1,
                "threads": 1,
                "core": core,
                "resolution": options.resolution,
                "runtime": f"ai-edge-litert {ai_edge_litert.__version__}",
                "noise_floor": floor,
                "median_ms": medians,
                "bars": [
                    {"bar": text, "required": need, "received": got, "met": met}
                    for text, need, got, met in bars
                ],
                "times_ms": times_ms,
            },
        )
    return 0 if all(met for *_, met in bars) else 1


def exports(network: str, resolution: int) -> dict[str, bytes]:
    """The four files of one network, and a twin of our float32 one."""
    import numpy as np

    from pnas_tf.networks.network import build_network
    from pnas_tf.space.published import published
    from pnas_tf.tflite.convert import convert
    from pnas_tf.tflite.rewrites.choice import REWRITES
    from pnas_tf.tflite.rewrites.rewrite import apply_rewrites

    model = build_network(published(network, resolution=resolution))
    images = (
        np.random.default_rng(0).uniform(-1, 1, (4, resolution, resolution, 3)).astype(np.float32)
    )
    made = {}
    for dtype in ("float32", "int8"):
        made[f"{network} {dtype} stock"] = convert(model, dtype, representative=images)
        made[f"{network} {dtype} ours"] = convert(
            apply_rewrites(model, REWRITES), dtype, representative=images
        )
    made[f"{network} float32 ours twin"] = made[f"{network} float32 ours"]
    return made


def baseline(resolution: int) -> dict[str, bytes]:
    """keras.applications' MobileNetV2-1.4 (74.7 % top-1; Proxyless-Mobile 74.6 %), as logits,
    through the stock converter."""
    import tf_keras as keras

    from pnas_tf.tflite.convert import convert

    model = keras.applications.MobileNetV2(
        (resolution, resolution, 3), alpha=1.4, weights=None, classifier_activation=None
    )
    return {f"{BASELINE} float32": convert(model, "float32")}


def measure(contents: dict[str, bytes], *, rounds: int, invocations: int) -> dict[str, list[float]]:
    """Model name -> times of all invocations in ms; the order is shuffled in every round, the first
    run of a visit not counted."""
    from ai_edge_litert.interpreter import Interpreter

    interpreters = {
        name: Interpreter(model_content=content, num_threads=1)
        for name, content in contents.items()
    }
    for interpreter in interpreters.values():
        interpreter.allocate_tensors()
    times: dict[str, list[float]] = {name: [] for name in contents}
    order, generator = list(contents), random.Random(0)
    for _ in range(rounds):
        generator.shuffle(order)
        for name in order:
            interpreters[name].invoke()
            for _ in range(invocations):
                started = time.perf_counter_ns()
                interpreters[name].invoke()
                times[name].append((time.perf_counter_ns() - started) / 1e6)
    return times


def check(
    medians: dict[str, float], networks: list[str], floor: float
) -> list[tuple[str, float, float, bool]]:
    """(bar, required ratio, received ratio, met) for each bar of the networks measured. Ratios are
    time over our time."""
    wanted: list[tuple[str, float, str, str]] = []
    for network in networks:
        least = {"proxyless_mobile": 1.6, "proxyless_gpu": 1.5}.get(network, 1 - floor)
        wanted += [
            (
                f"{network}: stock float32 / ours",
                least,
                f"{network} float32 stock",
                f"{network} float32 ours",
            ),
            (
                f"{network}: our float32 / our int8",
                1.5,
                f"{network} float32 ours",
                f"{network} int8 ours",
            ),
            (
                f"{network}: stock int8 / ours",
                1 - floor,
                f"{network} int8 stock",
                f"{network} int8 ours",
            ),
        ]
    if "proxyless_mobile" in networks:
        wanted.append(
            (
                f"{BASELINE} float32 / proxyless_mobile float32 ours",
                1.3,
                f"{BASELINE} float32",
                "proxyless_mobile float32 ours",
            )
        )
    return [
        (text, need, medians[slow] / medians[fast], medians[slow] / medians[fast] >= need)
        for text, need, slow, fast in wanted
    ]


def report(
    medians: dict[str, float],
    sizes: dict[str, int],
    floor: float,
    bars: list[tuple[str, float, float, bool]],
) -> None:
    print(f"\n{'model':44s} {'median ms':>10s} {'kB':>8s}")
    for name, median in medians.items():
        print(f"{name:44s} {median:10.2f} {sizes[name] / 1000:8.0f}")
    print(f"\nnoise floor (twins): {100 * floor:.1f} %\n")
    for text, need, got, met in bars:
        print(f"{'met   ' if met else 'MISSED'} {text}: {got:.2f} (at least {need:.2f})")


if __name__ == "__main__":
    sys.exit(main())
