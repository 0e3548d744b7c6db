"""Flags made from config dataclasses, and config objects made from flags.

A flag that is not given takes its value from a --preset that is, else from the run folder's
config.json, else from the folder's preset, else the dataclass. absl 1.4 lets stray arguments
pass; that is mended here.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from absl import flags

from pnas_tf.config import PRESETS, RunConfig
from pnas_tf.errors import UserError, closest, named
from pnas_tf.options import check_option, options_by_name, options_of
from pnas_tf.steps.programs import PROGRAMS

Config = TypeVar("Config")
Values = Mapping[str, object]
PRESET = "preset"  # of RunConfig
_KINDS = {"int": "an integer", "float": "a number", "bool": "true or false"}  # absl's words


@dataclass(frozen=True)
class Given:
    """Where the values of options come from: flags and the run folder.

    Attributes:
        flags: option -> value of those on the command line.
        stored: as `read_config` gives it.
        place: the file of `stored`, named in errors of its values.
        fresh: classes of which those of the folder do not count.
    """

    flags: Values = field(default_factory=dict)
    stored: Mapping[str, Values] = field(default_factory=dict)
    place: str = ""
    fresh: tuple[type, ...] = ()

    @property
    def usual(self) -> Given:
        """Without the single flags."""
        preset = {name: value for name, value in self.flags.items() if name == PRESET}
        return dataclasses.replace(self, flags=preset)

    def _preset(self, kind: type) -> Values:
        """Of the command line, else of the folder; with the defaults of what another one sets."""
        if kind in self.fresh and PRESET not in self.flags:
            return {}
        kept = self.stored.get(RunConfig.__name__, {}).get(PRESET, RunConfig.preset)
        chosen = PRESETS[str(self.flags.get(PRESET, kept))].get(kind, {})
        names = {name for section in PRESETS.values() for name in section.get(kind, {})}
        return {name: chosen.get(name, options_by_name(kind)[name].default) for name in names}

    def config(self, kind: type[Config]) -> Config:
        """The options of a class. Raises UserError on a value that no run can use."""
        options = {option.name: (option, value_type) for option, value_type in options_of(kind)}
        found = {} if kind in self.fresh else self.stored.get(kind.__name__, {})
        stored = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in found.items()
            if name in options
        }
        with named(self.place):
            for name, value in stored.items():
                if name not in self.flags:
                    check_option(*options[name], value)
        preset = self._preset(kind)
        least, more = (stored, preset) if PRESET in self.flags else (preset, stored)
        merged = {**least, **more, **self.flags}
        return kind(**{name: value for name, value in merged.items() if name in options})


def define_flags(kinds: Sequence[type]) -> flags.FlagValues:
    """A flag for each option, and --flagfile."""
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
            if option.default is None:
                values[option.name].parser = _OrNone(values[option.name].parser)
    flags.DEFINE_string("flagfile", "", "File with flags, one a line.", flag_values=values)
    return values


class _OrNone(flags.ArgumentParser):
    """Of an option that is None by default, which an empty value takes back to it."""

    def __init__(self, parser: flags.ArgumentParser):
        self._parser = parser
        self.enum_values = getattr(parser, "enum_values", None)

    def parse(self, argument: str) -> object:
        return None if argument == "" else self._parser.parse(argument)

    def flag_type(self) -> str:
        return self._parser.flag_type()


def parse(arguments: Sequence[str], values: flags.FlagValues) -> Given:
    """What the command line says; arguments[0] is the program. Raises UserError on what is no flag
    or no value of one."""
    try:
        rest = values(values.read_flags_from_files(list(arguments), force_gnu=True))
    except flags.UnrecognizedFlagError as error:
        raise _unknown(error.flagname, values) from error
    except (flags.Error, OSError, UnicodeDecodeError) as error:
        raise _unusable(str(error), values) from error
    if rest[1:]:
        raise _stray(rest[1:], values)
    given = {name: _at_home(values[name].value) for name in values if values[name].present}
    given.pop("flagfile", None)
    return Given(given)


# What a flag cannot be called, since it is no name in Python -> what it is called.
_OTHER_NAMES = {"from": "old_table"}


def _unknown(name: str, values: flags.FlagValues) -> UserError:
    known = [str(flag) for flag in values]
    spelt = name.lower().replace("-", "_")
    other = _OTHER_NAMES.get(spelt)
    close = next((each for each in (spelt, other) if each in known), None) or closest(spelt, known)
    others = [program.command for program in PROGRAMS if spelt in _options_of_all(program.configs)]
    fix = f"Write --{close}." if close else "Correct or remove it."
    if others and close != spelt:
        fix = f"It is an option of pnas {', '.join(others)}; leave it out here."
    return UserError(
        "unknown flag",
        expected=f"a flag that --help lists{f', e.g. --{close}' if close else ''}",
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
