"""A line to a far device: run a script there, put a file there once. Android Debug Bridge and
OpenSSH implement it.

A script's end is proved by a marker line with its exit code, since a client may report success
after the device was pulled out. Knows nothing of models or benchmarks.
"""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pnas_tf.devices.failures import (
    DeviceRefused,
    DeviceSilent,
    FolderRefused,
    NoClient,
    StorageFull,
)
from pnas_tf.io import atomic

_BEGIN, _END = "pnas_tf-begin", "pnas_tf-end"
_POLL_S = 0.5
_END_LINE = re.compile(rf"{_END} (\d{{1,3}})\s{{0,9}}\Z")


@dataclass(frozen=True)
class CommandResult:
    """What a script printed (both streams together) and its exit code."""

    exit_code: int
    output: str


class Connection(Protocol):
    """One device. `name` as in --device."""

    name: str

    def run(self, script: str, *, timeout_s: float = 30.0) -> CommandResult:
        """Runs a POSIX shell script there. Raises DeviceLost or DeviceRefused, never an exit code
        of its own."""

    def push(self, local: Path, remote: str, *, timeout_s: float = 300.0) -> None:
        """Copies a file there. Raises StorageFull, FolderRefused, DeviceLost or DeviceRefused."""

    def wait_until_back(self, *, timeout_s: float) -> None:
        """Returns as soon as the device answers again. Raises what was wrong at the end when it has
        not within timeout_s."""

    def close(self) -> None:
        """Gives back what the line holds on this computer."""


def read_facts(connection: Connection, script: str) -> dict[str, str]:
    """What a device tells of itself in lines "name=value"; what it does not tell is absent."""
    pairs = (line.partition("=") for line in connection.run(script).output.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def named_lines(connection: Connection, say: Callable[[str], None]) -> Callable[[str], None]:
    """`say` with the device's name before each line, since several may be measured at once."""
    return lambda line: say(f"{connection.name}: {line}")


def retry(
    attempt: Callable[[], None], *, timeout_s: float, on: tuple[type[Exception], ...]
) -> None:
    """Calls `attempt` until it raises none of `on`. Raises what it raised last when it has not
    within timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return attempt()
        except on:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_POLL_S)


def with_end_marker(script: str) -> str:
    """The script in a subshell, both streams joined, after a line that ends a login's greetings,
    before one that proves its end."""
    return f"echo {_BEGIN}\n(\n{script}\n) 2>&1\necho {_END} $?"


def split_end_marker(output: str) -> CommandResult | None:
    """The script's own output and exit code; None when the marker is missing, so the script did not
    end."""
    text = output.replace("\r\n", "\n")
    match = _END_LINE.search(text)
    return (
        None
        if match is None
        else CommandResult(int(match.group(1)), text[: match.start()].partition(f"{_BEGIN}\n")[2])
    )


def call(
    arguments: list[str], *, to: str, timeout_s: float, stdin: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a client program of this computer, never through a shell. Raises NoClient, or
    DeviceSilent of `to`, whose answer it waits for."""
    try:
        with open(stdin or "/dev/null", "rb") as stream:
            return subprocess.run(
                arguments,
                stdin=stream,
                capture_output=True,
                timeout=timeout_s,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
    except FileNotFoundError as error:
        raise NoClient(
            f"there is no {arguments[0]} client on this computer", received=str(error)
        ) from error
    except subprocess.TimeoutExpired as error:
        raise DeviceSilent(
            f"{to} gave no answer", received=f"nothing within {timeout_s:.0f} s"
        ) from error


def raise_for_push(message: str, *, remote: str, device: str) -> None:
    """Raises the error that a failed copy's message tells of; returns when it tells of none known
    here."""
    if "No space left" in message or "Disk quota exceeded" in message:
        raise StorageFull(f"no room on {device} for {remote}", received=message.strip()[-300:])
    if re.search(
        r"Read-only file system|Permission denied|Operation not permitted|couldn't create "
        r"file|Not a directory",
        message,
    ):
        raise FolderRefused(
            f"{device} does not let us write {remote}", received=message.strip()[-300:]
        )


@dataclass
class RemoteStore:
    """Files on the device under names made from their content, each copied once.

    folder: absolute path on the device. A copy is checked (SHA-256, or size where the device has no
    sha256sum) before it gets its name, so an interrupted one is never run.
    """

    connection: Connection
    folder: str
    _present: dict[str, str] = field(default_factory=dict)

    def place(self, local: Path, *, executable: bool = False) -> str:
        """The path of this content on the device, copied there when it is not. Raises as
        `Connection.push` does."""
        digest = atomic.sha256_of(local)
        if digest not in self._present:
            # The content's digest, and nothing of the local name, which may be anything.
            remote = f"{self.folder}/{digest}{'' if executable else '.tflite'}"
            if not self._holds(remote, digest, local.stat().st_size):
                self._copy(local, remote, digest, executable=executable)
            self._present[digest] = remote
        return self._present[digest]

    def forget(self) -> None:
        """After the device was away: look again before trusting that a file is there."""
        self._present.clear()

    def _copy(self, local: Path, remote: str, digest: str, *, executable: bool) -> None:
        folder, partial = shlex.quote(self.folder), f"{remote}.{secrets.token_hex(4)}.partial"
        # what a process that was killed has left goes after a day or two
        sweep = f"find {folder} -name '*.partial' -mtime +1 -exec rm -f {{}} \\; 2>/dev/null"
        self._must(f"mkdir -p {folder} && {{ {sweep}\ntrue; }}", f"cannot make {self.folder}")
        quoted = shlex.quote(partial)
        try:
            self.connection.push(local, partial)
            if not self._holds(partial, digest, local.stat().st_size):
                raise StorageFull(
                    f"{remote} did not arrive whole on {self.connection.name}",
                    received="another content than was sent",
                )
            if executable:
                self._must(
                    f"chmod 755 {quoted} || [ -x {quoted} ]", f"cannot make {remote} executable"
                )
            self._must(f"mv -f {quoted} {shlex.quote(remote)}", f"cannot name {remote}")
        except DeviceRefused:
            self.connection.run(f"rm -f {quoted}")
            raise

    def _must(self, script: str, failed: str) -> None:
        """Runs what a copy needs. Raises StorageFull or FolderRefused with `failed` where it
        fails."""
        found = self.connection.run(script)
        if found.exit_code != 0:
            raise_for_push(found.output, remote=self.folder, device=self.connection.name)
            raise FolderRefused(
                f"{failed} on {self.connection.name}", received=found.output.strip()[-300:]
            )

    def _holds(self, remote: str, digest: str, size_bytes: int) -> bool:
        path = shlex.quote(
            remote
        )  # by redirection: sha256sum marks names that hold a backslash or a newline
        seen = self.connection.run(
            f"[ -f {path} ] || exit 3\nsha256sum < {path} 2>/dev/null || wc -c < {path}",
            timeout_s=60.0,
        ).output
        words = seen.split()
        return bool(words) and words[0] in (digest, str(size_bytes))
