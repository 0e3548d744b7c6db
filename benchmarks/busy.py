"""Other processes at work while a command runs: latencies on a machine that is not quiet.

  python -m benchmarks.busy 2 --times=3 -- pnas validate --run_dir=runs/here --seed={n} --restart
  python -m benchmarks.busy 2 --times=5 -- pnas run --run_dir=runs/busy{n} --dataset=digits

keeps two processes busy while the command runs, --times times one after the other, and ends them.
{n} is the number of the call: what a program has made it does not make again, nor with --restart
where no option has changed.
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
        commands = [
            [word.replace("{n}", str(number)) for word in options.command]
            for number in range(options.times)
        ]
        calls = [subprocess.run(command).returncode for command in commands]
    return next(filter(None, calls), 0)


if __name__ == "__main__":
    sys.exit(main())
