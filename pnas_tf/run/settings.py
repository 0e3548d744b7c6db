"""The options of a call and those that a run folder was made with (config.json).

What an option means for a run stands beside it in `pnas_tf.config`: another value of a fixed one is
refused while something that was made depends on it, of one that remakes runs the steps again, of
any other changes nothing that was made.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar, cast

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.options import other_options
from pnas_tf.run.layout import Artifact

Config = TypeVar("Config")
Settings = dict[str, dict[str, object]]  # config class name -> {option: JSON value}
_FORMAT, _VERSION = "pnas_tf/config", 2  # 1: momentum in TrainConfig, devices in LatencyConfig
# Where the folder happens to be; wishes of one call.
_NOT_KEPT = ("run_dir", "restart", "models", "debug_layers")
OLD_LAYOUT = (
    "choose another --run_dir. One of an earlier version is finished by that version; its latency "
    "tables can be copied into a new folder, where pnas search goes on with them (pnas run "
    "measures its own)"
)


class Configs:
    """The config objects of one call, by their class."""

    def __init__(self, configs: Iterable[object]):
        self._by_class = {type(config): config for config in configs}

    def __getitem__(self, kind: type[Config]) -> Config:
        """Raises KeyError for a class that is not among them."""
        return cast(Config, self._by_class[kind])

    def __iter__(self) -> Iterator[object]:
        return iter(self._by_class.values())

    def __contains__(self, kind: type) -> bool:
        return kind in self._by_class

    def replaced(self, configs: Iterable[object]) -> Configs:
        """With these in the place of those of their classes."""
        return Configs([*self._by_class.values(), *configs])

    def only(self, kinds: Iterable[type]) -> Configs:
        """Those of the classes named, and no others."""
        return Configs(self._by_class[kind] for kind in kinds)


def fixed_of(config: object) -> dict[str, object]:
    """The fixed options of a config object, which decide what a step makes, as JSON values."""
    return _marked(config, "fixed")


def remaking_of(config: object) -> dict[str, object]:
    """Its options that decide that too, and of which another value asks for another result."""
    return _marked(config, "remakes")


def _marked(config: object, mark: str) -> dict[str, object]:
    return {
        field.name: _counted(field, _plain(getattr(config, field.name)))
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if field.metadata[mark]
    }


def is_free(config: object, name: str) -> bool:
    """Whether an option changes nothing that was made, and is kept for the calls to come."""
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    (found,) = (each for each in fields if each.name == name)
    return name not in _NOT_KEPT and not (found.metadata["fixed"] or found.metadata["remakes"])


def chosen_options(given: object, fitted: object) -> dict[str, object]:
    """The options of `fitted` that were not given."""
    others = other_options(given, fitted)
    return {name: value for name, value in others.items() if getattr(given, name) is None}


def read_config(folder: str | os.PathLike) -> Settings:
    """The settings recorded in a run folder; empty for a new one.

    Raises:
        UserError: the file is damaged, or of an earlier version.
    """
    path = Path(folder) / Artifact.CONFIG
    if not path.exists():
        return {}
    document = atomic.read_document(
        path, format=_FORMAT, version=_VERSION, what="file of run settings", made_by=OLD_LAYOUT
    )
    sections = {name: part for name, part in document.items() if name not in ("format", "version")}
    settings = value_of(
        dict[str, dict[str, object]],
        sections,
        what=f"run settings {path}",
        fix="Choose another --run_dir, or delete the folder.",
    )
    for section in settings.values():
        for name in _NOT_KEPT:  # as an earlier version did
            section.pop(name, None)
    return settings


def write_config(folder: Path, settings: Settings) -> None:
    """Records `settings`, unless they stand there already."""
    if read_config(folder) != settings:
        atomic.write_json(
            folder / Artifact.CONFIG, {"format": _FORMAT, "version": _VERSION, **settings}
        )


def with_settings(folder: Path, configs: Iterable[object], held: Settings) -> Settings:
    """What `read_config` gives, with the options of `configs` in it.

    held: values that something in the folder depends on.

    Raises:
        UserError: a fixed option has another one. None, for which a value is chosen by the images,
            is not judged here.
    """
    stored = read_config(folder)
    for config in configs:
        section = stored.setdefault(type(config).__name__, {})
        for field in dataclasses.fields(config):  # type: ignore[arg-type]
            value = _plain(getattr(config, field.name))
            if field.name in _NOT_KEPT:
                continue
            counted = _counted(field, value)
            made_with = held.get(type(config).__name__, {}).get(field.name, counted)
            if field.metadata["fixed"] and value is not None and made_with != counted:
                raise made_with_another(folder, field.name, made_with, value)
            section[field.name] = value
    return stored


def check_taken_back(folder: Path, configs: Configs, usual: Configs, held: Settings) -> None:
    """Raises UserError where the command line takes an option back to None, for which a value is
    chosen, and something in the folder was made with the one before.

    usual: options without those of the command line.
    held: as in `with_settings`.
    """
    for now in configs:
        made_with = held.get(type(now).__name__, {})
        for name, value in other_options(usual[type(now)], now).items():
            if value is None and made_with.get(name) is not None:
                raise made_with_another(folder, name, made_with[name], value)


def made_with_another(folder: Path, name: str, made_with: object, value: object) -> UserError:
    """The refusal of a value of a fixed option."""
    before, now = (
        "none, its default" if each is None else repr(each) for each in (made_with, value)
    )
    return UserError(
        f"run folder {folder} was made with another --{name}",
        expected=before,
        received=now,
        fix="Leave the flag, or the --preset that has it, out to keep the folder's value, choose "
        "another --run_dir, or add --restart: what depends on it moves to a folder old-N within "
        "this one, and is made anew.",
    )


def _counted(field: dataclasses.Field, value: object) -> object:
    """By what a JSON value counts: that of a file or folder by its name, without its place."""
    if not field.metadata["is_file"]:
        return value
    if isinstance(value, list):
        return [_counted(field, each) for each in value]
    return str(value).rstrip("/").rpartition("/")[2]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
