"""What devices teach of single blocks, on devices made of arithmetic: a price for each kind of work
and a price of every block's own."""

import dataclasses

import numpy as np
import pytest
from fake_runner import DEVICE, SETTINGS

from pnas_tf.latency.calibration import calibration_architectures
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.op_features import FEATURES, features_of
from pnas_tf.latency.prior_sources import Source
from pnas_tf.latency.taught import Excess, held_out_percent, teach
from pnas_tf.latency.transfer import condition
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny

SPACE = tiny()
BLOCKS = SPACE.distinct_blocks()
ROWS = np.array([features_of([block]) for block in BLOCKS.values()])
UNIT = np.where(ROWS.any(axis=0), ROWS.mean(axis=0), 1)
NETWORKS = tuple(calibration_architectures(SPACE, count=40, seed=1).values())
OTHERS = tuple(random_architecture(SPACE, seed=600 + each) for each in range(20))


def shapes(seed, spread):
    """Latency key -> what the block's shape makes of the price of its kinds of work."""
    draw = np.random.default_rng(seed).standard_normal(len(BLOCKS))
    return dict(zip(BLOCKS, np.exp(spread * draw)))


def device(seed, by_shape, *, scale=1.0, spread=0.3):
    """Latency key -> ms."""
    draw = np.exp(spread * np.random.default_rng(seed).standard_normal(len(FEATURES)))
    prices = 0.05 * scale * draw / UNIT
    return {key: float(row @ prices) * by_shape[key] for key, row in zip(BLOCKS, ROWS)}


def latency_ms(block_ms, networks):
    return np.array(
        [sum(block_ms.get(block.key, 0.0) for block in each.blocks) for each in networks]
    )


def source(number, block_ms, *, tells_blocks=True, model="phone"):
    identity = Identity(
        dataclasses.replace(DEVICE, model=model),
        dataclasses.replace(SETTINGS, threads=1 + number),
        "float32",
        (),
    )
    blocks = {key: (BLOCKS[key], ms) for key, ms in block_ms.items()} if tells_blocks else {}
    return Source(
        f"device {number}", identity, NETWORKS, tuple(latency_ms(block_ms, NETWORKS)), 0.0, blocks
    )


def error(taught, block_ms):
    """Of networks measured nowhere, from 5."""
    five, truth = OTHERS[:5], latency_ms(block_ms, OTHERS)
    rows = np.array([taught.features_of(each.blocks) for each in OTHERS])
    found = condition(taught.population, rows[: len(five)], truth[: len(five)])
    return float(np.abs(found.predict_ms(rows[5:]) / truth[5:] - 1).mean())


def test_devices_that_differ_by_a_factor_teach_the_price_of_every_block():
    same = device(1, shapes(2, 0.3))
    thrice = {key: 3 * ms for key, ms in same.items()}
    taught = teach([source(0, same), source(1, thrice)])
    prices = np.array([taught.features_of([block]) for block in BLOCKS.values()])
    mean, truth = taught.population.mean, np.array(list(same.values()))
    by_kinds, by_all = ROWS @ mean[: len(FEATURES)] / truth, prices @ mean / truth
    assert np.abs(by_kinds / np.median(by_kinds) - 1).max() > 0.3
    assert np.abs(by_all / np.median(by_all) - 1).max() < 0.03


def test_what_shapes_take_carries_over_to_a_device_of_other_prices():
    by_shape = shapes(3, 0.3)
    known = [device(seed, by_shape, scale=1 + seed) for seed in range(4)]
    kinds = teach([source(n, each, tells_blocks=False) for n, each in enumerate(known)])
    taught = teach([source(n, each) for n, each in enumerate(known)])
    assert kinds.blocks == {} and set(taught.blocks) == set(BLOCKS)
    new = [device(seed, by_shape) for seed in range(20, 30)]
    errors = [np.mean([error(each, one) for one in new]) for each in (taught, kinds)]
    assert errors[0] < 0.5 * errors[1]
    held_out = [
        held_out_percent([source(n, each, tells_blocks=tells) for n, each in enumerate(known)])[5]
        for tells in (True, False)
    ]
    assert held_out[0] < 0.7 * held_out[1]


def test_shapes_that_each_device_takes_otherwise_do_little_harm():
    known = [device(seed, shapes(40 + seed, 0.3)) for seed in range(4)]
    kinds = teach([source(n, each, tells_blocks=False) for n, each in enumerate(known)])
    taught = teach([source(n, each) for n, each in enumerate(known)])
    new = [device(seed, shapes(60 + seed, 0.3)) for seed in range(20, 30)]
    errors = [np.mean([error(each, one) for one in new]) for each in (taught, kinds)]
    assert errors[0] < 1.15 * errors[1]


def test_a_block_that_one_device_knows_and_units_of_one_model():
    by_shape = shapes(5, 0.3)
    one, two = device(1, by_shape), device(2, by_shape)
    key = next(iter(BLOCKS))
    part = source(1, two)
    part = dataclasses.replace(
        part, blocks={each: block for each, block in part.blocks.items() if each != key}
    )
    taught = teach([source(0, one), part])
    assert set(taught.blocks) == set(BLOCKS) and taught.blocks[key].deviation > 0
    # Two units of one model say what one of them says.
    other = source(2, two, model="other phone")
    once, twice = teach([source(0, one), other]), teach([source(0, one), source(1, one), other])
    for each in BLOCKS:
        assert twice.blocks[each].mean == pytest.approx(once.blocks[each].mean, rel=0.2, abs=2e-3)


def test_without_tables_of_blocks_only_kinds_of_work_are_priced():
    known = [device(seed, shapes(6, 0.0)) for seed in range(3)]
    taught = teach([source(n, each, tells_blocks=False) for n, each in enumerate(known)])
    blocks = OTHERS[0].blocks
    np.testing.assert_array_equal(taught.features_of(blocks), features_of(blocks))
    np.testing.assert_array_equal(taught.population.covariance, taught.kinds.covariance)


@pytest.mark.parametrize("damaged", [(float("nan"), 0.1), (0.1, -0.1), (0.1, float("inf"))])
def test_an_excess_is_a_number_with_a_deviation(damaged):
    with pytest.raises(ValueError, match="an excess of"):
        Excess(*damaged)
