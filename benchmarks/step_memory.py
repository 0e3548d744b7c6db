"""Peak memory of a search against ordinary training of the plain network.

  python -m benchmarks.step_memory --json=step_memory.json

takes about 3 minutes on 2 cores. Space `proxyless`; every case is a process of its own and its peak counts from what the
imports left. The candidates' own weights, statistics and momenta are counted and taken off.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

from benchmarks.timing import bar, child, main

SIZES = ((64, 32), (128, 128))
REPEATS = 2
LIMIT = 1.25


def run() -> dict[str, Any]:
    """Every size, with its bar."""
    result: dict[str, Any] = {"bars": []}
    for resolution, batch in SIZES:
        size = (f"--resolution={resolution}", f"--batch={batch}")
        cases = {kind: [child("benchmarks.one_process", kind, *size) for _ in range(REPEATS)] for kind in ("plain", "search")}
        peaks = {kind: statistics.median(case["peak_mb"] for case in found) for kind, found in cases.items()}
        spread = max(case["peak_mb"] for case in cases["plain"]) / min(case["peak_mb"] for case in cases["plain"])
        own = cases["search"][0]["own_mb"]
        name = f"{resolution} px, batch {batch}"
        result[name] = {"peak_mb": peaks, "candidates_own_mb": own, "noise_percent": 100 * (spread - 1)}
        result["bars"].append(bar(f"(peak of the search - candidates' own weights) / peak of plain training, {name}",
                                  (peaks["search"] - own) / peaks["plain"], LIMIT))
    return result


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
