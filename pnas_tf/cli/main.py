"""The programs: `pnas NAME`, and tools/NAME.py of a checkout. Knows their names and nothing else.

Until a program is chosen nothing of it is imported, so that `pnas --help` answers at once. The
standard library's `inspect` is not asked for either: `python tools/NAME.py` puts tools/ first on
the module path, where our inspect.py would be found in its place.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys

EXIT_REFUSED = 2
# Command, module of pnas_tf.steps, what it is for.
PROGRAMS = (
    ("run", "push_button", "the whole way: dataset and latency in, a measured .tflite out"),
    ("latency-table", "build_latency_table", "measures the blocks of a space on a device"),
    ("search", "search", "learns an architecture, and derives it"),
    ("train", "train", "trains the derived network"),
    ("export", "export", "writes .tflite files, proven equal to the network"),
    ("benchmark", "benchmark", "measures .tflite files on a device"),
    ("validate", "validate", "compares predicted with measured latency on random networks"),
    ("inspect", "inspect", "shows what stands in a .tflite file"),
    ("publish", "publish", "copies a finished run's models, with their manifest"),
)


def main() -> None:
    """The console script `pnas`: `pnas NAME --flag=value ...`; exits with the program's status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    steps = {command: step for command, step, _ in PROGRAMS}
    if name in ("-h", "-help", "--help", "help"):
        print(overview())
        sys.exit(0)
    if name == "--version":
        import pnas_tf

        print(f"pnas_tf {pnas_tf.__version__}")
        sys.exit(0)
    if name not in steps:
        close = difflib.get_close_matches(name, [*steps, *steps.values()], n=1)
        command = next((c for c, s in steps.items() if close and close[0] in (c, s)), None)
        hint = f"Did you mean `pnas {command}`?" if command else "`pnas --help` lists them."
        print(
            f"pnas: unknown program: expected: one of {', '.join(steps)}; received: {name!r}; "
            f"what to do: {hint}",
            file=sys.stderr,
        )
        sys.exit(EXIT_REFUSED)
    sys.argv = [f"pnas {name}", *sys.argv[2:]]
    run_step(steps[name])


def run_tool(file: str) -> None:
    """Runs the step that a file of tools/ is named after."""
    folder, name = os.path.split(os.path.abspath(file))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != folder]
    run_step(name.removesuffix(".py"))


def run_step(name: str) -> None:
    """Runs a step of pnas_tf.steps as a program, by the arguments in sys.argv, and exits."""
    step = importlib.import_module(f"pnas_tf.steps.{name}")
    if not hasattr(step, "CONFIGS"):  # takes a file, and no flags of ours
        sys.exit(step.main())
    from pnas_tf.cli.flags import program

    program(step.main, *step.CONFIGS, doc=step.__doc__, borrowed=getattr(step, "BORROWED", ()))


def overview() -> str:
    """What `pnas --help` prints."""
    width = max(len(command) for command, _, _ in PROGRAMS)
    lines = [f"  pnas {command:<{width}}  {purpose}" for command, _, purpose in PROGRAMS]
    return "\n".join(
        [
            "Networks learned directly on your data and for your device (ProxylessNAS).",
            "",
            *lines,
            "",
            "`pnas NAME --help` explains each. All work on one run folder, --run_dir.",
        ]
    )
