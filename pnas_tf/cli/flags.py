"""Flags made from config dataclasses, and config objects made from flags.

A flag that is not given takes its value from the run folder's config.json, else from the preset,
else the dataclass. absl 1.4 lets stray arguments pass; that is mended here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from absl import flags

from pnas_tf.config import PRESETS, bounds_of
from pnas_tf.errors import UserError, is_shown, named
from pnas_tf.steps.programs import PROGRAMS

Config = TypeVar("Config")
Values = Mapping[str, object]
_KINDS = {"int": "an integer", "float": "a number", "bool": "true or false"}  # absl's words


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
        raise _unknown(error.flagname, values) from error
    except (flags.Error, OSError) as error:
        raise _unusable(str(error), values) from error
    if rest[1:]:
        raise _stray(rest[1:], values)
    given = {name: _at_home(values[name].value) for name in values if values[name].present}
    given.pop("flagfile", None)
    return Given(preset=PRESETS[str(given.pop("preset", "quick"))], flags=given)


def _unknown(name: str, values: flags.FlagValues) -> UserError:
    known = [str(flag) for flag in values]
    spelt = name.lower().replace("-", "_")
    close = [spelt] if spelt in known else difflib.get_close_matches(spelt, known, n=1)
    others = [program.command for program in PROGRAMS if name in _options_of_all(program.configs)]
    fix = f"Write --{close[0]}." if close else "Correct or remove it."
    if others:
        fix = f"It is an option of pnas {', '.join(others)}; leave it out here."
    return UserError(
        "unknown flag",
        expected=f"a flag that --help lists{f', e.g. --{close[0]}' if close else ''}",
        received=f"--{name}",
        fix=fix,
    )


def _options_of_all(kinds: Sequence[type]) -> set[str]:
    return {option.name for kind in kinds for option in dataclasses.fields(kind)}


def _unusable(told: str, values: flags.FlagValues) -> UserError:
    """Of absl's own words: "flag --epochs=many: invalid literal ...", "Missing value for flag"."""
    named = re.match(r"(?:flag|Missing value for flag) --(\w+)", told)
    flag = values[named[1]] if named and named[1] in values else None
    if flag is None:
        return UserError(
            "flags cannot be read", expected="what --help says", received=told, fix="Correct them."
        )
    choices = getattr(flag.parser, "enum_values", None)
    kind = _KINDS.get(flag.flag_type(), "a value")
    return UserError(
        f"--{flag.name} has no usable value",
        expected=f"one of {', '.join(choices)}" if choices else kind,
        received=told,
        fix=flag.help,
    )


def _stray(words: Sequence[str], values: flags.FlagValues) -> UserError:
    name, separator, value = words[0].lstrip("-\u2010\u2011\u2012\u2013\u2014\u2212").partition("=")
    if separator and name in values:
        fix = f"Write --{name}={value}"
    elif os.path.isdir(words[0]):
        fix = f"Write what it is: --dataset=folder:{words[0]} or --run_dir={words[0]}"
    else:
        fix = "Write it as --name=value, or remove it."
    return UserError(
        "stray argument",
        expected="flags only, each --name=value; in quotes where a value has spaces",
        received=" ".join(words),
        fix=fix,
    )


def _at_home(value: object) -> object:
    """Paths with the home folder for "~", which no shell puts in behind "--name="."""
    if isinstance(value, list):
        return [_at_home(item) for item in value]
    return os.path.expanduser(value) if isinstance(value, str) and value[:2] == "~/" else value


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
    metadata = option.metadata
    choices = metadata["choices"]
    texts = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return "a list of words"
    if type(value) is not value_type and not (value_type is float and type(value) is int):
        return f"a value of type {value_type.__name__}"
    if not all(is_shown(sign) for text in texts if isinstance(text, str) for sign in text):
        return "signs of any script on one line; rename what has others"
    if _is_blank(value, allowed=not option.default):
        return "a value that is not empty"
    if choices and value not in choices:
        return f"one of {', '.join(choices)}"
    if isinstance(value, (int, float)) and not (
        metadata["at_least"] <= value <= metadata["at_most"]
        and metadata["above"] < value < metadata["below"]
    ):
        return f"a number {bounds_of(metadata)}"
    return None


def _is_blank(value: object, *, allowed: bool) -> bool:
    """Whether it says nothing, as of a shell variable that is not set. allowed: as the default is
    empty too."""
    if isinstance(value, tuple):
        return not (value or allowed) or any(not item.strip() for item in value)
    return isinstance(value, str) and not value.strip() and not (allowed and value == "")
