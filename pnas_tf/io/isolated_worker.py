"""The child process of `isolated`: reads one file after another with the libraries that the
parent will use.

In: lengths of a JSON command and of a content, then both. Out: one JSON line, {"found": ...} or
{"error": "..."}. Memory is limited. Started by `isolated`; imports no TensorFlow, and of this
project only the module that a command names.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import platform
import resource
import sys
import warnings
from collections.abc import Callable
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

MAX_MEMORY_BYTES = 16 * 2**30  # of addresses; far above every model that a phone can hold
MAX_WEIGHT_BYTES = 2 * 2**30
MAX_ANSWER_BYTES = 16 * 2**20  # of what a file may become in the parent; large models have 2 MB
IMPORT_S = 600  # processor seconds for the libraries that read a file
MAX_OBJECTS = 100_000  # in an HDF5 file; a network of 648 blocks has 8,000


class Refused(ValueError):
    """The content is not what it should be."""


def hdf5(content: bytes) -> dict[str, list[int]]:
    """Reads every array and attribute. Returns the arrays' shapes by name.

    Refuses links that lead elsewhere (another file, too), arrays that lie in other files, and what
    is no number.
    """
    import h5py
    import numpy as np

    shapes: dict[str, list[int]] = {}
    total = 0

    def visit(name: str, item: h5py.Group | h5py.Dataset | h5py.Datatype) -> None:
        nonlocal total
        if len(shapes) > MAX_OBJECTS:
            raise Refused(f"more than {MAX_OBJECTS} entries")
        for attribute in item.attrs:
            item.attrs[attribute]
        if isinstance(item, h5py.Group):
            for child in item:
                if not isinstance(item.get(child, getlink=True), h5py.HardLink):
                    raise Refused(f"'{name}/{child}' is a link")
        elif isinstance(item, h5py.Dataset):
            if item.external or item.is_virtual:
                raise Refused(f"the numbers of '{name}' lie in another file")
            if item.dtype.kind not in "fiu" or item.shape is None:
                raise Refused(f"'{name}' holds {item.dtype}, no numbers")
            total += int(item.nbytes)
            if total > MAX_WEIGHT_BYTES:
                raise Refused(f"more than {MAX_WEIGHT_BYTES} bytes of numbers")
            with np.errstate(
                over="ignore"
            ):  # of wider numbers, what overflows in a network's float32 is infinity too
                if not np.isfinite(np.asarray(item[()], np.float32)).all():
                    raise Refused(f"'{name}' holds NaN, infinity or what is infinity in float32")
            shapes[name] = [int(size) for size in item.shape]
        else:
            raise Refused(f"'{name}' is neither a group nor an array")

    with h5py.File(io.BytesIO(content), "r") as file:
        visit("", file)
        file.visititems(visit)
    return shapes


def pytorch(content: bytes) -> None:
    """Reads tensors and nothing else (weights_only); works for as long as torch takes to say what
    is wrong with a file."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its guesses about damaged files; what matters is raised
        torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


# With the library that is loaded before a file's time begins.
CHECKS: dict[str, tuple[str, Callable[..., object]]] = {
    "hdf5": ("h5py", hdf5),
    "pytorch": ("torch", pytorch),
}


def serve(commands: IO[bytes], replies: IO[str]) -> None:
    """Answers commands until standard input ends."""
    while line := commands.readline():
        command = json.loads(line)
        content = commands.read(command.pop("content_bytes"))
        kind = command.pop("kind")
        _limit_cpu(IMPORT_S)  # the last file's limit would end the import instead
        if kind in CHECKS:
            library, check = CHECKS[kind]
            importlib.import_module(library)
        else:
            check = importlib.import_module(kind).check
        _limit_cpu(command.pop("cpu_s"))
        try:
            answer = json.dumps({"found": check(content, **command)})
            if len(answer) > MAX_ANSWER_BYTES:
                raise Refused(f"more than {MAX_ANSWER_BYTES} bytes when read")
        except Exception as error:  # whatever a library makes of it, the parent must hear
            words = str(error).strip().partition("\n")[0][:1000]
            kind = "" if isinstance(error, Refused) else f"{type(error).__name__}: "
            answer = json.dumps({"error": kind + words})
        replies.write(answer + "\n")
        replies.flush()


def _limit_cpu(seconds: int) -> None:
    """From now on; the system ends the process that needs more (SIGXCPU)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]  # raised by root alone
    soft = int(usage.ru_utime + usage.ru_stime) + 1 + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (_lower(soft, hard), hard))


def _limit(kind: int, amount: int) -> None:
    """At most `amount`, and no more than the limit that is there. macOS refuses one on memory."""
    lowest = _lower(amount, resource.getrlimit(kind)[1])
    try:
        resource.setrlimit(kind, (lowest, lowest))
    except (OSError, ValueError):
        if platform.system() == "Linux":
            raise


def _lower(amount: int, hard: int) -> int:
    return amount if hard == resource.RLIM_INFINITY else min(amount, hard)


def _main() -> None:
    # Libraries print to descriptor 1, so replies go to a copy of it and their words to standard
    # error.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _limit(resource.RLIMIT_AS, MAX_MEMORY_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    serve(sys.stdin.buffer, replies)


if __name__ == "__main__":
    _main()
