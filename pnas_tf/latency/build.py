"""Builds a latency table: convert the distinct blocks of a space, measure them with the calibration networks, fit.

Blocks and networks are measured in one interleaved session, so that the calibration sees the device as the blocks saw it.
A killed build goes on from its journal. Knows the measuring schedule and the export path, not the device.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pnas_tf.benchmark.measurement import Measurement, ModelFacts
from pnas_tf.benchmark.protocol import Runner, Schedule, Session, measure, model_facts
from pnas_tf.benchmark.sentinel import sentinel_model
from pnas_tf.errors import UserError
from pnas_tf.latency.models import Source, convert_models, default_cache_dir
from pnas_tf.latency.predictor import calibration_architectures, fit
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.geometry import distinct_blocks
from pnas_tf.space.search_space import SearchSpace

DEFAULT_REWRITES = ("split_depthwise",)


def build_latency_table(space: SearchSpace, *, runner: Runner, dtype: str = "float32",
                        rewrites: tuple[str, ...] = DEFAULT_REWRITES, cache_dir: Path | None = None, calibration_networks: int = 10,
                        seed: int = 0, schedule: Schedule = Schedule(), journal_dir: Path | None = None, workers: int = 2,
                        progress: Callable[[str], None] | None = None) -> LatencyTable:
    """The table of every block that a network of `space` can hold, calibrated on `calibration_networks` random networks.

    cache_dir: converted models and unfinished sessions (default: the user's cache folder). calibration_networks 0 gives an
    uncalibrated table. seed: of the random networks. journal_dir: where an unfinished session is kept, default cache_dir.
    workers: converting processes; 0 converts in this one. progress: called with lines for the user.
    Blocks whose measurement failed are missing, with the reason in `failures`. Raises UserError when a conversion fails, and
    DeviceLost or DeviceRefused with what was measured kept: the same call goes on from there.
    """
    if calibration_networks in (1, 2) or calibration_networks < 0:
        raise UserError("calibration networks", expected="0 for none, or at least 3", received=str(calibration_networks),
                        fix="Choose --calibration_networks=10.")
    cache_dir = Path(cache_dir or default_cache_dir())
    blocks = distinct_blocks(space)
    networks = calibration_architectures(space, count=calibration_networks, seed=seed)
    session, journal = measure_sources(sources(space, calibration_networks=calibration_networks, seed=seed), runner=runner,
                                       dtype=dtype, rewrites=rewrites, cache_dir=cache_dir, schedule=schedule,
                                       journal_dir=journal_dir, workers=workers, progress=progress)
    entries = {key: entry for key, entry in session.measurements.items() if key in blocks}
    table = LatencyTable(
        Identity(runner.device, runner.settings, dtype, tuple(rewrites)), entries,
        sentinel_ms=session.sentinel.median_ms if session.sentinel else None, created_unix_s=time.time(),
        origin=f"built for space '{space.name}' at {space.resolution} px",
        failures={name: reason for name, reason in session.failures.items() if name in blocks})
    if networks:
        table = calibrated(table, networks, session.measurements, seed=seed)
    journal.unlink(missing_ok=True)
    return table


def sources(space: SearchSpace, *, calibration_networks: int, seed: int) -> dict[str, Source]:
    """Name -> everything that a table of `space` needs converted: its distinct blocks and the calibration networks."""
    return {**distinct_blocks(space), **calibration_architectures(space, count=calibration_networks, seed=seed)}


def measure_sources(sources: dict[str, Source], *, runner: Runner, dtype: str, rewrites: tuple[str, ...], cache_dir: Path,
                    schedule: Schedule, journal_dir: Path | None = None, workers: int = 2,
                    progress: Callable[[str], None] | None = None) -> tuple[Session, Path]:
    """Converts and measures blocks and networks together. Returns the session and its journal, which the caller deletes."""
    paths = convert_models(sources, dtype=dtype, rewrites=rewrites, cache_dir=cache_dir, workers=workers, progress=progress)
    facts = {name: model_facts(paths[name], dtype=dtype, input_shape=input_shape(source), rewrites=rewrites)
             for name, source in sources.items()}
    journal = Path(journal_dir or cache_dir) / f"session_{_session_key(runner, facts, schedule)}.jsonl"
    session = measure(paths, runner, facts=facts, sentinel=sentinel_model(cache_dir), schedule=schedule, journal=journal,
                      progress=progress)
    return session, journal


def calibrated(table: LatencyTable, networks: dict[str, Architecture], measurements: dict[str, Measurement], *,
               seed: int) -> LatencyTable:
    """The table with a calibration on those of `networks` that were measured and whose blocks the table has.

    Raises UserError when fewer than three of them can be used.
    """
    rows = []
    for name, architecture in networks.items():
        if name in measurements and not any(block.key in table.failures for block in architecture.blocks):
            entry = measurements[name]
            measured = entry.corrected_ms(table.sentinel_ms) if table.sentinel_ms else entry.median_ms
            rows.append((name, table.sum_ms(architecture), measured))
    return replace(table, calibration=fit(rows, seed=seed))


def input_shape(source: Source) -> tuple[int, ...]:
    """[1, height, width, channels] of a block's or a network's model."""
    if isinstance(source, Architecture):
        return (1, source.space.resolution, source.space.resolution, source.space.channels)
    return (1, source.in_size, source.in_size, source.in_channels)


def _session_key(runner: Runner, facts: dict[str, ModelFacts], schedule: Schedule) -> str:
    """Unfinished sessions of other devices, models or schedules are other sessions."""
    text = repr((runner.device, runner.settings, sorted((name, entry.sha256) for name, entry in facts.items()), schedule))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
