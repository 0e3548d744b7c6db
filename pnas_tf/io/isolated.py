"""Files that C++ libraries read are read first in a child process, where a crash, a hang or a flood
of memory harms nothing.

The child is started once, kept for the life of this process and ends with it. It checks HDF5
weights (`hdf5`) and PyTorch checkpoints (`pytorch`), see isolated_worker.py, and what a module
named by the caller checks. Knows nothing of networks.
"""

from __future__ import annotations

import atexit
import os
import threading

from pnas_tf.errors import UserError
from pnas_tf.io.json_child import JsonChild
from pnas_tf.io.serialization import Json

# processor seconds for one file, five times as many where it is run; the largest published network
# takes 0.1
CPU_S = 30
TIMEOUT_S = 600.0  # by the clock, should the child sleep


def inspect(
    kind: str, content: bytes, *, where: str, expected: str, fix: str, **options: Json
) -> Json:
    """What the child found in `content`.

    Args:
        kind: "hdf5", "pytorch", or the dotted name of a module whose `check(content, **options)`
            the child calls; it is imported before the content's time begins.
        content: the file.
        where: its name in errors.
        expected: the expected side of the error.
        fix: what the user can do.
        options: what the check takes besides; run: it takes five times as long.

    Raises:
        UserError: the child refuses the content, dies of it or does not end.
    """
    with _lock:
        try:
            answer = _child().ask(
                {
                    "kind": kind,
                    "content_bytes": len(content),
                    "cpu_s": CPU_S * (5 if options.get("run") else 1),
                    **options,
                },
                content,
                timeout_s=TIMEOUT_S,
            )
        except (EOFError, TimeoutError) as error:
            late = f"reading it took more than {TIMEOUT_S:.0f} s"
            raise UserError(
                f"{where} is harmful", expected=expected, received=str(error) or late, fix=fix
            ) from error
    if "error" in answer:
        raise UserError(
            f"{where} is corrupt, truncated or of another kind",
            expected=expected,
            received=str(answer["error"])[:300],
            fix=fix,
        )
    return answer["found"]


_lock = threading.Lock()
_running: list[JsonChild] = []


def _child() -> JsonChild:
    if not _running or not _running[0].alive:
        # No HDF5 plugin is loaded because a file asks for it.
        environment = {"HDF5_PLUGIN_PRELOAD": "::"}
        _running[:] = [JsonChild("pnas_tf.io.isolated_worker", environment=environment)]
    return _running[0]


@atexit.register
def _stop() -> None:
    if _running and _running[0].owner == os.getpid():
        _running.pop().stop()
