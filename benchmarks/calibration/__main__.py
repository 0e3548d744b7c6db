"""Few measured networks against a table of all blocks, on the computer that this runs on.

  python -m benchmarks.calibration --output=runs/calibration --page=docs/calibration.md

makes, for float32 and int8 of space proxyless at 224 px, by the programs that a user calls: a table
of all blocks and one from 10 networks, each with nothing converted before; 40 held-out networks to
judge them by; tables with two threads and without XNNPACK, a prior learnt from them, and 5 networks
by it; updates from other settings. --runtimes=FOLDER,... adds updates from older versions of the
runtime, each in a folder of `pip install --no-deps --target=FOLDER ai-edge-litert==VERSION`.

About an hour and a half on 2 cores. What is finished is kept, so the same command goes on where it
was stopped; --minutes=10 begins no call after 10 minutes. The page is of everything in --output.
Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.calibration.calls import HERE, Comparison
from benchmarks.calibration.page import bars, page
from docs.wrap import wrapped
from pnas_tf.io import atomic
from pnas_tf.tflite.formats import DTYPES

RUNTIME = "litert_"  # and its version: what the table of an older one is called


def main() -> int:
    """Calls what is not finished, then writes the page of what is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/calibration"))
    parser.add_argument("--page", type=Path, help="Markdown file to write")
    parser.add_argument("--dtypes", default="float32,int8")
    parser.add_argument("--space", default="proxyless")
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--networks", type=int, default=40, help="held out")
    parser.add_argument("--runtimes", default="", help="folders of older runtimes")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no call after them")
    options = parser.parse_args()
    folders = [str(Path(name).resolve()) for name in options.runtimes.split(",") if name]
    runtimes = {f"{RUNTIME}{_version(folder)}": folder for folder in folders}
    space = (f"--space={options.space}", f"--resolution={options.resolution}")
    comparisons = [
        Comparison(options.output.resolve(), dtype, space, options.networks, runtimes)
        for dtype in options.dtypes.split(",")
    ]
    left = [
        (each, call) for each in comparisons for call in each.calls() if not each.took(call.name)
    ]
    began = time.monotonic()
    for each, call in left:
        if time.monotonic() - began > 60 * options.minutes:
            break
        print(f"== {each.dtype} {call.name}", flush=True)
        each.make(call)
    comparisons = found(comparisons[0])
    text = wrapped(page(comparisons))
    print(text)
    if options.page:
        print(f"wrote {atomic.write_text(options.page, text)}")
    return 0 if all(met for each in comparisons for _, met in bars(each)) else 1


def found(one: Comparison) -> list[Comparison]:
    """The finished part of all number formats and older runtimes in the folder of `one`, whatever
    this call was asked for."""
    finished = []
    for dtype in DTYPES:
        each = dataclasses.replace(one, dtype=dtype)
        paths = sorted((one.folder / dtype).glob(f"{RUNTIME}*_took.json"))
        names = [path.name.removesuffix("_took.json") for path in paths]
        runtimes = {name: "" for name in names if each.took(name)}
        finished += [dataclasses.replace(each, runtimes=runtimes)] if each.took(HERE) else []
    return finished


def _version(folder: str) -> str:
    """Of the runtime in a folder, as a measuring process will report it."""
    code = "from importlib import metadata; print(metadata.version('ai-edge-litert'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": folder},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
