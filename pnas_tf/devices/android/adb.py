"""Android Debug Bridge through the stock `adb` client: which devices there are, and a `Connection`
to one of them.

Arguments are passed as lists, remote words are quoted, serials are checked. Knows nothing of models
or benchmarks. Source: `adb help` and the platform-tools' state names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.devices.connection import (
    CommandResult,
    call,
    raise_for_push,
    retry,
    split_end_marker,
    with_end_marker,
)
from pnas_tf.devices.failures import (
    AdbFailed,
    DeviceError,
    DeviceLost,
    DeviceOffline,
    DeviceUnauthorised,
    DeviceUnplugged,
    NoDevice,
    SeveralDevices,
)
from pnas_tf.errors import UserError
from pnas_tf.run.progress import silent

_VARIABLE = "ANDROID_SERIAL"
_SERIAL = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:\-\[\]%() ]{0,127}")
_NETWORK_SERIAL = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.\-]+):\d{1,5}")


@dataclass(frozen=True)
class AttachedDevice:
    """One line of `adb devices`. state: "device" when usable."""

    serial: str
    state: str


def check_serial(serial: str) -> str:
    """The serial, when it can be one. Raises UserError: it would otherwise become an option or a
    second word."""
    if not _SERIAL.fullmatch(serial):
        raise UserError(
            f"{serial!r} is no device serial",
            expected="letters, digits and . _ : - as `adb devices` prints them",
            received=repr(serial),
            fix="Copy it from `adb devices`: --device=android:SERIAL",
        )
    return serial


def attached_devices(adb: str = "adb") -> list[AttachedDevice]:
    """What the adb server sees now. Raises NoClient or AdbFailed."""
    listing = call([adb, "devices"], to="the adb server", timeout_s=30.0)
    if listing.returncode != 0:
        raise AdbFailed(
            "`adb devices` failed", received=(listing.stderr or listing.stdout).strip()[-300:]
        )
    found = []
    for line in listing.stdout.splitlines():
        serial, separator, state = line.partition("\t")
        if separator:
            found.append(AttachedDevice(serial, state.strip()))
    return found


def choose_serial(
    wanted: str = "", *, adb: str = "adb", say: Callable[[str], None] = silent
) -> str:
    """The serial to use: `wanted`, else that of ANDROID_SERIAL, as for the stock client, else the
    only one attached.

    Raises:
        DeviceRefused: NoClient, NoDevice ("No device attached"), SeveralDevices,
            DeviceUnauthorised.
        DeviceLost: it or the adb server does not answer.
    """
    attached = attached_devices(adb)
    if wanted:
        raise_for_state(check_serial(wanted), attached)
        return wanted
    if meant := os.environ.get(_VARIABLE, ""):
        say(
            f"android: device {meant}, which {_VARIABLE} in the environment names; "
            "--device=android:SERIAL goes before it"
        )
        raise_for_state(check_serial(meant), attached, named_by=f", which {_VARIABLE} names,")
        return meant
    if not attached:
        raise NoDevice("No device attached", received="an empty list from `adb devices`")
    if len(attached) > 1:  # whatever their states: the one that is meant may be the one that sleeps
        raise SeveralDevices("several devices are attached", received=_listed(attached))
    raise_for_state(attached[0].serial, attached)
    return attached[0].serial


def raise_for_state(
    serial: str, attached: list[AttachedDevice], *, was_there: bool = False, named_by: str = ""
) -> None:
    """Raises the error for a device that is not in state "device"; returns when it is.

    was_there: this run has used it before, so its absence means that it was pulled out. named_by:
    words behind the serial that say where it comes from.
    """
    state = next((device.state for device in attached if device.serial == serial), None)
    listed = _listed(attached)
    if state == "device":
        return
    if state is None and was_there:
        raise DeviceUnplugged(
            f"device {serial} was unplugged in the middle", received=f"attached now: {listed}"
        )
    if state is None:
        what = f"device {serial}{named_by} is not attached"
        if not attached and not named_by:
            what = "No device attached"
        raise NoDevice(what, received=f"`adb devices` lists {listed}")
    if state in ("unauthorized", "authorizing"):
        raise DeviceUnauthorised(
            f"device {serial} has not authorised this computer", received=f"state {state}"
        )
    if state.startswith("no permissions"):
        raise DeviceUnauthorised(
            f"this user may not open device {serial}",
            received=state,
            fix="Install the udev rules for Android devices (Debian: "
            "android-sdk-platform-tools-common).",
        )
    raise DeviceOffline(f"device {serial} does not answer", received=f"state {state}")


def _listed(attached: list[AttachedDevice]) -> str:
    devices = (f"{device.serial} ({device.state})" for device in attached)
    return ", ".join(devices) or "no device at all"


class AdbConnection:
    """A `Connection` to one attached device."""

    def __init__(self, serial: str, *, adb: str = "adb"):
        self.serial = check_serial(serial)
        self.name = f"android:{serial}"
        self._adb = adb

    def run(self, script: str, *, timeout_s: float = 30.0) -> CommandResult:
        finished = call(
            [self._adb, "-s", self.serial, "shell", with_end_marker(script)],
            to=self.name,
            timeout_s=timeout_s,
        )
        result = split_end_marker(finished.stdout)
        if result is None:
            raise self._loss(finished.stderr + finished.stdout[-300:])
        return result

    def push(self, local: Path, remote: str, *, timeout_s: float = 300.0) -> None:
        finished = call(
            [self._adb, "-s", self.serial, "push", str(local.absolute()), remote],
            to=self.name,
            timeout_s=timeout_s,
        )
        if finished.returncode != 0:
            message = finished.stdout + finished.stderr
            raise_for_push(message, remote=remote, device=self.name)
            raise self._loss(message)

    def wait_until_back(self, *, timeout_s: float) -> None:
        # "authorizing" passes by itself
        retry(self._look, timeout_s=timeout_s, on=(DeviceLost, DeviceUnauthorised))

    def close(self) -> None:
        """Nothing to give back: the adb server belongs to the user."""

    def _look(self) -> None:
        """Returns when the device answers."""
        if _NETWORK_SERIAL.fullmatch(self.serial):  # the server gives up on these in time
            call([self._adb, "connect", self.serial], to="the adb server", timeout_s=30.0)
        raise_for_state(self.serial, attached_devices(self._adb), was_there=True)
        self.run("true", timeout_s=10.0)

    def _loss(self, message: str) -> DeviceError:
        """The error that explains a command which did not end; the list of devices tells more than
        the client's message."""
        try:
            raise_for_state(self.serial, attached_devices(self._adb), was_there=True)
        except DeviceError as error:
            return error
        return DeviceUnplugged(
            f"the line to device {self.serial} broke in the middle of a command",
            received=message.strip()[-300:] or "an end without an exit code",
        )
