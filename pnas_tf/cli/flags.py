"""Flags made from config dataclasses, and config objects made from flags.

A flag that is not given takes its value from the run folder's config.json, else from the preset,
else the dataclass. absl 1.4 lets stray arguments pass; that is mended here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from absl import flags

from pnas_tf.config import PRESETS
from pnas_tf.errors import UserError, named

Config = TypeVar("Config")
Values = Mapping[str, object]


@dataclass(frozen=True)
class Given:
    """Where the values of options come from, the last one first: flags, the run folder, a preset.

    Attributes:
        flags: option -> value of those on the command line.
        preset: config class -> {option: value}.
        stored: as `read_config` gives it.
        place: the file of `stored`, named in errors of its values.
    """

    flags: Values = field(default_factory=dict)
    preset: Mapping[type, Values] = field(default_factory=dict)
    stored: Mapping[str, Values] = field(default_factory=dict)
    place: str = ""

    def config(self, kind: type[Config]) -> Config:
        """The options of a class. Raises UserError on a value that no run can use."""
        options = options_of(kind)
        known = {option.name for option, _ in options}
        stored = self.stored.get(kind.__name__, {})
        merged = {**self.preset.get(kind, {}), **stored, **self.flags}
        config = kind(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in merged.items()
                if name in known
            }
        )
        for option, value_type in options:
            is_stored = option.name in stored and option.name not in self.flags
            with named(self.place) if is_stored else contextlib.nullcontext():
                _check(option, value_type, getattr(config, option.name))
        return config


def options_of(kind: type) -> list[tuple[dataclasses.Field, type]]:
    """Each field with its plain type: `int | None` gives int, `tuple[str, ...]` gives tuple."""
    hints = typing.get_type_hints(kind)
    options = []
    for option in dataclasses.fields(kind):
        hint = hints[option.name]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        options.append((option, typing.get_origin(hint) or hint))
    return options


def define_flags(kinds: Sequence[type]) -> flags.FlagValues:
    """A flag for each option, --flagfile, and --preset where one has values for these classes."""
    values = flags.FlagValues()
    define = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        tuple: flags.DEFINE_list,
        str: flags.DEFINE_string,
    }
    for kind in kinds:
        for option, value_type in options_of(kind):
            text, choices = option.metadata["help"], option.metadata["choices"]
            if choices:
                flags.DEFINE_enum(option.name, None, list(choices), text, flag_values=values)
            else:
                define[value_type](option.name, None, text, flag_values=values)
    if any(kind in section for section in PRESETS.values() for kind in kinds):
        text = "Defaults taken together; single flags override."
        flags.DEFINE_enum("preset", None, sorted(PRESETS), text, flag_values=values)
    flags.DEFINE_string("flagfile", "", "File with flags, one a line.", flag_values=values)
    return values


def parse(arguments: Sequence[str], values: flags.FlagValues) -> Given:
    """What the command line says; arguments[0] is the program. Raises UserError on what is no flag
    or no value of one."""
    try:
        rest = values(values.read_flags_from_files(list(arguments), force_gnu=True))
    except flags.UnrecognizedFlagError as error:
        close = difflib.get_close_matches(error.flagname, [str(name) for name in values], n=1)
        raise UserError(
            "unknown flag",
            expected=f"a flag that --help lists{f', e.g. --{close[0]}' if close else ''}",
            received=f"--{error.flagname}",
            fix="Correct or remove it.",
        ) from error
    except (flags.Error, OSError) as error:
        raise UserError(
            "a flag has no usable value",
            expected="what --help says",
            received=str(error),
            fix="Correct it.",
        ) from error
    if rest[1:]:
        raise UserError(
            "stray argument",
            expected="flags only, each --name=value",
            received=" ".join(rest[1:]),
            fix="Write it as --name=value, or remove it.",
        )
    given = {name: values[name].value for name in values if values[name].present}
    given.pop("flagfile", None)
    return Given(preset=PRESETS[given.pop("preset", "quick")], flags=given)


def _check(option: dataclasses.Field, value_type: type, value: object) -> None:
    """Refuses what no run can use, from a flag or from an edited config.json."""
    if value is None and option.default is None:
        return
    expected = _expected(option, value_type, value)
    if expected is not None:
        raise UserError(
            f"--{option.name}",
            expected=expected,
            received=repr(value)[:200],
            fix=f"{option.metadata['help']} Default: {option.default!r}.",
        )


def _expected(option: dataclasses.Field, value_type: type, value: object) -> str | None:
    """What the value should be, None when it is."""
    choices, below = option.metadata["choices"], option.metadata["below"]
    least = option.metadata["at_least"]
    texts = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return "a list of words"
    if type(value) is not value_type and not (value_type is float and type(value) is int):
        return f"a value of type {value_type.__name__}"
    if not all(text.isprintable() for text in texts if isinstance(text, str)):
        return "printable characters"
    if choices and value not in choices:
        return f"one of {', '.join(choices)}"
    if isinstance(value, (int, float)) and not least <= value < below:
        return f"a number of at least {least}" + (
            f", below {below}" if below < float("inf") else ""
        )
    return None
