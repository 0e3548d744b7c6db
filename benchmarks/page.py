"""docs/benchmarks.md from benchmarks/results.json: every figure with the command that makes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from docs.wrap import wrapped
from pnas_tf.io import atomic

_HEAD = """# What a search costs

*A reference.*

Made by `make bench` from `benchmarks/results.json`; `python -m benchmarks.everything --only=NAME`
renews one section. Ratios come from runs that took turns in one process, medians over the rounds;
the noise floor is how far two series of the same thing differed in the same run. Absolute times are
those of the machine named, and no promise for another.
"""


def write_page(results: dict[str, Any], path: Path, *, flame: Path) -> Path:
    """Writes the page for the benchmarks that are in `results`. The machine is named once where it
    is one, else by each section."""
    machines = {
        name: ", ".join(f"{what} {value}" for what, value in result["machine"].items())
        for name, result in results.items()
    }
    parts, apart = [_HEAD, _bars(results)], len(set(machines.values())) > 1
    if not apart:
        parts.insert(1, next(iter(machines.values())) + ".\n")
    writers = {
        "startup": _startup,
        "step_time": _step_time,
        "step_memory": _step_memory,
        "step_growth": _step_growth,
        "data_wait": _data_wait,
        "whole_run": lambda result: _whole_run(result, os.path.relpath(flame, path.parent)),
    }
    for name, write in writers.items():
        if name in results:
            parts.append(
                f"{write(results[name])}\n`python -m benchmarks.{name}` "
                f"({results[name]['took_s']} s{'; ' + machines[name] if apart else ''})\n"
            )
    return atomic.write_text(path, wrapped("\n".join(parts)))


def _table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    names = list(header)
    lines = [
        names,
        ["---"] * len(names),
        *(
            [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row]
            for row in rows
        ),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _bars(results: dict[str, Any]) -> str:
    rows = [
        (each["what"], each["value"], each["limit"], "met" if each["met"] else "**missed**")
        for result in results.values()
        for each in result.get("bars", [])
    ]
    return "## Bars\n\n" + _table(("what", "measured", "at most", ""), rows)


def _startup(result: dict[str, Any]) -> str:
    columns = (
        "imports_s",
        "supernet_s",
        "first_step_s",
        "compile_all_s",
        "architecture_s",
        "noise_percent",
    )
    rows = [
        (space, *(float(result[space][column]) for column in columns))
        for space in ("proxyless", "tiny")
    ]
    return (
        "## From process start\n\nSeconds; noise in percent, between three processes.\n\n"
        + _table(
            (
                "space",
                "to imports done",
                "building the supernet",
                "to the first step done",
                "compiling all candidates",
                "and their architecture steps",
                "noise",
            ),
            rows,
        )
    )


def _step_time(result: dict[str, Any]) -> str:
    rows = [
        (
            case,
            name,
            found["median_ms"][name],
            found["ratio"].get(name, 1.0),
            found["noise_percent"],
        )
        for case, found in result.items()
        if isinstance(found, dict) and "median_ms" in found
        for name in found["median_ms"]
    ]
    return "## Steps\n\n" + _table(("case", "step", "ms", "ratio to the first", "noise, %"), rows)


def _step_memory(result: dict[str, Any]) -> str:
    cases = {
        name: found
        for name, found in result.items()
        if isinstance(found, dict) and "peak_mb" in found
    }
    rows = [
        (
            name,
            *(float(found["peak_mb"][kind]) for kind in ("plain", "hungriest", "search")),
            *(
                float(found[column])
                for column in ("candidates_own_mb", "ratio", "ratio_to_hungriest", "noise_percent")
            ),
        )
        for name, found in cases.items()
    ]
    return "\n".join(
        (
            "## Memory\n",
            "Peak above the imports, MB. With oneDNN, TensorFlow's allocator takes regions of "
            "doubling size from the system and gives none",
            "back, so that a peak follows the order in which values come and go; without, values "
            "are malloc's. The hungriest network",
            "has in every block the candidate whose layers put out most values.\n",
            _table(
                (
                    "case",
                    "plain network",
                    "hungriest network",
                    "weight and two-path steps",
                    "of which candidates' own",
                    "ratio without it",
                    "to the hungriest",
                    "noise, %",
                ),
                rows,
            ),
        )
    )


def _step_growth(result: dict[str, Any]) -> str:
    rows = [
        (
            f"{number} {what}",
            found["weight_ms"],
            found["two_path_ms"],
            float(found["peak_mb"]),
            float(found["own_mb"]),
        )
        for row, what in (
            ("candidates", "candidates"),
            ("larger", "candidates, 96 px, batch 64"),
            ("blocks", "blocks"),
        )
        for number, found in result[row].items()
    ]
    return "## Growth\n\n" + _table(
        (
            "space",
            "weight step, ms",
            "two-path step, ms",
            "peak, MB",
            "of which candidates' own, MB",
        ),
        rows,
    )


def _data_wait(result: dict[str, Any]) -> str:
    return "## Images from disk\n\n" + _table(
        ("resolution", "batch", "a batch alone, ms", "a step, ms", "of which waiting, ms"),
        [
            (
                result["resolution"],
                result["batch"],
                *(float(result[name]) for name in ("batch_alone_ms", "step_ms", "wait_ms")),
            )
        ],
    )


def _whole_run(result: dict[str, Any], flame: str) -> str:
    return (
        f"## A whole run\n\n`pnas run` on the digits with {' '.join(result['options'])}: "
        f"{result['whole_s']:.0f} s.\n\n"
        + _table(("step", "s"), result["steps_s"].items())
        + f"\n![Where the time goes]({flame})\n"
    )
