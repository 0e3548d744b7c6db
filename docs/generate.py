"""Writes what the docs take from the code: docs/options.md, and the table of steps in
docs/running.md.

  python docs/generate.py

`tests/cli/test_docs.py` fails where they say something else than the code.
"""

from __future__ import annotations

import dataclasses
import tempfile
import textwrap
from pathlib import Path

import pnas_tf.config as options
from pnas_tf.options import bounds_of, options_of
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.run.step import Step
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.programs import PROGRAMS, STEPS

DOCS = Path(__file__).parent
KINDS = [kind for kind in vars(options).values() if dataclasses.is_dataclass(kind)]
BEGIN, END = "<!-- steps: python docs/generate.py -->", "<!-- end of steps -->"
HEAD = """# Options

*A reference.*

Made by `python docs/generate.py` from `pnas_tf/config.py`. The original project's options beside
these, and what the presets stand for: [original_options.md](original_options.md).

A flag is an option's name: `--search_epochs=40`, `--nonesterov`. A value comes from the command
line, where a `--preset` stands for all of its values, else from the run folder's config.json, else
from the preset that the folder was begun with, else from the default. An empty
one (`--max_ram_kb=`) takes an option back whose default is unset or empty. In a run folder

- a **fixed** option keeps its value once something that depends on it is made: another one is then
  refused, or asked for with `--restart`;
- one that **remakes** may change, and the steps that take it run again;
- a **free** one may change, and nothing that was made depends on it; where
  all steps that look at it are complete, the call says that it changed nothing.
"""


def options_page() -> str:
    """docs/options.md: a table for each class of options."""
    parts = [HEAD]
    for kind in KINDS:
        programs = [f"`{program.command}`" for program in PROGRAMS if kind in program.configs]
        parts.append(f"## {kind.__name__}\n\n{textwrap.fill(_words(kind.__doc__), 100)}")
        parts.append(textwrap.fill(f"Taken by {', '.join(programs)}.", 100))
        rows = [
            "| option | default | published | values | in a run | |",
            "|---|---|---|---|---|---|",
        ]
        for option, value_type in options_of(kind):
            published = options.PRESETS["published"].get(kind, {}).get(option.name)
            cells = (
                f"`--{option.name}`",
                _text(option.default),
                "" if published is None else _text(published),
                _values(option, value_type),
                _binding(option),
                option.metadata["help"],
            )
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        parts.append("\n".join(rows))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def steps_table() -> str:
    """The steps in their order, with what each takes, reads and writes by default."""
    rows = ["| step | `pnas` | options | reads | writes |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for step in STEPS:
            job = Inputs(RunFolder(folder), Configs(kind() for kind in KINDS).only(step.configs))
            reads = [f"`{path.relative_to(folder)}`" for path in step.reads(job)]
            writes = [f"`{artifact}`" for artifact in step.writes(job)]
            for artifact in step.writes(job):
                (folder / artifact).parent.mkdir(exist_ok=True)
                (folder / artifact).touch()
            taken = [kind.__name__.removesuffix("Config") for kind in step.configs]
            cells = (step.name, _program(step), *map(", ".join, (taken, reads, writes)))
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def running_page(page: str) -> str:
    """docs/running.md with the table of today."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{steps_table()}\n{END}{rest.partition(END)[2]}"


def _words(text: str | None) -> str:
    return " ".join((text or "").split())


def _program(step: Step[Inputs]) -> str:
    return next((p.command for p in PROGRAMS[1:] if step in p.steps), "run")


def _binding(option: dataclasses.Field) -> str:
    if option.metadata["fixed"]:
        return "fixed"
    return "remakes" if option.metadata["remakes"] else "free"


def _values(option: dataclasses.Field, value_type: type) -> str:
    if option.metadata["choices"]:
        return ", ".join(option.metadata["choices"])
    names = {bool: "true, false", tuple: "words", str: "text", int: "integer", float: "number"}
    if value_type not in (int, float):
        return names[value_type]
    return f"{names[value_type]}, {bounds_of(option.metadata)}"


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case None:
            return "unset"
        case "" | ():
            return "empty"
        case tuple():
            return ",".join(map(str, value))
        case float():
            return f"{value:g}"
    return str(value)


def main() -> None:
    """Writes both pages."""
    (DOCS / "options.md").write_text(options_page(), encoding="utf-8")
    page = DOCS / "running.md"
    page.write_text(running_page(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
