"""The latency table: what each distinct block takes on one device under one setting (section 3.3
and appendix B).

The hand-over from the device to search: versioned JSON with identity and raw values. A missing key
is an error, never a default. Knows nothing of how models are made or run; imports no TensorFlow.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

from pnas_tf.devices.record import Device, Measurement, Settings
from pnas_tf.devices.record_file import measurement_from_json
from pnas_tf.errors import UserError, named
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import record_of, to_json
from pnas_tf.latency.calibration import Calibration
from pnas_tf.latency.doubts import doubts_of
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.rewrite_selection import Trial, describe, trials_from_json
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.tflite.rewrites.choice import rewrites_of_blocks, wanted_among

FORMAT, VERSION = "pnas_tf/latency_table", 3
OLDER = (1, 2)  # 1: without trials of rewrites; 2: without the time of a call
MAX_AGE_DAYS = 90  # a device's software rarely stays the same for longer
MAX_KERNEL7_RATIO = 5.0  # 49 taps against 25 should cost about 2 times
_DAY_S = 86_400.0


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of the blocks of a search space.

    Attributes:
        identity: what the figures are true of.
        entries: latency key -> measurement of the block alone.
        sentinel_ms: median of the reference model in the building session; None where there was
            none.
        calibration: the affine map from sums of blocks to networks; None where none was fitted.
        created_unix_s: when it was built.
        origin: where the figures come from, in words.
        failures: latency key -> why it has no entry.
        trials: latency key -> the block without and with the export rewrite that changes it, where
            rewrites were chosen by measurement.
        call_ms: what a model that does next to nothing takes, which every block alone takes too and
            a network once; None where it was not measured.
    """

    identity: Identity
    entries: dict[str, Measurement]
    sentinel_ms: float | None = None
    calibration: Calibration | None = None
    created_unix_s: float = 0.0
    origin: str = ""
    failures: dict[str, str] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    call_ms: float | None = None

    def __post_init__(self) -> None:
        for key, entry in self.entries.items():
            self.identity.check(entry, what=f"table entry '{key}'")

    def latency_ms(self, key: str) -> float:
        """What the block takes alone, in ms, drift taken out by the reference model.

        Raises:
            UserError: the table lacks it; says why where its measurement failed.
        """
        if key not in self.entries:
            raise UserError(
                f"no latency for '{key}'",
                expected="an entry of the table",
                received=f"{len(self.entries)} others of {self.identity.describe()}"
                + self._why_missing([key]),
                fix="Build the table for this space: pnas latency-table --space=... "
                "--resolution=... --width=...",
            )
        return self._latencies_ms[key]

    def share_ms(self, key: str) -> float:
        """What the block adds to a network: its latency alone, less that of a call."""
        return max(0.0, self.latency_ms(key) - (self.call_ms or 0.0))

    @cached_property
    def _latencies_ms(self) -> dict[str, float]:
        return {key: entry.corrected_ms(self.sentinel_ms) for key, entry in self.entries.items()}

    def breakdown(self, architecture: Architecture) -> list[tuple[str, str, float]]:
        """(block name, latency key, `share_ms`) for every block that takes time, stem to head."""
        return [
            (block.name, block.key, self.share_ms(block.key))
            for block in architecture.blocks
            if not isinstance(block.op, Zero)
        ]

    def sum_ms(self, architecture: Architecture) -> float:
        """Sum of what the blocks add: lower than the network, since neighbours share no caches
        here."""
        return sum(share_ms for _, _, share_ms in self.breakdown(architecture))

    def predict_ms(self, architecture: Architecture) -> float:
        """Predicted latency of the network in ms: slope * sum + intercept, the plain sum where
        there is no calibration."""
        total = self.sum_ms(architecture)
        return total if self.calibration is None else self.calibration.apply(total)

    def rewrites_of(self, architecture: Architecture) -> tuple[str, ...]:
        """The export rewrites, by shape, of a network for this table's device: those the table's
        blocks have.

        A shape that was not tried (of another resolution) goes with the majority of those that
        were.
        """
        names = rewrites_of_blocks(architecture.blocks)
        tried = {trial.rewrite for trial in self.trials.values()}
        taken = wanted_among(tuple(tried), self.identity.rewrites)
        untried = (
            [name for name in names if name not in tried]
            if tried and 2 * len(taken) >= len(tried)
            else []
        )
        return tuple(sorted({*wanted_among(names, self.identity.rewrites), *untried}))

    def missing(self, space: SearchSpace) -> list[str]:
        """Latency keys of the blocks of `space` that have no entry."""
        return [key for key in space.distinct_blocks() if key not in self.entries]

    def check_covers(self, space: SearchSpace) -> None:
        """Raises where a network of `space` could not be predicted.

        Raises:
            UserError: the table lacks blocks; names one, and why it failed.
        """
        missing = self.missing(space)
        if missing:
            raise UserError(
                f"latency table does not cover space '{space.name}' at {space.resolution} px",
                expected=f"{len(space.distinct_blocks())} blocks",
                received=f"{len(missing)} missing, e.g. '{missing[0]}'"
                + self._why_missing(missing),
                fix=f"Build it: pnas latency-table --space={space.name} "
                f"--resolution={space.resolution}",
            )

    def warnings(self, *, now_unix_s: float | None = None) -> list[str]:
        """What a reader of its figures must be told: uncalibrated, old, partly run, unstable.

        now_unix_s: default: now.
        """
        found = []
        if self.calibration is None:
            found.append(
                "uncalibrated: sums of isolated blocks, which are about 7 % below whole networks"
            )
        elif self.calibration.held_out_mape_percent > 5:
            found.append(
                f"badly calibrated: held-out error {self.calibration.held_out_mape_percent:.1f} %"
            )
        now_s = time.time() if now_unix_s is None else now_unix_s
        age_days = (now_s - self.created_unix_s) / _DAY_S
        if self.created_unix_s and age_days > MAX_AGE_DAYS:
            found.append(f"stale: built {age_days:.0f} days ago")
        return found + doubts_of(self.entries)

    def kernel7_warnings(self, space: SearchSpace) -> list[str]:
        """Kernel-7 blocks that take more than `MAX_KERNEL7_RATIO` times their kernel-5 twins: the
        runtime has no kernel for them."""
        found = []
        for key, block in space.distinct_blocks().items():
            if not isinstance(block.op, MBConv) or block.op.kernel != 7:
                continue
            twin = replace(block, op=replace(block.op, kernel=5)).key
            if not {key, twin} <= set(self.entries):
                continue
            ratio = self.latency_ms(key) / self.latency_ms(twin)
            if ratio > MAX_KERNEL7_RATIO:
                found.append(
                    f"'{key}' takes {ratio:.1f} times its kernel-5 twin: this runtime has no fast "
                    "7x7 depthwise convolution; export with the rewrite split_depthwise"
                )
        return found

    def describe(self) -> str:
        """One line for every place where figures of the table appear."""
        parts = (
            self.identity.describe(),
            f"{len(self.entries)} blocks",
            "uncalibrated" if self.calibration is None else self.calibration.describe(),
            describe(self.trials, self.identity.rewrites),
        )
        return ", ".join(part for part in parts if part)

    def to_json(self) -> dict[str, Json]:
        """The versioned document with all raw values."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "device": to_json(self.identity.device),
            "settings": to_json(self.identity.settings),
            "dtype": self.identity.dtype,
            "rewrites": list(self.identity.rewrites),
            "created_unix_s": self.created_unix_s,
            "origin": self.origin,
            "sentinel_ms": self.sentinel_ms,
            "call_ms": self.call_ms,
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "failures": self.failures,
            "trials": {
                key: trial.to_json(self.identity.rewrites) for key, trial in self.trials.items()
            },
            "entries": {
                key: {"latency_ms": self.latency_ms(key), **entry.to_json()}
                for key, entry in self.entries.items()
            },
        }

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the JSON document atomically."""
        return atomic.write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike) -> LatencyTable:
        """Reads what `save` wrote, in this version or an older one.

        Raises:
            UserError: the file is absent, truncated or no latency table; names file and field.
        """
        document = atomic.read_document(
            path,
            format=FORMAT,
            version=VERSION,
            older=OLDER,
            what="latency table",
            made_by="pnas latency-table --space=...",
        )
        where, fix = f"latency table {path}", "Build it again: pnas latency-table"
        if document["version"] in OLDER:
            document = {"call_ms": None, **document}
        if document["version"] == 1:
            document = {**document, "trials": {}}
        known = {
            entry.name: document[entry.name]
            for entry in fields(_Document)
            if entry.name in document
        }
        read = record_of(_Document, known, where=where, fix=fix)
        entries = {
            key: measurement_from_json(
                entry, read.device, read.settings, where=f"{where}, entries['{key}']"
            )
            for key, entry in read.entries.items()
        }
        with named(where):
            return cls(
                Identity(read.device, read.settings, read.dtype, read.rewrites),
                entries,
                sentinel_ms=read.sentinel_ms,
                calibration=read.calibration,
                created_unix_s=read.created_unix_s,
                origin=read.origin,
                failures=read.failures,
                trials=trials_from_json(read.trials, read.device, read.settings, where=where),
                call_ms=read.call_ms,
            )

    def _why_missing(self, keys: list[str]) -> str:
        reason = next((self.failures[key] for key in keys if key in self.failures), "")
        return f"; why: {reason}" if reason else ""


@dataclass(frozen=True)
class _Document:
    """What a table's file holds besides its format and derived figures."""

    device: Device
    settings: Settings
    dtype: str
    rewrites: tuple[str, ...]
    created_unix_s: float
    origin: str
    sentinel_ms: float | None
    call_ms: float | None
    calibration: Calibration | None
    failures: dict[str, str]
    trials: object
    entries: dict[str, object]

    def __post_init__(self) -> None:
        for name in ("sentinel_ms", "call_ms"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} of {value}, not a positive number")
