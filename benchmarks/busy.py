"""Other processes at work while a command runs: latencies on a machine that is not quiet.

  python -m benchmarks.busy 2 --times=3 -- pnas validate --run_dir=runs/here --networks=30 --restart
  python -m benchmarks.busy 2 --times=5 -- pnas run --run_dir=runs/busy --dataset=digits --restart

keeps two processes busy while the command runs, --times times one after the other, and ends them.
Exit status: that of the first call that failed, else 0.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """`count` processes that compute without end, ended with the block."""
    work = [sys.executable, "-c", "while True: pass"]
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            process = stack.enter_context(subprocess.Popen(work))
            stack.callback(process.kill)  # before the wait of its own exit
        yield


def main() -> int:
    """Runs the command. Returns its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("processes", type=int)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("command", nargs="+", help="behind --")
    options = parser.parse_args()
    with busy(options.processes):
        calls = [subprocess.run(options.command).returncode for _ in range(options.times)]
    return next(filter(None, calls), 0)


if __name__ == "__main__":
    sys.exit(main())
