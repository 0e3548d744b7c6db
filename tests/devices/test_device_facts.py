"""What is read of far devices and of --device: cores, thermal state, adb's list, names; and that
odd words never become options."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from local_shell import LocalShell

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.android.adb import (
    AdbConnection,
    AttachedDevice,
    check_serial,
    choose_serial,
    raise_for_state,
)
from pnas_tf.devices.connection import RemoteStore, split_end_marker, with_end_marker
from pnas_tf.devices.cores import CoreMap, parse_cores, taskset_mask
from pnas_tf.devices.failures import (
    AdbFailed,
    DeviceOffline,
    DeviceUnauthorised,
    DeviceUnplugged,
    FolderRefused,
    NoClient,
    NoDevice,
    SeveralDevices,
    StorageFull,
)
from pnas_tf.devices.registry import runner_for, split_devices
from pnas_tf.devices.thermal import parse_thermal
from pnas_tf.errors import UserError

PIXEL_8 = [1704000] * 4 + [2367000] * 4 + [2914000]  # 4 small, 4 middle, 1 prime


def cores_of(clocks, *, taskset=True, offline=()):
    lines = [
        f"core {index} {clock} {0 if index in offline else 1}" for index, clock in enumerate(clocks)
    ]
    return parse_cores("\n".join([*lines, *(["taskset"] if taskset else [])]))


@pytest.mark.parametrize(
    ("clocks", "threads", "big", "mask"),
    [
        (PIXEL_8, 1, (8,), "100"),
        (
            PIXEL_8,
            4,
            (4, 5, 6, 7, 8),
            "1f0",
        ),  # four threads on one prime core would measure a queue
        (
            [1900800] * 4 + [2457600] * 4,
            1,
            (4, 5, 6, 7),
            "f0",
        ),  # Pixel 2, whose mask the tool's README gives
        ([1500000] * 4, 1, (0, 1, 2, 3), "f"),
        (PIXEL_8, 99, tuple(range(9)), "1ff"),
    ],
)
def test_big_cores_are_whole_fast_clusters_with_a_core_for_each_thread(clocks, threads, big, mask):
    assert cores_of(clocks).big(threads) == big and taskset_mask(big) == mask


def test_offline_cores_are_not_chosen_and_nothing_is_chosen_where_nothing_is_known():
    assert cores_of(PIXEL_8, offline=(8,)).big(1) == (4, 5, 6, 7)
    assert cores_of(PIXEL_8, taskset=False).big(1) == ()
    assert cores_of(["-", "-"]).big(1) == ()
    assert parse_cores("sh: no such thing").cores == CoreMap((), False).cores


def test_thermal_state_of_android_is_the_current_reading_not_the_cached_one():
    dump = (Path(__file__).parent / "tool_outputs" / "thermalservice.txt").read_text()
    thermal = parse_thermal(
        "pnas_tf-thermal "
        f"thermalservice\n{dump.replace('mValue=25.3, mType=4', 'mValue=99.0, mType=4', 1)}"
        "pnas_tf-thermal zones\npnas_tf-thermal clocks\n4 1704000\n8 2914000\n"
    )
    assert (thermal.complaint, thermal.is_throttled) == ("", False)
    assert (
        thermal.temperature_c == 25.3
    )  # the hotter of processor and skin; neither battery nor the absent amplifier's -99.9
    assert (
        thermal.clock_mhz((8,)) == 2914.0
        and thermal.clock_mhz((4, 8)) == 1704.0
        and thermal.clock_mhz(()) is None
        and thermal.clock_mhz((0,)) is None
    )
    without_skin = parse_thermal(
        "pnas_tf-thermal thermalservice\nThermal Status: 0\nCurrent temperatures from HAL:\n"
        "\tTemperature{mValue=-99.9, mType=3, mName=SKIN, mStatus=0}\n"
        "\tTemperature{mValue=24.4, mType=2, mName=BAT, mStatus=0}\n"
    )
    assert without_skin.temperature_c == 24.4  # a sensor that is not there reports such a value
    hot = parse_thermal(
        f"pnas_tf-thermal thermalservice\n{dump.replace('Thermal Status: 0', 'Thermal Status: 3')}"
    )
    assert hot.is_throttled and hot.complaint == "thermal status 3 (severe)"


def test_thermal_state_of_a_board_and_of_a_device_that_tells_nothing():
    board = parse_thermal(
        "pnas_tf-thermal thermalservice\npnas_tf-thermal vcgencmd\nthrottled=0x50005\n"
        "pnas_tf-thermal zones\n"
        "cpu-thermal 61324\nbattery 30000\npnas_tf-thermal clocks\n"
    )
    assert (board.complaint, board.temperature_c) == (
        "under-voltage, throttled",
        pytest.approx(61.324),
    )
    in_degrees = "pnas_tf-thermal zones\ncpu-0-0 45\ncpu-0-1 47\nbattery 310\n"  # tenths: unknown
    assert parse_thermal(in_degrees).temperature_c == 47.0
    mixed = "pnas_tf-thermal zones\ncpu-0-0 47\nsoc 52000\n"
    assert parse_thermal(mixed).temperature_c == 52.0
    assert not parse_thermal(
        "pnas_tf-thermal vcgencmd\nthrottled=0x50000\n"
    ).is_throttled  # it was, earlier
    silent = parse_thermal("")
    assert (silent.temperature_c, silent.clock_mhz((0,)), silent.is_throttled) == (
        None,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("state", "was_there", "error", "words"),
    [
        ("unauthorized", False, DeviceUnauthorised, "Allow USB debugging"),
        ("authorizing", True, DeviceUnauthorised, "authorised"),
        (
            "no permissions (missing udev rules? user is in the plugdev group); see "
            "[http://developer.android.com/tools/device.html]",
            False,
            DeviceUnauthorised,
            "udev",
        ),
        ("offline", True, DeviceOffline, "does not answer"),
        ("recovery", False, DeviceOffline, "state recovery"),
        (None, True, DeviceUnplugged, "unplugged in the middle"),
        (None, False, NoDevice, "not attached"),
    ],
)
def test_every_state_of_adb_has_an_error_of_its_own(state, was_there, error, words):
    attached = [AttachedDevice("other", "device")] + (
        [AttachedDevice("8A2X0KXYZ", state)] if state else []
    )
    with pytest.raises(error) as raised:
        raise_for_state("8A2X0KXYZ", attached, was_there=was_there)
    assert words in str(raised.value)


def test_no_device_and_no_client():
    with pytest.raises(NoDevice, match="No device attached"):
        raise_for_state("8A2X0KXYZ", [])
    with pytest.raises(NoClient):
        choose_serial(adb="/nowhere/adb")


@pytest.mark.parametrize(
    "serial",
    [
        "8A2X0KXYZ",
        "emulator-5554",
        "192.168.1.7:5555",
        "[fe80::1]:5555",
        "adb-8A2X0KXYZ-x1Y2z3 (2)._adb-tls-connect._tcp",
    ],
)
def test_serials_as_adb_prints_them_are_taken(serial):
    assert check_serial(serial) == serial


@pytest.mark.parametrize(
    "serial",
    [
        "",
        "-s",
        "--help",
        "SERIAL\n",
        "192.168.1.7:5555\n",
        "a\0b",
        "a;reboot",
        "$(reboot)",
        "a\nb",
        "a'b",
        "x" * 200,
    ],
)
def test_a_serial_cannot_become_an_option_or_a_command(serial):
    with pytest.raises(UserError):
        AdbConnection(serial)


@pytest.mark.parametrize(
    "devices",
    ["", "phone", "host,", "host,host", "android:", "ssh:", "android,android:X", "host:0"],
)
def test_device_names_that_are_none(devices):
    with pytest.raises(UserError):
        split_devices(devices)


def test_device_names():
    assert split_devices("host, android:A,android:B,ssh:pi@board:2222") == (
        "host",
        "android:A",
        "android:B",
        "ssh:pi@board:2222",
    )
    with pytest.raises(UserError, match="one device"):
        runner_for(DeviceConfig("android:A,android:B"))
    with pytest.raises(UserError, match="delegate"):
        runner_for(DeviceConfig("android:A", delegate="warp"))


def test_only_a_script_that_ended_has_a_result():
    assert "exit 3" in with_end_marker("exit 3")
    assert split_end_marker(
        "motd\r\npnas_tf-begin\r\nout\r\npnas_tf-end 3\r\n"
    ) == split_end_marker("pnas_tf-begin\nout\npnas_tf-end 3\n")
    result = split_end_marker("welcome\npnas_tf-begin\nout\npnas_tf-end 3\n")
    assert result is not None and (result.exit_code, result.output) == (3, "out\n")
    assert split_end_marker("pnas_tf-begin\nout\n") is None and split_end_marker("") is None


def adb_that_says(folder, listing, *, ends="exit 0"):
    adb = folder / "adb"
    adb.write_text(f"#!/bin/sh\nprintf '%b' '{listing}'\n{ends}\n")
    adb.chmod(0o755)
    return str(adb)


@pytest.mark.parametrize("state", ["device", "offline", "unauthorized", "no permissions (x)"])
def test_of_two_phones_none_is_taken_because_the_other_sleeps(tmp_path, monkeypatch, state):
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    adb = adb_that_says(tmp_path, f"List of devices attached\\nONE\\tdevice\\nTWO\\t{state}\\n")
    with pytest.raises(SeveralDevices) as refused:
        choose_serial(adb=adb)
    assert refused.value.received == f"ONE (device), TWO ({state})"
    assert choose_serial("ONE", adb=adb) == "ONE"


def test_an_adb_server_that_does_not_start_is_no_absent_phone(tmp_path):
    adb = adb_that_says(tmp_path, "", ends="echo 'cannot connect to daemon' >&2; exit 1")
    with pytest.raises(AdbFailed, match="cannot connect to daemon") as failed:
        choose_serial(adb=adb)
    assert "adb kill-server" in failed.value.fix


class FullDisk:
    """A far side on this computer whose disk takes only half of a file."""

    name = "ssh:user@full"

    def run(self, script, *, timeout_s=30.0):
        result = split_end_marker(
            subprocess.run(
                ["sh", "-c", with_end_marker(script)], capture_output=True, text=True, check=True
            ).stdout
        )
        assert result is not None
        return result

    def push(self, local, remote, *, timeout_s=300.0):
        content = local.read_bytes()
        Path(remote).write_bytes(content[: len(content) // 2])
        if self.name.endswith("full"):
            raise StorageFull(f"no room for {remote}", received="No space left on device")


def test_half_a_copy_never_gets_a_models_name_and_does_not_stay(tmp_path):
    model = tmp_path / "model.tflite"
    model.write_bytes(bytes(1000))
    full, silent = FullDisk(), FullDisk()
    silent.name = "ssh:user@silent"  # tells nothing, but what arrived is another content
    for connection in (full, silent):
        with pytest.raises(StorageFull):
            RemoteStore(connection, str(tmp_path / "far")).place(model)
        assert list((tmp_path / "far").iterdir()) == []


@pytest.mark.parametrize("executable", [False, True])
def test_a_copy_whose_last_step_fails_is_refused_and_does_not_stay(tmp_path, executable):
    """A file system that is read-only by then, or takes no such names."""
    model, shell = tmp_path / "model.tflite", LocalShell(tmp_path)
    model.write_bytes(b"model")
    shell.add_command("mv", "echo 'mv: cannot move: Read-only file system' >&2; exit 1")
    with pytest.raises(FolderRefused, match="Read-only file system"):
        RemoteStore(shell, str(tmp_path / "far")).place(model, executable=executable)
    assert list((tmp_path / "far").iterdir()) == []


def test_a_file_system_without_modes_takes_models_and_no_program(tmp_path):
    model, shell = tmp_path / "model.tflite", LocalShell(tmp_path)
    model.write_bytes(b"model")
    shell.add_command("chmod", "echo 'chmod: Operation not permitted' >&2; exit 1")
    store = RemoteStore(shell, str(tmp_path / "far"))
    assert Path(store.place(model)).read_bytes() == b"model"
    program = tmp_path / "program"
    program.write_bytes(b"program")
    with pytest.raises(FolderRefused, match="Operation not permitted"):
        store.place(program, executable=True)
    assert [path.suffix for path in (tmp_path / "far").iterdir()] == [".tflite"]


def test_what_a_killed_copy_has_left_is_swept_later(tmp_path):
    model, far = tmp_path / "model.tflite", tmp_path / "far"
    model.write_bytes(b"model")
    far.mkdir()
    for name, age_s in (("old", 3 * 86_400), ("new", 3_600)):
        (far / f"{name}.partial").write_bytes(b"half")
        os.utime(far / f"{name}.partial", (time.time() - age_s,) * 2)
    RemoteStore(LocalShell(tmp_path), str(far)).place(model)
    assert [path.name for path in far.glob("*.partial")] == ["new.partial"]
