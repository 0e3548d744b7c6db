"""Comparing what takes how long on a noisy machine: in turn, in rounds, as ratios of medians, with
the noise floor beside.

Absolute times of two runs cannot be compared here; ratios from one process, in which the contenders
take turns, can. The reference runs twice a round, and how far its two series differ is what no
ratio of that run can tell apart.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pnas_tf.io import atomic


def interleaved(
    contenders: Mapping[str, Callable[[int], Any]], *, rounds: int, reference: str
) -> dict[str, Any]:
    """Times of every contender, in ms: {"median_ms": {name: ms}, "ratio": {name: to the reference},
    "noise_percent": of the reference}.

    A round calls each contender with the round's number, and the reference once more; the order
    turns from round to round. One round before is not counted. A ratio is the median of the rounds'
    ratios.
    """
    twin = f"{reference} again"
    runs = {**contenders, twin: contenders[reference]}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        names = list(runs)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            began = time.perf_counter()
            runs[name](number)
            if number:
                times[name].append(1000 * (time.perf_counter() - began))

    def ratio(name: str) -> float:
        return statistics.median(
            ours / theirs for ours, theirs in zip(times[name], times[reference])
        )

    return {
        "median_ms": {name: statistics.median(times[name]) for name in contenders},
        "ratio": {name: ratio(name) for name in contenders if name != reference},
        "noise_percent": 100 * abs(ratio(twin) - 1),
        "rounds": rounds,
    }


def bar(what: str, value: float, limit: float) -> dict[str, Any]:
    """A figure beside what it must not exceed."""
    return {"what": what, "value": value, "limit": limit, "met": value <= limit}


def child(
    module: str,
    *arguments: str,
    timeout_s: float = 300,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The JSON that `python -m module arguments` prints on its last line, in a process of its
    own."""
    changed = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        env=changed,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"python -m {module} {' '.join(arguments)} ended with "
            f"{done.returncode}:\n{done.stderr[-2000:]}"
        )
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """What the figures of a run belong to."""
    from importlib import metadata

    from pnas_tf.devices.host.runner import processor

    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow"),
    }


def main(run: Callable[[], dict[str, Any]], doc: str | None) -> int:
    """The command line that all these benchmarks share. Exit status 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    result = {**run(), "machine": machine()}
    if options.json:
        atomic.write_json(options.json, result)
    print(json.dumps({name: value for name, value in result.items() if name != "bars"}, indent=1))
    for each in result.get("bars", []):
        print(
            f"{'met   ' if each['met'] else 'MISSED'} {each['what']}: {each['value']:.3g} (at "
            f"most {each['limit']:.3g})"
        )
    return 0 if all(each["met"] for each in result.get("bars", [])) else 1
