"""Is nothing lost? Kills push_button with SIGKILL at random moments of every stage, and compares
its end with an undisturbed run's.

  python -m benchmarks.kill_push_button --kills=20

takes about 12 minutes on 2 cores (digits, a space of two blocks). Every life begins with nothing at
all (no dataset, no converted models, no table) and is killed once in each stage, at a random moment
of it, then runs to its end. A latency table is a measurement, so the undisturbed run is given the
finished tables of the life that it is compared with and makes everything else itself. Equal must
be: history and weights of the search, architecture, history, weights and result of the training,
exported files, parity, settings, and all figures of summary.json that are no times; the tables must
hold every block with all its invocations. After every kill each file is read as what it claims to
be, and no process may be left; at the end no file that an undisturbed run does not leave. Exit
status 1 when anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.layout import CHECKPOINTS, Artifact, model_file
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.space.registry import save_space
from pnas_tf.tflite.model import TfliteModel

SPACE = MBConvSpace(
    "small",
    8,
    10,
    stem_width=8,
    first_width=8,
    stages=(Stage(8, 1, 1), Stage(16, 1, 2)),
    head_width=16,
    candidates=(MBConv(3, 1), MBConv(3, 6)),
    stem_stride=1,
)
FLAGS = (
    "--verbose",
    "--dataset=digits",
    "--warmup_epochs=2",
    "--search_epochs=4",
    "--search_batch_size=32",
    "--arch_start_epoch=0",
    "--epochs=6",
    "--checkpoint_steps=10",
    "--calibration_networks=3",
    "--representative_images=20",
    "--max_accuracy_drop=1",
    "--min_invocations=24",
    "--convert_workers=2",
)
# Stage -> the line of output that it begins with, in which table step (-1: the int8 one), and how
# many seconds later, at most, the kill comes.
STAGES = {
    "start": ("", 1, 4.0),
    "dataset": ("preparing dataset", 1, 1.5),
    "conversion": ("converting ", 1, 16.0),
    "measuring": ("host: round ", 1, 3.0),
    "search": ("search: begins", 1, 3.0),
    "warm-up phase": ("warmup 1/6", 1, 1.0),
    "joint phase": ("joint 3/6", 1, 2.5),
    "derive": ("joint 6/6", 1, 0.6),
    "train": ("train: begins", 1, 2.0),
    "epochs": ("train 2/6", 1, 1.0),
    "int8 conversion": ("converting ", -1, 12.0),
    "int8 measuring": ("host: round ", -1, 2.0),
    "export": ("export: begins", 1, 2.5),
    "benchmark": ("benchmark: begins", 1, 2.0),
    "summary and report": ("wrote {run}/" + Artifact.BENCHMARK, 1, 0.8),
}
TABLES = (Artifact.LATENCY_TABLE, Artifact.LATENCY_TABLE_INT8)
TIMES = {"search_s", "train_s", "latency_ms"}
EQUAL = (
    Artifact.SEARCH_HISTORY,
    Artifact.ARCHITECTURE,
    Artifact.TRAINING_HISTORY,
    Artifact.TRAINING_RESULT,
    Artifact.TRAINING_ANSWERS,
    Artifact.PARITY,
    Artifact.CONFIG,
)


@dataclass
class Life:
    """One run from nothing to its end, with everything that it leaves anywhere under `root`."""

    root: Path
    kills: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def run(self) -> Path:
        return self.root / "run"

    def start(self, log: Path) -> subprocess.Popen:
        """push_button with dataset, models and temporary files under `root`."""
        (self.root / "tmp").mkdir(parents=True, exist_ok=True)
        save_space(SPACE, self.root.parent / "space.json")  # a table belongs to its flags
        command = [
            sys.executable,
            "-m",
            "tools.push_button",
            f"--run_dir={self.run}",
            f"--space={self.root.parent / 'space.json'}",
            f"--data_dir={self.root / 'data'}",
            f"--model_cache={self.root / 'models'}",
            *FLAGS,
        ]
        with open(log, "w") as stream:
            return subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "TMPDIR": str(self.root / "tmp"), "KILLED_LIFE": str(self.root)},
            )

    def to_the_end(self) -> None:
        """Runs it to its end. Raises RuntimeError with what it printed when it fails."""
        log = self.root / "log"
        status = self.start(log).wait()
        printed = log.read_text()
        log.unlink()
        if status:
            raise RuntimeError(f"push_button ended with status {status}:\n{printed[-3000:]}")

    def killed_in(self, stage: str, generator: random.Random) -> bool:
        """Kills it at a random moment of `stage`; returns whether it got there (a stage that is
        complete is skipped)."""
        line, table, most_s = STAGES[stage]
        log = self.root / "log"
        process = self.start(log)
        while process.poll() is None and not _begun(
            log.read_text(), line.format(run=self.run), table
        ):
            time.sleep(0.01)
        waited_s = generator.uniform(0.0, most_s)
        time.sleep(waited_s)
        reached = process.poll() is None
        process.send_signal(signal.SIGKILL)
        status = process.wait()
        last = [
            text
            for text in log.read_text().splitlines()
            if not text.startswith(("I0", "E0", "W0", "WARNING"))
        ]
        self.kills.append(
            {
                "stage": stage,
                "after_s": round(waited_s, 2),
                "reached": reached,
                "last_line": last[-1] if last else "",
            }
        )
        if not reached and status:
            self.problems.append(
                f"in {stage} push_button ended with status {status}: {log.read_text()[-1500:]}"
            )
        self.problems += [
            f"after a kill in {stage}: {problem}"
            for problem in (*half_files(self.root), *left_processes(self.root))
        ]
        log.unlink()
        return reached


def _begun(printed: str, line: str, table: int) -> bool:
    parts = re.split("latency_table(?:_int8)?: begins", printed)
    return (
        line in (printed if table != -1 else parts[2] if len(parts) > 2 else "\n") if line else True
    )


def half_files(root: Path) -> Iterator[str]:
    """Files under the names of whole ones that cannot be read as what they claim to be."""
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if parts[0] == "tmp" or any(part.startswith(".") for part in parts) or not path.is_file():
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".tflite":
                TfliteModel.read(path)
            elif path.suffix in (".keras", ".npz") and zipfile.ZipFile(path).testzip() is not None:
                yield f"{path} is damaged"
        except (ValueError, zipfile.BadZipFile) as error:
            yield f"{path} is half a file: {error}"


def left_processes(root: Path) -> list[str]:
    """Processes of the killed run that are there 15 s later (a converter may first finish a call
    into C++)."""
    mark = f"KILLED_LIFE={root}".encode()
    end = time.monotonic() + 15
    while True:
        left = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    left.append(
                        f"process {folder.name} is left: "
                        + (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120]
                    )
            except OSError:  # ended, or not ours
                continue
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def undisturbed(life: Life, root: Path) -> Life:
    """A run that is never killed, given the tables of `life`."""
    twin = Life(root)
    twin.run.mkdir(parents=True)
    steps = json.loads((life.run / Artifact.STEPS).read_text())
    steps["steps"] = {
        name: entry for name, entry in steps["steps"].items() if name.startswith("latency_table")
    }
    (twin.run / Artifact.STEPS).write_text(json.dumps(steps))
    for name in TABLES:
        shutil.copy(life.run / name, twin.run / name)
    twin.to_the_end()
    return twin


def differences(life: Life, twin: Life) -> list[str]:
    """What the killed run left otherwise than the undisturbed one."""
    found = [
        f"{name} differs"
        for name in EQUAL
        if _without(life, (life.run / name).read_text())
        != _without(twin, (twin.run / name).read_text())
    ]
    found += [
        f"{name} is another table"
        for name in TABLES
        if (life.run / name).read_bytes() != (twin.run / name).read_bytes()
    ]
    for kind in ("search", "train"):
        ours, theirs = (Checkpoints(one.run / kind / CHECKPOINTS).latest() for one in (life, twin))
        if (
            ours is None
            or theirs is None
            or set(ours.arrays) != set(theirs.arrays)
            or any(
                ours.arrays[name].tobytes() != theirs.arrays[name].tobytes() for name in ours.arrays
            )
        ):
            found.append(f"weights of {kind} differ")
    for name in (model_file("float32"), model_file("int8")):
        if (life.run / name).read_bytes() != (twin.run / name).read_bytes():
            found.append(f"{name} differs")
    ours, theirs = (json.loads((one.run / Artifact.SUMMARY).read_text()) for one in (life, twin))
    found += [
        f"{Artifact.SUMMARY}: {key} is {ours.get(key)!r}, not {theirs.get(key)!r}"
        for key in {*ours, *theirs} - TIMES
        if ours.get(key) != theirs.get(key)
    ]
    return (
        found
        + [f"{name} is left behind" for name in sorted(_names(life) - _names(twin))]
        + list(_incomplete_tables(life))
    )


def _without(life: Life, text: str) -> str:
    """Settings name the folders that a run was called with."""
    return text.replace(str(life.root), "")


def _names(life: Life) -> set[str]:
    """All files, but for one events file that each start adds, and the tables' block models, which
    a twin does not convert."""
    names = {str(path.relative_to(life.root)) for path in life.root.rglob("*") if path.is_file()}
    return {
        name
        for name in names
        if "/events/" not in name and not (name.startswith("models/") and name.endswith(".tflite"))
    }


def _incomplete_tables(life: Life) -> Iterator[str]:
    architecture = Architecture.load(life.run / Artifact.ARCHITECTURE)
    for name in TABLES:
        table = LatencyTable.load(life.run / name)
        if (
            set(table.entries) != set(architecture.space.distinct_blocks())
            or table.failures
            or table.calibration is None
        ):
            yield f"{name} lacks blocks or its calibration"
        yield from (
            f"{name}: {key} has {entry.invocations} invocations in {len(entry.runs)} runs"
            for key, entry in table.entries.items()
            if entry.invocations < 24 or len(entry.runs) < 8
        )
    measured = json.loads((life.run / Artifact.BENCHMARK).read_text())
    if set(measured["measurements"]) != {"model_float32", "model_int8"}:
        yield f"{Artifact.BENCHMARK} lacks a model"


def kill_and_compare(kills: int, *, seed: int, root: Path) -> list[Life]:
    """Lives with `kills` kills in all, each compared with its undisturbed twin; what differs is in
    `problems`."""
    generator = random.Random(seed)
    lives: list[Life] = []
    while (done := sum(len(life.kills) for life in lives)) < kills:
        life = Life(root / f"life_{len(lives)}")
        lives.append(life)
        stages = list(STAGES)
        # The last life is killed in a random choice of stages, in their order.
        for stage in sorted(
            generator.sample(stages, min(len(stages), kills - done)), key=stages.index
        ):
            life.killed_in(stage, generator)
            print(f"life {len(lives) - 1}: {life.kills[-1]}", file=sys.stderr, flush=True)
        life.to_the_end()
        life.problems += differences(life, undisturbed(life, root / f"twin_{len(lives) - 1}"))
        print(f"life {len(lives) - 1}: {life.problems or 'equal'}", file=sys.stderr, flush=True)
    return lives


def main() -> int:
    """Kills, compares, prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--seed", type=int, default=None, help="of the moments; default: another one each time"
    )
    parser.add_argument(
        "--output", default="runs/kill_push_button", help="folder of the runs; it must be absent"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    root = Path(options.output).absolute()
    root.mkdir(parents=True)
    lives = kill_and_compare(options.kills, seed=seed, root=root)
    kills, problems = (
        [kill for life in lives for kill in life.kills],
        [problem for life in lives for problem in life.problems],
    )
    if options.json:
        print(json.dumps({"seed": seed, "kills": kills, "problems": problems}, indent=1))
    else:
        counts = {
            stage: sum(kill["reached"] for kill in kills if kill["stage"] == stage)
            for stage in STAGES
        }
        print(
            f"seed {seed}: {sum(counts.values())} kills "
            f"({', '.join(f'{stage} {count}' for stage, count in counts.items())}), "
            f"{len(lives)} runs compared with their undisturbed twins: "
            f"{'all equal' if not problems else ''}"
        )
        print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
