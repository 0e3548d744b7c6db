"""The Android runner against the real protocol: stock adb client, real adbd, a far side that really
runs the pushed models."""

import dataclasses
import shutil
import socketserver
import threading
import time
from pathlib import Path

import odd_names
import phones as standin
import pytest

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.android.adb import AdbConnection
from pnas_tf.devices.android.runner import AndroidRunner
from pnas_tf.devices.benchmark_tool import official
from pnas_tf.devices.benchmark_tool.runner import Timeouts
from pnas_tf.devices.failures import (
    DelegateNotUsed,
    DeviceLost,
    DeviceUnplugged,
    MissingBinary,
    NoDevice,
    PartlyDelegated,
    RunKilled,
    RunTimedOut,
    SeveralDevices,
    StorageFull,
    TooCoarse,
    ToolFailed,
    UnknownFlag,
)
from pnas_tf.devices.registry import on_each_device, runner_for
from pnas_tf.devices.schedule import Schedule
from pnas_tf.devices.session import ModelFile, measure
from pnas_tf.io import atomic

FLOAT32, INT8 = (Path(standin.HERE) / f"tiny_{dtype}.tflite" for dtype in ("float32", "int8"))
MODELS = {"float32": FLOAT32, "int8": INT8}
FILES = {
    name: ModelFile.of(path, dtype=name, input_shape=(1, 16, 16, 3), rewrites=())
    for name, path in MODELS.items()
}
QUICK = Schedule(min_invocations=12, warmups=1, rounds=3, extra_rounds=0, noisy_rounds=0)
BRIEF = Timeouts(run_s=60.0, return_s=1.0, cool_down_s=1.0, poll_s=0.1, attempts=3)

reason = standin.missing()
pytestmark = [
    pytest.mark.device,
    pytest.mark.root,
    pytest.mark.skipif(bool(reason), reason=f"no stand-in phones: {reason}"),
]


@pytest.fixture(scope="module")
def fleet():
    with standin.Phones() as phones:
        phones.tool = str(standin.executable_tool(phones.folder))
        phones.device = DeviceConfig(benchmark_binary=phones.tool)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(phones.path), prepend=":")  # adb is where users have it
            patch.setenv("XDG_CACHE_HOME", str(phones.folder))  # others' serials are the same
            phones.trio = [phones.add(), phones.add(), phones.add(speaks=False, clocks_khz=())]
            yield phones


@pytest.fixture
def phone(fleet):
    fleet.trio[0].configure()
    return fleet.trio[0]


@pytest.fixture
def runner(fleet, phone):
    with AndroidRunner(phone.serial, fleet.device, timeouts=BRIEF) as opened:
        yield opened


def while_running(phone, number, *actions):
    """Does the actions, a second apart, as soon as the phone's run with this number has begun. The
    run is one that hangs, so it does not end before."""

    def watch():
        while len(phone.runs()) < number:
            time.sleep(0.02)
        for action in actions:
            action()
            time.sleep(1.0)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_run_reports_the_tools_median_of_the_invocations_asked_for(runner, phone):
    run = runner.run(FLOAT32, warmups=3, invocations=9)
    assert (run.statistic, run.count, run.invocations, len(run.samples_ns)) == (
        "median",
        9,
        9,
        1,
    )
    assert run.samples_ns[0] == run.aggregates_ns["median"] >= run.aggregates_ns["min"]
    assert run.temperature_c == 31.5 and run.frequency_mhz == 2800.0 and run.throttling == ""
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
    run = runner.run(FLOAT32, warmups=1, invocations=5)
    assert run.statistic == "mean" and run.samples_ns[0] > 2e6
    phone.configure(form="milliseconds", pace_ms=2)
    assert runner.run(FLOAT32, warmups=1, invocations=5).samples_ns[0] > 2e6
    phone.configure(form="milliseconds", runs=dict.fromkeys("123", "fast"))
    with pytest.raises(TooCoarse):
        runner.run(FLOAT32, warmups=1, invocations=5)


def test_the_record_names_the_phone_and_its_performance_mode_is_given_back(fleet, phone):
    with AndroidRunner(phone.serial, fleet.device) as runner:
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
    with AndroidRunner(mute.serial, fleet.device) as runner:
        assert (runner.device.model, runner.device.build, runner.device.cores) == (
            "unknown",
            "unknown",
            (),
        )
        assert "fixed performance" not in runner.device.os
        assert runner.run(INT8, warmups=0, invocations=4).count == 4


def test_models_and_binary_are_copied_once_under_names_of_their_content(fleet, phone, tmp_path):
    odd = tmp_path / "odd name'; touch $HOME $(reboot).tflite"
    odd.write_bytes(FLOAT32.read_bytes())
    with AndroidRunner(phone.serial, fleet.device) as runner:
        for model in (FLOAT32, INT8, odd):
            runner.run(model, warmups=0, invocations=2)
    folder = phone.storage / "pnas_tf"
    names = {path.name: path.stat().st_ino for path in folder.iterdir()}
    assert set(names) == {
        f"{atomic.sha256_of(FLOAT32)}.tflite",
        f"{atomic.sha256_of(INT8)}.tflite",
        atomic.sha256_of(fleet.tool),
    }
    with AndroidRunner(phone.serial, fleet.device) as runner:
        runner.run(FLOAT32, warmups=0, invocations=2)
        (folder / f"{atomic.sha256_of(FLOAT32)}.tflite").write_bytes(
            b"damaged"
        )  # found out and copied anew
        runner._store.forget()
        runner.run(FLOAT32, warmups=0, invocations=2)
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
    with AndroidRunner(
        phone.serial,
        fleet.device,
        remote_folder="/data/local/tmp/odd/$(touch pwned) 'x'",
        timeouts=BRIEF,
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
            assert runner.run(local, warmups=0, invocations=2).count == 2
    assert (
        not list(phone.storage.rglob("pwned"))
        and not (phone.storage.parents[2] / "pwned").exists()
        and not Path("pwned").exists()
    )


@pytest.mark.parametrize("misbehaviour", ["kill", "cut", "contradict"])
def test_a_bad_run_is_repeated(runner, phone, misbehaviour):
    phone.configure(runs={"1": misbehaviour, "2": misbehaviour})
    assert runner.run(FLOAT32, warmups=1, invocations=4).count == 4
    assert len(phone.runs()) == 3


def test_runs_that_always_fail_have_errors_of_their_own(fleet, phone, runner, tmp_path):
    always = {str(number): "kill" for number in range(1, 9)}
    phone.configure(runs=always)
    with pytest.raises(RunKilled, match="SIGKILL"):
        runner.run(FLOAT32, warmups=1, invocations=2)
    phone.configure()
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(ToolFailed, match="Failed to load model"):
        runner.run(broken, warmups=1, invocations=2)
    runner.close()
    phone.configure(runs=dict.fromkeys(always, "hang"))
    with (
        AndroidRunner(
            phone.serial, fleet.device, timeouts=Timeouts(run_s=1.0, attempts=1)
        ) as hasty,
        pytest.raises(RunTimedOut),
    ):
        hasty.run(FLOAT32, warmups=1, invocations=2)
    phone.configure()
    with (
        AndroidRunner(
            phone.serial, dataclasses.replace(fleet.device, delegate="gpu"), timeouts=BRIEF
        ) as gpu,
        pytest.raises(DelegateNotUsed),
    ):
        gpu.run(FLOAT32, warmups=1, invocations=2)
    with AndroidRunner(phone.serial, fleet.device, timeouts=BRIEF) as again:
        assert again.run(FLOAT32, warmups=1, invocations=2).count == 2  # the phone still works


def test_binary_that_is_missing_or_of_another_instruction_set(fleet, phone, tmp_path):
    with pytest.raises(MissingBinary, match="/data/local/tmp/benchmark_model"):
        AndroidRunner(
            phone.serial, DeviceConfig(benchmark_binary="/data/local/tmp/benchmark_model")
        )
    assert not (phone.storage / "fixed_mode.log").exists()  # the phone as it was
    foreign = tmp_path / "benchmark_model"
    foreign.write_bytes(
        b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(100)
    )  # aarch64, empty
    with (
        AndroidRunner(
            phone.serial, DeviceConfig(benchmark_binary=str(foreign)), timeouts=BRIEF
        ) as runner,
        pytest.raises(MissingBinary),
    ):
        runner.run(FLOAT32, warmups=1, invocations=2)


def test_a_full_storage_is_told_and_nothing_half_copied_stays(fleet, tmp_path):
    small = fleet.add(storage="256k")
    try:
        large = tmp_path / "large.tflite"
        large.write_bytes(FLOAT32.read_bytes() + bytes(2**20))
        with AndroidRunner(small.serial, fleet.device, timeouts=BRIEF) as runner:
            with pytest.raises(StorageFull, match="No space left"):
                runner.run(large, warmups=1, invocations=2)
            assert not list(small.storage.rglob("*.partial"))
            assert runner.run(FLOAT32, warmups=1, invocations=2).count == 2
    finally:
        small.pull_out()


def test_a_hot_phone_is_waited_for_and_one_that_stays_hot_is_marked(fleet, phone):
    waits, lines = [], []

    def cools_down(_):
        waits.append(1)
        if len(waits) == 3:
            (phone.storage / "thermal.status").write_text("0")

    (phone.storage / "thermal.status").write_text("2")
    with AndroidRunner(phone.serial, fleet.device, timeouts=BRIEF, say=lines.append) as runner:
        runner.cooling.sleep = cools_down
        assert runner.run(FLOAT32, warmups=1, invocations=2).throttling == "" and len(waits) == 3
        (phone.storage / "thermal.status").write_text("3")
        for _ in range(4):
            run = runner.run(FLOAT32, warmups=1, invocations=2)
            assert run.throttling == "thermal status 3 (severe)"
    most = BRIEF.cool_down_s / BRIEF.poll_s
    assert 3 < len(waits) <= 3 + most  # the state that stays: once
    assert len(phone.runs()) == 1 + 1 + 4  # the first hot run was repeated after the wait
    told = [line for line in lines if "thermal status" in line]
    assert [line.split(": ")[2].split(" (")[0] for line in told] == [
        "waiting up to 1 s for it to pass"
    ] * 2 + ["this does not pass by waiting. It is measured so, and its runs are marked"]


def test_cores_that_the_shell_may_not_use_leave_the_phone_free_and_are_told_once(fleet, phone):
    """As on phones whose shell is in a cpuset of the slow cores."""
    lines = []
    refusal = "taskset: failed to set pid 1's affinity: Invalid argument"
    phone.add_command("taskset", f'echo "{refusal}" >&2; exit 1')
    try:
        with AndroidRunner(phone.serial, fleet.device, timeouts=BRIEF, say=lines.append) as runner:
            assert runner.run(FLOAT32, warmups=1, invocations=2).count == 2
            assert runner.device.cores == ()
    finally:
        phone.remove_command("taskset")
    told = f"android:{phone.serial}: processes are not held to cores 1: {refusal}"
    assert [line for line in lines if "held" in line] == [told]


@pytest.mark.parametrize(
    ("tool", "delegate"),
    [("tensorflow", "gpu"), ("tensorflow", "nnapi"), ("litert", "gpu"), ("litert", "npu")],
)
def test_an_accelerator_is_measured_with_proof_alone(fleet, phone, tool, delegate):
    config = dataclasses.replace(fleet.device, delegate=delegate)
    is_classic = tool == "tensorflow"

    def measured(config):
        with AndroidRunner(phone.serial, config, timeouts=BRIEF) as runner:
            return runner.run(FLOAT32, warmups=1, invocations=2)

    for what in ("absent", "none"):
        phone.configure(tool=tool, **{delegate: what})
        words = {"absent": "unsupported on this platform", "none": "executed nothing"}[what]
        with pytest.raises(DelegateNotUsed, match=words if is_classic else "nothing proves"):
            measured(config)
        assert len(phone.runs()) == 1  # another run would tell the same
    phone.configure(tool=tool, unknown=[f"use_{delegate}"])
    with pytest.raises(UnknownFlag, match=f"--use_{delegate}=true"):
        measured(config)
    phone.configure(tool=tool, **{delegate: "full"})
    assert measured(config).delegation.is_full
    if not is_classic:  # a build that does not log delegates fails where an op is left
        phone.configure(tool=tool, quiet=True, **{delegate: "full"})
        assert measured(config).delegation is None
        phone.configure(tool=tool, quiet=True, **{delegate: "partial"})
        with pytest.raises(PartlyDelegated, match="not fully accelerated; the CPU"):
            measured(config)
    phone.configure(tool=tool, **{delegate: "partial"})
    with pytest.raises(PartlyDelegated, match=r"\d of \d ops, .*: [A-Z_0-9]{3,}|[A-Z_0-9]{3,} on"):
        measured(config)
    kept = measured(dataclasses.replace(config, partial_delegation=True)).delegation
    assert 0 < kept.ops < kept.total_ops and kept.partitions == 3
    assert kept.first_on_cpu in (
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "DEPTHWISE_CONV_2D",
        "SOFTMAX",
    )


def test_litert_tools_profile_by_their_own_flag(fleet, phone):
    phone.configure(tool="litert")
    with AndroidRunner(phone.serial, fleet.device, timeouts=BRIEF) as runner:
        assert runner.run(FLOAT32, warmups=1, invocations=2).statistic == "median"
        rows = runner.profile(FLOAT32)
    assert len(rows) > 2 and phone.runs()[-1]["flags"]["use_profiler"] == "true"


@pytest.mark.parametrize(
    ("level", "delegate", "told"),
    [("34", "nnapi", 0), ("35", "nnapi", 1), ("35", "gpu", 0), ("none", "nnapi", 0)],
)
def test_nnapi_is_told_to_be_deprecated_when_a_phone_is_opened(fleet, phone, level, delegate, told):
    lines = []
    properties = standin._GETPROP.replace("{number}", "0").replace("echo 34", f"echo {level}")
    phone.add_command("getprop", properties)
    try:
        config = dataclasses.replace(fleet.device, delegate=delegate)
        AndroidRunner(phone.serial, config, timeouts=BRIEF, say=lines.append).close()
    finally:
        phone.add_command("getprop", standin._GETPROP.replace("{number}", "0"))
    assert sum("NNAPI is deprecated" in line for line in lines) == told


def test_the_tool_comes_by_itself_for_the_phones_instruction_set(
    fleet, phone, monkeypatch, tmp_path
):
    """A phone that has one takes its own; "auto" and a phone without take the official one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as nobody:
        address = f"http://127.0.0.1:{nobody.server_address[1]}/{{system}}"
    monkeypatch.setattr(official, "TENSORFLOW", address)
    lines = []
    for wanted in ("", "auto"):
        begun = time.monotonic()
        with pytest.raises(MissingBinary) as refused:
            AndroidRunner(phone.serial, DeviceConfig(benchmark_binary=wanted), say=lines.append)
        assert address.format(system="linux_x86-64") in refused.value.what
        assert "--benchmark_binary=PATH" in refused.value.fix
        assert time.monotonic() - begun < 60
    assert not (phone.storage / "fixed_mode.log").exists()  # the phone as it was
    shutil.copy(fleet.tool, phone.storage / "benchmark_model")
    (phone.storage / "benchmark_model").chmod(0o755)
    with AndroidRunner(phone.serial, DeviceConfig(), timeouts=BRIEF, say=lines.append) as runner:
        assert runner.run(FLOAT32, warmups=1, invocations=2).count == 2
        assert runner.settings.binary_sha256 == atomic.sha256_of(fleet.tool)
    assert any("--benchmark_binary=auto takes the official one" in line for line in lines)
    (phone.storage / "benchmark_model").unlink()


def test_android_serial_chooses_as_for_the_stock_client_and_a_named_device_goes_before_it(
    fleet, phone, monkeypatch
):
    lines = []
    other = fleet.trio[2]
    other.configure()
    monkeypatch.setenv("ANDROID_SERIAL", other.serial)
    device = dataclasses.replace(fleet.device, device="android")
    with runner_for(device, say=lines.append) as runner:
        assert runner.device.serial == other.serial
    assert lines[0] == (
        f"android: device {other.serial}, which ANDROID_SERIAL in the environment names; "
        "--device=android:SERIAL goes before it"
    )
    lines.clear()
    named = dataclasses.replace(fleet.device, device=f"android:{phone.serial}")
    with runner_for(named, say=lines.append) as runner:
        assert runner.device.serial == phone.serial and "ANDROID_SERIAL" not in str(lines)
        assert runner.run(FLOAT32, warmups=1, invocations=2).count == 2 and phone.runs()
    monkeypatch.setenv("ANDROID_SERIAL", "emulator-5554")
    with pytest.raises(NoDevice, match="emulator-5554, which ANDROID_SERIAL names, is not att"):
        runner_for(device)
    monkeypatch.setenv("ANDROID_SERIAL", "")
    with pytest.raises(SeveralDevices):
        runner_for(device)


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
    phone.configure(pace_ms=40, runs={"3": "hang"})
    hand = while_running(phone, 3, phone.pull_out, phone.plug_in)
    with AndroidRunner(
        phone.serial, fleet.device, timeouts=Timeouts(return_s=120.0, attempts=2)
    ) as runner:
        session = measure(FILES, runner, QUICK, resume_log=tmp_path / "log")
    hand.join()
    assert not session.failures
    assert {name: entry.invocations for name, entry in session.measurements.items()} == {
        "float32": 12,
        "int8": 12,
    }
    assert (
        len(phone.runs()) == 4
    )  # of six runs: its storage is empty now, two were before, the third had to be repeated
    fixed_mode = (phone.storage / "fixed_mode.log").read_text().split()
    assert fixed_mode == ["true", "false"]  # asked for again when it was back


def test_a_phone_that_stays_away_ends_the_session_and_the_next_goes_on(fleet, phone, tmp_path):
    phone.configure(pace_ms=40, runs={"3": "hang"})
    log = tmp_path / "log"
    hand = while_running(phone, 3, phone.pull_out)
    with (
        AndroidRunner(phone.serial, fleet.device, timeouts=Timeouts(return_s=3.0)) as runner,
        pytest.raises(DeviceUnplugged, match="in the middle"),
    ):
        measure(FILES, runner, QUICK, resume_log=log)
    hand.join()
    assert len(log.read_text().splitlines()) - 1 == 2
    phone.plug_in()
    phone.configure()
    with AndroidRunner(phone.serial, fleet.device, timeouts=BRIEF) as runner:
        session = measure(FILES, runner, QUICK, resume_log=log)
    assert len(phone.runs()) == 4
    assert {entry.invocations for entry in session.measurements.values()} == {12}


def test_three_phones_are_measured_at_the_same_time_and_a_lost_one_costs_only_itself(fleet):
    """That they take no longer than the slowest and 20 % is measured by
    benchmarks/parallel_devices.py on a quiet computer."""

    together = threading.Barrier(3, timeout=120)  # nobody passes it alone

    def work(_, runner):
        together.wait()
        count = runner.run(FLOAT32, warmups=1, invocations=30).count
        together.wait()
        return count

    for phone in fleet.trio:
        phone.configure()
    names = ",".join(f"android:{phone.serial}" for phone in fleet.trio)
    trio = dataclasses.replace(fleet.device, device=names)
    outcomes = on_each_device(trio, work)
    assert [outcome.result for outcome in outcomes.values()] == [30] * 3
    assert list(outcomes) == names.split(",")

    def impatient(device):
        runner = runner_for(device)
        runner._timeouts = BRIEF
        return runner

    def work_with_a_loss(name, runner):
        if name.endswith(fleet.trio[1].serial):
            fleet.trio[1].configure(runs={"1": "hang"})
            while_running(fleet.trio[1], 1, fleet.trio[1].pull_out)
        return runner.run(FLOAT32, warmups=1, invocations=30).count

    outcomes = on_each_device(trio, work_with_a_loss, open_runner=impatient)
    fleet.trio[1].plug_in()
    assert [outcome.result for outcome in outcomes.values()] == [30, None, 30]
    assert isinstance(outcomes[f"android:{fleet.trio[1].serial}"].error, DeviceLost)
