"""Rewrites are chosen by what a device measures: made-up devices on which they pay, do not, pay for
some shapes, or fail."""

import dataclasses
import json

import pytest
from fake_runner import FakeRunner

from pnas_tf.config import ConversionConfig, LatencyConfig
from pnas_tf.devices.failures import RunKilled
from pnas_tf.devices.schedule import Schedule
from pnas_tf.errors import UserError
from pnas_tf.latency import measure_sources
from pnas_tf.latency.build import build_latency_table, requested_rewrites
from pnas_tf.latency.calibration import Calibration
from pnas_tf.latency.measure_sources import MeasurementSetup
from pnas_tf.latency.models import effective
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.validate import held_out_architectures, validate
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.complexity import macs
from pnas_tf.space.mbconv import tiny
from pnas_tf.tflite.rewrites.choice import rewrites_of_blocks

SPACE = tiny()
SCHEDULE = Schedule(rounds=3, extra_rounds=0, noisy_rounds=0, min_invocations=6, min_run_ms=0)
BLOCKS = SPACE.distinct_blocks()
REWRITE_OF = {
    key: rewrites_of_blocks([block])[0]
    for key, block in BLOCKS.items()
    if rewrites_of_blocks([block])
}
SHAPES = sorted(set(REWRITE_OF.values()))
PLAIN_MS = 4.0
CALL_MS = 1e-3


def small_ms(block):
    return 1 + macs([block]) / 1e4


class Device:
    """rewritten_ms: of a block by its rewrite; a large kernel as it is takes 4 ms, every other
    block a time by its MACs, a network their sum."""

    def __init__(self, folder, rewritten_ms):
        self.folder, self.rewritten_ms, self.noise = folder, rewritten_ms, lambda runs: 1.0

    def convert(self, sources, config, *, rewrites, **_):
        paths = {}
        for name, source in sources.items():
            wanted = rewrites if isinstance(rewrites, tuple) else rewrites[name]
            blocks = (
                [block for block in source.blocks if block.layers]
                if isinstance(source, Architecture)
                else [source]
            )
            call = 0.0 if isinstance(source, Architecture) else CALL_MS
            times = [
                self.rewritten_ms(block)
                if effective(block, wanted)
                else PLAIN_MS
                if block.key in REWRITE_OF
                else small_ms(block)
                for block in blocks
            ]
            paths[name] = self.folder / f"{name.replace(' ', '_').replace('=', '')}.tflite"
            paths[name].write_text(json.dumps([name, call + sum(times)]))
        return paths

    def runner(self, fail=lambda name: False):
        def latency_ms(path, runs):
            fixed = {"sentinel": 1.0, "call": CALL_MS}
            kind = path.stem.split("_")[0]
            name, known = (kind, fixed[kind]) if kind in fixed else json.loads(path.read_text())
            if fail(name):
                raise RunKilled("run", received="signal 11")
            return known * self.noise(runs)

        return FakeRunner(latency_ms)

    def table(self, runner=None, **how):
        setup = self.setup(runner)
        table = build_latency_table(SPACE, setup, LatencyConfig(**how), seed=0)
        setup.forget_sessions()
        return table

    def setup(self, runner=None):
        conversion = ConversionConfig(model_cache=str(self.folder))
        return MeasurementSetup(runner or self.runner(), SCHEDULE, conversion)


@pytest.fixture
def device(tmp_path, monkeypatch):
    made = Device(tmp_path, lambda block: 1.0)
    monkeypatch.setattr(
        measure_sources, "convert_models", lambda *what, **how: made.convert(*what, **how)
    )
    return made


def test_where_the_split_pays_everywhere_it_goes_by_its_short_name(device):
    table = device.table()
    assert table.identity.rewrites == ("split_depthwise",)
    assert set(table.trials) == set(REWRITE_OF)
    assert all(
        (trial.plain_ms, trial.rewritten_ms) == (PLAIN_MS + CALL_MS, 1.0 + CALL_MS)
        for trial in table.trials.values()
    )
    assert all(table.latency_ms(key) == 1.0 + CALL_MS for key in REWRITE_OF)
    assert (
        f"in {len(REWRITE_OF)} of the {len(REWRITE_OF)} blocks that have them, 4 to 4 times as fast"
        in table.describe()
    )


def test_where_it_pays_nowhere_the_kernels_stay_whole(device):
    device.rewritten_ms = lambda block: 5.0
    table = device.table()
    assert table.identity.rewrites == ()
    assert all(table.latency_ms(key) == PLAIN_MS + CALL_MS for key in REWRITE_OF)
    assert (
        f"not for {len(REWRITE_OF)}, where it would be 0.8 to 0.8 times as fast" in table.describe()
    )
    network = held_out_architectures(SPACE, count=1, seed=0)["network_00"]
    assert table.rewrites_of(network) == ()


def test_each_shape_is_chosen_by_itself_and_everything_takes_the_same_choice(device, monkeypatch):
    pays = set(SHAPES[::2])
    device.rewritten_ms = lambda block: 1.0 if REWRITE_OF[block.key] in pays else 5.0
    table = device.table()
    assert set(table.identity.rewrites) == pays
    assert {key: table.share_ms(key) for key in REWRITE_OF} == pytest.approx(
        {key: 1.0 if rewrite in pays else PLAIN_MS for key, rewrite in REWRITE_OF.items()}
    )
    # The calibration networks and the validation's were built with the same choice: sums are exact
    # on this device.
    assert (table.calibration.slope, table.calibration.intercept_ms) == (
        pytest.approx(1),
        pytest.approx(0, abs=1e-9),
    )
    networks = held_out_architectures(SPACE, count=5, seed=0)
    monkeypatch.setattr(
        "pnas_tf.latency.comparison.Comparison._macs_only", lambda _: Calibration(1.0, 0.0, 0.0, ())
    )  # MACs say nothing here
    document = validate(table, networks, device.setup())
    assert document["mape_percent"] == pytest.approx(0, abs=1e-9)
    for network in networks.values():  # and so does an export
        assert set(table.rewrites_of(network)) == pays & set(rewrites_of_blocks(network.blocks))


def test_shapes_of_another_resolution_go_with_the_majority(device):
    large = held_out_architectures(tiny(resolution=64), count=9, seed=0).values()
    network = next(network for network in large if rewrites_of_blocks(network.blocks))
    for share, expected in ((len(SHAPES) - 1, rewrites_of_blocks(network.blocks)), (1, ())):
        pays = set(SHAPES[:share])
        device.rewritten_ms = lambda block, pays=pays: 1.0 if REWRITE_OF[block.key] in pays else 5.0
        untried = set(expected) - set(SHAPES)
        assert untried <= set(device.table().rewrites_of(network))
        assert bool(untried) == (share > 1)


def test_a_gain_within_the_noise_is_none(device):
    device.rewritten_ms = lambda block: PLAIN_MS * 0.9
    assert device.table().identity.rewrites == ("split_depthwise",)
    device.noise = lambda runs: (
        1 + 0.2 * (runs % 3)
    )  # runs to one model differ by more than a tenth
    assert device.table().identity.rewrites != ("split_depthwise",)


def test_a_variant_that_cannot_be_measured_leaves_the_other(device):
    device.rewritten_ms = lambda block: 5.0  # slower, but the plain one kills the runtime
    table = device.table(device.runner(lambda name: name.endswith(" without")))
    assert table.identity.rewrites == ("split_depthwise",)
    assert all(
        trial.plain is None and "signal 11" in trial.failure for trial in table.trials.values()
    )
    path = table.save(device.folder / "table.json")
    assert LatencyTable.load(path) == table
    device.rewritten_ms = lambda block: 1.0
    assert device.table(device.runner(lambda name: name.endswith(" with"))).identity.rewrites == ()


def test_named_rewrites_and_none_are_taken_as_they_are(device):
    for words, expected in (
        (("split_depthwise",), ("split_depthwise",)),
        (("none",), ()),
        ((SHAPES[0],), (SHAPES[0],)),
    ):
        table = device.table(latency_rewrites=words)
        assert (table.identity.rewrites, table.trials) == (expected, {})
    assert requested_rewrites(("auto",)) is None
    with pytest.raises(UserError, match="unknown export rewrite"):
        requested_rewrites(("auto", "split_depthwise"))
    with pytest.raises(UserError, match="unknown export rewrite"):
        device.table(latency_rewrites=("unroll",))


def test_trials_survive_the_file_and_tables_without_them_still_load(device):
    table = device.table()
    path = table.save(device.folder / "table.json")
    assert LatencyTable.load(path) == table
    document = json.loads(path.read_text())
    row = document["trials"][next(iter(REWRITE_OF))]
    assert (row["chosen"], row["plain_ms"], row["rewritten_ms"]) == (
        True,
        PLAIN_MS + CALL_MS,
        1.0 + CALL_MS,
    )
    del row["plain"]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="trials"):
        LatencyTable.load(path)
    del document["trials"]
    path.write_text(json.dumps({**document, "version": 1}))
    assert LatencyTable.load(path) == dataclasses.replace(table, trials={})
    path.write_text(json.dumps({**document, "version": 2}))  # version 2 has trials
    with pytest.raises(UserError, match="trials"):
        LatencyTable.load(path)


def test_a_build_killed_behind_its_trials_does_not_repeat_them(device):
    class Killed(Exception):
        pass

    trial_runs = 3 * (2 * 2 * len(REWRITE_OF) + 1)  # with the sentinel's

    def until(limit):
        def noise(runs):
            if runs > limit:
                raise Killed
            return 1.0

        return noise

    device.noise = until(trial_runs + 50)
    with pytest.raises(Killed):
        device.table()
    assert len(list(device.folder.glob("session_*"))) == 2
    device.noise = lambda runs: 1.0
    rest = device.runner()
    table = device.table(rest)
    assert table.identity.rewrites == ("split_depthwise",) and set(table.trials) == set(REWRITE_OF)
    assert not any(name.endswith(("_without.tflite", "_with.tflite")) for name, _, _ in rest.log)
    assert not list(device.folder.glob("session_*"))
