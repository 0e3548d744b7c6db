"""Remote boards (Raspberry Pi class) as latency targets over ssh: what the board says of itself,
and its `ToolRunner`.

Knows nothing of schedules or tables. Source: /proc, os-release(5), the device tree's model string.
"""

from __future__ import annotations

from collections.abc import Callable

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool.binary import ToolBinary, binary_there, find_binary
from pnas_tf.devices.benchmark_tool.runner import Timeouts, ToolRunner
from pnas_tf.devices.connection import Connection, RemoteStore, named_lines, read_facts
from pnas_tf.devices.cores import held_cores
from pnas_tf.devices.failures import MissingBinary
from pnas_tf.devices.record import Device
from pnas_tf.devices.ssh.client import SshConnection
from pnas_tf.run.progress import silent

UNKNOWN = "unknown"
_OF_32_BITS = {"aarch64": "armv7l", "x86_64": "i686"}
_FACTS_SCRIPT = r"""
echo "model=$(cat /proc/device-tree/model 2>/dev/null | tr -d '\000')"
echo "product=$(cat /sys/class/dmi/id/product_name 2>/dev/null)"
echo "cpu=$(grep -m 1 -E '^(model name|Model|Hardware)' /proc/cpuinfo 2>/dev/null | cut -d: -f2-)"
echo "machine=$(uname -m)"
echo "elf_class=$(od -An -tx1 -j4 -N1 /bin/sh 2>/dev/null | tr -d ' ')"
echo "system=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
echo "kernel=$(uname -sr)"
echo "binary=$(command -v benchmark_model)"
echo "home=$HOME"
"""


def ssh_runner(
    target: str,
    config: DeviceConfig,
    *,
    remote_folder: str = "",
    timeouts: Timeouts = Timeouts(),
    say: Callable[[str], None] = silent,
) -> ToolRunner:
    """Opens a board.

    Args:
        target: USER@HOST or USER@HOST:PORT.
        config: threads, delegate and benchmark_binary: a file on this computer, which is copied
            over, an absolute path there, or "auto", the official one for the board's instruction
            set; empty: the one on the far PATH.
        remote_folder: empty is ~/.cache/pnas_tf there.
        timeouts: how long to wait for what.
        say: takes lines for the user.

    Raises:
        DeviceRefused: NoClient, LoginRefused, NoDevice, MissingBinary.
    """
    connection = SshConnection(target)
    try:
        facts = read_facts(connection, _FACTS_SCRIPT)
        named = named_lines(connection, say)
        binary = _binary_for(connection, config, facts, named)

        def prepare(say: Callable[[str], None]) -> Device:
            cores = held_cores(connection, config.threads, say=say)
            return describe(read_facts(connection, _FACTS_SCRIPT), target=target, cores=cores)

        folder = remote_folder or f"{facts.get('home', '/tmp')}/.cache/pnas_tf"
        return ToolRunner(
            RemoteStore(connection, folder),
            config,
            binary=binary,
            prepare=prepare,
            timeouts=timeouts,
            say=named,
        )
    except BaseException:
        connection.close()
        raise


def _binary_for(
    connection: Connection,
    config: DeviceConfig,
    facts: dict[str, str],
    say: Callable[[str], None],
) -> ToolBinary:
    """Of --benchmark_binary, or where that is not given the one on the far PATH. Raises
    MissingBinary."""
    if config.benchmark_binary:
        return find_binary(
            connection,
            config.benchmark_binary,
            instruction_set(facts),
            delegate=config.delegate,
            android=False,
            say=say,
        )
    if "binary" not in facts:
        raise MissingBinary(
            f"no benchmark_model on the PATH of {connection.name}",
            received="no --benchmark_binary either",
            fix="Fetch the official one, --benchmark_binary=auto, or give yours: "
            "--benchmark_binary=PATH",
        )
    return binary_there(connection, facts["binary"])


def instruction_set(facts: dict[str, str]) -> str:
    """That of the board's programs. `uname -m` names the kernel's, which on a Raspberry Pi may have
    64 bits under a system of 32."""
    machine = facts.get("machine", "")
    return _OF_32_BITS.get(machine, machine) if facts.get("elf_class") == "01" else machine


def describe(facts: dict[str, str], *, target: str, cores: tuple[int, ...]) -> Device:
    """The `Device` record."""
    return Device(
        kind="ssh",
        model=facts.get("model") or facts.get("product") or UNKNOWN,
        processor=facts.get("cpu") or facts.get("machine") or UNKNOWN,
        cores=cores,
        os=facts.get("system", UNKNOWN),
        build=facts.get("kernel", UNKNOWN),
        serial=target,
    )
