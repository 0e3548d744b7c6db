"""Peak memory of a search against ordinary training of the plain network.

  python -m benchmarks.step_memory --json=step_memory.json

takes about 12 minutes on 2 cores. Space `proxyless`, and two of many kinds of candidates; every
case is a process of its own and its peak counts from what the imports left. The candidates' own
weights, statistics and momenta are counted and taken off. A search holds the values of whichever
path it has drawn, so that beside plain training of the usual network (`plain_architecture`) stands
that of the hungriest one it may draw (`hungriest_architecture`). With oneDNN, TensorFlow's
allocator on the CPU takes memory in regions of doubling size and gives none back, so that a peak
follows the order of allocations; without, it is malloc.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.timing import bar, child, main

CASES = (("proxyless", 64, 32), ("proxyless", 128, 128), ("cifar", 32, 64), ("mnv4", 96, 64))
KINDS = ("plain", "hungriest", "search")
REPEATS = 2
LIMIT = 1.25


def run() -> dict[str, Any]:
    """Every size, with its bar; the smallest also without oneDNN, which is no bar."""
    result: dict[str, Any] = {"bars": []}
    for space, resolution, batch in CASES:
        name = f"{space}, {resolution} px, batch {batch}"
        result[name] = _peaks(space, resolution, batch)
        result["bars"].append(
            bar(
                f"(peak of the search - candidates' own weights) / peak of plain training, {name}",
                result[name]["ratio"],
                LIMIT,
            )
        )
    result["{}, {} px, batch {}, without oneDNN".format(*CASES[0])] = _peaks(
        *CASES[0], TF_ENABLE_ONEDNN_OPTS="0"
    )
    return result


def _peaks(space: str, resolution: int, batch: int, **environment: str) -> dict[str, Any]:
    size = (f"--space={space}", f"--resolution={resolution}", f"--batch={batch}")
    cases = {
        kind: [
            child("benchmarks.one_process", kind, *size, environment=environment)
            for _ in range(REPEATS)
        ]
        for kind in KINDS
    }
    peaks = {
        kind: statistics.median(case["peak_mb"] for case in found) for kind, found in cases.items()
    }
    spread = max(case["peak_mb"] for case in cases["plain"]) / min(
        case["peak_mb"] for case in cases["plain"]
    )
    own = cases["search"][0]["own_mb"]
    return {
        "peak_mb": peaks,
        "candidates_own_mb": own,
        "ratio": (peaks["search"] - own) / peaks["plain"],
        "ratio_to_hungriest": (peaks["search"] - own) / peaks["hungriest"],
        "noise_percent": 100 * (spread - 1),
    }


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
