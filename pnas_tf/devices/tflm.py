"""TensorFlow Lite for Microcontrollers on this computer: what a model needs of memory there, and
what it answers.

Its interpreter runs in the child process of `io.isolated`, in an arena of a given size, beside
LiteRT. Its time on this computer says nothing of a microcontroller's, so it is never measured.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pnas_tf.devices.failures import DeviceRefused
from pnas_tf.errors import UserError
from pnas_tf.io import atomic, isolated
from pnas_tf.io.serialization import record_of

NAME, RUNTIME = "tflm", "tflite-micro"
_FIX = "Raise the arena, or export a model of the ops that it has (docs/howto/board.md)."
_ROOM = 10  # arena of a model of which nothing is known, in file sizes: the runtime's own default


class NoLatency(DeviceRefused):
    """A latency is asked of it."""

    expected_text = "a device that models are timed on: host, android or ssh"
    fix_text = "Measure latency on another --device; this one tells memory: pnas benchmark"


@dataclass(frozen=True)
class MemoryUse:
    """What a model used.

    Attributes:
        arena_bytes: of the arena that it ran in.
        used_bytes: that it used of it: its peak RAM. The least arena in which it runs.
        working_bytes, persistent_bytes: the two parts of that.
        max_difference: largest difference between its outputs and LiteRT's, of one random image.
    """

    arena_bytes: int
    used_bytes: int
    working_bytes: int
    persistent_bytes: int
    max_difference: float


def runtime_version() -> str:
    """Of the installed runtime. Raises UserError where there is none."""
    if importlib.util.find_spec("tflite_micro") is None:
        raise UserError(
            "--device=tflm",
            expected="the interpreter of TensorFlow Lite for Microcontrollers",
            received="no package tflite_micro",
            fix="Install it: pip install 'pnas_tf[tflm]'",
        )
    return f"{RUNTIME} {metadata.version('tflite_micro')}"


def run_model(path: str | os.PathLike, *, arena_bytes: int | None = None) -> MemoryUse:
    """Runs a .tflite file once.

    Args:
        path: of the file, which may be anybody's.
        arena_bytes: of its arena; None: more than enough.

    Raises:
        UserError: the runtime is not installed, the file is no model, it holds an op that the
            runtime lacks, or the arena is too small.
    """
    runtime_version()
    content = atomic.read_bytes(Path(path), what="model", made_by="pnas export", limit=2**31 - 1)
    size = arena_bytes or _ROOM * len(content)
    found = isolated.inspect(
        "pnas_tf.devices.tflm",
        content,
        where=str(path),
        expected=f"a model that runs in an arena of {size} bytes of this runtime",
        fix=_FIX,
        arena_bytes=size,
        run=True,
    )
    return record_of(MemoryUse, found, where="the child's answer", fix="Report this.")


def check(content: bytes, *, arena_bytes: int, run: bool) -> dict[str, object]:
    """What the child process does. Raises RuntimeError with the runtime's words where it fails."""
    del run  # it always runs
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from tflite_micro.python.tflite_micro import runtime

    resolver = OpResolverType.BUILTIN_REF
    beside = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    beside.allocate_tensors()
    given, wanted = beside.get_input_details()[0], beside.get_output_details()[0]
    generator = np.random.default_rng(0)
    if np.issubdtype(given["dtype"], np.floating):
        image = generator.uniform(-1, 1, given["shape"]).astype(given["dtype"])
    else:
        ends = np.iinfo(given["dtype"])
        image = generator.integers(ends.min, ends.max, given["shape"]).astype(given["dtype"])
    beside.set_tensor(given["index"], image)
    beside.invoke()
    with tempfile.TemporaryFile() as words:
        sys.stderr.flush()
        kept = os.dup(2)
        os.dup2(words.fileno(), 2)
        try:
            interpreter = runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)
            interpreter.set_input(image, 0)
            interpreter.invoke()
            interpreter.print_allocations()
        except Exception as error:
            words.seek(0)
            said = " ".join(words.read().decode("utf-8", "replace").split())[-300:]
            raise RuntimeError(f"{said or error}") from error
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        words.seek(0)
        text = words.read().decode("utf-8", "replace")
    used, working, persistent = (
        int(re.findall(rf"allocation {part} (\d+) bytes", text)[-1])
        for part in ("total", "head", "tail")
    )
    outputs = interpreter.get_output(0).astype(np.float64)
    difference = float(np.max(np.abs(outputs - beside.get_tensor(wanted["index"]))))
    return {
        "arena_bytes": arena_bytes,
        "used_bytes": used,
        "working_bytes": working,
        "persistent_bytes": persistent,
        "max_difference": difference,
    }
