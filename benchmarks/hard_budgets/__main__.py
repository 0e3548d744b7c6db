"""Are hard budgets kept? Random sets of budgets on three spaces: each derived network is exported
and measured, each refusal tried on what it advises.

  python -m benchmarks.hard_budgets --output=runs/budgets --count=200

A set has one to five budgets of latency, size, RAM, MACs and parameters, drawn between nine tenths
of what the smallest network takes and what half of all networks take; path probabilities are
random. Size is that of the file, RAM what TensorFlow Lite for Microcontrollers reports, latency a
measurement on this computer at the end (int8, one thread), where ten other networks of the session
tell the machine's pace. Each refusal must name a budget that a network keeps, and none of 2,000
random networks may keep what was refused.

About 45 minutes on 2 cores, most of it conversion. What is finished is kept: the same command goes
on, and --minutes=10 begins nothing after 10 minutes. Exit status 1 when a budget was broken.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.hard_budgets.ground import DTYPE, SEED, SPACES, Ground
from pnas_tf.config import ConversionConfig
from pnas_tf.devices.tflm import run_model
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.latency.calibration import calibration_architectures
from pnas_tf.latency.measure_files import measure_files
from pnas_tf.latency.models import convert_models
from pnas_tf.search.budgets import KINDS, Budget
from pnas_tf.search.choice_program import Bound, is_possible, smallest
from pnas_tf.search.conflicts import irreducible
from pnas_tf.search.derive import best_few, path_of, preference_of
from pnas_tf.search.file_limits import FileLimits
from pnas_tf.space.architecture import random_architecture

LEAST = 0.9  # of what the smallest network takes: the lowest budget
TRIED = 2000  # random networks that may refute a refusal
MEASURED = 25  # networks a session


def drawn(ground: Ground, generator: np.random.Generator) -> FileLimits:
    """Random budgets."""
    kinds = generator.permutation(KINDS)[: generator.integers(1, 6)]
    pairs = []
    for kind in map(str, kinds):
        least = LEAST * smallest(ground.bound(kind, 1.0).quantity, ())
        half = float(np.median(ground.typical[kind]))
        most = least + (half - least) * generator.uniform() ** 2
        pairs.append((Budget(kind, most, dtype=DTYPE), ground.bound(kind, most)))
    return FileLimits(pairs, ground.footprint, ground.files)


@dataclass(frozen=True)
class Tried:
    """What came of one set of budgets.

    Attributes:
        asked: kind -> most.
        predicted, measured: kind -> of the network, where there is one.
        refused: what the refusal says is possible, else "".
        kept_by_another: whether a random network keeps what was refused.
        advice_followed: whether some network keeps each budget that the refusal advises.
    """

    asked: dict[str, float]
    predicted: dict[str, float]
    measured: dict[str, float]
    refused: str = ""
    kept_by_another: bool = False
    advice_followed: bool = True


def tried(ground: Ground, number: int) -> Tried:
    """One set of budgets: what came of it."""
    generator = np.random.default_rng([SEED, number])
    limits = drawn(ground, generator)
    bounds = [bound for _, bound in limits.pairs]
    probabilities = [
        generator.dirichlet(np.ones(len(choice.candidates)))
        for choice in ground.space.choice_blocks
    ]
    asked = {budget.kind: budget.most for budget, _ in limits.pairs}
    try:
        limits.check_possible(ground.space)
        preference = preference_of(ground.space, probabilities)
        (found,) = best_few(ground.space, preference, bounds=bounds, count=1, limits=limits)
    except UserError as error:
        return Tried(asked, {}, {}, error.expected, *refuted(ground, bounds))
    content = ground.files(found, DTYPE)
    path = ground.folder / f"{number:03d}.tflite"
    atomic.write_bytes(path, content)
    predicted = {kind: ground.bound(kind, 1.0).quantity.of(path_of(found)) for kind in KINDS}
    measured = {
        "size_kb": len(content) / 1000,
        "ram_kb": run_model(path).used_bytes / 1000,
        "macs": float(found.macs),
        "parameters": float(found.parameters),
    }
    return Tried(asked, predicted, measured)


def refuted(ground: Ground, bounds: Sequence[Bound]) -> tuple[bool, bool]:
    """Whether a random network keeps what was refused, and whether one keeps what is advised."""
    networks = (random_architecture(ground.space, seed=10_000 + each) for each in range(TRIED))
    kept = any(all(bound.holds(path_of(network)) for bound in bounds) for network in networks)
    fewest = irreducible(ground.space, bounds)
    sizes = [len(choice.candidates) for choice in ground.space.choice_blocks]
    follows = True
    for bound in fewest:
        others = [other for other in fewest if other is not bound]
        least = smallest(bound.quantity, others) * (1 + 1e-6)
        follows &= is_possible(sizes, [*others, Bound(bound.quantity, least)])
    return kept, follows


def measured_ms(ground: Ground, numbers: Sequence[int]) -> dict[str, float]:
    """Number -> latency of its file; "pace" of the session by the table's own networks."""
    line = ground.table.calibration
    assert line is not None
    near = calibration_architectures(ground.space, count=len(line.networks), seed=line.seed)
    anchors = convert_models(
        near, ground.conversion, dtype=DTYPE, rewrites=ground.table.identity.rewrites
    )
    files = {f"{number:03d}": ground.folder / f"{number:03d}.tflite" for number in numbers}
    setup = ground.setup
    session = measure_files({**files, **anchors}, setup)
    setup.forget_sessions()
    ratios = [session.latency_ms(name) / ground.table.predict_ms(near[name]) for name in near]
    return {"pace": float(np.median(ratios)), **{name: session.latency_ms(name) for name in files}}


def summary(ground: Ground, results: Mapping[int, Tried]) -> tuple[str, bool]:
    """(a row of the table, whether all was kept)."""
    derived = {number: row for number, row in results.items() if row.measured}
    refused = [row for row in results.values() if row.refused]
    line = ground.table.calibration
    assert line is not None
    apart: dict[str, list[float]] = {"size_kb": [], "ram_kb": [], "latency_ms": []}
    broken, over = 0, 0
    for number, row in derived.items():
        timed = _latency(ground, number)
        measured = {**row.measured, **({} if timed is None else {"latency_ms": timed})}
        for kind in apart.keys() & measured.keys():
            apart[kind].append(100 * (row.predicted[kind] / measured[kind] - 1))
        room = {"latency_ms": 1 + line.held_out_mape_percent / 100}
        beyond = [
            kind
            for kind in measured.keys() & row.asked.keys()
            if measured[kind] > row.asked[kind] * room.get(kind, 1.0)
        ]
        over += "latency_ms" in beyond
        broken += len(set(beyond) - {"latency_ms"})
    spans = [f"{min(each):+.2f} to {max(each):+.2f} %" if each else "" for each in apart.values()]
    unexplained = sum(row.kept_by_another or not row.advice_followed for row in refused)
    timed_ms = apart["latency_ms"]
    mean = np.abs(timed_ms).mean() if timed_ms else math.nan
    text = (
        f"| `{ground.space.name}` | {len(derived)} | {spans[0]} | {spans[1]} | {broken} | "
        f"{len(timed_ms)}: {mean:.1f} % ({line.held_out_mape_percent:.1f}), {over} over | "
        f"{len(refused)}, {unexplained} unexplained |"
    )
    return text, broken == 0 and unexplained == 0


def _latency(ground: Ground, number: int) -> float | None:
    """At the pace of the table's session; None where it was not measured yet."""
    for path in ground.folder.glob("latency_*.json"):
        found = json.loads(path.read_text())
        if f"{number:03d}" in found:
            return float(found[f"{number:03d}"] / found["pace"])
    return None


def work(grounds: Sequence[Ground], count: int, end_s: float) -> list[dict[int, Tried]]:
    """Tries what is not tried yet, then measures. Returns the results of each space."""
    results: list[dict[int, Tried]] = [{} for _ in grounds]
    for number in range(count):
        place = number % len(grounds)
        path = grounds[place].folder / f"{number:03d}.json"
        if not path.exists() and time.monotonic() < end_s:
            atomic.write_json(path, asdict(tried(grounds[place], number)))
            print(f"{number + 1} of {count} tried", flush=True)
        if path.exists():
            results[place][number] = record_of(
                Tried, json.loads(path.read_text()), where=str(path), fix="Delete it."
            )
    for ground, rows in zip(grounds, results):
        derived = [number for number, row in rows.items() if row.measured]
        for first in range(0, len(derived), MEASURED):
            part = derived[first : first + MEASURED]
            path = ground.folder / f"latency_{part[0]:03d}_{len(part)}.json"
            complete = len(rows) * len(grounds) >= count - len(grounds)
            if complete and not path.exists() and time.monotonic() < end_s:
                atomic.write_json(path, measured_ms(ground, part))
    return results


def main() -> int:
    """Exit status 1 when a budget was broken or a refusal not explained."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("runs/budgets"))
    parser.add_argument("--count", type=int, default=200, help="sets of budgets")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing after them")
    options = parser.parse_args()
    end_s = time.monotonic() + 60 * options.minutes
    conversion = ConversionConfig(model_cache=str(options.output.resolve() / "models"))
    grounds = [Ground(space, options.output / space.name, conversion) for space in SPACES]
    for ground in grounds:
        ground.folder.mkdir(parents=True, exist_ok=True)
    results = work(grounds, options.count, end_s)
    print(
        "| space | networks | size | peak RAM | budgets broken | latency: measured, mean error "
        "(the table's own), over its budget | refused |\n|---|---|---|---|---|---|---|"
    )
    rows = [summary(ground, found) for ground, found in zip(grounds, results) if found]
    print("\n".join(row for row, _ in rows))
    return 0 if all(kept for _, kept in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
