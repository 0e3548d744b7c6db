"""What --mixed_precision and --jit_compile do to a weight step on this machine.

  python -m benchmarks.step_precision --resolution=64 --batch=32

times weight steps of one path of the `proxyless` space in float32, bfloat16, float16 and under XLA,
round about in one process (about 3 minutes, most of it compilation), and prints medians and their
ratio to float32 as JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import numpy as np
import tensorflow as tf

from pnas_tf.config import OptimizerConfig
from pnas_tf.search.weight_step import Momentum, weight_step
from pnas_tf.space.registry import named_space
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.supernet import Supernet

FORMS = {
    "float32": Numerics(weight_decay=4e-5),
    "jit_compile": Numerics(weight_decay=4e-5, jit_compile=True),
    "bfloat16": Numerics(weight_decay=4e-5, precision="bfloat16"),
    "float16": Numerics(weight_decay=4e-5, precision="float16"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--forms", default=",".join(FORMS))
    options = parser.parse_args()
    space = named_space("proxyless", classes=1000, resolution=options.resolution)
    path = tuple(
        index % (len(choice.candidates) - 1) for index, choice in enumerate(space.choice_blocks)
    )
    generator = np.random.default_rng(0)
    images = tf.constant(
        generator.standard_normal((options.batch, options.resolution, options.resolution, 3)),
        tf.float32,
    )
    labels = tf.constant(generator.integers(0, 1000, options.batch), tf.int32)
    forms = {
        name: (
            Supernet(space, numerics=FORMS[name]),
            Momentum(OptimizerConfig()),
        )
        for name in options.forms.split(",")
    }

    def step(name: str) -> float:
        supernet, optimizer = forms[name]
        started = time.perf_counter()
        weight_step(
            supernet,
            path,
            images,
            labels,
            optimizer=optimizer,
            learning_rate=0.01,
        )
        return time.perf_counter() - started

    first_s = {name: step(name) for name in forms}
    times: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(options.rounds):
        for name in forms:
            times[name].append(min(step(name) for _ in range(2)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        json.dumps(
            {
                "resolution": options.resolution,
                "batch": options.batch,
                "first_step_s": first_s,
                "median_step_s": medians,
                "ratio_to_float32": {
                    name: value / medians["float32"] for name, value in medians.items()
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
