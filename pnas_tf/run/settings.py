"""The options of a call and those that a run folder was made with (config.json).

What an option means for a run stands beside it in `pnas_tf.config`: another value of a fixed one is
refused, of one that remakes runs the steps again, of any other changes nothing that was made.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar, cast

from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact

Config = TypeVar("Config")
Settings = dict[str, dict[str, object]]  # config class name -> {option: JSON value}
_FORMAT, _VERSION = "pnas_tf/config", 2  # 1: momentum in TrainConfig, devices in LatencyConfig
_PLACE = "run_dir"  # where the folder happens to be, which is not recorded
OLD_LAYOUT = (
    "choose another --run_dir. One of an earlier version is finished by that version; its latency "
    "tables can be copied into a new folder"
)


class Configs:
    """The config objects of one call, by their class."""

    def __init__(self, configs: Iterable[object]):
        self._by_class = {type(config): config for config in configs}

    def __getitem__(self, kind: type[Config]) -> Config:
        """Raises KeyError for a class that is not among them."""
        return cast(Config, self._by_class[kind])

    def __contains__(self, kind: type) -> bool:
        return kind in self._by_class

    def __iter__(self) -> Iterator[object]:
        return iter(self._by_class.values())

    def only(self, kinds: Iterable[type]) -> Configs:
        """Those of the classes named, and no others."""
        return Configs(self._by_class[kind] for kind in kinds)


def identity_of(config: object) -> dict[str, object]:
    """The options of a config object that decide what a step makes, as JSON values."""
    return {
        field.name: _plain(getattr(config, field.name))
        for field in dataclasses.fields(config)  # type: ignore[arg-type]
        if field.metadata["fixed"] or field.metadata["remakes"]
    }


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
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise UserError(
                f"{name} of run settings {path}",
                expected="an object, the options of this group",
                received=repr(section)[:200],
                fix="Choose another --run_dir, or delete the folder.",
            )
    return sections


def write_config(folder: Path, settings: Settings) -> None:
    """Records `settings`, unless they stand there already."""
    if read_config(folder) != settings:
        atomic.write_json(
            folder / Artifact.CONFIG, {"format": _FORMAT, "version": _VERSION, **settings}
        )


def with_settings(folder: Path, configs: Iterable[object]) -> Settings:
    """What `read_config` gives, with the options of `configs` in it.

    Raises:
        UserError: the folder was made with another value of a fixed option.
    """
    stored = read_config(folder)
    for config in configs:
        section = stored.setdefault(type(config).__name__, {})
        for field in dataclasses.fields(config):  # type: ignore[arg-type]
            value = _plain(getattr(config, field.name))
            if field.name == _PLACE:
                continue
            if field.metadata["fixed"] and section.get(field.name, value) != value:
                raise UserError(
                    f"run folder {folder} was made with another --{field.name}",
                    expected=repr(section[field.name]),
                    received=repr(value),
                    fix="Choose another --run_dir, or leave the flag out to keep the folder's "
                    "value.",
                )
            section[field.name] = value
    return stored


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
