"""`pnas learn-prior` from its files to the file that it writes: tables of blocks and measurements
of exported networks, of devices made of arithmetic."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_runner import DEVICE, SETTINGS

from pnas_tf.devices.record import Measurement, ModelFacts, ModelRun
from pnas_tf.devices.record_file import save_measurements
from pnas_tf.errors import UserError
from pnas_tf.latency.calibration import Calibration, CalibrationNetwork
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.op_features import FEATURES, OP_KINDS, features_of
from pnas_tf.latency.prior import OTHER_RUNTIME_COSTS, Prior, learn_prior
from pnas_tf.latency.prior_sources import Source, read_sources, source_of_table
from pnas_tf.latency.table import LatencyTable
from pnas_tf.latency.taught import Taught
from pnas_tf.latency.transfer import Population, condition, learn, non_negative
from pnas_tf.run.terminal import TERMINAL
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import tiny
from pnas_tf.space.ops import MBConv
from pnas_tf.steps import learn_prior as program

ROOT = Path(__file__).resolve().parents[2]
SPACE = tiny()
NETWORKS = {f"net_{seed}": random_architecture(SPACE, seed=seed) for seed in range(12)}
UNIT = np.array([features_of([block]) for block in SPACE.distinct_blocks().values()]).mean(axis=0)
UNIT = np.where(UNIT > 0, UNIT, 1)
NEWER = dataclasses.replace(SETTINGS, runtime_version="2.0")


def prices(seed):
    draw = np.exp(0.3 * np.random.default_rng(seed).standard_normal(len(FEATURES)))
    return 0.05 * draw / UNIT


def latency_ms(blocks, seed):
    return float(features_of(blocks) @ prices(seed))


def measurement(ms, settings, *, dtype="float32", sentinel_ms=None, size=SPACE.resolution):
    facts = ModelFacts("sha", 10, dtype, (1, size, size, SPACE.channels), ())
    sentinel = {} if sentinel_ms is None else {"sentinel_ns": sentinel_ms * 1e6}
    return Measurement(DEVICE, settings, facts, (ModelRun((ms * 1e6,) * 3, **sentinel),) * 3)


def table(path, seed, *, settings=SETTINGS):
    """A table of measured blocks."""
    entries = {
        key: measurement(latency_ms([block], seed), settings)
        for key, block in SPACE.distinct_blocks().items()
    }
    identity = Identity(DEVICE, settings, "float32", ())
    return str(LatencyTable(identity, entries, space=SPACE).save(path))


def latency_file(path, seed, names, *, drift=1.0, settings=SETTINGS, **facts):
    """A latency.json of exported networks, as pnas benchmark writes it on a device that was `drift`
    times as slow then."""
    measured = {
        f"{name}_{dtype}": measurement(
            factor * drift * latency_ms(NETWORKS[name].blocks, seed),
            settings,
            dtype=dtype,
            sentinel_ms=drift,
        )
        for name in names
        for dtype, factor in (("float32", 1.0), ("int8", 0.5))
    }
    facts = {
        "sentinel_ms": drift,
        "correction": "beside",
        "networks": {name: NETWORKS[name.rpartition("_")[0]].to_json() for name in measured},
        **facts,
    }
    return str(save_measurements(path, measured, **facts))


@pytest.fixture
def files(tmp_path):
    """Two tables, and a third device's networks in two files, one of them of a slow hour."""
    names = list(NETWORKS)
    devices = [dataclasses.replace(SETTINGS, threads=threads) for threads in (1, 2, 4)]
    return [
        table(tmp_path / "one.json", 1, settings=devices[0]),
        table(tmp_path / "two.json", 2, settings=devices[1]),
        latency_file(tmp_path / "a.json", 3, names[:8], settings=devices[2]),
        latency_file(tmp_path / "b.json", 3, names[8:], settings=devices[2], drift=1.4),
    ]


def test_measurements_of_one_device_are_one_source_at_one_pace(files, tmp_path):
    one, two, three = read_sources([*files, files[0]], dtype="float32")
    assert (one.name, two.name, three.name) == (files[0], files[1], f"{files[2]}, {files[3]}")
    assert three.networks == tuple(NETWORKS.values())
    truth = [latency_ms(network.blocks, 3) for network in NETWORKS.values()]
    assert three.latency_ms == pytest.approx(truth)
    (halved,) = read_sources(files, dtype="int8")
    assert halved.latency_ms == pytest.approx([0.5 * ms for ms in truth])
    # A session that took no drift out, whose reference model scattered.
    noisy = {"correction": "none", "sentinel_ms": 1.2}
    settings = dataclasses.replace(SETTINGS, threads=4)
    slow = latency_file(tmp_path / "c.json", 3, ["net_0"], settings=settings, drift=1.5, **noisy)
    (found,) = read_sources([files[3], slow], dtype="float32")
    assert found.latency_ms[:-1] == pytest.approx([1.4 * ms for ms in truth[8:]])
    assert found.latency_ms[-1] == pytest.approx(truth[0] * 1.5 * 1.4 / 1.2)


def test_the_program_from_files_to_a_prior_that_predicts_other_devices(files, tmp_path):
    out = tmp_path / "prior.json"
    command = [sys.executable, "-m", "pnas_tf", "learn-prior", *files, f"--out={out}"]
    ended = subprocess.run(
        [*command, "--dtype=float32"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.strip().splitlines()
    assert [line.partition(": ")[0] for line in lines[:3]] == [
        f"learnt from {files[0]}",
        f"learnt from {files[1]}",
        f"learnt from {files[2]}, {files[3]}",
    ]
    assert lines[3].startswith("error to expect with 3 measured networks: ")
    known = len(SPACE.distinct_blocks())
    assert lines[-2].startswith(f"prices {known} blocks by tables that measured them")
    assert lines[-1] == f"wrote {out}"
    prior = Prior.load(out)
    direct = learn_prior(read_sources(files, dtype="float32"), other_runtime=False)
    np.testing.assert_allclose(prior.taught.population.mean, direct.taught.population.mean)
    others = [random_architecture(SPACE, seed=500 + each) for each in range(20)]
    rows = np.array([features_of(network.blocks) for network in others])

    def errors(fit, seeds):
        """Of 15 networks from 5, each."""
        found = []
        for seed in seeds:
            truth = 2 * rows @ prices(seed)
            found.append(np.abs(rows[5:] @ fit(rows[:5], truth[:5]) / truth[5:] - 1).mean())
        return np.array(found)

    def taught(features, latency_ms):
        return condition(prior.taught.kinds, features, latency_ms).mean

    def alone(features, latency_ms):
        return non_negative(features, latency_ms, OP_KINDS)

    assert errors(taught, [1, 2, 3]).max() < 0.02  # another unit of a device that taught
    new = range(4, 24)
    assert errors(taught, new).mean() < 0.7 * errors(alone, new).mean()


def test_a_prior_is_no_surer_than_the_tables_that_taught_it(files):
    sources = read_sources(files, dtype="float32")
    assert [source.error_percent for source in sources] == [0, 0, 0]  # nothing tells
    doubted = [dataclasses.replace(source, error_percent=5.0) for source in sources]
    sure, unsure = (learn_prior(each, other_runtime=False) for each in (sources, doubted))
    # mean absolute error / standard deviation of a normal error: sqrt(2 / pi)
    own = 0.05 / math.sqrt(2 / math.pi)
    assert unsure.taught.kinds.noise == pytest.approx(math.hypot(sure.taught.kinds.noise, own))
    np.testing.assert_array_equal(unsure.taught.kinds.mean, sure.taught.kinds.mean)
    for count, error in sure.held_out_percent.items():
        assert unsure.held_out_percent[count] == pytest.approx(math.hypot(error, 5.0), rel=0.2)
    networks = tuple(CalibrationNetwork(f"n{ms}", ms, ms) for ms in (1.0, 2.0, 3.0))
    told = dataclasses.replace(
        LatencyTable.load(files[0]), calibration=Calibration(1.0, 0.0, 1.7, networks)
    )
    assert source_of_table("told", told).error_percent == 1.7


def test_what_does_not_go_together_is_refused_unless_told(files, tmp_path, capsys):
    newer = table(tmp_path / "newer.json", 5, settings=NEWER)
    out = f"--out={tmp_path / 'prior.json'}"
    with pytest.raises(UserError, match=r"newer\.json among the sources") as refused:
        program.main([files[0], newer, out])
    assert "2.0" in refused.value.received and OTHER_RUNTIME_COSTS in refused.value.received
    assert not (tmp_path / "prior.json").exists()
    with TERMINAL.speaking():
        assert program.main([files[0], newer, out, "--other_runtime"]) == 0
    assert f"WARNING {OTHER_RUNTIME_COSTS}" in capsys.readouterr().err
    assert len(Prior.load(tmp_path / "prior.json").runtimes) == 2
    with pytest.raises(UserError, match="number format: --dtype=float32"):
        program.main([*files, out])


def test_sources_of_one_network_each_tell_no_noise(tmp_path):
    settings = [dataclasses.replace(SETTINGS, threads=threads) for threads in (1, 2, 4)]
    files = [
        latency_file(tmp_path / f"{number}.json", number, ["net_0"], settings=each)
        for number, each in enumerate(settings)
    ]
    with pytest.raises(UserError, match="what a prior is learnt from") as refused:
        program.main([*files, "--dtype=float32", f"--out={tmp_path / 'prior.json'}"])
    assert "at most 1," in refused.value.received and not (tmp_path / "prior.json").exists()


def test_a_device_is_one_however_many_files_it_gives(tmp_path, monkeypatch):
    threads = [dataclasses.replace(SETTINGS, threads=threads) for threads in (1, 1, 2, 4)]
    names = ("one", "again", "two", "three")
    files = [
        table(tmp_path / f"{name}.json", seed, settings=settings)
        for seed, (name, settings) in enumerate(zip(names, threads))
    ]
    with pytest.raises(UserError, match="what a prior is learnt from") as refused:
        learn_prior(read_sources(files[:2], dtype=None), other_runtime=False)
    assert refused.value.received == "1"
    taught = []

    def counted(devices):
        taught.append(len(devices))
        return learn(devices)

    monkeypatch.setattr("pnas_tf.latency.taught.learn", counted)
    prior = learn_prior(read_sources(files, dtype=None), other_runtime=False)
    assert taught == [4, 2, 3, 3]  # all, then without each device
    assert prior.describe() == "a prior of 3 devices" and len(prior.sources) == 4


def test_a_device_whose_work_the_others_do_not_do_judges_no_prior():
    """Of each kernel one device: without it nothing prices that kernel."""
    sources = []
    for number, kernel in enumerate((3, 5, 7)):
        space = dataclasses.replace(SPACE, candidates=(MBConv(kernel, 3), MBConv(kernel, 6)))
        networks = tuple(random_architecture(space, seed=seed) for seed in range(12))
        settings = dataclasses.replace(SETTINGS, threads=1 + number)
        latencies = tuple(latency_ms(network.blocks, number) for network in networks)
        identity = Identity(DEVICE, settings, "float32", ())
        sources.append(Source(f"kernel {kernel}", identity, networks, latencies))
    assert learn_prior(sources, other_runtime=False).held_out_percent == {}


def test_a_prior_whose_units_lie_far_apart_is_read_again(tmp_path):
    """An op costs many times a MAC: eigenvalues of such a covariance are lost in rounding."""
    deviations = np.random.default_rng(0).permutation(10.0 ** -np.linspace(0, 10, len(FEATURES)))
    correlations = (np.eye(len(FEATURES)) + 1) / 2
    covariance = correlations * np.outer(deviations, deviations)
    taught = Taught(Population(deviations, covariance, 0.03), {})
    prior = Prior(taught, ("runtime 1.0",), "float32", ("one",), 2, (), {})
    again = Prior.load(prior.save(tmp_path / "prior.json"))
    np.testing.assert_array_equal(again.taught.population.covariance, covariance)


def test_what_another_number_format_lacks_is_of_no_account(files, tmp_path):
    lacking = {f"{name}_float32": NETWORKS[name].to_json() for name in NETWORKS}
    measured = latency_file(
        tmp_path / "c.json",
        6,
        list(NETWORKS),
        settings=dataclasses.replace(SETTINGS, threads=8),
        networks=lacking,
    )
    older = Path(table(tmp_path / "older.json", 7))
    document = json.loads(older.read_text())
    document = {**document, "space": None, "dtype": "int8"}
    for entry in document["entries"].values():
        entry["model"]["dtype"] = "int8"
    older.write_text(json.dumps(document))
    found = read_sources([*files, measured, str(older)], dtype="float32")
    assert [len(source.networks) for source in found] == [40, 40, 12, 12]
    for path in (measured, str(older)):
        with pytest.raises(UserError):
            read_sources([path], dtype="int8")


def test_a_measured_file_without_its_network_is_refused(files, tmp_path):
    lacking = latency_file(tmp_path / "c.json", 6, ["net_0"], networks={})
    with pytest.raises(UserError, match=r"net_0_float32 in .*c\.json"):
        read_sources([*files, lacking], dtype=None)
    entry = measurement(1.0, SETTINGS, size=SPACE.resolution * 2)
    networks = {"net": NETWORKS["net_0"].to_json()}
    other_size = save_measurements(tmp_path / "d.json", {"net": entry}, networks=networks)
    with pytest.raises(UserError, match="export_resolution"):
        read_sources([str(other_size)], dtype=None)
