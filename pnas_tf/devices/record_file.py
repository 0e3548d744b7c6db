"""Measurements as JSON: one document of one device and setting, with all raw values.

Derived figures stand beside them for readers, and are computed anew on load. Records of different
devices or settings are refused (`check_same`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from pnas_tf.devices.record import (
    Device,
    Measurement,
    ModelFacts,
    ModelRun,
    Settings,
)
from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import record_of, to_json, value_of

FORMAT, VERSION = "pnas_tf/measurements", 2
OLDER = (1,)  # the reference model once a round, no waits
_FIX = "Measure again."

Record = TypeVar("Record")


@dataclass(frozen=True)
class _Raw:
    """What an entry holds besides derived figures."""

    model: ModelFacts
    visits: tuple[ModelRun, ...]

    def __post_init__(self) -> None:
        if not self.visits:
            raise ValueError("no visits")


@dataclass(frozen=True)
class _Document:
    device: Device
    settings: Settings
    measurements: dict[str, object]


def measurement_from_json(
    document: Json, device: Device, settings: Settings, *, where: str
) -> Measurement:
    """The inverse of `Measurement.to_json`; device and settings stand once in a document.

    Raises:
        UserError: an absent or ill-typed field; names the place in `where`.
    """
    entry = value_of(dict[str, object], document, what=f"measurement in {where}", fix=_FIX)
    known = {name: entry[name] for name in ("model", "visits") if name in entry}
    raw = record_of(_Raw, known, where=where, fix=_FIX)
    return Measurement(device, settings, raw.model, raw.visits)


def save_measurements(
    path: str | os.PathLike, measurements: Mapping[str, Measurement], **facts: Json
) -> Path:
    """Writes measurements of one device and setting as one JSON document; facts: further entries of
    the document.

    Raises:
        UserError: the measurements are of different devices or settings.
    """
    device, settings = same_origin(measurements.values())
    return atomic.write_json(
        path,
        {
            "format": FORMAT,
            "version": VERSION,
            "device": to_json(device),
            "settings": to_json(settings),
            **facts,
            "measurements": {name: entry.to_json() for name, entry in measurements.items()},
        },
    )


def load_measurements(path: str | os.PathLike) -> dict[str, Measurement]:
    """Reads what `save_measurements` wrote. Raises UserError when the file is absent or not
    ours."""
    document = atomic.read_document(
        path,
        format=FORMAT,
        version=VERSION,
        older=OLDER,
        what="latency measurement",
        made_by="pnas benchmark --run_dir=...",
    )
    known = {
        name: document[name] for name in ("device", "settings", "measurements") if name in document
    }
    read = record_of(_Document, known, where=str(path), fix=_FIX)
    return {
        name: measurement_from_json(
            entry, read.device, read.settings, where=f"{path}, measurements['{name}']"
        )
        for name, entry in read.measurements.items()
    }


def same_origin(measurements: Iterable[Measurement]) -> tuple[Device, Settings]:
    """The one device and setting of all. Raises UserError when there are several or none."""
    entries = list(measurements)
    if not entries:
        raise UserError(
            "nothing was measured",
            expected="at least one measurement",
            received="none",
            fix="See the errors of the single models.",
        )
    first = entries[0]
    for entry in entries[1:]:
        check_same(first.device, entry.device, what="measurements of one file differ in device")
        check_same(
            first.settings, entry.settings, what="measurements of one file differ in settings"
        )
    return first.device, first.settings


def check_same(
    left: Record,
    right: Record,
    *,
    what: str,
    fix: str = "Keep them apart, or measure again on one device.",
) -> None:
    """Raises UserError naming the first field in which two records of one class differ, with both
    values."""
    for entry in fields(left):  # type: ignore[arg-type]
        a, b = getattr(left, entry.name), getattr(right, entry.name)
        if entry.compare and a != b:
            raise UserError(f"{what}: {entry.name}", expected=repr(a), received=repr(b), fix=fix)
