"""The ssh runner against a real sshd: stock OpenSSH client, a far side that really runs the copied
models."""

import contextlib
import json
import socket
import threading
import time
from pathlib import Path

import board as standin
import odd_names
import phones
import psutil
import pytest
from local_shell import LocalShell

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.benchmark_tool.binary import ToolBinary
from pnas_tf.devices.benchmark_tool.runner import Timeouts
from pnas_tf.devices.connection import read_facts
from pnas_tf.devices.failures import (
    DeviceUnplugged,
    LoginRefused,
    MissingBinary,
    NoClient,
    NoDevice,
)
from pnas_tf.devices.registry import runner_for
from pnas_tf.devices.schedule import Schedule
from pnas_tf.devices.session import ModelFile, measure
from pnas_tf.devices.ssh.board import _FACTS_SCRIPT, instruction_set, ssh_runner
from pnas_tf.devices.ssh.client import SshConnection
from pnas_tf.errors import UserError
from pnas_tf.io import atomic

MODELS = {dtype: Path(phones.HERE) / f"tiny_{dtype}.tflite" for dtype in ("float32", "int8")}
FILES = {
    name: ModelFile.of(path, dtype=name, input_shape=(1, 16, 16, 3), rewrites=())
    for name, path in MODELS.items()
}

reason = standin.missing()
needs_sshd = pytest.mark.skipif(bool(reason), reason=f"no stand-in board: {reason}")


@pytest.fixture(scope="module")
def board():
    with standin.Board() as opened:
        opened.tool = str(phones.executable_tool(opened.folder))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", str(opened.path), prepend=":")
            patch.setenv("XDG_CACHE_HOME", str(opened.folder / "here"))
            yield opened


@needs_sshd
@pytest.mark.device
def test_a_board_is_measured_with_a_binary_that_is_there_or_is_sent(board):
    with runner_for(
        DeviceConfig(f"ssh:{board.target}", threads=2, benchmark_binary=board.tool)
    ) as runner:  # found here, so it is sent
        run = runner.run(MODELS["float32"], warmups=2, invocations=6)
        assert (run.statistic, run.count) == ("median", 6)
        assert runner.device.kind == "ssh" and runner.device.serial == board.target
        assert (
            runner.settings.threads == 2
            and runner.settings.runtime_version == atomic.sha256_of(board.tool)[:12]
        )
        sent = {path.name for path in (board.folder / ".cache" / "pnas_tf").iterdir()}
        assert sent == {f"{FILES['float32'].facts.sha256}.tflite", atomic.sha256_of(board.tool)}
        runner._binary = ToolBinary("/nowhere/benchmark_model", is_here=False, sha256="")
        with pytest.raises(MissingBinary):
            runner.run(MODELS["float32"], warmups=1, invocations=1)
    with pytest.raises(MissingBinary, match="neither here nor on"):
        runner_for(DeviceConfig(f"ssh:{board.target}", benchmark_binary="/nowhere/benchmark_model"))
    with pytest.raises(MissingBinary, match="PATH"):
        runner_for(DeviceConfig(f"ssh:{board.target}"))


@needs_sshd
@pytest.mark.device
def test_a_board_that_goes_away_in_the_middle_loses_nothing(board, tmp_path):
    """The third run hangs until the board is pulled out."""
    runs = board.folder / "standin.runs"
    third = (int(runs.read_text()) if runs.exists() else 0) + 3

    def hand():
        while not runs.exists() or (runs.read_text() or "0") != str(third):
            time.sleep(0.02)
        board.pull_out()
        board.plug_in()

    (board.folder / "standin.json").write_text(
        json.dumps({"pace_ms": 40, "runs": {str(third): "hang"}})
    )
    with runner_for(DeviceConfig(f"ssh:{board.target}", benchmark_binary=board.tool)) as runner:
        runner._timeouts = Timeouts(return_s=120.0)
        thread = threading.Thread(target=hand)
        thread.start()
        session = measure(
            FILES,
            runner,
            Schedule(min_invocations=12, warmups=1, rounds=3, extra_rounds=0, noisy_rounds=0),
            resume_log=tmp_path / "log",
        )
        thread.join()
        assert {name: entry.invocations for name, entry in session.measurements.items()} == {
            "float32": 12,
            "int8": 12,
        }
        runner._timeouts = Timeouts(return_s=0.5)
        board.pull_out()
        with pytest.raises(DeviceUnplugged):
            runner.run(MODELS["int8"], warmups=1, invocations=1)
    board.plug_in()


@needs_sshd
@pytest.mark.device
def test_no_login_no_host_and_no_client_are_told_apart(board):
    board.log_in_as("stranger")
    try:
        with pytest.raises(LoginRefused, match="Permission denied"):
            runner_for(DeviceConfig(f"ssh:{board.target}", benchmark_binary=board.tool))
    finally:
        board.log_in_as("user")
    with pytest.raises(NoDevice, match="cannot be reached"):
        runner_for(DeviceConfig(f"ssh:root@127.0.0.1:{standin.free_port()}"))
    with (
        contextlib.closing(SshConnection(board.target, ssh="/nowhere/ssh")) as nobody,
        pytest.raises(NoClient),
    ):
        nobody.run("true")


@needs_sshd
@pytest.mark.device
def test_the_users_own_settings_of_sessions_do_not_count(board):
    """With ControlPersist every command became a master that stayed."""
    with socket.socket() as taken, open(board.folder / "config", "a") as config:
        taken.bind(("127.0.0.1", 0))
        config.write(
            "ControlMaster auto\nControlPersist 10m\nRemoteCommand echo theirs\nRequestTTY force\n"
            f"ExitOnForwardFailure yes\nLocalForward {taken.getsockname()[1]} 127.0.0.1:22\n"
        )

    def clients():
        return [
            process.pid
            for process in psutil.process_iter(["cmdline"])
            if str(connection._folder) in " ".join(process.info["cmdline"] or ())
        ]

    connection = SshConnection(board.target)
    try:
        for _ in range(3):
            assert connection.run("echo ours").output == "ours\n"
        assert clients() == [connection._master.pid]
        (connection._folder / "line").unlink()  # as when the master is about to end
        assert connection.run("echo ours").output == "ours\n"
        assert clients() == [connection._master.pid]
    finally:
        connection.close()
        board.log_in_as("user")
    assert clients() == []


@needs_sshd
@pytest.mark.device
def test_exit_codes_quotes_and_large_outputs_come_through(board):
    connection = SshConnection(board.target)
    try:
        assert connection.run("exit 7").exit_code == 7
        assert connection.run(
            """printf '%s|' "a b" 'c"d' $((1+1)); sh -c 'kill -9 $$'"""
        ).output.startswith('a b|c"d|2|')
        assert connection.run("seq 100000").output.splitlines()[-1] == "100000"
        assert connection.run("printf 'no newline at the end'").output == "no newline at the end"
    finally:
        connection.close()


@needs_sshd
@pytest.mark.device
def test_far_names_are_names_and_never_commands(board):
    """Twice quoted: for the login shell, which gets one string from ssh, and for the sh in it."""
    connection = SshConnection(board.target)
    try:
        placed = odd_names.place_in_each(connection, board.folder / "odd", MODELS["int8"])
    finally:
        connection.close()
    assert {path.name for path in (board.folder / "odd").iterdir()} == set(odd_names.NAMES)
    assert all(Path(path).read_bytes() == MODELS["int8"].read_bytes() for path in placed.values())
    assert (
        not list(board.folder.rglob("pwned"))
        and not Path("pwned").exists()
        and not (Path.home() / "pwned").exists()
    )
    for name in ("$(touch pwned) 'x'", "-rf"):
        with ssh_runner(
            board.target,
            DeviceConfig(benchmark_binary=board.tool),
            remote_folder=str(board.folder / "odd" / name),
        ) as runner:
            assert runner.run(MODELS["int8"], warmups=0, invocations=2).count == 2
    assert not list(board.folder.rglob("pwned"))


@pytest.mark.parametrize(
    "target",
    [
        "",
        "pi@host\n",
        "host\n",
        "pi\n@host",
        "-l@host",
        "pi@[::1]x",
        "pi@host:22\n",
        "pi@ho\0st",
        "-oProxyCommand=touch",
        "a b@host",
        "user@-host",
        "user@host;reboot",
        "user@host:99999",
        "u@h:x",
        "_-oX y",
        "pi@[fe80::1%eth0;x]",
    ],
)
def test_what_is_no_target_is_refused_before_anything_runs(target):
    with pytest.raises(UserError):
        SshConnection(target)


@pytest.mark.parametrize(
    "target", ["my_pi", "pi@my_pi:2222", "_lab", "pi+lab", "[fe80::1%eth0]", "pi@10.0.0.7"]
)
def test_a_name_of_the_users_ssh_configuration_is_a_target(target):
    with contextlib.closing(SshConnection(target)) as connection:
        assert connection.name == f"ssh:{target}"


@pytest.mark.parametrize(
    ("machine", "elf_class", "found"),
    [
        ("aarch64", "02", "aarch64"),
        ("aarch64", "01", "armv7l"),  # Raspberry Pi OS of 32 bits on a kernel of 64
        ("x86_64", "01", "i686"),
        ("armv7l", "01", "armv7l"),
        ("aarch64", "", "aarch64"),  # a board without od
    ],
)
def test_a_boards_instruction_set_is_that_of_its_programs(tmp_path, machine, elf_class, found):
    assert instruction_set({"machine": machine, "elf_class": elf_class}) == found
    told = read_facts(LocalShell(tmp_path), _FACTS_SCRIPT)
    assert told["elf_class"] == f"{Path('/bin/sh').read_bytes()[4]:02x}"
