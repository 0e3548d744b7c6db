"""Builds a latency table: convert the distinct blocks of a space, choose the export rewrites that
pay, measure, calibrate.

First every block that a rewrite would change is measured both ways, and the faster one chosen; then
blocks and calibration networks, all with that choice, are measured in one interleaved session, so
that the calibration sees the device as the blocks saw it. A killed build goes on where it was.
Knows the measuring schedule and the export path, not the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pnas_tf.config import ConversionConfig, LatencyConfig
from pnas_tf.errors import UserError, number_of
from pnas_tf.latency.calibration import CalibrationNetwork, calibration_architectures, fit
from pnas_tf.latency.measure_sources import CALL, MeasurementSetup, measure_sources
from pnas_tf.latency.models import Source, convert_models
from pnas_tf.latency.rewrite_selection import Trial, choose, describe
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.run.progress import silent
from pnas_tf.run.terminal import warn
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.tflite.rewrites.choice import AUTO, NONE, REWRITES, check_names, rewrites_of_blocks

_PLAIN, _REWRITTEN = " without", " with"  # behind a latency key: the two models of a trial


def build_latency_table(
    space: SearchSpace, setup: MeasurementSetup, config: LatencyConfig, *, seed: int
) -> LatencyTable:
    """The table of every block that a network of `space` can hold, calibrated on random networks.

    Args:
        space: its distinct blocks are measured.
        setup: the device, the schedule and the folder of converted models.
        config: number format, export rewrites and calibration networks. Rewrites are names,
            ("none",), or ("auto",): those that pay on this device, by trials of every block they
            change. 0 networks give an uncalibrated table.
        seed: of the random networks.

    Returns:
        The table. Blocks whose measurement failed are missing, with the reason in `failures`.

    Raises:
        UserError: a conversion fails; DeviceLost or DeviceRefused with what was measured kept: the
            same call goes on from there.
    """
    dtype, blocks = config.latency_dtype, space.distinct_blocks()
    networks = _calibration_set(space, config, seed)
    trials: dict[str, Trial] = {}
    chosen = requested_rewrites(config.latency_rewrites)
    if chosen is None:
        trials = try_rewrites(blocks, setup, dtype)
        chosen = choose(trials) if trials else REWRITES
        if trials:
            setup.progress(describe(trials, chosen))
    session = measure_sources(
        {**blocks, **networks}, setup, dtype=dtype, rewrites=chosen, with_call=True
    )
    mixed = {name: words for name, words in session.partly.items() if name in networks}
    for name, words in mixed.items():  # those of blocks are among the table's warnings
        warn(f"calibration network {name}: {words}")
    table = LatencyTable(
        Identity(setup.runner.device, setup.runner.settings, dtype, chosen),
        {key: entry for key, entry in session.measurements.items() if key in blocks},
        sentinel_ms=session.reference_ms,
        created_unix_s=time.time(),
        call_ms=session.latency_ms(CALL) if CALL in session.measurements else None,
        origin=f"built for space '{space.name}' at {space.resolution} px",
        failures={name: reason for name, reason in session.failures.items() if name in blocks},
        trials=trials,
        space=space,
        correction=session.correction,
        noise_percent=session.noise_percent,
    )
    if networks:
        measured = {name: session.latency_ms(name) for name in session.measurements}
        try:
            table = calibrated(table, networks, measured, seed=seed)
        except UserError:  # measured again, where the same command is called again
            setup.forget_sessions()
            raise
    return table


def _calibration_set(
    space: SearchSpace, config: LatencyConfig, seed: int
) -> dict[str, Architecture]:
    """Raises UserError on a number of networks that no line can be fitted to."""
    count = config.calibration_networks
    if count in (1, 2) or count < 0:
        raise UserError(
            "calibration networks",
            expected="0 for none, or at least 3",
            received=str(count),
            fix="Choose --calibration_networks=10.",
        )
    return calibration_architectures(space, count=count, seed=seed)


def requested_rewrites(rewrites: Sequence[str]) -> tuple[str, ...] | None:
    """The export rewrites by name; None for "auto", which the device decides. Raises UserError on
    other words."""
    words = tuple(rewrites)
    if words == (AUTO,):
        return None
    return () if words == (NONE,) else check_names(words)


def convert_ahead(
    space: SearchSpace,
    config: LatencyConfig,
    conversion: ConversionConfig,
    *,
    seed: int,
    progress: Callable[[str], None] = silent,
) -> None:
    """Converts what `build_latency_table` will measure, before any device is opened.

    With "auto" that is both ways of each trial, and the networks as if every rewrite paid; where
    one does not, their networks are converted again after the trials.
    """
    requested = requested_rewrites(config.latency_rewrites)
    blocks = space.distinct_blocks()
    networks = _calibration_set(space, config, seed)
    models: dict[str, Source] = {**blocks, **networks}
    wanted: dict[str, tuple[str, ...]] = {
        name: REWRITES if requested is None else requested for name in models
    }
    if requested is None:
        tried, own, _ = _trial_models(blocks)
        models, wanted = {**models, **tried}, {**wanted, **own}
    convert_models(
        models, conversion, dtype=config.latency_dtype, rewrites=wanted, progress=progress
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


def try_rewrites(
    blocks: Mapping[str, Block], setup: MeasurementSetup, dtype: str
) -> dict[str, Trial]:
    """Latency key -> trial. Half the runs will do: what is not clear then stays as it is."""
    models, wanted, rewrite_of = _trial_models(blocks)
    if not models:
        return {}
    full = setup.schedule
    half = replace(
        full,
        rounds=max(3, full.rounds // 2),
        extra_rounds=full.extra_rounds // 2,
        noisy_rounds=full.noisy_rounds // 2,
        min_invocations=max(3, full.min_invocations // 2),
        work="timing export rewrites",
    )
    setup.progress(f"trying export rewrites on {number_of(len(rewrite_of), 'block')}")
    session = measure_sources(models, replace(setup, schedule=half), dtype=dtype, rewrites=wanted)
    return {
        key: Trial(
            rewrite,
            session.measurements.get(key + _PLAIN),
            session.measurements.get(key + _REWRITTEN),
            session.correct_to_ms,
            "; ".join(
                session.failures[name]
                for name in (key + _PLAIN, key + _REWRITTEN)
                if name in session.failures
            ),
        )
        for key, rewrite in rewrite_of.items()
    }


def calibrated(
    table: LatencyTable,
    networks: dict[str, Architecture],
    measured_ms: Mapping[str, float],
    *,
    seed: int,
) -> LatencyTable:
    """The table with a calibration on those of `networks` that were measured and whose blocks the
    table has.

    Args:
        table: of the same session.
        networks: name -> network.
        measured_ms: name -> latency by the session's rule.
        seed: the networks were drawn with it.

    Raises UserError when fewer than three of them can be used.
    """
    rows = []
    for name, network in networks.items():
        if name in measured_ms and not any(block.key in table.failures for block in network.blocks):
            rows.append(CalibrationNetwork(name, table.sum_ms(network), measured_ms[name]))
    return replace(table, calibration=fit(rows, seed=seed))
