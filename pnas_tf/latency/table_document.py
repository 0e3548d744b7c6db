"""What the file of a latency table holds besides its format and derived figures. Knows no table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from pnas_tf.devices.drift_correction import CORRECTIONS
from pnas_tf.devices.record import Device, Measurement, Settings
from pnas_tf.devices.record_file import measurement_from_json
from pnas_tf.io import Json
from pnas_tf.io.serialization import record_of
from pnas_tf.latency.calibration import Calibration
from pnas_tf.latency.rewrite_selection import Trial, trials_from_json


@dataclass(frozen=True)
class Document:
    """What a table's file holds besides its format and derived figures."""

    device: Device
    settings: Settings
    dtype: str
    rewrites: tuple[str, ...]
    created_unix_s: float
    origin: str
    sentinel_ms: float | None
    call_ms: float | None
    correction: str
    noise_percent: float | None
    space: object
    few_shot: object
    calibration: Calibration | None
    failures: dict[str, str]
    trials: object
    entries: dict[str, object]

    def __post_init__(self) -> None:
        for name in ("sentinel_ms", "call_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} of {value}, not a positive number")
        if self.correction not in CORRECTIONS:
            raise ValueError(f"a correction by {self.correction!r}, not by one of {CORRECTIONS}")


def read_document(
    document: Mapping[str, Json], *, where: str, fix: str
) -> tuple[Document, dict[str, Measurement], dict[str, Trial]]:
    """The document with its measured entries and trials. Raises UserError where a field is absent
    or ill-typed; names it."""
    known = {
        entry.name: document[entry.name] for entry in fields(Document) if entry.name in document
    }
    read = record_of(Document, known, where=where, fix=fix)
    entries = {
        key: measurement_from_json(
            entry, read.device, read.settings, where=f"{where}, entries['{key}']"
        )
        for key, entry in read.entries.items()
    }
    trials = trials_from_json(read.trials, read.device, read.settings, where=where)
    return read, entries, trials
