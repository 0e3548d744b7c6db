"""`pnas NAME`, and tools/NAME.py of a checkout.

The standard library's `inspect` is not asked for before `run_tool` has mended the module path:
`python tools/NAME.py` puts tools/ first on it, where our inspect.py would be found in its place.
"""

from __future__ import annotations

import os
import sys

EXIT_REFUSED = 2
_PYTHON = (3, 10)
# Steps that no program is named after, though users read their names.
_STEPS = {
    "derive": "`pnas search` in the same folder derives anew; for another device or budget beside "
    "it: `pnas specialise`",
}


def main() -> None:
    """The console script `pnas`: `pnas NAME --flag=value ...`; exits with the program's status."""
    _refuse_machine()
    from pnas_tf.cli.help import overview
    from pnas_tf.steps.programs import PROGRAMS

    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name == "help" and len(sys.argv) > 2:  # `pnas help search` is `pnas search --help`
        name, sys.argv[1:] = sys.argv[2], [sys.argv[2], "--help"]
    if name in ("-h", "-help", "--help", "help"):
        print(overview())
        sys.exit(0)
    if name == "--version":
        import pnas_tf

        print(f"pnas_tf {pnas_tf.__version__}")
        sys.exit(0)
    if name not in [program.command for program in PROGRAMS]:
        sys.exit(_refused(name))
    sys.argv = [f"pnas {name}", *sys.argv[2:]]
    run(name)


def run_tool(file: str) -> None:
    """Runs the program that a file of tools/ is named after."""
    _refuse_machine()
    folder, name = os.path.split(os.path.abspath(file))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != folder]
    run(name.removesuffix(".py"))


def _refuse_machine() -> None:
    """Before anything that Windows has not, such as `fcntl`, or an old Python cannot read, is
    imported."""
    if sys.version_info < _PYTHON:
        wanted = ".".join(map(str, _PYTHON))
        print(
            f"pnas: Python is too old: expected: {wanted} to 3.13; received: "
            f"{sys.version.split()[0]} ({sys.executable}); what to do: make an environment of a "
            f"newer one, python{wanted} -m venv .venv, and install pnas_tf there",
            file=sys.stderr,
        )
        sys.exit(EXIT_REFUSED)
    if os.name == "nt":
        from pnas_tf.errors import WINDOWS

        print(f"pnas: {WINDOWS}", file=sys.stderr)
        sys.exit(EXIT_REFUSED)


def run(name: str) -> None:
    """Runs a program by the arguments in sys.argv, and exits. name: its command, or its tool's."""
    from pnas_tf.cli.program import run_program
    from pnas_tf.steps.programs import program_of

    run_program(program_of(name))


def _refused(name: str) -> int:
    """Says that there is no such program, and which one was meant. Returns the exit status."""
    from pnas_tf.errors import closest
    from pnas_tf.steps.programs import PROGRAMS, program_of

    close = closest(name, (name for each in PROGRAMS for name in (each.command, each.tool)))
    command = program_of(close).command if close else None
    hint = f"Did you mean `pnas {command}`?" if command else "`pnas --help` lists them."
    if name in _STEPS:
        hint = _STEPS[name]
    if name.startswith("-"):
        hint = f"Name the program first: `pnas run {' '.join(sys.argv[1:])}`"
    commands = ", ".join(program.command for program in PROGRAMS)
    print(
        f"pnas: unknown program: expected: one of {commands}; received: {name!r}; what to do: "
        f"{hint}",
        file=sys.stderr,
    )
    return EXIT_REFUSED
