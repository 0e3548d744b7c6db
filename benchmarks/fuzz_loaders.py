"""Hostile files for every loader, for as long as one likes: what the test suite does with a fixed
seed, with a new one.

  python -m benchmarks.fuzz_loaders --minutes=10

gives each loader its share of the time and prints a line a loader: files tried, how many loaded,
failures. A failure is printed with the 32 bytes that make its file and the command that makes it
again: --loader=tflite --again=HEX. Exit status 1 when there was one. --loader names loaders, --seed
repeats a run; --json prints a document.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import hostile  # (found by the path above)


def fuzz(loader: Any, *, seconds: float, seed: int, again: str = "") -> dict[str, Any]:
    """Tries files of `loader` for so long. Returns the counts and, one for each place in the code,
    the failures."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    generator, deadline = random.Random(seed), time.monotonic() + seconds
    tried = loaded = 0
    failures: dict[str, dict[str, str]] = {}
    try:
        hostile.prepared(loader, folder)
        while time.monotonic() < deadline:
            draw = bytes.fromhex(again) if again else generator.randbytes(32)
            file = hostile.made_of(loader, draw)
            tried += 1
            try:
                loaded += hostile.attempt(loader, folder, file)
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                frame = traceback.extract_tb(error.__traceback__)[-1]
                place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
                failures.setdefault(
                    place,
                    {
                        "said": str(error)[:500],
                        "file": repr(file)[:2000],
                        "again": f"python -m benchmarks.fuzz_loaders --loader={loader.name} "
                        f"--again={draw.hex()}",
                    },
                )
            (Path(folder) / file.file).write_bytes(dict(loader.seeds)[file.file])
            if again:
                break
    finally:
        shutil.rmtree(folder)
    return {"loader": loader.name, "tried": tried, "loaded": loaded, "failures": failures}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="for all loaders together")
    parser.add_argument("--loader", default="", help="names with commas between; default: all")
    parser.add_argument(
        "--seed", type=int, default=None, help="default: a new one, which is printed"
    )
    parser.add_argument("--again", default="", help="the bytes of one failure, as printed")
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.parse_args()
    wanted = {name for name in options.loader.split(",") if name}
    loaders = [
        loader
        for loader in (*hostile.document_loaders(), *hostile.binary_loaders())
        if not wanted or loader.name in wanted
    ]
    if not loaders:
        parser.error("no such loader")
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    results = []
    for loader in loaders:
        found = fuzz(
            loader, seconds=60 * options.minutes / len(loaders), seed=seed, again=options.again
        )
        results.append(found)
        if not options.json:
            print(
                f"{found['loader']}: {found['tried']} files, {found['loaded']} loaded, "
                f"{len(found['failures'])} failures (seed {seed})",
                flush=True,
            )
            for place, failure in found["failures"].items():
                print(
                    f"  {place}\n    {failure['said']}\n    {failure['file']}\n    "
                    f"{failure['again']}",
                    flush=True,
                )
    if options.json:
        print(json.dumps({"seed": seed, "loaders": results}, indent=1))
    return int(any(found["failures"] for found in results))


if __name__ == "__main__":
    sys.exit(main())
