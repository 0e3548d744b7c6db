"""The table: sums against brute force, missing keys, mixtures, staleness, damaged files."""

import dataclasses
import json
import random
import subprocess
import sys

import pytest
from fake_runner import DEVICE, SETTINGS

from pnas_tf.devices.delegation import Delegation
from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun
from pnas_tf.errors import UserError
from pnas_tf.latency.calibration import Calibration, CalibrationNetwork
from pnas_tf.latency.few_shot import FewShot, Price
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.architecture import Architecture, random_architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.mbconv import MBConvSpace, Stage, proxyless, tiny
from pnas_tf.space.ops import MBConv, Zero

IDENTITY = Identity(DEVICE, SETTINGS, "float32", ("split_depthwise",))
ANCHORS = (("a", 1.0, 1.75), ("b", 2.0, 3.0), ("c", 3.0, 4.25))
CALIBRATION = Calibration(1.25, 0.5, 1.0, tuple(CalibrationNetwork(*row) for row in ANCHORS))
SPACE = tiny()


def entry(latency_ms: float, *, identity: Identity = IDENTITY, **run) -> Measurement:
    facts = ModelFacts("sha", 10, identity.dtype, (1, 8, 8, 8), identity.rewrites)
    return Measurement(
        identity.device, identity.settings, facts, (ModelRun((latency_ms * 1e6,) * 3, **run),)
    )


def table_of(space: SearchSpace, *, identity: Identity = IDENTITY, **facts) -> LatencyTable:
    generator = random.Random(5)
    return LatencyTable(
        identity,
        {
            key: entry(generator.uniform(0.1, 2), identity=identity)
            for key in space.distinct_blocks()
        },
        **facts,
    )


def test_prediction_is_the_calibrated_sum_of_blocks():
    table = table_of(SPACE, calibration=CALIBRATION)
    for seed in range(20):
        network = random_architecture(SPACE, seed=seed)
        total = 0.0
        for block in network.blocks:  # brute force over the raw values
            if block.op != Zero():
                total += sorted(table.entries[block.key].runs[0].samples_ns)[1] / 1e6
        assert table.sum_ms(network) == pytest.approx(total)
        assert table.predict_ms(network) == pytest.approx(1.25 * total + 0.5)
        assert sum(row[2] for row in table.breakdown(network)) == pytest.approx(total)


def test_a_network_of_zeros_costs_the_fixed_blocks_and_the_blocks_that_cannot_be_skipped():
    table = table_of(SPACE)
    skipping = Architecture(
        SPACE,
        tuple(
            Zero() if Zero() in choice.candidates else choice.candidates[0]
            for choice in SPACE.choice_blocks
        ),
    )
    needed = [block for block in skipping.blocks[2:-1] if block.op != Zero()]
    assert table.predict_ms(skipping) == pytest.approx(
        sum(table.share_ms(block.key) for block in (*SPACE.fixed_blocks(), *needed))
    )
    assert len(needed) == 3


def test_drift_is_taken_out_of_entries():
    table = LatencyTable(
        IDENTITY,
        {"a": entry(4.0, sentinel_ns=2e6), "b": entry(4.0, sentinel_ns=1e6)},
        sentinel_ms=1.0,
    )
    assert (table.latency_ms("a"), table.latency_ms("b")) == (2.0, 4.0)


def test_missing_keys_are_errors_that_say_why():
    table = dataclasses.replace(
        table_of(SPACE), failures={"mbconv_k7_e6 in=1x1x1 out=1x1x1 s1": "signal 11"}
    )
    with pytest.raises(UserError, match="latency-table"):
        table.latency_ms("mbconv_k9")
    with pytest.raises(UserError, match="signal 11"):
        table.latency_ms("mbconv_k7_e6 in=1x1x1 out=1x1x1 s1")
    table.check_covers(SPACE)
    with pytest.raises(UserError, match="64 px") as refusal:
        table.check_covers(tiny(resolution=64))
    assert "missing" in refusal.value.received
    assert "the same --space, --resolution and --width, and this --run_dir" in refusal.value.fix


def test_an_entry_of_another_origin_is_refused():
    with pytest.raises(UserError, match="settings"):
        LatencyTable(
            IDENTITY,
            {
                "a": entry(
                    1.0,
                    identity=dataclasses.replace(
                        IDENTITY, settings=dataclasses.replace(SETTINGS, threads=2)
                    ),
                )
            },
        )
    with pytest.raises(UserError, match="dtype"):
        LatencyTable(
            IDENTITY, {"a": entry(1.0, identity=dataclasses.replace(IDENTITY, dtype="int8"))}
        )


def test_files_round_trip(tmp_path):
    table = table_of(
        SPACE,
        calibration=CALIBRATION,
        sentinel_ms=0.7,
        created_unix_s=1.7e9,
        origin="a test",
        failures={"x": "y"},
    )
    assert LatencyTable.load(table.save(tmp_path / "table.json")) == table


def test_damaged_files_are_refused(tmp_path):
    path = table_of(SPACE, calibration=CALIBRATION).save(tmp_path / "table.json")
    whole = json.loads(path.read_text())
    for field in ("device", "settings", "dtype", "entries", "calibration", "rewrites", "failures"):
        path.write_text(json.dumps({name: value for name, value in whole.items() if name != field}))
        with pytest.raises(UserError, match=r"table\.json"):
            LatencyTable.load(path)
    path.write_text(json.dumps({**whole, "version": 99}))
    with pytest.raises(UserError, match="latency table"):
        LatencyTable.load(path)
    path.write_text(json.dumps(whole)[:-100])
    with pytest.raises(UserError, match="corrupt or truncated"):
        LatencyTable.load(path)


def test_figures_of_uncalibrated_and_stale_tables_come_with_a_warning():
    table = table_of(SPACE, calibration=CALIBRATION, created_unix_s=1.7e9)
    fresh = {"now_unix_s": 1.7e9 + 3600}
    assert table.warnings(**fresh) == []
    assert "uncalibrated" in dataclasses.replace(table, calibration=None).warnings(**fresh)[0]
    assert "uncalibrated" in dataclasses.replace(table, calibration=None).describe()
    (old,) = table.warnings(now_unix_s=1.7e9 + 100 * 86400)
    assert "stale: built 100 days ago" in old
    assert table.identity.differences(DEVICE, SETTINGS) == []
    (runtime,) = table.identity.differences(
        DEVICE, dataclasses.replace(SETTINGS, runtime_version="9.9")
    )
    assert "runtime_version" in runtime and "'9.9'" in runtime and "'1.0'" in runtime
    (device,) = table.identity.differences(Device("android", "phone", "soc"), SETTINGS)
    assert device.startswith("stale: built for device")


def test_a_table_of_a_mixture_of_accelerator_and_cpu_says_so_wherever_it_appears(tmp_path):
    settings = dataclasses.replace(SETTINGS, delegate="gpu", partial_delegation=True)
    identity = dataclasses.replace(IDENTITY, settings=settings)
    table = table_of(SPACE, identity=identity, calibration=CALIBRATION, created_unix_s=1.7e9)
    key = next(iter(table.entries))
    table.entries[key] = entry(1.0, identity=identity, delegation=Delegation(30, 66, 7))
    again = LatencyTable.load(table.save(tmp_path / "table.json"))
    assert again == table
    assert again.warnings(now_unix_s=1.7e9) == [
        f"'{key}': partly on the CPU: gpu executed 30 of 66 ops, 7 partitions"
    ]
    assert "gpu (in part, where it takes no more)" in again.describe()
    pure = dataclasses.replace(settings, partial_delegation=False)
    assert "partial_delegation" in again.identity.differences(DEVICE, pure)[0]


def test_a_state_that_is_true_of_all_blocks_is_told_in_one_line():
    table = table_of(SPACE, calibration=CALIBRATION, created_unix_s=1.7e9)
    _, second, *others = table.entries
    for key in others:
        table.entries[key] = entry(1.0, throttling="under-voltage")
    table.entries[second] = entry(1.0, throttling="throttled")
    assert table.warnings(now_unix_s=1.7e9) == [
        f"unstable: '{second}': throttling: throttled",
        f"unstable: '{others[0]}' and {len(others) - 1} more: throttling: under-voltage",
    ]


def test_drift_is_taken_out_as_the_building_session_chose_and_older_tables_as_they_were(tmp_path):
    runs = {"a": entry(4.0, sentinel_ns=2e6)}
    found = {
        correction: LatencyTable(IDENTITY, runs, sentinel_ms=1.0, correction=correction)
        for correction in ("none", "beside", "around")
    }
    assert {kind: table.latency_ms("a") for kind, table in found.items()} == {
        "none": pytest.approx(4.0),
        "beside": pytest.approx(2.0),
        "around": pytest.approx(2.0),
    }
    path = found["none"].save(tmp_path / "table.json")
    assert LatencyTable.load(path) == found["none"]
    document = json.loads(path.read_text())
    for field in ("correction", "noise_percent"):
        del document[field]
    path.write_text(json.dumps({**document, "version": 3}))
    older = LatencyTable.load(path)
    assert older.correction == "round" and older.latency_ms("a") == pytest.approx(2.0)
    path.write_text(json.dumps({**document, "version": 4}))
    with pytest.raises(UserError, match="correction"):
        LatencyTable.load(path)
    path.write_text(json.dumps({**document, "noise_percent": 1.0, "correction": "sideways"}))
    with pytest.raises(UserError, match="'sideways'"):
        LatencyTable.load(path)


def test_a_table_of_a_noisy_session_says_so():
    table = table_of(SPACE, calibration=CALIBRATION, noise_percent=7.25)
    (warning,) = table.warnings()
    assert "halves of the session differ by 7.2 %" in warning
    assert table_of(SPACE, calibration=CALIBRATION, noise_percent=4.9).warnings() == []
    assert table_of(SPACE, calibration=CALIBRATION, noise_percent=5.0).warnings() != []


def test_kernel_7_is_compared_with_its_kernel_5_twin():
    space = MBConvSpace(
        "one", 16, 2, 8, 8, (Stage(8, 2, 1),), 16, tuple(MBConv(kernel, 3) for kernel in (3, 5, 7))
    )
    entries = {key: entry(1.0) for key in space.distinct_blocks()}
    assert LatencyTable(IDENTITY, entries).kernel7_warnings(space) == []
    slow = next(key for key in entries if "k7" in key)
    entries[slow] = entry(5.1)
    (warning,) = LatencyTable(IDENTITY, entries).kernel7_warnings(space)
    assert slow in warning and "5.1 times" in warning and "split_depthwise" in warning
    entries[slow] = entry(4.9)
    assert LatencyTable(IDENTITY, entries).kernel7_warnings(space) == []
    prices = dict.fromkeys(entries, Price(1.0, 0.1))
    prices[slow.replace("k7", "k5")] = Price(0.0, 0.1)  # of a few networks: it may be nothing
    few_shot = FewShot("op kinds", "", {}, prices)
    assert LatencyTable(IDENTITY, {}, few_shot=few_shot).kernel7_warnings(space) == []


def test_the_proxyless_space_has_the_documented_number_of_blocks():
    assert len(proxyless().distinct_blocks()) == 69  # 66 and stem, first block, head


def test_tables_need_no_tensorflow():
    code = (
        "import sys, pnas_tf.latency.table, pnas_tf.latency.build, pnas_tf.latency.validate, "
        "pnas_tf.interop.latency_yaml, "
        "pnas_tf.devices.host.runner; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=120, check=False).returncode == 0
