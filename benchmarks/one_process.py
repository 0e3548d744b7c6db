"""One case of the memory and growth benchmarks, in a process of its own; prints one line of JSON.

  python -m benchmarks.one_process search --resolution=64 --batch=32 --candidates=4 --blocks=21

kind: plain (training of `plain_architecture`), hungriest (of `hungriest_architecture`), weight
(weight steps) or search (weight and two-path steps). Peak memory counts from what the imports left;
`own_mb` are weights, statistics and momenta of candidates beyond one path's.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from dataclasses import replace

STEPS = 12
CLASSES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("plain", "hungriest", "weight", "search"))
    parser.add_argument("--space", default="proxyless", help="a named one")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--candidates",
        type=int,
        default=0,
        help="candidates a block, at most 12; 0: those of the paper",
    )
    parser.add_argument("--blocks", type=int, default=21, help="choice blocks")
    options = parser.parse_args()

    import tensorflow as tf

    from benchmarks.workload import (
        Workload,
        hungriest_architecture,
        plain_architecture,
        plain_step,
    )
    from pnas_tf.space.mbconv import MBConvSpace, Stage
    from pnas_tf.space.ops import MBConv
    from pnas_tf.space.registry import named_space

    space = named_space(options.space, classes=CLASSES, resolution=options.resolution)
    assert isinstance(space, MBConvSpace)
    if options.candidates:
        # The first two, which are timed, are the same in every space, and no other needs more room
        # for its values than the first. (Twelve kernels from 3 to 25 would be another measure: a
        # gradient of a depthwise kernel takes batch * kernel^2 values a channel.)
        every = [MBConv(kernel, expansion) for expansion in (6, 5, 4, 3) for kernel in (7, 3, 5)]
        space = replace(space, candidates=tuple(every[: options.candidates]), skips=False)
    if options.blocks != 21:
        share, rest = divmod(options.blocks, 5)
        space = replace(
            space,
            stages=tuple(
                Stage(stage.width, share + (number < rest), stage.stride)
                for number, stage in enumerate(space.stages[:5])
            ),
        )
    tf.matmul(tf.ones((256, 256)), tf.ones((256, 256)))  # what TensorFlow allocates for itself
    imports_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result: dict[str, float] = {}
    networks = {"plain": plain_architecture, "hungriest": hungriest_architecture}
    if options.kind in networks:
        step = plain_step(networks[options.kind](space), *Workload.batch_of(space, options.batch))
        for number in range(STEPS):
            step(number)
    else:
        work = Workload(space, options.batch)
        paths = [
            tuple(min(number, len(choice.candidates) - 1) for choice in space.choice_blocks)
            for number in range(max(len(choice.candidates) for choice in space.choice_blocks))
        ]
        for path in paths:
            work.weight_step(path)
        weight_ms, two_path_ms = [], []
        for number in range(STEPS):
            began = time.perf_counter()
            work.weight_step(paths[number % 2])
            weight_ms.append(1000 * (time.perf_counter() - began))
            if options.kind == "search":
                began = time.perf_counter()
                work.two_path_of(0, 1)
                two_path_ms.append(1000 * (time.perf_counter() - began))
        result = {
            "own_mb": work.own_bytes(paths[0]) / 2**20,
            "weight_ms": statistics.median(weight_ms),
        }
        if two_path_ms:
            result["two_path_ms"] = statistics.median(two_path_ms[1:])
    result["peak_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - imports_kb) / 1024
    print(json.dumps(result))


if __name__ == "__main__":
    main()
