"""A `Connection` to a remote board through the stock OpenSSH client. One master connection carries
all commands.

Never asks a question (BatchMode): keys and known hosts are the user's own. Knows nothing of models
or benchmarks. Source: ssh_config(5).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
import time
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
    DeviceError,
    DeviceLost,
    DeviceUnplugged,
    LoginRefused,
    NoClient,
    NoDevice,
)
from pnas_tf.errors import UserError

_TARGET = re.compile(
    r"(?:(?P<user>[A-Za-z_][A-Za-z0-9_.\-]{0,63})@)?"
    r"(?P<host>[A-Za-z0-9_][A-Za-z0-9._+\-]{0,252}|\[[0-9A-Fa-f:]+(?:%[A-Za-z0-9._\-]+)?\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_LOGIN_S = 15.0


class SshConnection:
    """A `Connection` to USER@HOST or USER@HOST:PORT.

    Raises UserError for a target that is none. The first command raises LoginRefused or NoDevice
    where there is no way in.
    """

    def __init__(self, target: str, *, ssh: str = "ssh"):
        match = _TARGET.fullmatch(target)
        if match is None or int(match["port"] or 22) > 65535:
            raise UserError(
                f"{target!r} is no ssh target",
                expected="USER@HOST or USER@HOST:PORT",
                received=repr(target),
                fix="For example --device=ssh:pi@raspberrypi.local",
            )
        self.name = f"ssh:{target}"
        self._folder = Path(
            tempfile.mkdtemp(prefix="pnas-ssh-")
        )  # short: a control socket's path may have 108 bytes at most
        self._was_there = False
        self._master: subprocess.Popen[bytes] | None = None
        options = [
            "-oBatchMode=yes",
            "-oConnectTimeout=10",
            "-oServerAliveInterval=5",
            "-oServerAliveCountMax=3",
            # what the user's configuration says for sessions of his own
            "-oControlPersist=no",
            "-oRemoteCommand=none",
            "-oRequestTTY=no",
            "-oClearAllForwardings=yes",
        ]
        port = ["-p", match["port"]] if match["port"] else []
        user = ["-l", match["user"]] if match["user"] else []
        self._ssh = [ssh, *options, f"-oControlPath={self._folder}/line", *port, *user]
        self._host = match["host"].strip("[]")

    def run(self, script: str, *, timeout_s: float = 30.0) -> CommandResult:
        return self._finish(self._call(script, timeout_s=timeout_s))

    def push(self, local: Path, remote: str, *, timeout_s: float = 300.0) -> None:
        result = self._finish(
            self._call(f"cat > {shlex.quote(remote)}", timeout_s=timeout_s, stdin=local)
        )
        if result.exit_code != 0:
            raise_for_push(result.output, remote=remote, device=self.name)
            raise DeviceUnplugged(
                f"copying to {self.name} failed", received=result.output.strip()[-300:]
            )

    def wait_until_back(self, *, timeout_s: float) -> None:
        retry(self._look, timeout_s=timeout_s, on=(DeviceLost,))

    def close(self) -> None:
        """Ends the master connection and removes its socket."""
        self._drop_master()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _look(self) -> None:
        """Returns when the board answers."""
        self._drop_master()
        self.run("true", timeout_s=15.0)

    def _call(
        self, script: str, *, timeout_s: float, stdin: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        self._keep_master()
        command = f"sh -c {shlex.quote(with_end_marker(script))}"  # the login shell may be any
        arguments = [*self._ssh, "-oControlMaster=no", "--", self._host, command]
        return call(arguments, to=self.name, timeout_s=timeout_s, stdin=stdin)

    def _keep_master(self) -> None:
        """Sees that the connection which all commands share is up; raises the error that a refused
        one tells of.

        A child of our own: one that ssh puts into the background (ControlPersist) keeps the pipes
        of its first command open.
        """
        if self._master is not None and self._master.poll() is None:
            return
        self._folder.mkdir(exist_ok=True)
        (self._folder / "line").unlink(missing_ok=True)  # a killed one leaves its socket behind
        with open(self._folder / "errors", "w+b") as errors:
            try:
                self._master = subprocess.Popen(
                    [*self._ssh, "-M", "-N", "--", self._host],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
            except FileNotFoundError as error:
                raise NoClient(
                    f"there is no {self._ssh[0]} client on this computer", received=str(error)
                ) from error
            deadline = time.monotonic() + _LOGIN_S
            while not (self._folder / "line").exists():
                if self._master.poll() is not None or time.monotonic() > deadline:
                    self._drop_master()
                    errors.seek(0)
                    raise self._loss(
                        errors.read().decode("utf-8", "replace").strip()
                        or f"no login within {_LOGIN_S:.0f} s"
                    )
                time.sleep(0.02)

    def _drop_master(self) -> None:
        if self._master is not None:
            self._master.terminate()
            self._master.wait()
            self._master = None
        (self._folder / "line").unlink(missing_ok=True)

    def _finish(self, finished: subprocess.CompletedProcess[str]) -> CommandResult:
        result = split_end_marker(finished.stdout)
        if result is not None:
            self._was_there = True
            return result
        raise self._loss(
            finished.stderr.strip()
            or f"exit code {finished.returncode} without the end of the command"
        )

    def _loss(self, message: str) -> DeviceError:
        if re.search(
            r"Permission denied|Host key verification failed|Too many authentication failures",
            message,
        ):
            return LoginRefused(f"{self.name} does not let us in", received=message[-300:])
        if self._was_there:
            return DeviceUnplugged(
                f"the line to {self.name} broke in the middle", received=message[-300:]
            )
        return NoDevice(
            f"{self.name} cannot be reached",
            received=message[-300:],
            fix=f"See that `ssh -o BatchMode=yes {self._host} true` works.",
        )
