"""How step time and memory grow with the number of candidates a block and with the number of blocks.

  python -m benchmarks.step_growth --json=step_growth.json

takes about 3 minutes on 2 cores. Candidates are MBConvs of kernels 7, 3 and 5 and expansions 6 to 3: the first, whose values take the most
room, is in every space, and steps are timed on the first two, so that what grows is what the others add by being there. Processes are
compared, one case each, so times here are rougher than ratios of one process.
"""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.timing import bar, child, main

CANDIDATES, BLOCKS = (2, 4, 7, 12), (5, 10, 21, 40)
FLAT = 1.10
SIZE = ("--resolution=64", "--batch=32")


def run() -> dict[str, Any]:
    """Both rows, and the bar on memory beyond the candidates' own weights."""
    by_candidates = {number: child("benchmarks.one_process", "search", *SIZE, f"--candidates={number}") for number in CANDIDATES}
    by_blocks = {number: child("benchmarks.one_process", "search", *SIZE, "--candidates=4", f"--blocks={number}") for number in BLOCKS}
    beyond = {number: case["peak_mb"] - case["own_mb"] for number, case in by_candidates.items()}
    return {"candidates": by_candidates, "blocks": by_blocks,
            "bars": [bar("memory beyond the candidates' own weights, 12 candidates / 2", beyond[12] / beyond[2], FLAT),
                     bar("weight step, 12 candidates / 2", by_candidates[12]["weight_ms"] / by_candidates[2]["weight_ms"], FLAT + 0.1)]}


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
