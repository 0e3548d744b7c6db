"""How step time and memory grow with the number of candidates a block and with the number of
blocks.

  python -m benchmarks.step_growth --json=step_growth.json

takes about 4 minutes on 2 cores. Candidates are MBConvs of kernels 7, 3 and 5 and expansions 6 to
3: the first, whose values take the most room, is in every space, and steps are timed on the first
two, so that what grows is what the others add by being there. Processes are compared, one case
each, so times here are rougher than ratios of one process.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.timing import bar, child, main

CANDIDATES, BLOCKS = (2, 4, 7, 12), (5, 10, 21, 40)
FLAT = 1.10
SIZE, LARGER = ("--resolution=64", "--batch=32"), ("--resolution=96", "--batch=64")


def run() -> dict[str, Any]:
    """Both rows, the fewest and the most candidates at a larger size, and the bars on memory beyond
    the candidates' own weights."""
    by_candidates = {
        number: child("benchmarks.one_process", "search", *SIZE, f"--candidates={number}")
        for number in CANDIDATES
    }
    by_blocks = {
        number: child(
            "benchmarks.one_process", "search", *SIZE, "--candidates=4", f"--blocks={number}"
        )
        for number in BLOCKS
    }
    larger = {
        number: child("benchmarks.one_process", "search", *LARGER, f"--candidates={number}")
        for number in (2, 12)
    }
    return {
        "candidates": by_candidates,
        "blocks": by_blocks,
        "larger": larger,
        "bars": [
            bar(
                "memory beyond the candidates' own weights, 12 candidates / 2, 64 px, batch 32",
                _beyond(by_candidates),
                FLAT,
            ),
            bar(
                "memory beyond the candidates' own weights, 12 candidates / 2, 96 px, batch 64",
                _beyond(larger),
                FLAT,
            ),
            bar(
                "weight step, 12 candidates / 2",
                by_candidates[12]["weight_ms"] / by_candidates[2]["weight_ms"],
                FLAT + 0.1,
            ),
        ],
    }


def _beyond(cases: dict[int, dict[str, float]]) -> float:
    """How much more memory 12 candidates take than 2, their own weights aside."""
    beyond = {number: case["peak_mb"] - case["own_mb"] for number, case in cases.items()}
    return beyond[12] / beyond[2]


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
