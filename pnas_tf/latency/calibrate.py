"""A table for a device from a few measured networks: those that say most are chosen, measured in
one interleaved session, and every block of the space gets a price with its uncertainty.

What other devices teach (`Prior`) makes 5 networks do; without, op kinds are priced from 10 to 20;
with an old table, 1 to 3 give a factor. Knows the measuring schedule and the export path, not the
device.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pnas_tf.config import CalibrateConfig, LatencyConfig
from pnas_tf.devices.record import Measurement
from pnas_tf.errors import UserError, number_of
from pnas_tf.latency.block_prices import measured_blocks
from pnas_tf.latency.build import requested_rewrites, try_rewrites
from pnas_tf.latency.calibration import calibration_architectures
from pnas_tf.latency.design import design
from pnas_tf.latency.doubts import noisier
from pnas_tf.latency.estimate import Few, by_old_table, by_op_kinds, by_prior
from pnas_tf.latency.few_shot import MEASURE_BLOCKS, FewShot, MeasuredNetwork
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.knowledge import Knowledge, unsplit_doubt, wanted
from pnas_tf.latency.measure_sources import MeasurementSetup, comparable, measure_sources
from pnas_tf.latency.op_features import OP_KINDS, features_of
from pnas_tf.latency.rewrite_selection import Trial, choose
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.transfer import alone
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.tflite.rewrites.choice import REWRITES, rewrites_of_blocks

MAX_MEASUREMENTS = 40  # more networks cost what a table of measured blocks costs
_STEP = 5  # networks more at a time until the error is small enough
_POOL, _TYPICAL = 200, 100
_TRIED_BLOCKS = 3
_MAY_FAIL = 2  # networks, however few were measured; where more fail than were, it is the device
_POOL_SEED = 77_003  # apart from the networks that a table is calibrated and validated on


@dataclass
class _Measured:
    """What one call, and the earlier one that it goes on from, have measured so far.

    Attributes:
        failures: name of a network -> why it could not be measured.
        blocks: latency key -> a block alone. call_ms: of the same.
        created_unix_s: when the first of it was.
    """

    identity: Identity
    known: dict[str, MeasuredNetwork] = field(default_factory=dict)
    sentinel_ms: float | None = None
    trials: dict[str, Trial] = field(default_factory=dict)
    noise_percent: float | None = None
    created_unix_s: float = field(default_factory=time.time)
    failures: dict[str, str] = field(default_factory=dict)
    blocks: dict[str, Measurement] = field(default_factory=dict)
    call_ms: float | None = None


def calibrate(
    space: SearchSpace,
    setup: MeasurementSetup,
    config: LatencyConfig,
    few: CalibrateConfig,
    known: Knowledge,
    *,
    seed: int,
) -> LatencyTable:
    """A table of all blocks of `space` from a few measured networks.

    Args:
        space: what will be searched.
        setup: the device, the schedule and the folder of converted models.
        config: number format and export rewrites; "auto" tries a few blocks both ways.
        few: how many networks, up to which error, and how many blocks besides.
        known: prior, old table, and what an earlier call has measured.
        seed: of the networks to choose from.

    Returns:
        The table; `few_shot` says what it comes from and what error to expect.

    Raises:
        UserError: the prior is of another number format, runtime, accelerator or kind of work, a
            conversion fails, or more networks could not be measured than could; DeviceLost or
            DeviceRefused with what was measured kept.
    """
    doubts: tuple[str, ...] = ()
    runner = setup.runner
    identity = Identity(runner.device, runner.settings, config.latency_dtype, ())
    if known.prior is not None:  # before anything is measured
        doubts = known.prior.check(identity, space, other_runtime=few.other_runtime)
    measured = _begin(space, setup, config, known)
    if known.old is not None:
        doubts = unsplit_doubt(known.old, identity, space)
    elif known.prior is not None:  # rewrites may have been tried
        doubts = (*doubts, *known.prior.forms_doubt(measured.identity, space))
    pool = networks_to_choose_from(space, known, seed=seed)
    count = max(wanted(few, known), len(measured.known))
    while True:
        _measure(setup, measured, pool, known, count)
        found = _estimate(space, measured, known, doubts)
        setup.progress(found.describe())
        if not _needs_more(found, few.max_error_percent) or count >= MAX_MEASUREMENTS:
            break
        count = min(MAX_MEASUREMENTS, count + _STEP)
    table = measured_blocks(_table(space, measured, found), setup, few.blocks)
    return _with_doubts(table, measured, few.max_error_percent)


def _with_doubts(
    table: LatencyTable, measured: _Measured, max_error_percent: float | None
) -> LatencyTable:
    """With what is to be told of networks that failed, and of an error that is not small enough."""
    found, told = table.few_shot, []
    assert found is not None
    if measured.failures:
        name, reason = next(iter(measured.failures.items()))
        told.append(
            f"{number_of(len(measured.failures), 'network')} could not be measured, and others "
            f"took their place, e.g. {name}: {reason}"
        )
    if _needs_more(found, max_error_percent):
        above = f"above --max_error_percent={max_error_percent:g}"
        told.append(
            f"the error to expect was {above} before blocks were measured; what it is now, pnas "
            "validate tells"
            if table.entries
            else f"the error to expect is {above} still; measure the blocks: {MEASURE_BLOCKS}"
        )
    return replace(table, few_shot=replace(found, doubts=(*found.doubts, *told)))


def _table(space: SearchSpace, measured: _Measured, found: FewShot) -> LatencyTable:
    return LatencyTable(
        measured.identity,
        dict(measured.blocks),
        sentinel_ms=measured.sentinel_ms,
        created_unix_s=measured.created_unix_s,
        origin=f"estimated for space '{space.name}' at {space.resolution} px",
        failures=measured.failures,
        trials=measured.trials,
        call_ms=measured.call_ms,
        space=space,
        few_shot=found,
        noise_percent=measured.noise_percent,
    )


def networks_to_choose_from(
    space: SearchSpace, known: Knowledge, *, seed: int
) -> dict[str, Architecture]:
    """Name -> network, the same for the same seed.

    From the space's fast to its slow ones; by a prior, which has the range from other devices,
    typical ones: extreme networks say most of its coefficients, and are those that a sum of
    coefficients describes worst.
    """
    if known.prior is not None:
        first = _POOL_SEED + _TYPICAL + _POOL * seed
        return {
            f"typical_{number:03d}": random_architecture(space, seed=first + number)
            for number in range(_POOL)
        }
    networks = calibration_architectures(space, count=_POOL, seed=_POOL_SEED + seed)
    return {f"design_{name.rpartition('_')[2]}": each for name, each in networks.items()}


def _begin(
    space: SearchSpace, setup: MeasurementSetup, config: LatencyConfig, known: Knowledge
) -> _Measured:
    """What an earlier call has measured, else the choice of rewrites."""
    device, settings, dtype = setup.runner.device, setup.runner.settings, config.latency_dtype
    rewrites = requested_rewrites(config.latency_rewrites)
    before, blocks = known.before, space.distinct_blocks()
    if before is not None and before.few_shot is not None and before.space == space:
        kept = before.identity.rewrites
        identity = Identity(device, settings, dtype, kept)
        if identity == before.identity and (rewrites is None or set(rewrites) == set(kept)):
            setup.progress(
                f"going on from {number_of(len(before.few_shot.networks), 'measured network')}"
            )
            return _Measured(
                identity,
                dict(before.few_shot.networks),
                before.sentinel_ms,
                before.trials,
                before.noise_percent,
                before.created_unix_s,
                {name: why for name, why in before.failures.items() if name not in blocks},
                before.entries,
                before.call_ms,
            )
    trials: dict[str, Trial] = {}
    if rewrites is None and known.old is not None and known.old.identity.dtype == dtype:
        rewrites = known.old.identity.rewrites
    if rewrites is None:
        trials = try_rewrites(_to_try(space), setup, dtype)
        paying = sum(len(choose({key: trial})) > 0 for key, trial in trials.items())
        rewrites = REWRITES if 2 * paying >= len(trials) else ()
    identity = Identity(device, settings, dtype, rewrites)
    return _Measured(identity, trials=trials)


def _to_try(space: SearchSpace) -> dict[str, Block]:
    """A few blocks that a rewrite would change, from the largest to the smallest; others go with
    their majority."""
    blocks = {
        key: each for key, each in space.distinct_blocks().items() if rewrites_of_blocks([each])
    }
    keys = sorted(blocks, key=lambda key: features_of([blocks[key]]).sum())
    if len(keys) > _TRIED_BLOCKS:
        keys = [keys[0], keys[len(keys) // 2], keys[-1]]
    return {key: blocks[key] for key in keys}


def _chosen(
    pool: Mapping[str, Architecture], measured: _Measured, known: Knowledge, count: int
) -> dict[str, Architecture]:
    """The networks to measure next, so that there are `count`, whatever they were chosen by."""
    space = next(iter(pool.values())).space
    done = {name: Architecture(space, each.ops) for name, each in measured.known.items()}
    out = {*done, *measured.failures}
    networks = [*done.items(), *((name, each) for name, each in pool.items() if name not in out)]
    typical = [random_architecture(space, seed=_POOL_SEED + each) for each in range(_TYPICAL)]
    taught = None if known.prior is None else known.prior.taught
    amounts = features_of if taught is None else taught.features_of
    features = np.array([amounts(network.blocks) for _, network in networks])
    targets = np.array([amounts(network.blocks) for network in typical])
    population = alone(targets, OP_KINDS) if taught is None else taught.population
    order = design(population, features, targets, count, chosen=range(len(done)))
    return dict(networks[each] for each in order[len(done) :] if each >= len(done))


def _measure(
    setup: MeasurementSetup,
    measured: _Measured,
    pool: Mapping[str, Architecture],
    known: Knowledge,
    count: int,
) -> None:
    """Measures networks until there are `count`: where one cannot be measured, the next that says
    most. Raises UserError where more cannot be than can."""
    identity = measured.identity
    while networks := _chosen(pool, measured, known, count):
        session = measure_sources(networks, setup, dtype=identity.dtype, rewrites=identity.rewrites)
        measured.sentinel_ms = measured.sentinel_ms or session.reference_ms
        measured.noise_percent = noisier(measured.noise_percent, session.noise_percent)
        for name, measurement in comparable(session).items():
            measured.known[name] = MeasuredNetwork(networks[name].ops, measurement)
        failed = {name: why for name, why in session.failures.items() if name in networks}
        measured.failures.update(failed)
        if len(measured.failures) > max(_MAY_FAIL, len(measured.known)):
            name, reason = next(iter(measured.failures.items()))
            raise UserError(
                f"calibration on {number_of(count, 'network')}",
                expected="a measurement of most that were tried",
                received=f"{len(measured.known)}, and {len(measured.failures)} that failed, e.g. "
                f"{name}: {reason}",
                fix="See the reason; the same command goes on from what was measured.",
            )
        for name, reason in failed.items():
            setup.progress(f"{name} could not be measured, another takes its place: {reason}")


def _estimate(
    space: SearchSpace, measured: _Measured, known: Knowledge, doubts: tuple[str, ...]
) -> FewShot:
    latencies = [
        each.measurement.corrected_ms(measured.sentinel_ms) for each in measured.known.values()
    ]
    few = Few(space, dict(measured.known), np.array(latencies))
    if known.old is not None:
        return by_old_table(few, known.old, doubts)
    return by_op_kinds(few) if known.prior is None else by_prior(few, known.prior, doubts)


def _needs_more(found: FewShot, max_error_percent: float | None) -> bool:
    if max_error_percent is None:
        return False
    return found.expected_error_percent is None or found.expected_error_percent > max_error_percent
