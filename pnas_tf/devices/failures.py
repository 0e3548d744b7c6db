"""What can go wrong between this program and a device: one class each, with what to do about it.

Three families tell the schedule how to go on: `RunFailed` costs one measurement, `DeviceLost` may
pass when the device comes back, `DeviceRefused` ends the work on that device. All are `UserError`s
in four parts.
"""

from __future__ import annotations

from pnas_tf.errors import UserError


class DeviceError(UserError):
    """Base: what happened is said by the caller, what is expected and what to do by the class."""

    expected_text = "a working device"
    fix_text = "Look at the device."

    def __init__(self, what: str, *, received: str, fix: str | None = None):
        super().__init__(
            what,
            expected=self.expected_text,
            received=received or "nothing",
            fix=fix or self.fix_text,
        )


class RunFailed(DeviceError):
    """One run of one model failed; other models can still be measured."""


class DeviceLost(DeviceError):
    """The device cannot be reached now; it may come back."""


class DeviceRefused(DeviceError):
    """Nothing can be measured on this device until somebody mends it."""


class ToolFailed(RunFailed):
    """benchmark_model ran and reported failure: a broken model, or an operation or delegate the
    device lacks."""

    expected_text = "a successful run of benchmark_model"
    fix_text = (
        "Run the model with --delegate=none, or on the host, to see whether the model or "
        "the delegate is at fault."
    )


class GarbledOutput(RunFailed):
    """The output is cut, mixed up or of an unknown format."""

    expected_text = "benchmark_model's result lines, whole and in agreement with each other"
    fix_text = (
        "Run again; where it stays so, run the tool by hand and report its output: the "
        "format may be new."
    )


class RunKilled(RunFailed):
    """The run died from a signal: out of memory, a crash in a delegate, or someone's kill."""

    expected_text = "a run that ends by itself"
    fix_text = (
        "Close other programs on the device, use fewer threads, or try --delegate=none: a "
        "delegate may crash."
    )


class RunTimedOut(RunFailed):
    """No end within the time allowed."""

    expected_text = "a run that ends in time"
    fix_text = "Measure fewer invocations a run, or look whether the device sleeps or throttles."


class WrongDelegate(RunFailed):
    """The model was executed by something else than asked for: another run would tell the same."""


class DelegateNotUsed(WrongDelegate):
    """The requested delegate took no node, so the time would be another runtime's."""

    expected_text = "the requested delegate executing the model, and a log that says so"
    fix_text = (
        "Measure with another --delegate, or with a benchmark_model that was built with this one "
        "(docs/devices.md)."
    )


class PartlyDelegated(WrongDelegate):
    """The requested delegate left a part of the model to the CPU: a mixture of two devices."""

    expected_text = "the requested delegate executing the whole model"
    fix_text = (
        "Measure with another --delegate, or keep the times of such models, each with a warning: "
        "--partial_delegation."
    )


class OtherDelegate(WrongDelegate):
    """A delegate that was not asked for executed the model, or some of it."""

    expected_text = "the asked delegate alone"
    fix_text = (
        "Name the one that executes it by --delegate, or use a benchmark_model that does not apply "
        "it by itself (docs/devices.md)."
    )


class LauncherFailed(RunFailed):
    """taskset, by which the tool is started, failed; the tool did not run."""

    expected_text = "taskset as it worked when the device was opened"
    fix_text = (
        "See that the device's cores stay online and free to use, and give the same command again: "
        "where they cannot be used the tool is then not held to them."
    )


class TooCoarse(RunFailed):
    """The printed time is zero: below the tool's resolution."""

    expected_text = (
        "a time above the tool's resolution (1 us; 10 us for the tools that print milliseconds)"
    )
    fix_text = "Use a benchmark_model that prints microseconds, or a larger model."


class DeviceUnplugged(DeviceLost):
    """It was there and is not in the list any more."""

    expected_text = "the device that this run began with"
    fix_text = "Plug it in again and call the same command: what was measured is kept."


class DeviceOffline(DeviceLost):
    """Listed, but it does not answer."""

    expected_text = "a device in state 'device'"
    fix_text = (
        "Wake the device or plug it in anew (`adb reconnect offline`), then call the same "
        "command again."
    )


class DeviceSilent(DeviceLost):
    """The client program waited for its answer in vain: the device or the line to it hangs. A run
    that takes too long is ended on the device, so this says nothing of a model."""

    expected_text = "an answer in time"
    fix_text = (
        "Wake the device or start it anew, then call the same command again: what was measured is "
        "kept."
    )


class AdbFailed(DeviceLost):
    """The adb client cannot ask its server, so nothing is known of any device."""

    expected_text = "an adb server that answers"
    fix_text = (
        "`adb kill-server`, then `adb start-server` (which says what keeps it from starting), then "
        "call the same command again."
    )


class DeviceUnauthorised(DeviceRefused):
    """The phone has not accepted this computer's key."""

    expected_text = "a device that trusts this computer"
    fix_text = (
        "Unlock the phone and accept the 'Allow USB debugging?' question, then call the "
        "same command again."
    )


class NoDevice(DeviceRefused):
    """Nothing attached at all, or not the one asked for."""

    expected_text = "an attached device"
    fix_text = (
        "Attach one with USB debugging switched on (or `adb connect HOST:PORT`) and see "
        "that `adb devices` lists it."
    )


class SeveralDevices(DeviceRefused):
    """More than one attached and none chosen."""

    expected_text = "one device, or a choice"
    fix_text = (
        "Name it: --device=android:SERIAL, or several: --device=android:SERIAL,android:SERIAL; "
        "ANDROID_SERIAL in the environment counts too."
    )


class NoClient(DeviceRefused):
    """The client program (adb, ssh) is not on this computer."""

    expected_text = "the client program on PATH"
    fix_text = (
        "Install it (Debian: `apt-get install adb`, `apt-get install openssh-client`; macOS: "
        "`brew install android-platform-tools`) or "
        "put it on PATH."
    )


class StorageFull(DeviceRefused):
    """No room for the model or the binary on the device."""

    expected_text = "room for the models in the device's folder"
    fix_text = (
        "Free some space on the device; the folder of this program there may be deleted "
        "at any time."
    )


class MissingBinary(DeviceRefused):
    """benchmark_model is absent, or cannot be executed there."""

    expected_text = "a benchmark_model that runs on this device"
    fix_text = (
        "Give the one built for the device's instruction set: --benchmark_binary=PATH "
        "(docs/devices.md says where to get it)."
    )


class UnknownFlag(DeviceRefused):
    """benchmark_model warns that it does not know a flag, and goes on without it."""

    expected_text = "a benchmark_model that knows every flag it is given"
    fix_text = (
        "Use a benchmark_model that was built with what the flag asks for (docs/devices.md says "
        "where to get one), or, where the flag is a delegate's, another --delegate."
    )


class DeviceBusy(DeviceRefused):
    """Another process of this user measures it."""

    expected_text = "a device that one process measures at a time"
    fix_text = "Wait for that process to end, or measure on another device."


class DeviceChanged(DeviceRefused):
    """It was away and came back with other cores, another mode or another system."""

    expected_text = "the device as it was when this session began"
    fix_text = (
        "Bring it back to that (unlock a phone after its restart), then call the same command "
        "again: what was measured is kept."
    )


class FolderRefused(DeviceRefused):
    """The far folder cannot be written."""

    expected_text = "a folder on the device that this login can write and execute from"
    fix_text = (
        "Android: /data/local/tmp must be writable by adb. ssh: make the folder writable "
        "for this user."
    )


class LoginRefused(DeviceRefused):
    """The far side does not let us in without a question."""

    expected_text = "a login without a question"
    fix_text = (
        "Make `ssh USER@HOST true` work without a password or host-key question "
        "(ssh-copy-id), then call this again."
    )
