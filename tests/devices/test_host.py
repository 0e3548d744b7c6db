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
from pnas_tf.devices.reference_model import reference_bytes, reference_model
from pnas_tf.errors import UserError


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return reference_model(tmp_path_factory.mktemp("reference"))


@pytest.fixture
def runner():
    with HostRunner(timeout_s=30) as made:
        yield made


def child_pid(runner: HostRunner) -> int:
    return runner._child.pid


def test_a_run_gives_warmups_and_invocations_apart(runner, reference):
    began, begin = time.time(), time.perf_counter_ns()
    run = runner.run(reference, warmups=3, invocations=7)
    took, ended = time.perf_counter_ns() - begin, time.time()
    assert len(run.warmups_ns) == 3 and len(run.samples_ns) == 7
    assert 0 < sum(run.warmups_ns) + sum(run.samples_ns) < took
    assert (
        began <= run.started_unix_s < run.ended_unix_s <= ended or ended < began
    )  # the clock was set back


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not pin")
def test_the_child_is_held_to_the_cores_that_the_record_names(runner):
    assert runner.device.cores == host.own_cores(1).cores != ()
    assert os.sched_getaffinity(child_pid(runner)) == set(runner.device.cores)


@pytest.mark.skipif(not hasattr(os, "getsid"), reason="this system has no sessions")
def test_the_child_has_a_session_of_its_own_to_be_raised_in_priority(runner):
    assert os.getsid(child_pid(runner)) == child_pid(runner) != os.getsid(0)


def test_cores_that_cannot_be_had_are_said_and_not_claimed(reference):
    with HostRunner(cores=(100_000,)) as unpinned:
        assert unpinned.pin_error and unpinned.device.cores == ()
        assert unpinned.run(reference, warmups=0, invocations=1).invocations == 1


def test_systems_without_affinity_are_measured_unpinned(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert host.own_cores(2).cores == ()


def test_what_cannot_be_pinned_is_said_in_one_line():
    lines: list[str] = []
    with HostRunner(cores=(100_000,), say=lines.append):
        assert len(lines) == 1 and "not held to cores (100000,)" in lines[0]


def test_bad_files_are_refused_and_the_runner_goes_on(runner, reference, tmp_path):
    for name, content in (
        ("noise", b"no model" * 50),
        ("cut", reference.read_bytes()[:5000]),
        ("empty", b""),
    ):
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(content)
        with pytest.raises(ModelRefused, match=name):
            runner.run(path, warmups=1, invocations=1)
    with pytest.raises(ModelRefused, match="absent"):
        runner.run(tmp_path / "absent.tflite", warmups=1, invocations=1)
    assert runner.run(reference, warmups=0, invocations=1).invocations == 1


def test_a_round_has_a_process_of_its_own(runner, reference, tmp_path):
    other = tmp_path / "other.tflite"
    other.write_bytes(reference.read_bytes())
    pids = []
    for _ in range(3):
        runner.begin_round()
        for path in (reference, other, reference):
            runner.run(path, warmups=0, invocations=1)
            pids.append(child_pid(runner))
    assert [len(set(pids[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3
    runner.begin_round()  # one that has done nothing yet is not replaced
    runner.run(reference, warmups=0, invocations=1)
    begun = child_pid(runner)
    runner.close()
    runner.begin_round()
    runner.run(reference, warmups=0, invocations=1)
    assert child_pid(runner) != begun


def test_a_crash_costs_one_measurement(runner, reference, monkeypatch):
    """The signal comes when the child has been asked: a child that is dead before is replaced."""
    ask = runner._child.ask

    def asked(command, *arguments, **named):
        threading.Timer(0.1, os.kill, (child_pid(runner), signal.SIGSEGV)).start()
        return ask(command, *arguments, **named)

    monkeypatch.setattr(runner._child, "ask", asked)
    with pytest.raises(RunKilled, match="SIGSEGV"):
        runner.run(reference, warmups=0, invocations=100_000_000)
    assert runner.run(reference, warmups=0, invocations=2).invocations == 2


@pytest.mark.slow
def test_a_hang_costs_one_measurement(reference):
    with HostRunner(timeout_s=3) as runner:
        pid = child_pid(runner)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(RunTimedOut, match="3 s"):
            runner.run(reference, warmups=0, invocations=1)
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        runner._timeout_s = 30
        assert runner.run(reference, warmups=0, invocations=2).invocations == 2


def test_closing_ends_the_child(reference):
    runner = HostRunner()
    pid = child_pid(runner)
    runner.close()
    runner.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_delegate_is_what_the_record_says(reference):
    """Without XNNPACK the graph keeps its own nodes; with it they are replaced by one delegate
    node."""
    counts = {}
    for xnnpack in (True, False):
        interpreter = Models(threads=1, xnnpack=xnnpack, memory_limit_bytes=10**9).get(
            str(reference)
        )
        counts[xnnpack] = [op["op_name"] for op in interpreter._get_ops_details()]
    assert "DELEGATE" in counts[True] and "DELEGATE" not in counts[False]
    with HostRunner(DeviceConfig(delegate="none")) as runner:
        assert runner.settings.delegate == "none"


@pytest.mark.parametrize("arguments", [{"delegate": "gpu"}, {"threads": 0}])
def test_settings_that_the_host_lacks_are_refused(arguments):
    with pytest.raises(UserError):
        HostRunner(DeviceConfig(**arguments))


def test_loaded_models_stay_below_the_memory_limit(reference, tmp_path):
    models = Models(threads=1, xnnpack=True, memory_limit_bytes=3 * reference.stat().st_size)
    for number in range(12):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(reference.read_bytes())
        models.get(str(path))
    assert list(models.loaded)[-1].endswith("11.tflite") and len(models.loaded) <= 3


def test_the_reference_is_the_same_everywhere():
    import hashlib

    assert (
        hashlib.sha256(reference_bytes()).hexdigest()
        == "d75e2e1c24cf55507bfbe130b29533b574ecd4a369f1085aa135d3ec1a81c18e"
    )
