"""The benchmark_model that a far device runs: a file of this computer, one that is there, or the
official one for its instruction set."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.devices.benchmark_tool.official import build_for, official_binary
from pnas_tf.devices.connection import Connection, RemoteStore
from pnas_tf.devices.failures import MissingBinary
from pnas_tf.io import atomic

AUTO = "auto"  # the official one
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class ToolBinary:
    """One binary. is_here: a file of this computer, which is copied over; else its path is one of
    the device. sha256: of its content; "" where the device cannot tell."""

    path: str
    is_here: bool
    sha256: str

    def placed(self, store: RemoteStore) -> str:
        """Its path there. Raises as `RemoteStore.place` does."""
        return store.place(Path(self.path), executable=True) if self.is_here else self.path


def find_binary(
    connection: Connection,
    wanted: str,
    instruction_set: str,
    *,
    delegate: str,
    android: bool,
    say: Callable[[str], None],
) -> ToolBinary:
    """The binary that the user wants.

    Args:
        connection: the line to the device.
        wanted: as --benchmark_binary: "auto", a file of this computer, or an absolute path there.
        instruction_set: as `official.build_for` takes it.
        delegate: as --delegate.
        android: whether it is a phone.
        say: takes lines for the user.

    Raises:
        MissingBinary: there is none, or it cannot be fetched.
    """
    if wanted == AUTO:
        build = build_for(instruction_set, delegate=delegate, android=android)
        return _binary_here(official_binary(build, say=say))
    if Path(wanted).is_file():
        if wanted.startswith("/") and is_there(connection, wanted):
            say(f"{wanted} of this computer is copied over; there is one on the device too")
        return _binary_here(Path(wanted))
    if not wanted.startswith("/"):
        raise MissingBinary("no benchmark_model to run", received=f"--benchmark_binary={wanted}")
    return binary_there(connection, wanted)


def is_there(connection: Connection, path: str) -> bool:
    """Whether the device has a program at this path."""
    return connection.run(f"[ -x {shlex.quote(path)} ]").exit_code == 0


def binary_there(connection: Connection, path: str) -> ToolBinary:
    """The device's own at this path, whatever lies at it here. Raises MissingBinary."""
    quoted = shlex.quote(path)
    seen = connection.run(f"[ -x {quoted} ] || exit 3\nsha256sum < {quoted} 2>/dev/null")
    if seen.exit_code == 3:
        raise MissingBinary(
            f"no executable {path}, neither here nor on {connection.name}", received="no such file"
        )
    words = seen.output.split()
    digest = words[0] if words and _SHA256.fullmatch(words[0]) else ""
    return ToolBinary(path, is_here=False, sha256=digest)


def _binary_here(path: Path) -> ToolBinary:
    return ToolBinary(str(path), is_here=True, sha256=atomic.sha256_of(path))
