"""What several devices in one process must not take from one another."""

import os
import subprocess
import sys
import threading

import pytest

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.failures import NoDevice
from pnas_tf.devices.registry import _Stoppable, on_each_device
from pnas_tf.errors import UserError
from pnas_tf.latency.models import converters


@pytest.mark.parametrize("name", ["run", "run_hot"])
def test_no_run_begins_after_the_wish_to_stop(name):
    class Runner:
        def run(self, *_, **__):
            return "ran"

        run_hot = run

    stop = threading.Event()
    runner, arguments = _Stoppable(Runner(), stop), {"warmups": 1, "invocations": 1}
    assert getattr(runner, name)("model", **arguments) == "ran"
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        getattr(runner, name)("model", **arguments)


class Opened:
    """A runner that only tells whether it was closed."""

    def __init__(self):
        self.closed = False

    def close(self):
        self.closed = True


def test_what_cannot_be_opened_is_told_before_any_work():
    """Hours of the others' work would go before a refusal that is known at once."""
    runners, worked = {}, []

    def open_runner(config):
        if config.device == "android:A":
            raise NoDevice("device A is not attached", received="no device at all")
        if config.device == "host":
            raise UserError("delegate", expected="one", received="another", fix="Choose one.")
        runners[config.device] = Opened()
        return runners[config.device]

    for devices in ("ssh:b,android:A,host", "android:A"):
        outcomes = on_each_device(
            DeviceConfig(devices), lambda name, _: worked.append(name), open_runner=open_runner
        )
        errors = [type(outcome.error) for outcome in outcomes.values()]
        assert errors == [type(None), NoDevice, UserError] if "," in devices else [NoDevice]
    assert worked == [] and all(runner.closed for runner in runners.values())
    done = on_each_device(
        DeviceConfig("ssh:b,ssh:c"), lambda name, _: name, open_runner=open_runner
    )
    assert [outcome.result for outcome in done.values()] == ["ssh:b", "ssh:c"]
    assert all(runner.closed for runner in runners.values())


def test_conversions_of_two_threads_leave_the_environment_as_it_was(monkeypatch):
    """Begun at once, ended in the order in which they began; no process is started by an empty
    pool."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    problems, ready = [], threading.Barrier(2)

    def convert():
        try:
            ready.wait(10)
            with converters(1):
                assert os.environ["PYTHONSAFEPATH"] == "1"
        except BaseException as problem:
            problems.append(problem)

    for _ in range(20):
        threads = [threading.Thread(target=convert) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert problems == [] and "PYTHONSAFEPATH" not in os.environ


@pytest.mark.slow
def test_converters_do_not_run_the_users_script_again(tmp_path):
    """A script without `if __name__ == "__main__"` began anew in each of them, which ended it."""
    script = tmp_path / "mine.py"
    script.write_text(
        "import os\n"
        "from pnas_tf.latency.models import converters\n"
        "print('begun', flush=True)\n"
        "with converters(1) as pool:\n"
        "    print(pool.submit(os.getpid).result() != os.getpid())\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300)
    assert ended.stdout.split() == ["begun", "True"], ended.stderr
