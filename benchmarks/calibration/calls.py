"""The commands of the comparison, each in a run folder of its own, and how long each took.

A finished call is not made again; a killed one goes on where its program does, and is marked: its
time is no figure. Knows no results.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact

HERE, TWO_THREADS, PLAIN, PLAIN_TWO = "here", "two_threads", "plain", "plain_two_threads"
# Device settings -> flags. Split kernels pay under XNNPACK, and only there, so no trials are made.
SETTINGS = {
    HERE: ("--threads=1", "--delegate=xnnpack", "--latency_rewrites=split_depthwise"),
    TWO_THREADS: ("--threads=2", "--delegate=xnnpack", "--latency_rewrites=split_depthwise"),
    PLAIN: ("--threads=1", "--delegate=none", "--latency_rewrites=none"),
    PLAIN_TWO: ("--threads=2", "--delegate=none", "--latency_rewrites=none"),
}
PRIORS = {"prior_of_four": tuple(SETTINGS), "prior_of_three": tuple(SETTINGS)[1:]}
FEW, MORE, BY_PRIOR = 3, 10, 5


@dataclass(frozen=True)
class Call:
    """A command of pnas.

    Attributes:
        name: of its run folder.
        words: the command with its flags but for folders.
        runtime: folder that holds another LiteRT; "" for the installed one.
        cache: of converted models.
    """

    name: str
    words: tuple[str, ...]
    runtime: str = ""
    cache: str = "models"


@dataclass(frozen=True)
class Comparison:
    """What is compared: one number format of a space.

    Attributes:
        folder: of everything.
        dtype: of the models.
        space: flags of the space.
        networks: held out, to judge by.
        runtimes: "litert_VERSION" -> folder of an older LiteRT.
    """

    folder: Path
    dtype: str
    space: tuple[str, ...]
    networks: int
    runtimes: dict[str, str]

    def path(self, name: str) -> Path:
        """Of a call's run folder."""
        return self.folder / self.dtype / name

    def table(self, name: str) -> Path:
        """That a call has written."""
        return self.path(name) / Artifact.LATENCY_TABLE

    def prior(self, name: str) -> Path:
        """That a call has learnt."""
        return self.folder / f"{self.dtype}_{name}.json"

    def took(self, name: str) -> dict[str, float | bool] | None:
        """seconds of a finished call, by the clock and of the processor, and whether it was made
        in one go."""
        path = self._marker(name)
        found = json.loads(path.read_text()) if path.exists() else {}
        return found if "seconds" in found else None

    def calls(self) -> Iterator[Call]:
        """All, in the order in which they are made."""
        yield self._table(HERE, cache=f"models_{self.dtype}_table")
        yield self._calibrate("few", HERE, MORE, cache=f"models_{self.dtype}_few")
        yield self._validate(HERE)
        for name in self.runtimes:
            yield self._table(name)
            yield from self._updates(name, HERE)
        yield self._table(PLAIN)
        yield self._validate(PLAIN)
        yield self._calibrate("few_plain", PLAIN, MORE)
        yield from self._updates(HERE, PLAIN)
        yield from (self._table(name) for name in (TWO_THREADS, PLAIN_TWO))
        for name, devices in PRIORS.items():
            prior = str(self.prior(name))
            tables = tuple(str(self.table(device)) for device in devices)
            yield Call(f"learn_{name}", ("learn-prior", *tables, f"--out={prior}"))
            yield self._calibrate(f"few_{name}", HERE, BY_PRIOR, f"--prior={prior}")

    def make(self, call: Call) -> None:
        """Makes a call and keeps how long it took. Raises SystemExit where it fails."""
        marker = self._marker(call.name)
        whole = not marker.exists()
        marker.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(marker, {"begun": time.time()})
        paths = [str(Path.cwd()), call.runtime, os.environ.get("PYTHONPATH", "")]
        began, own = time.monotonic(), _children_s()
        done = subprocess.run(
            [sys.executable, "-m", "pnas_tf", *call.words, *self._folders(call)],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "TF_CPP_MIN_LOG_LEVEL": "3",
            },
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"pnas {' '.join(call.words)} ended with {done.returncode}")
        took = {"seconds": time.monotonic() - began, "processor_s": _children_s() - own}
        atomic.write_json(marker, {**took, "whole": whole})
        self._share(call.cache)

    def _marker(self, name: str) -> Path:
        return self.folder / self.dtype / f"{name}_took.json"

    def _folders(self, call: Call) -> tuple[str, ...]:
        if call.words[0] == "learn-prior":
            return ()
        name = call.name.removeprefix("validate_")
        return (
            f"--run_dir={self.path(name)}",
            f"--model_cache={self.folder / call.cache}",
            *self.space,
        )

    def _share(self, cache: str) -> None:
        """What one call has converted with nothing there before is there for the others."""
        if cache != Call.cache:
            shared = self.folder / Call.cache
            shared.mkdir(exist_ok=True)
            for path in (self.folder / cache).glob("*.tflite"):
                shutil.copy2(path, shared / path.name)

    def _table(self, name: str, *, cache: str = Call.cache) -> Call:
        flags = SETTINGS[name if name in SETTINGS else HERE]
        words = ("latency-table", f"--latency_dtype={self.dtype}", *flags)
        return Call(name, words, self.runtimes.get(name, ""), cache)

    def _calibrate(
        self, name: str, device: str, count: int, *more: str, cache: str = Call.cache
    ) -> Call:
        flags = (f"--latency_dtype={self.dtype}", f"--measurements={count}", *SETTINGS[device])
        return Call(name, ("calibrate", *flags, *more), cache=cache)

    def _updates(self, old: str, device: str) -> Iterator[Call]:
        for count in (FEW, MORE):
            flag = f"--old_table={self.table(old)}"
            yield self._calibrate(f"{device}_from_{old}_{count}", device, count, flag)

    def _validate(self, name: str) -> Call:
        device = [flag for flag in SETTINGS[name] if not flag.startswith("--latency_rewrites")]
        return Call(f"validate_{name}", ("validate", f"--networks={self.networks}", *device))


def _children_s() -> float:
    """Processor time of processes that have ended, which others' load moves little."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
