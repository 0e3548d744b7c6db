"""From process start to the first step, and to all candidates compiled.

  python -m benchmarks.startup --json=startup.json

takes about a minute on 2 cores. Every case is a new process, times count from its creation, imports
included; one case first that is not counted warms the file cache.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.timing import bar, child, main

REPEATS = 3
FIRST_STEP_S, ALL_COMPILED_S, TINY_S = 8.0, 10.0, 4.0


def run() -> dict[str, Any]:
    """Both spaces, with the bars."""
    child("benchmarks.first_step", "tiny")
    result: dict[str, Any] = {}
    for space in ("proxyless", "tiny"):
        cases = [child("benchmarks.first_step", space) for _ in range(REPEATS)]
        result[space] = {name: statistics.median(case[name] for case in cases) for name in cases[0]}
        firsts = [case["first_step_s"] for case in cases]
        result[space]["noise_percent"] = 100 * (max(firsts) / min(firsts) - 1)
    result["bars"] = [
        bar(
            "proxyless: seconds from process start to the first step done",
            result["proxyless"]["first_step_s"],
            FIRST_STEP_S,
        ),
        bar(
            "proxyless: seconds to compile all 141 candidates",
            result["proxyless"]["compile_all_s"],
            ALL_COMPILED_S,
        ),
        bar("tiny: seconds to compile all candidates", result["tiny"]["compile_all_s"], TINY_S),
    ]
    return result


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
