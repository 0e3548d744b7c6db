"""The host runner against the real LiteRT runtime: times, pinning, crashes, hangs, bad files."""

import os
import signal
import threading
import time

import pytest

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.failures import RunKilled, RunTimedOut
from pnas_tf.devices.host import runner as host
from pnas_tf.devices.host.runner import HostRunner, ModelRefused
from pnas_tf.devices.host.worker import Models
from pnas_tf.devices.reference_model import sentinel_bytes, sentinel_model
from pnas_tf.errors import UserError


@pytest.fixture(scope="module")
def sentinel(tmp_path_factory):
    return sentinel_model(tmp_path_factory.mktemp("sentinel"))


@pytest.fixture
def runner():
    with HostRunner(timeout_s=30) as made:
        yield made


def child_pid(runner: HostRunner) -> int:
    return runner._child.pid


def test_a_visit_gives_warmups_and_invocations_apart(runner, sentinel):
    begin = time.perf_counter_ns()
    visit = runner.visit(sentinel, warmups=3, invocations=7)
    took = time.perf_counter_ns() - begin
    assert len(visit.warmups_ns) == 3 and len(visit.samples_ns) == 7
    assert 0 < sum(visit.warmups_ns) + sum(visit.samples_ns) < took
    assert abs(visit.started_unix_s - time.time()) < 60


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_the_child_is_held_to_the_cores_that_the_record_names(runner):
    assert runner.device.cores == (max(os.sched_getaffinity(0)),)
    assert os.sched_getaffinity(child_pid(runner)) == set(runner.device.cores)


@pytest.mark.skipif(not hasattr(os, "getsid"), reason="this system has no sessions")
def test_the_child_has_a_session_of_its_own_to_be_raised_in_priority(runner):
    assert os.getsid(child_pid(runner)) == child_pid(runner) != os.getsid(0)


def test_cores_that_cannot_be_had_are_said_and_not_claimed(sentinel):
    with HostRunner(cores=(100_000,)) as unpinned:
        assert unpinned.pin_error and unpinned.device.cores == ()
        assert unpinned.visit(sentinel, warmups=0, invocations=1).invocations == 1


def test_systems_without_affinity_are_measured_unpinned(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert host._own_cores(2) == []


def test_more_threads_than_cores_take_all_cores():
    assert host._own_cores(1000) == sorted(os.sched_getaffinity(0))


def test_bad_files_are_refused_and_the_runner_goes_on(runner, sentinel, tmp_path):
    for name, content in (
        ("noise", b"no model" * 50),
        ("cut", sentinel.read_bytes()[:5000]),
        ("empty", b""),
    ):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(ModelRefused, match=name):
            runner.visit(path, warmups=1, invocations=1)
    with pytest.raises(ModelRefused, match="absent"):
        runner.visit(tmp_path / "absent.tflite", warmups=1, invocations=1)
    assert runner.visit(sentinel, warmups=0, invocations=1).invocations == 1


def test_a_second_visit_finds_the_model_in_a_new_process(runner, sentinel, tmp_path):
    other = tmp_path / "other.tflite"
    other.write_bytes(sentinel.read_bytes())
    pids = []
    for path in (sentinel, other, sentinel, other, other):
        runner.visit(path, warmups=0, invocations=1)
        pids.append(child_pid(runner))
    assert pids[0] == pids[1] and pids[2] == pids[3] and len(set(pids)) == 3


def test_a_crash_costs_one_measurement(runner, sentinel):
    threading.Timer(0.5, os.kill, (child_pid(runner), signal.SIGSEGV)).start()
    with pytest.raises(RunKilled, match="SIGSEGV"):
        runner.visit(sentinel, warmups=0, invocations=100_000_000)
    assert runner.visit(sentinel, warmups=0, invocations=2).invocations == 2


def test_a_hang_costs_one_measurement(sentinel):
    with HostRunner(timeout_s=3) as runner:
        pid = child_pid(runner)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(RunTimedOut, match="3 s"):
            runner.visit(sentinel, warmups=0, invocations=1)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        runner._timeout_s = 30
        assert runner.visit(sentinel, warmups=0, invocations=2).invocations == 2


def test_closing_ends_the_child(sentinel):
    runner = HostRunner()
    pid = child_pid(runner)
    runner.close()
    runner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_delegate_is_what_the_record_says(sentinel):
    """Without XNNPACK the graph keeps its own nodes; with it they are replaced by one delegate
    node."""
    counts = {}
    for xnnpack in (True, False):
        interpreter = Models(threads=1, xnnpack=xnnpack, memory_limit_bytes=10**9).get(
            str(sentinel)
        )
        counts[xnnpack] = [op["op_name"] for op in interpreter._get_ops_details()]
    assert "DELEGATE" in counts[True] and "DELEGATE" not in counts[False]
    with HostRunner(DeviceConfig(delegate="none")) as runner:
        assert runner.settings.delegate == "none"


@pytest.mark.parametrize("arguments", [{"delegate": "gpu"}, {"threads": 0}])
def test_settings_that_the_host_lacks_are_refused(arguments):
    with pytest.raises(UserError):
        HostRunner(DeviceConfig(**arguments))


def test_loaded_models_stay_below_the_memory_limit(sentinel, tmp_path):
    models = Models(threads=1, xnnpack=True, memory_limit_bytes=3 * sentinel.stat().st_size)
    for number in range(12):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(sentinel.read_bytes())
        models.get(str(path))
    assert list(models.loaded)[-1].endswith("11.tflite") and len(models.loaded) <= 3


def test_the_sentinel_is_the_same_everywhere():
    import hashlib

    assert (
        hashlib.sha256(sentinel_bytes()).hexdigest()
        == "d75e2e1c24cf55507bfbe130b29533b574ecd4a369f1085aa135d3ec1a81c18e"
    )
