"""What `pnas --help` and `pnas NAME --help` print."""

from __future__ import annotations

from collections.abc import Sequence

from pnas_tf.options import options_of
from pnas_tf.steps.programs import PROGRAMS, Program


def overview() -> str:
    """Every program with its purpose."""
    width = max(len(program.command) for program in PROGRAMS)
    lines = [f"  pnas {program.command:<{width}}  {program.purpose}" for program in PROGRAMS]
    return "\n".join(
        [
            "Networks learned directly on your data and for your device (ProxylessNAS).",
            "",
            *lines,
            "",
            "`pnas NAME --help` explains each. All work on one run folder, --run_dir.",
        ]
    )


def is_asked(arguments: Sequence[str]) -> bool:
    """Whether these arguments ask for help, in any of absl's ways."""
    words = ("help", "helpfull", "helpshort", "h", "?")
    if list(arguments) == ["help"]:
        return True
    return any(text.startswith("-") and text.lstrip("-") in words for text in arguments)


def help_of(program: Program) -> str:
    """The program's own words, then every option with its default."""
    lines = [(program.doc or "").strip(), ""]
    for kind in program.configs:
        lines += [f"{(kind.__doc__ or '').strip()}", ""]
        for option, value_type in options_of(kind):
            choices = option.metadata["choices"]
            values = f"{{{', '.join(choices)}}}" if choices else f"({value_type.__name__})"
            lines += [
                f"  --{option.name}={option.default} {values}",
                f"      {option.metadata['help']}",
            ]
        lines.append("")
    lines += [
        "An option whose default is None is taken back to it by an empty value: --name=",
        "--flagfile=FILE reads flags from a file, one a line.",
    ]
    return "\n".join(lines)
