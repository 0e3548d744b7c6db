"""One case of benchmarks/startup.py: goes from process start to a step through every candidate;
prints one line of JSON.

  python -m benchmarks.first_step tiny

first_step_s: process start to the first weight step done. compile_all_s: the additional weight
steps through every candidate of every block, the first one included, at batch 2. architecture_s:
the same for two-path architecture steps.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def since_start_s() -> float:
    """Seconds since this process was created, by the kernel's clock."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def main(name: str) -> None:
    """Prints the seconds."""
    from benchmarks.workload import Workload
    from pnas_tf.space.registry import named_space

    imported = since_start_s()
    work = Workload(named_space(name, classes=10), batch=2)
    built = since_start_s()
    work.weight_step((0,) * len(work.space.choice_blocks))
    first = since_start_s()
    work.run_every_candidate()
    every = since_start_s()
    for number in range(3):
        work.two_path_of(2 * number, 2 * number + 1)
        work.two_path_of(2 * number + 1, 2 * number)
    architecture = since_start_s()
    print(
        json.dumps(
            {
                "imports_s": imported,
                "supernet_s": built - imported,
                "first_step_s": first,
                "compile_all_s": every - built,
                "architecture_s": architecture - every,
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
