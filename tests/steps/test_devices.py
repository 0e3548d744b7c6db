"""What was measured is kept until all of it is stored: `pnas benchmark` on devices made of
arithmetic, one of which is lost."""

import dataclasses
from pathlib import Path

import pytest
from fake_runner import DEVICE, FakeRunner

from pnas_tf.config import BenchmarkConfig, ConversionConfig, DeviceConfig, RunConfig
from pnas_tf.devices import registry
from pnas_tf.devices.failures import DeviceUnplugged
from pnas_tf.devices.record_file import load_measurements
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.steps.benchmark import BENCHMARK
from pnas_tf.steps.inputs import Inputs

MODEL = Path(__file__).parents[2] / "tflite_models" / "cifar10_int8.tflite"
PHONES = ("android:A", "android:B")


@pytest.fixture
def phones(monkeypatch):
    """Name -> its runner of the newest call; lost_at: name -> the run at which it goes away."""
    found, lost_at = {}, {}

    def opened(config, *, say=None):
        def latency_ms(model, runs):
            if runs == lost_at.get(config.device):
                raise DeviceUnplugged("the phone", received="gone")
            return 1.0

        device = dataclasses.replace(DEVICE, kind="android", serial=config.device)
        found[config.device] = FakeRunner(latency_ms, device=device)
        return found[config.device]

    monkeypatch.setattr(registry, "runner_for", opened)
    return found, lost_at


def benchmark(tmp_path, names):
    """One call of the step. Returns device -> its file's measurements."""
    job = Inputs(
        RunFolder(tmp_path / "run"),
        Configs(
            [
                RunConfig(),
                DeviceConfig(device=",".join(names)),
                ConversionConfig(model_cache=str(tmp_path / "cache")),
                BenchmarkConfig(models=(str(MODEL),)),
            ]
        ),
    )
    BENCHMARK.run(job)
    return [load_measurements(job.folder / file) for file in BENCHMARK.writes(job)]


def runs_of_model(runner):
    return sum(name == MODEL.name for name, _, _ in runner.log)


def test_a_benchmark_goes_on_from_what_was_measured(tmp_path, phones):
    found, lost_at = phones
    lost_at["android:A"] = 8  # in the third round
    with pytest.raises(UserError, match="the phone"):
        benchmark(tmp_path, ["android:A"])
    before = runs_of_model(found["android:A"]) - 1  # the last one was not ended
    assert before == 2 and list((tmp_path / "cache").glob("*.jsonl"))
    lost_at.clear()
    (rows,) = benchmark(tmp_path, ["android:A"])
    assert len(rows["cifar10_int8"].runs) == before + runs_of_model(found["android:A"])
    assert not list((tmp_path / "cache").glob("*.jsonl"))
    benchmark(tmp_path, ["android:A"])  # a benchmark that was stored is another one's no more
    assert runs_of_model(found["android:A"]) == len(rows["cifar10_int8"].runs)


def test_a_device_that_is_lost_costs_the_others_nothing(tmp_path, phones):
    found, lost_at = phones
    lost_at["android:B"] = 4
    with pytest.raises(UserError, match="the phone"):
        benchmark(tmp_path, PHONES)
    assert runs_of_model(found["android:A"]) > 0
    lost_at.clear()
    first, second = benchmark(tmp_path, PHONES)
    assert runs_of_model(found["android:A"]) == 0 < runs_of_model(found["android:B"])
    assert len(first["cifar10_int8"].runs) == len(second["cifar10_int8"].runs)
    assert not list((tmp_path / "cache").glob("*.jsonl"))
