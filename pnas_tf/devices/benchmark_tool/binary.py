"""The benchmark_model that a far device runs: a file of this computer, one that is there, or the
official one for its instruction set."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from pnas_tf.devices.benchmark_tool.official import build_for, official_binary
from pnas_tf.devices.connection import Connection, RemoteStore
from pnas_tf.devices.failures import MissingBinary
from pnas_tf.io import atomic

AUTO = "auto"  # the official one
_SHA256 = re.compile("[0-9a-f]{64}")


def resolved(
    wanted: str,
    instruction_set: str,
    *,
    delegate: str,
    android: bool,
    say: Callable[[str], None],
) -> str:
    """`wanted`, or the path of the official binary where that is "auto".

    Args:
        wanted: as --benchmark_binary.
        instruction_set: as `official.build_for` takes it.
        delegate: as --delegate.
        android: whether it is a phone.
        say: takes lines for the user.

    Raises:
        MissingBinary: there is none, or it cannot be fetched.
    """
    if wanted != AUTO:
        return wanted
    build = build_for(instruction_set, delegate=delegate, android=android)
    return str(official_binary(build, say=say))


def is_there(connection: Connection, path: str) -> bool:
    """Whether the device has a program at this path."""
    return connection.run(f"[ -x {shlex.quote(path)} ]").exit_code == 0


class ToolBinary:
    """One binary, on this computer or there.

    Args:
        connection: the line to the device.
        binary: a file of this computer, which is copied over, or an absolute path there.

    Attributes:
        sha256: of its content; "" where the device cannot tell.

    Raises:
        MissingBinary: it is in neither place.
    """

    def __init__(self, connection: Connection, binary: str):
        self._name, self._local = binary, Path(binary)
        self.sha256 = self._found(connection)

    def placed(self, store: RemoteStore) -> str:
        """Its path there. Raises as `RemoteStore.place` does."""
        return store.place(self._local, executable=True) if self._local.is_file() else self._name

    def _found(self, connection: Connection) -> str:
        if self._name and self._local.is_file():
            return atomic.sha256_of(self._local)
        if not self._name.startswith("/"):
            raise MissingBinary(
                "no benchmark_model to run", received=f"--benchmark_binary={self._name}"
            )
        path = shlex.quote(self._name)
        seen = connection.run(f"[ -x {path} ] || exit 3\nsha256sum < {path} 2>/dev/null")
        if seen.exit_code == 3:
            raise MissingBinary(
                f"no executable {self._name}, neither here nor on {connection.name}",
                received="no such file",
            )
        words = seen.output.split()
        return words[0] if words and _SHA256.fullmatch(words[0]) else ""
