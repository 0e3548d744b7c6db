"""The Android runner against the real protocol: stock adb client, real adbd, a far side that really
runs the pushed models."""

import dataclasses
import os
import threading
import time
from pathlib import Path

import odd_names
import phones as standin
import pytest

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.android.adb import AdbConnection
from pnas_tf.devices.android.runner import android_runner
from pnas_tf.devices.benchmark_tool.runner import Patience
from pnas_tf.devices.failures import (
    DelegateNotUsed,
    DeviceLost,
    DeviceUnplugged,
    MissingBinary,
    NoDevice,
    RunKilled,
    RunTimedOut,
    SeveralDevices,
    StorageFull,
    TooCoarse,
    ToolFailed,
)
from pnas_tf.devices.registry import on_each_device, runner_for
from pnas_tf.devices.session import Schedule, measure, model_facts
from pnas_tf.io import atomic

FLOAT32, INT8 = (Path(standin.HERE) / f"tiny_{dtype}.tflite" for dtype in ("float32", "int8"))
MODELS = {"float32": FLOAT32, "int8": INT8}
FACTS = {
    name: model_facts(path, dtype=name, input_shape=(1, 16, 16, 3), rewrites=())
    for name, path in MODELS.items()
}
QUICK = Schedule(min_invocations=12, warmups=1, rounds=3, extra_rounds=0)
BRIEF = Patience(run_s=20.0, return_s=1.0, cool_down_s=1.0, poll_s=0.1, attempts=3)

reason = standin.missing()
pytestmark = pytest.mark.skipif(bool(reason), reason=f"no stand-in phones: {reason}")


@pytest.fixture(scope="module")
def fleet():
    with standin.Phones() as phones:
        phones.tool = str(standin.executable_tool(phones.folder))
        phones.device = DeviceConfig(benchmark_binary=phones.tool)
        previous = os.environ["PATH"]
        os.environ["PATH"] = (
            f"{phones.path}:{previous}"  # the program finds adb where users have it
        )
        try:
            phones.trio = [phones.add(), phones.add(), phones.add(speaks=False, clocks_khz=())]
            yield phones
        finally:
            os.environ["PATH"] = previous


@pytest.fixture
def phone(fleet):
    fleet.trio[0].configure()
    return fleet.trio[0]


@pytest.fixture
def runner(fleet, phone):
    with android_runner(phone.serial, fleet.device, patience=BRIEF) as opened:
        yield opened


def while_running(phone, number, *actions):
    """Does the actions, a second apart, as soon as the phone's run with this number has begun."""

    def watch():
        while len(phone.runs()) < number:
            time.sleep(0.02)
        for action in actions:
            action()
            time.sleep(1.0)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_visit_reports_the_tools_median_of_the_invocations_asked_for(runner, phone):
    visit = runner.visit(FLOAT32, warmups=3, invocations=9)
    assert (visit.statistic, visit.count, visit.invocations, len(visit.samples_ns)) == (
        "median",
        9,
        9,
        1,
    )
    assert visit.samples_ns[0] == visit.aggregates_ns["median"] >= visit.aggregates_ns["min"]
    assert visit.temperature_c == 31.5 and visit.frequency_mhz == 2800.0 and visit.throttling == ""
    run = phone.runs()[-1]
    flags = {
        name: run["flags"][name]
        for name in ("num_threads", "warmup_runs", "warmup_min_secs", "num_runs", "min_secs")
    }
    assert flags == {
        "num_threads": "1",
        "warmup_runs": "3",
        "warmup_min_secs": "0",
        "num_runs": "9",
        "min_secs": "0",
    }
    assert run["flags"]["use_xnnpack"] == "true" and len(phone.runs()) == 1
    assert run["cores"] == [1] and runner.device.cores == (
        1,
    )  # the big one, by the phone's own cpufreq


def test_a_classic_tool_gives_means_and_a_coarse_one_refuses_what_it_cannot_show(runner, phone):
    phone.configure(form="classic", pace_ms=2)
    visit = runner.visit(FLOAT32, warmups=1, invocations=5)
    assert visit.statistic == "mean" and visit.samples_ns[0] > 2e6
    phone.configure(form="milliseconds", pace_ms=2)
    assert runner.visit(FLOAT32, warmups=1, invocations=5).samples_ns[0] > 2e6
    phone.configure(form="milliseconds", runs=dict.fromkeys("123", "fast"))
    with pytest.raises(TooCoarse):
        runner.visit(FLOAT32, warmups=1, invocations=5)


def test_the_record_names_the_phone_and_its_performance_mode_is_given_back(fleet, phone):
    with android_runner(phone.serial, fleet.device) as runner:
        device = runner.device
        assert (device.kind, device.model, device.processor, device.serial) == (
            "android",
            "Standin Phone 0",
            "SO-1",
            phone.serial,
        )
        assert (
            device.os == "Android 14 (API 34), fixed performance mode"
            and device.build.startswith("standin/phone/0")
        )
        assert runner.settings.runtime_version == atomic.sha256_of(fleet.tool)[:12]
    runner.close()
    assert (phone.storage / "fixed_mode.log").read_text().split() == ["true", "false"]


def test_a_phone_that_tells_nothing_of_itself_works_and_says_so(fleet):
    mute = fleet.trio[2]
    mute.configure()
    with android_runner(mute.serial, fleet.device) as runner:
        assert (runner.device.model, runner.device.build, runner.device.cores) == (
            "unknown",
            "unknown",
            (),
        )
        assert "fixed performance" not in runner.device.os
        assert runner.visit(INT8, warmups=0, invocations=4).count == 4


def test_models_and_binary_are_copied_once_under_names_of_their_content(fleet, phone, tmp_path):
    odd = tmp_path / "odd name'; touch $HOME $(reboot).tflite"
    odd.write_bytes(FLOAT32.read_bytes())
    with android_runner(phone.serial, fleet.device) as runner:
        for model in (FLOAT32, INT8, odd):
            runner.visit(model, warmups=0, invocations=2)
    folder = phone.storage / "pnas_tf"
    names = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert set(names) == {
        f"{atomic.sha256_of(FLOAT32)}.tflite",
        f"{atomic.sha256_of(INT8)}.tflite",
        atomic.sha256_of(fleet.tool),
    }
    with android_runner(phone.serial, fleet.device) as runner:
        runner.visit(FLOAT32, warmups=0, invocations=2)
        (folder / f"{atomic.sha256_of(FLOAT32)}.tflite").write_bytes(
            b"damaged"
        )  # found out and copied anew
        runner._store.forget()
        runner.visit(FLOAT32, warmups=0, invocations=2)
    later = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert {name for name in names if later[name] == names[name]} == set(names) - {
        f"{atomic.sha256_of(FLOAT32)}.tflite"
    }


def test_names_are_names_and_never_commands(fleet, phone, tmp_path):
    """`adb shell` joins its arguments for the far shell; `adb push` takes a name that begins with a
    dash for an option."""
    placed = odd_names.place_in_each(AdbConnection(phone.serial), "/data/local/tmp/odd", FLOAT32)
    assert {path.name for path in (phone.storage / "odd").iterdir()} == set(odd_names.NAMES)
    assert all(
        (phone.storage / path.removeprefix("/data/local/tmp/")).read_bytes() == FLOAT32.read_bytes()
        for path in placed.values()
    )
    with android_runner(
        phone.serial,
        fleet.device,
        remote_folder="/data/local/tmp/odd/$(touch pwned) 'x'",
        patience=BRIEF,
    ) as runner:
        for name in (
            "-model.tflite",
            "a;touch pwned.tflite",
            "$(touch pwned)",
            "new\nline.`touch pwned`",
        ):
            local = tmp_path / name
            local.write_bytes(
                FLOAT32.read_bytes() + name.encode()
            )  # another content, so that it is copied
            assert runner.visit(local, warmups=0, invocations=2).count == 2
    assert (
        not list(phone.storage.rglob("pwned"))
        and not (phone.storage.parents[2] / "pwned").exists()
        and not Path("pwned").exists()
    )


@pytest.mark.parametrize("misbehaviour", ["kill", "cut", "contradict"])
def test_a_bad_run_is_repeated(runner, phone, misbehaviour):
    phone.configure(runs={"1": misbehaviour, "2": misbehaviour})
    assert runner.visit(FLOAT32, warmups=1, invocations=4).count == 4
    assert len(phone.runs()) == 3


def test_runs_that_always_fail_have_errors_of_their_own(fleet, phone, runner, tmp_path):
    always = {str(number): "kill" for number in range(1, 9)}
    phone.configure(runs=always)
    with pytest.raises(RunKilled, match="SIGKILL"):
        runner.visit(FLOAT32, warmups=1, invocations=2)
    phone.configure()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(ToolFailed, match="Failed to load model"):
        runner.visit(broken, warmups=1, invocations=2)
    phone.configure(runs=dict.fromkeys(always, "hang"))
    with (
        android_runner(
            phone.serial, fleet.device, patience=Patience(run_s=1.0, attempts=1)
        ) as hasty,
        pytest.raises(RunTimedOut),
    ):
        hasty.visit(FLOAT32, warmups=1, invocations=2)
    phone.configure()
    with (
        android_runner(
            phone.serial, dataclasses.replace(fleet.device, delegate="gpu"), patience=BRIEF
        ) as gpu,
        pytest.raises(DelegateNotUsed),
    ):
        gpu.visit(FLOAT32, warmups=1, invocations=2)
    assert runner.visit(FLOAT32, warmups=1, invocations=2).count == 2  # and the phone still works


def test_binary_that_is_missing_or_of_another_instruction_set(fleet, phone, tmp_path):
    with pytest.raises(MissingBinary, match="/data/local/tmp/benchmark_model"):
        android_runner(phone.serial, DeviceConfig())
    foreign = tmp_path / "benchmark_model"
    foreign.write_bytes(
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(100)
    )  # aarch64, empty
    with (
        android_runner(
            phone.serial, DeviceConfig(benchmark_binary=str(foreign)), patience=BRIEF
        ) as runner,
        pytest.raises(MissingBinary),
    ):
        runner.visit(FLOAT32, warmups=1, invocations=2)


def test_a_full_storage_is_told_and_nothing_half_copied_stays(fleet, tmp_path):
    small = fleet.add(storage="256k")
    try:
        large = tmp_path / "large.tflite"
        large.write_bytes(FLOAT32.read_bytes() + bytes(2**20))
        with android_runner(small.serial, fleet.device, patience=BRIEF) as runner:
            with pytest.raises(StorageFull, match="No space left"):
                runner.visit(large, warmups=1, invocations=2)
            assert not list(small.storage.rglob("*.partial"))
            assert runner.visit(FLOAT32, warmups=1, invocations=2).count == 2
    finally:
        small.pull_out()


def test_a_hot_phone_is_waited_for_and_one_that_stays_hot_is_marked(runner, phone):
    waits = []

    def cools_down(_):
        waits.append(1)
        if len(waits) == 3:
            (phone.storage / "thermal.status").write_text("0")

    (phone.storage / "thermal.status").write_text("2")
    runner._sleep = cools_down
    runner._last_heat = runner.heat()
    assert runner.visit(FLOAT32, warmups=1, invocations=2).throttling == "" and len(waits) == 3
    runner._sleep = lambda _: None
    (phone.storage / "thermal.status").write_text("3")
    assert runner.visit(FLOAT32, warmups=1, invocations=2).throttling == "thermal status 3 (severe)"
    assert len(phone.runs()) == 1 + BRIEF.attempts


def test_profile_of_the_operators(runner):
    operators = runner.profile(FLOAT32)
    assert [operator.node_type for operator in operators][:2] == ["CONV_2D", "DEPTHWISE_CONV_2D"]


def test_the_only_device_is_chosen_and_a_choice_is_never_guessed(fleet, phone):
    with pytest.raises(SeveralDevices, match=phone.serial):
        runner_for(dataclasses.replace(fleet.device, device="android"))
    with pytest.raises(NoDevice, match="emulator-5554 is not attached"):
        runner_for(dataclasses.replace(fleet.device, device="android:emulator-5554"))
    for other in fleet.trio[1:]:
        fleet.adb("disconnect", other.serial)
    with runner_for(dataclasses.replace(fleet.device, device="android")) as runner:
        assert runner.device.serial == phone.serial
    fleet.adb("disconnect", phone.serial)
    with pytest.raises(NoDevice, match="No device attached"):
        runner_for(dataclasses.replace(fleet.device, device="android"))
    for each in fleet.trio:
        fleet.adb("connect", each.serial)


def test_a_phone_pulled_out_in_the_middle_and_put_back_loses_nothing(fleet, phone, tmp_path):
    phone.configure(pace_ms=40)
    hand = while_running(phone, 3, phone.pull_out, phone.plug_in)
    with android_runner(
        phone.serial, fleet.device, patience=Patience(return_s=20.0, attempts=2)
    ) as runner:
        session = measure(MODELS, runner, facts=FACTS, schedule=QUICK, journal=tmp_path / "journal")
    hand.join()
    assert not session.failures
    assert {name: entry.invocations for name, entry in session.measurements.items()} == {
        "float32": 12,
        "int8": 12,
    }
    assert (
        len(phone.runs()) == 4
    )  # of six visits: its storage is empty now, two were before, the third had to be repeated


def test_a_phone_that_stays_away_ends_the_session_and_the_next_goes_on(fleet, phone, tmp_path):
    phone.configure(pace_ms=40)
    journal = tmp_path / "journal"
    hand = while_running(phone, 3, phone.pull_out)
    with (
        android_runner(phone.serial, fleet.device, patience=Patience(return_s=3.0)) as runner,
        pytest.raises(DeviceUnplugged, match="in the middle"),
    ):
        measure(MODELS, runner, facts=FACTS, schedule=QUICK, journal=journal)
    hand.join()
    assert len(journal.read_text().splitlines()) - 1 == 2
    phone.plug_in()
    phone.configure()
    with android_runner(phone.serial, fleet.device, patience=BRIEF) as runner:
        session = measure(MODELS, runner, facts=FACTS, schedule=QUICK, journal=journal)
    assert len(phone.runs()) == 4
    assert {entry.invocations for entry in session.measurements.values()} == {12}


def test_three_phones_are_measured_at_the_same_time_and_a_lost_one_costs_only_itself(fleet):
    """That they take no longer than the slowest and 20 % is measured by
    benchmarks/parallel_devices.py on a quiet computer."""

    def work(_, runner):
        began = time.monotonic()
        runner.visit(FLOAT32, warmups=1, invocations=30)
        return began, time.monotonic()

    for phone in fleet.trio:
        phone.configure(
            pace_ms=50
        )  # slept, not computed: phones do not share this computer's processor
    names = ",".join(f"android:{phone.serial}" for phone in fleet.trio)
    trio = dataclasses.replace(fleet.device, device=names)
    outcomes = on_each_device(trio, work)
    starts, ends = zip(*(outcome.result for outcome in outcomes.values()))
    assert max(starts) < min(ends) and list(outcomes) == names.split(",")

    def impatient(device):
        runner = runner_for(device)
        runner._patience = BRIEF
        return runner

    def work_with_a_loss(name, runner):
        if name.endswith(fleet.trio[1].serial):
            fleet.trio[1].configure(pace_ms=50)
            while_running(fleet.trio[1], 1, fleet.trio[1].pull_out)
        return runner.visit(FLOAT32, warmups=1, invocations=30).count

    outcomes = on_each_device(trio, work_with_a_loss, open_runner=impatient)
    fleet.trio[1].plug_in()
    assert [outcome.result for outcome in outcomes.values()] == [30, None, 30]
    assert isinstance(outcomes[f"android:{fleet.trio[1].serial}"].error, DeviceLost)
