"""What an option is: its text, its bounds, what it goes with; and a class of options, which refuses
values that no run can use. Knows none of the options."""

from __future__ import annotations

import dataclasses
import math
import numbers
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import NamedTuple, TypeVar

from pnas_tf.errors import UserError, is_shown

Value = TypeVar("Value")


class Where(NamedTuple):
    """A condition on another option of the same class. values: that it has one of; none: any but
    nothing, 0 and False. above: a number that it exceeds."""

    name: str
    values: tuple[str, ...] = ()
    above: float = 0

    def holds(self, config: object) -> bool:
        """Whether it is so in a config of that class, where that option does something itself."""
        value = getattr(config, self.name)
        so = value in self.values if self.values else bool(value)
        if isinstance(value, int | float) and self.above:
            so = value > self.above
        return so and does_something(options_by_name(type(config))[self.name], config)

    def __str__(self) -> str:
        words = f"--{self.name}={'|'.join(self.values)}" if self.values else f"--{self.name}"
        return f"{words} above {self.above:g}" if self.above else words


def does_something(option: dataclasses.Field, config: object) -> bool:
    """Whether an option does something beside the others of its config."""
    only: tuple[Where, ...] = option.metadata["only"]
    unless: tuple[Where, ...] = option.metadata["unless"]
    return (not only or any(each.holds(config) for each in only)) and not any(
        each.holds(config) for each in unless
    )


def heeded(config: Value) -> Value:
    """The config with its defaults where an option does nothing beside the others: one that was
    kept from another call, or chosen by the images."""
    fields = options_by_name(type(config)).items()
    idle = {name: each.default for name, each in fields if not does_something(each, config)}
    return dataclasses.replace(config, **idle)  # type: ignore[type-var]


def other_options(before: object, now: object) -> dict[str, object]:
    """The options of `now` that have another value than in `before`."""
    return {
        name: getattr(now, name)
        for name in options_by_name(type(now))
        if getattr(before, name) != getattr(now, name)
    }


def asked_options(usual: object, now: object) -> dict[str, object]:
    """Those of `other_options` that are not just back at their default."""
    options = options_by_name(type(now))
    others = other_options(usual, now).items()
    return {name: value for name, value in others if value != options[name].default}


def check_heeded(now: object, usual: object | None = None) -> None:
    """Raises UserError on an option that was given and does nothing beside the others. usual: the
    options without those that were given; None: the defaults."""
    options = options_by_name(type(now))
    for name, value in asked_options(usual or type(now)(), now).items():
        if does_something(options[name], now):
            continue
        only, unless = (options[name].metadata[key] for key in ("only", "unless"))
        beside = {each.name: getattr(now, each.name) for each in (*only, *unless)}
        expected = [
            f"with {' or '.join(map(str, only))}" if only else "",
            f"without {' or '.join(map(str, unless))}" if unless else "",
        ]
        received = [f"--{key}={found}" if found else f"no --{key}" for key, found in beside.items()]
        raise UserError(
            f"--{name}={value}",
            expected=f"it {' and '.join(filter(None, expected))}",
            received=f"it with {' and '.join(received)}, where it does nothing",
            fix="Leave it out, or change the others.",
        )


def option(
    default: Value,
    help: str,
    *,
    only: tuple[Where, ...] = (),
    unless: tuple[Where, ...] = (),
    choices: tuple[str, ...] | None = None,
    fixed: bool = True,
    remakes: bool = False,
    is_file: bool = False,
    at_least: float = 0,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
) -> Value:
    """A config field with the text that `--help` prints.

    Args:
        default: without the flag.
        help: one sentence or two.
        only: where one of these holds; else the option does nothing, and giving it is refused.
        unless: where none of these holds; else the same.
        choices: the words that it may be.
        fixed: a run folder keeps the value it was made with; others may change from call to call.
        remakes: it may change, and the steps that take it then run again.
        is_file: of a fixed one: it may name a file or folder that a step reads. That counts by its
            content and by its own name, wherever it lies and however its place is spelt.
        at_least, at_most: of a number; all of ours count or scale.
        above, below: of a number, itself excluded.
    """
    return field(
        default=default,
        metadata={
            "help": help
            + (f" Only with {' or '.join(map(str, only))}." if only else "")
            + (f" Not with {' or '.join(map(str, unless))}." if unless else ""),
            "only": only,
            "unless": unless,
            "choices": choices,
            "fixed": fixed and not remakes,
            "remakes": remakes,
            "is_file": is_file,
            "at_least": at_least,
            "above": above,
            "at_most": at_most,
            "below": below,
        },
    )


def bounds_of(metadata: Mapping[str, float]) -> str:
    """The bounds of a number, in words. metadata: of an option."""
    bounds = [
        f"above {metadata['above']:g}"
        if metadata["above"] >= metadata["at_least"]
        else f"at least {metadata['at_least']:g}"
    ]
    for word, key in (("at most", "at_most"), ("below", "below")):
        if metadata[key] < math.inf:
            bounds.append(f"{word} {metadata[key]:g}")
    return ", ".join(bounds)


class Options:
    """Base of a frozen dataclass of options, which has no value that no run can use.

    Lists become tuples, paths strings and numpy's numbers plain ones.

    Raises:
        UserError: a value is of another type, beyond its bounds or none of the choices.
    """

    def __post_init__(self) -> None:
        for option, kind in options_of(type(self)):
            value = _plain(getattr(self, option.name), kind)
            object.__setattr__(self, option.name, value)
            check_option(option, kind, value)


def options_of(kind: type) -> tuple[tuple[dataclasses.Field, type], ...]:
    """Each field with its plain type: `int | None` gives int, `tuple[str, ...]` gives tuple."""
    return _options_of(kind)


def options_by_name(kind: type) -> dict[str, dataclasses.Field]:
    """The fields of a class of options."""
    return {option.name: option for option, _ in _options_of(kind)}


@cache
def _options_of(kind: type) -> tuple[tuple[dataclasses.Field, type], ...]:
    hints = typing.get_type_hints(kind)
    options = []
    for option in dataclasses.fields(kind):
        hint = hints[option.name]
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            hint = next(part for part in typing.get_args(hint) if part is not type(None))
        options.append((option, typing.get_origin(hint) or hint))
    return tuple(options)


def check_option(option: dataclasses.Field, kind: type, value: object) -> None:
    """Refuses what no run can use, whoever gave it. kind: of `options_of`."""
    if value is None and option.default is None:
        return
    expected = _expected(option, kind, value)
    if expected is not None:
        raise UserError(
            f"--{option.name}",
            expected=expected,
            received=repr(value)[:200],
            fix=f"{option.metadata['help']} Default: {option.default!r}.",
        )


def _plain(value: object, kind: type) -> object:
    """Of what Python's callers may give, what a flag would give."""
    if kind is tuple and isinstance(value, list | tuple):
        return tuple(_plain(item, str) for item in value)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value) in (bool, int, float):
        return value
    if kind is int and isinstance(value, numbers.Integral):
        return int(value)
    return float(value) if kind is float and isinstance(value, numbers.Real) else value


def _expected(option: dataclasses.Field, kind: type, value: object) -> str | None:
    """What the value should be, None when it is."""
    metadata = option.metadata
    choices = metadata["choices"]
    texts = value if isinstance(value, tuple) else (value,)
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return "a list of words"
    if type(value) is not kind and not (kind is float and type(value) is int):
        return f"a value of type {kind.__name__}"
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
