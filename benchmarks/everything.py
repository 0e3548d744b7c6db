"""All benchmarks of what a search costs, one after the other: `make bench`.

  python -m benchmarks.everything

takes about 14 minutes on 2 cores that do nothing else. Writes benchmarks/results.json after each
benchmark, so that a stopped call keeps the others' figures, and from it at the end
docs/benchmarks.md with docs/benchmarks_flame.svg. --only=startup,step_time runs some.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.page import write_page
from pnas_tf.io import atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE, FLAME = (
    ROOT / "benchmarks/results.json",
    ROOT / "docs/benchmarks.md",
    ROOT / "docs/benchmarks_flame.svg",
)
NAMES = ("startup", "step_time", "step_memory", "step_growth", "data_wait", "whole_run")


def main() -> int:
    """Runs, records, writes. Exit status 1 when a bar was missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(NAMES), help="benchmarks, comma-separated")
    wanted = parser.parse_args().only.split(",")
    if unknown := sorted(set(wanted) - set(NAMES)):
        parser.error(f"no benchmark {', '.join(unknown)}; choose among {', '.join(NAMES)}")
    older = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results: dict[str, Any] = {name: older[name] for name in NAMES if name in older}
    for name in wanted:
        print(f"== {name}", flush=True)
        results[name] = _run(name)
        atomic.write_json(RESULTS, results)
    write_page(results, PAGE, flame=FLAME)  # after all, as older figures may have another form
    missed = [
        each["what"]
        for result in results.values()
        for each in result.get("bars", [])
        if not each["met"]
    ]
    print("\n".join([f"wrote {RESULTS} and {PAGE}", *(f"MISSED {what}" for what in missed)]))
    return 1 if missed else 0


def _run(name: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "result.json"
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            f"--json={output}",
            *([f"--flame={FLAME}"] if name == "whole_run" else []),
        ]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, check=False, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        )
        if not output.exists():
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode} and no figures")
        return {**json.loads(output.read_text()), "took_s": round(time.monotonic() - began)}


if __name__ == "__main__":
    sys.exit(main())
