"""Builds a latency table: convert the distinct blocks of a space, choose the export rewrites that
pay, measure, calibrate.

First every block that a rewrite would change is measured both ways, and the faster one chosen; then
blocks and calibration networks, all with that choice, are measured in one interleaved session, so
that the calibration sees the device as the blocks saw it. A killed build goes on from its journals.
Knows the measuring schedule and the export path, not the device.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pnas_tf.devices.record import Measurement, ModelFacts
from pnas_tf.devices.reference_model import CALL_SHAPE, call_model, sentinel_model
from pnas_tf.devices.session import Runner, Schedule, Session, measure, model_facts
from pnas_tf.errors import UserError
from pnas_tf.latency.calibration import calibration_architectures, fit
from pnas_tf.latency.models import Rewrites, Source, convert_models, default_cache_dir, rewrites_for
from pnas_tf.latency.rewrite_selection import Trial, choose, describe
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.tflite.rewrites.choice import AUTO, NONE, REWRITES, check_names, rewrites_of_blocks

DEFAULT_REWRITES = (AUTO,)
_CALL = "call"
_PLAIN, _REWRITTEN = " without", " with"  # behind a latency key: the two models of a trial


def build_latency_table(
    space: SearchSpace,
    *,
    runner: Runner,
    dtype: str = "float32",
    rewrites: tuple[str, ...] = DEFAULT_REWRITES,
    cache_dir: Path | None = None,
    calibration_networks: int = 10,
    seed: int = 0,
    schedule: Schedule = Schedule(),
    journal_dir: Path | None = None,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
) -> LatencyTable:
    """The table of every block that a network of `space` can hold, calibrated on
    `calibration_networks` random networks.

    rewrites: names of export rewrites, ("none",), or ("auto",): those that pay on this device, by
    trials of every block they change. cache_dir: converted models and unfinished sessions (default:
    the user's cache folder). calibration_networks 0 gives an uncalibrated table. seed: of the
    random networks. journal_dir: where an unfinished session is kept, default cache_dir. workers:
    converting processes; 0 converts in this one. progress: called with lines for the user. Blocks
    whose measurement failed are missing, with the reason in `failures`. Raises UserError when a
    conversion fails, and DeviceLost or DeviceRefused with what was measured kept: the same call
    goes on from there.
    """
    if calibration_networks in (1, 2) or calibration_networks < 0:
        raise UserError(
            "calibration networks",
            expected="0 for none, or at least 3",
            received=str(calibration_networks),
            fix="Choose --calibration_networks=10.",
        )
    cache_dir = Path(cache_dir or default_cache_dir())
    blocks = space.distinct_blocks()
    networks = calibration_architectures(space, count=calibration_networks, seed=seed)
    trials: dict[str, Trial] = {}
    journals: list[Path] = []
    how: dict[str, Any] = {
        "runner": runner,
        "dtype": dtype,
        "cache_dir": cache_dir,
        "journal_dir": journal_dir,
        "workers": workers,
        "progress": progress,
    }
    chosen = requested_rewrites(rewrites)
    if chosen is None:
        trials, journals = _try_rewrites(blocks, schedule, how)
        chosen = choose(trials) if trials else REWRITES
        if progress and trials:
            progress(describe(trials, chosen))
    session, journal = measure_sources(
        sources(space, calibration_networks=calibration_networks, seed=seed),
        rewrites=chosen,
        schedule=schedule,
        with_call=True,
        **how,
    )
    entries = {key: entry for key, entry in session.measurements.items() if key in blocks}
    sentinel_ms = session.sentinel.median_ms if session.sentinel else None
    table = LatencyTable(
        Identity(runner.device, runner.settings, dtype, chosen),
        entries,
        sentinel_ms=sentinel_ms,
        created_unix_s=time.time(),
        call_ms=session.measurements[_CALL].corrected_ms(sentinel_ms)
        if _CALL in session.measurements
        else None,
        origin=f"built for space '{space.name}' at {space.resolution} px",
        failures={name: reason for name, reason in session.failures.items() if name in blocks},
        trials=trials,
    )
    if networks:
        table = calibrated(table, networks, session.measurements, seed=seed)
    for finished in (*journals, journal):
        finished.unlink(missing_ok=True)
    return table


def requested_rewrites(rewrites: Sequence[str]) -> tuple[str, ...] | None:
    """The export rewrites by name; None for "auto", which the device decides. Raises UserError on
    other words."""
    words = tuple(rewrites)
    if words == (AUTO,):
        return None
    return () if words == (NONE,) else check_names(words)


def convert_ahead(
    space: SearchSpace,
    *,
    dtype: str,
    rewrites: Sequence[str],
    calibration_networks: int,
    seed: int,
    cache_dir: Path,
    workers: int,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Converts what `build_latency_table` will measure, before any device is opened. With "auto"
    that is both ways of each trial, and the networks as if every rewrite paid; where one does not,
    their networks are converted again after the trials."""
    requested = requested_rewrites(rewrites)
    models = sources(space, calibration_networks=calibration_networks, seed=seed)
    wanted: dict[str, tuple[str, ...]] = {
        name: REWRITES if requested is None else requested for name in models
    }
    if requested is None:
        tried, own, _ = _trial_models(space.distinct_blocks())
        models, wanted = {**models, **tried}, {**wanted, **own}
    convert_models(
        models,
        dtype=dtype,
        rewrites=wanted,
        cache_dir=cache_dir,
        workers=workers,
        progress=progress,
    )


def _trial_models(
    blocks: Mapping[str, Block],
) -> tuple[dict[str, Source], dict[str, tuple[str, ...]], dict[str, str]]:
    """(Name -> source, name -> rewrites, latency key -> rewrite) of the trials: each block that a
    rewrite changes, both ways."""
    models: dict[str, Source] = {}
    wanted: dict[str, tuple[str, ...]] = {}
    rewrite_of: dict[str, str] = {}
    for key, block in blocks.items():
        for rewrite in rewrites_of_blocks([block])[:1]:  # no block has two depthwise convolutions
            rewrite_of[key] = rewrite
            models |= {key + _PLAIN: block, key + _REWRITTEN: block}
            wanted |= {key + _PLAIN: (), key + _REWRITTEN: (rewrite,)}
    return models, wanted, rewrite_of


def _try_rewrites(
    blocks: Mapping[str, Block], schedule: Schedule, how: dict[str, Any]
) -> tuple[dict[str, Trial], list[Path]]:
    """Latency key -> trial, and the finished session's journal. Half the visits will do: what is
    not clear then stays as it is."""
    models, wanted, rewrite_of = _trial_models(blocks)
    if not models:
        return {}, []
    half = replace(
        schedule,
        rounds=max(3, schedule.rounds // 2),
        extra_rounds=schedule.extra_rounds // 2,
        min_invocations=max(3, schedule.min_invocations // 2),
    )
    if how["progress"]:
        how["progress"](f"trying export rewrites on {len(rewrite_of)} blocks")
    session, journal = measure_sources(models, rewrites=wanted, schedule=half, **how)
    sentinel_ms = session.sentinel.median_ms if session.sentinel else None
    return {
        key: Trial(
            rewrite,
            session.measurements.get(key + _PLAIN),
            session.measurements.get(key + _REWRITTEN),
            sentinel_ms,
            "; ".join(
                session.failures[name]
                for name in (key + _PLAIN, key + _REWRITTEN)
                if name in session.failures
            ),
        )
        for key, rewrite in rewrite_of.items()
    }, [journal]


def sources(space: SearchSpace, *, calibration_networks: int, seed: int) -> dict[str, Source]:
    """Name -> everything that a table of `space` needs converted: its distinct blocks and the
    calibration networks."""
    return {
        **space.distinct_blocks(),
        **calibration_architectures(space, count=calibration_networks, seed=seed),
    }


def measure_sources(
    sources: Mapping[str, Source],
    *,
    runner: Runner,
    dtype: str,
    rewrites: Rewrites,
    cache_dir: Path,
    schedule: Schedule,
    journal_dir: Path | None = None,
    workers: int = 2,
    with_call: bool = False,
    progress: Callable[[str], None] | None = None,
) -> tuple[Session, Path]:
    """Converts and measures blocks and networks together. Returns the session and its journal,
    which the caller deletes.

    with_call: also measures, as "call", the model that takes no longer than a call of the runtime.
    """
    paths = convert_models(
        sources,
        dtype=dtype,
        rewrites=rewrites,
        cache_dir=cache_dir,
        workers=workers,
        progress=progress,
    )
    facts = {
        name: model_facts(
            paths[name],
            dtype=dtype,
            input_shape=input_shape(source),
            rewrites=rewrites_for(name, rewrites),
        )
        for name, source in sources.items()
    }
    if with_call:
        paths[_CALL] = call_model(cache_dir)
        facts[_CALL] = model_facts(
            paths[_CALL], dtype="float32", input_shape=CALL_SHAPE, rewrites=()
        )
    journal = (
        Path(journal_dir or cache_dir) / f"session_{_session_key(runner, facts, schedule)}.jsonl"
    )
    session = measure(
        paths,
        runner,
        facts=facts,
        sentinel=sentinel_model(cache_dir),
        schedule=schedule,
        journal=journal,
        progress=progress,
    )
    return session, journal


def calibrated(
    table: LatencyTable,
    networks: dict[str, Architecture],
    measurements: dict[str, Measurement],
    *,
    seed: int,
) -> LatencyTable:
    """The table with a calibration on those of `networks` that were measured and whose blocks the
    table has.

    Raises UserError when fewer than three of them can be used.
    """
    rows = []
    for name, architecture in networks.items():
        if name in measurements and not any(
            block.key in table.failures for block in architecture.blocks
        ):
            rows.append(
                (
                    name,
                    table.sum_ms(architecture),
                    measurements[name].corrected_ms(table.sentinel_ms),
                )
            )
    return replace(table, calibration=fit(rows, seed=seed))


def input_shape(source: Source) -> tuple[int, ...]:
    """[1, height, width, channels] of a block's or a network's model."""
    if isinstance(source, Architecture):
        return (1, source.space.resolution, source.space.resolution, source.space.channels)
    return (1, source.in_size, source.in_size, source.in_channels)


def _session_key(runner: Runner, facts: dict[str, ModelFacts], schedule: Schedule) -> str:
    """Unfinished sessions of other devices, models or schedules are other sessions."""
    text = repr(
        (
            runner.device,
            runner.settings,
            sorted((name, entry.sha256) for name, entry in facts.items()),
            schedule,
        )
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
