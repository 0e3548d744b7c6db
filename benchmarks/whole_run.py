"""Where the time of a whole run goes: `pnas run` on the digits, with shorter training, under a
sampling profiler.

  python -m benchmarks.whole_run --json=whole_run.json --flame=flame.svg

takes about 3 minutes on 2 cores. The flame shows the main process; conversion and measuring run in
children, which show as the waits for them. Table building and export are steps of the run, so their
seconds are here too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.timing import main
from pnas_tf.run.records import read_steps

SHORT = ("--warmup_epochs=4", "--search_epochs=6", "--epochs=6")
SMALLEST_SHARE = 0.01
LETTERS = 230  # of the labels' size, in a box as wide as the picture


def run(flame: Path | None = None) -> dict[str, Any]:
    """Seconds of every step of the run; draws the flame where one is asked for."""
    from pyinstrument.session import Session

    with tempfile.TemporaryDirectory() as name:
        recording = Path(name) / "run.pyisession"
        command = [
            sys.executable,
            "-m",
            "pyinstrument",
            "--renderer=session",
            f"--outfile={recording}",
            "--interval=0.005",
            "-m",
            "pnas_tf",
            "run",
            "--dataset=digits",
            f"--run_dir={name}/run",
            f"--model_cache={name}/models",
            *SHORT,
        ]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        if done.returncode:
            raise SystemExit(f"pnas run ended with {done.returncode}:\n{done.stderr[-2000:]}")
        session = Session.load(recording)
        finished = read_steps(Path(name) / "run")
    steps = {step: record.duration_s or 0.0 for step, record in finished.items()}
    if flame is not None:
        draw(session, flame)
    return {"options": list(SHORT), "whole_s": session.duration, "steps_s": steps}


def draw(session: Any, path: Path) -> None:
    """The icicle of the calls that took at least SMALLEST_SHARE of the run, as a picture."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(13, 7))
    root = _below_the_stem(session.root_frame(trim_stem=True))
    total, deepest = root.time, 0
    colours = pyplot.get_cmap("tab20")

    def place(frame: Any, left: float, depth: int) -> None:
        nonlocal deepest
        ours = frame.file_path and ("pnas_tf" in frame.file_path or "tools" in frame.file_path)
        if ours or depth == 0:
            deepest = max(deepest, depth)
            module = Path(frame.file_path or "").stem
            axes.barh(
                -depth,
                frame.time,
                left=left,
                height=0.95,
                color=colours(hash_of(module) % 20),
                edgecolor="white",
                linewidth=0.5,
            )
            label = label_of(
                module, frame.function, frame.time, letters=int(LETTERS * frame.time / total)
            )
            axes.text(
                left + frame.time / 2,
                -depth,
                label,
                ha="center",
                va="center",
                fontsize=6,
                clip_on=True,
            )
        for inner in sorted(frame.children, key=lambda inner: -inner.time):
            if inner.time / total >= SMALLEST_SHARE:
                place(inner, left, depth + bool(ours or depth == 0))
                left += inner.time

    place(root, 0.0, 0)
    axes.set(
        xlim=(0, total),
        ylim=(-deepest - 0.6, 0.6),
        yticks=[],
        xlabel="seconds",
        title="pnas run on the digits",
    )
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def label_of(module: str, function: str, seconds: float, *, letters: int) -> str:
    """As much as a box says that has room for so many letters in a line; nothing where that is too
    little."""
    time = f"{seconds:.1f} s"
    texts = (
        f"{module}.{function}\n{time}",
        f"{function}\n{time}",
        f"{module}.\n{function}\n{time}",
        time,
        "",
    )
    return next(text for text in texts if max(map(len, text.split("\n"))) <= letters)


def _below_the_stem(frame: Any) -> Any:
    """The first frame whose time is not all that of one call."""
    while frame.children and max(inner.time for inner in frame.children) > 0.97 * frame.time:
        frame = max(frame.children, key=lambda inner: inner.time)
    return frame


def hash_of(name: str) -> int:
    """A number that a module keeps from run to run."""
    return sum(ord(letter) * (place + 1) for place, letter in enumerate(name))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--flame", type=Path)
    known, sys.argv[1:] = parser.parse_known_args()
    sys.exit(main(lambda: run(known.flame), __doc__))
