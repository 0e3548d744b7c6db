"""Android phones as latency targets: what the phone says of itself, its fixed performance mode, and
its `ToolRunner`.

A device without getprop (a bare adbd) works too; what it does not tell is "unknown". Knows nothing
of schedules or tables. Source: Android's system properties and the `cmd power` shell command.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.android.adb import AdbConnection, choose_serial
from pnas_tf.devices.benchmark_tool.binary import (
    AUTO,
    ToolBinary,
    binary_there,
    find_binary,
    is_there,
)
from pnas_tf.devices.benchmark_tool.runner import Timeouts, ToolRunner
from pnas_tf.devices.connection import Connection, RemoteStore, named_lines, read_facts
from pnas_tf.devices.cores import held_cores
from pnas_tf.devices.failures import DeviceError
from pnas_tf.devices.record import Device
from pnas_tf.run.progress import silent

FOLDER = "/data/local/tmp/pnas_tf"
BINARY_THERE = "/data/local/tmp/benchmark_model"  # where the tool's README puts it
UNKNOWN = "unknown"
_NNAPI_DEPRECATED = 35  # API level of Android 15
_PROPERTIES = [
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.product.cpu.abi",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.hardware",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.build.fingerprint",
]
_FACTS_SCRIPT = "\n".join(
    [
        "command -v getprop >/dev/null 2>&1 && {",
        *(f'echo "{name}=$(getprop {name})"' for name in _PROPERTIES),
        "}",
        'echo "kernel=$(uname -sr)"',
        'echo "machine=$(uname -m)"',
        'echo "cpuinfo=$(grep -m 1 -E "^(Hardware|model name|Model)" /proc/cpuinfo 2>/dev/null)"',
    ]
)
_FIXED_MODE = (
    "command -v cmd >/dev/null 2>&1 && cmd power set-fixed-performance-mode-enabled {state}"
)
_MODE_REFUSED = re.compile(
    r"fail|unknown|error|not (found|supported|implemented)|exception|denied", re.IGNORECASE
)


class AndroidRunner(ToolRunner):
    """A `Runner` for one Android device; `close` gives its performance mode back.

    Args:
        serial: as `adb devices` prints it; "" is that of ANDROID_SERIAL, else the only device
            attached.
        config: threads, delegate and benchmark_binary: a file on this computer, which is copied
            over, an absolute path there, or "auto", the official one for the phone's instruction
            set; empty: /data/local/tmp/benchmark_model where it is there, else auto.
        remote_folder: absolute path there, for models and the binary.
        timeouts: how long to wait for what.
        say: takes lines for the user.

    Raises:
        DeviceRefused: NoClient, NoDevice ("No device attached"), SeveralDevices,
            DeviceUnauthorised, MissingBinary.
        DeviceLost: it or the adb server does not answer.
    """

    def __init__(
        self,
        serial: str,
        config: DeviceConfig,
        *,
        remote_folder: str = FOLDER,
        timeouts: Timeouts = Timeouts(),
        say: Callable[[str], None] = silent,
    ):
        chosen = choose_serial(serial, say=say)
        connection = AdbConnection(chosen)
        named = named_lines(connection, say)
        facts = read_facts(connection, _FACTS_SCRIPT)
        binary = _binary_for(connection, config, facts, named)
        if config.delegate == "nnapi" and _api_level(facts) >= _NNAPI_DEPRECATED:
            named(
                "NNAPI is deprecated from Android 15 on: devices may come without drivers for it. "
                "Measure --delegate=gpu, or npu with LiteRT's own benchmark_model"
            )
        self._fixed_mode = False

        def prepare(say: Callable[[str], None]) -> Device:
            cores = held_cores(connection, config.threads, say=say)
            told = read_facts(connection, _FACTS_SCRIPT)
            self._fixed_mode = set_fixed_performance_mode(connection, enabled=True)
            return describe(told, serial=chosen, cores=cores, fixed_mode=self._fixed_mode)

        super().__init__(
            RemoteStore(connection, remote_folder),
            config,
            binary=binary,
            prepare=prepare,
            timeouts=timeouts,
            say=named,
        )

    def close(self) -> None:
        if self._fixed_mode:
            self._fixed_mode = False
            with contextlib.suppress(
                DeviceError
            ):  # the device went away; its restart resets the mode
                set_fixed_performance_mode(self._connection, enabled=False)
        super().close()


def describe(
    facts: dict[str, str], *, serial: str, cores: tuple[int, ...], fixed_mode: bool
) -> Device:
    """The `Device` record. A phone on fixed performance mode is another device than the same phone
    without."""
    soc = " ".join(facts[name] for name in ("ro.soc.manufacturer", "ro.soc.model") if name in facts)
    processor = (
        soc
        or facts.get("ro.board.platform")
        or facts.get("ro.hardware")
        or facts.get("cpuinfo", "").partition(":")[2].strip()
    )
    model = " ".join(
        facts[name] for name in ("ro.product.manufacturer", "ro.product.model") if name in facts
    )
    release = facts.get("ro.build.version.release")
    system = (
        f"Android {release} (API {facts.get('ro.build.version.sdk', UNKNOWN)})"
        if release
        else facts.get("kernel", UNKNOWN)
    )
    return Device(
        kind="android",
        model=model or UNKNOWN,
        processor=processor or UNKNOWN,
        cores=cores,
        os=system + (", fixed performance mode" if fixed_mode else ""),
        build=facts.get("ro.build.fingerprint", UNKNOWN),
        serial=serial,
    )


def _binary_for(
    connection: Connection,
    config: DeviceConfig,
    facts: dict[str, str],
    say: Callable[[str], None],
) -> ToolBinary:
    """Of --benchmark_binary, or where that is not given the one that the user has put there, else
    the official one. Raises MissingBinary."""
    wanted = config.benchmark_binary
    if not wanted and is_there(connection, BINARY_THERE):
        say(f"{BINARY_THERE} is used; --benchmark_binary=auto takes the official one")
        return binary_there(connection, BINARY_THERE)
    instruction_set = facts.get("ro.product.cpu.abi") or facts.get("machine", "")
    return find_binary(
        connection,
        wanted or AUTO,
        instruction_set,
        delegate=config.delegate,
        android=True,
        say=say,
    )


def _api_level(facts: dict[str, str]) -> int:
    """Of Android; 0 where the device does not tell."""
    level = facts.get("ro.build.version.sdk", "")
    return int(level) if level.isascii() and level.isdigit() and len(level) < 6 else 0


def set_fixed_performance_mode(connection: Connection, *, enabled: bool) -> bool:
    """Asks for clocks that can be sustained (Android 11 and later). True when the device took it,
    False where it has no such mode."""
    answer = connection.run(_FIXED_MODE.format(state="true" if enabled else "false"))
    return answer.exit_code == 0 and not _MODE_REFUSED.search(answer.output)
