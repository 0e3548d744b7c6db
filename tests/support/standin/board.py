"""A stand-in board: a real sshd on a loopback port with keys of its own, and an ssh that reaches
it.

Only the far side is made here; the program under test uses the stock OpenSSH client. `missing()`
says what is not there.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing():
    """What the stand-in lacks on this computer, in words; "" when nothing."""
    absent = [
        name for name in ("ssh", "sshd", "ssh-keygen") if shutil.which(name, path=_PATH) is None
    ]
    if absent:
        return f"not installed: {', '.join(absent)} (Debian: openssh-server, openssh-client)"
    return "" if os.geteuid() == 0 else "the stand-in board needs root: sshd separates privileges"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Board:
    """Context manager of one sshd. `path`: a folder whose `ssh` knows its keys, to be put first on
    PATH. `target`: USER@HOST:PORT."""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="board-"))
        self.port = free_port()
        self.target = f"{getpass.getuser()}@127.0.0.1:{self.port}"
        self.path = self.folder / "bin"
        self.path.mkdir()
        for name in ("host", "user", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)],
                check=True,
            )
        (self.folder / "authorized").write_text((self.folder / "user.pub").read_text())
        (self.folder / "known").write_text(
            f"[127.0.0.1]:{self.port} {(self.folder / 'host.pub').read_text()}"
        )
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey "
            f"{self.folder}/host\nAuthorizedKeysFile {self.folder}/authorized\n"
            f"PidFile {self.folder}/pid\nStrictModes no\nUsePAM no\nPasswordAuthentication "
            "no\nPermitRootLogin yes\n"
            f"SetEnv HOME={self.folder} STANDIN_HOME={self.folder}\n"
        )  # nothing of the user's own shell set-up
        self.log_in_as("user")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.plug_in()
        return self

    def __exit__(self, *_):
        self.pull_out()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_in_as(self, key):
        """Which key the `ssh` on `path` shows: "user", or "stranger", which the board does not
        know."""
        (self.folder / "config").write_text(
            f"UserKnownHostsFile {self.folder}/known\nIdentityFile {self.folder}/{key}\n"
            "IdentitiesOnly yes\nIdentityAgent none\n"
        )
        wrapper = self.path / "ssh"
        wrapper.write_text(
            f'#!/bin/sh\nexec {shutil.which("ssh", path=_PATH)} -F {self.folder}/config "$@"\n'
        )
        wrapper.chmod(0o755)

    def plug_in(self):
        """Starts its sshd."""
        self._daemon = subprocess.Popen(
            [shutil.which("sshd", path=_PATH), "-D", "-e", "-f", str(self.folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError("sshd did not start")

    def pull_out(self):
        """Its sshd and every session of it end."""
        if self._daemon is None:
            return
        family = [self._daemon.pid]
        for pid in family:
            children = Path(f"/proc/{pid}/task/{pid}/children")
            family += (
                [int(child) for child in children.read_text().split()] if children.exists() else []
            )
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._daemon.wait()
        self._daemon = None
