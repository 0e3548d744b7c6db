"""The latency table: what each distinct block takes on one device under one setting (section 3.3
and appendix B).

The hand-over from the device to search: versioned JSON with identity and raw values. A missing key
is an error, never a default. Knows nothing of how models are made or run; imports no TensorFlow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pnas_tf.devices.record import (
    Device,
    Measurement,
    Settings,
    check_same,
    from_json,
    measurement_from_json,
    same_origin,
    to_json,
)
from pnas_tf.errors import UserError, named
from pnas_tf.io import atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.calibration import Calibration, calibration_from_json
from pnas_tf.latency.rewrite_selection import Trial, describe, trials_from_json
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.tflite.rewrites.choice import rewrites_of_blocks, wanted_among

FORMAT, VERSION, OLDER = (
    "pnas_tf/latency_table",
    3,
    (1, 2),
)  # 1: without trials of rewrites; 2: without the time of a call
MAX_AGE_DAYS = 90  # a device's software rarely stays the same for longer
MAX_KERNEL7_RATIO = 5.0  # 49 taps against 25 should cost about 2 times
_DAY_S = 86_400.0
_PLAIN_FIELDS: dict[str, Any] = {
    "dtype": str,
    "rewrites": tuple[str, ...],
    "sentinel_ms": float | None,
    "call_ms": float | None,
    "created_unix_s": float,
    "origin": str,
    "failures": Mapping[str, str],
}


@dataclass(frozen=True)
class Identity:
    """What a table is true of. Tables of different identity never merge. rewrites: the export
    rewrites that its blocks were measured with, those that paid on the device where they were
    chosen by trial."""

    device: Device
    settings: Settings
    dtype: str
    rewrites: tuple[str, ...]


@dataclass(frozen=True)
class LatencyTable:
    """entries: latency key -> measurement of the block alone.

    sentinel_ms: median of the fixed sentinel model in the building session; None where there was
    none. call_ms: what a model that does next to nothing takes, which every block alone takes too
    and a network once; None where it was not measured. calibration: the affine map from sums of
    blocks to networks, None where none was fitted. created_unix_s: when. origin: where the figures
    come from, in words. failures: latency key -> why it has no entry. trials: latency key -> the
    block without and with the export rewrite that changes it, where rewrites were chosen by
    measurement.
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
            what = f"table entry '{key}' is not of the table's"
            check_same(self.identity.device, entry.device, what=f"{what} device")
            check_same(self.identity.settings, entry.settings, what=f"{what} settings")
            if (entry.model.dtype, entry.model.rewrites) != (
                self.identity.dtype,
                self.identity.rewrites,
            ):
                raise UserError(
                    f"{what} dtype and rewrites",
                    expected=str((self.identity.dtype, self.identity.rewrites)),
                    received=str((entry.model.dtype, entry.model.rewrites)),
                    fix="Build the table again.",
                )

    def latency_ms(self, key: str) -> float:
        """What the block takes alone, in ms, drift taken out by the sentinel. Raises UserError when
        the table lacks it."""
        if key not in self.entries:
            raise UserError(
                f"no latency for '{key}'",
                expected="an entry of the table",
                received=f"{len(self.entries)} others of {self._what}" + self._why_missing([key]),
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

    def fixed_ms(self, space: SearchSpace) -> float:
        """What stem, first block and head add together."""
        return sum(self.share_ms(block.key) for block in space.fixed_blocks())

    def check_covers(self, space: SearchSpace) -> None:
        """Raises UserError naming the blocks of `space` that the table lacks."""
        missing = [key for key in space.distinct_blocks() if key not in self.entries]
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
        """What a reader of this table's figures must be told: uncalibrated, old, unstable blocks.

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
        age_days = (
            (time.time() if now_unix_s is None else now_unix_s) - self.created_unix_s
        ) / _DAY_S
        if self.created_unix_s and age_days > MAX_AGE_DAYS:
            found.append(f"stale: built {age_days:.0f} days ago")
        found += [
            f"unstable: '{key}': {'; '.join(entry.problems)}"
            for key, entry in self.entries.items()
            if entry.problems
        ]
        return found

    def differences(self, device: Device, settings: Settings) -> list[str]:
        """Warnings where a session that is compared with the table measures something else."""
        found = []
        for name, mine, other in (
            ("device", self.identity.device, device),
            ("settings", self.identity.settings, settings),
        ):
            try:
                check_same(mine, other, what=name)
            except UserError as error:
                found.append(
                    f"stale: built for {error.what} {error.expected}, now {error.received}"
                )
        return found

    def kernel7_warnings(self, space: SearchSpace) -> list[str]:
        """Kernel-7 blocks that take more than `MAX_KERNEL7_RATIO` times their kernel-5 twins: the
        runtime has no kernel for them."""
        found = []
        for key, block in space.distinct_blocks().items():
            if isinstance(block.op, MBConv) and block.op.kernel == 7 and key in self.entries:
                twin = replace(block, op=replace(block.op, kernel=5)).key
                if twin in self.entries and self.latency_ms(
                    key
                ) > MAX_KERNEL7_RATIO * self.latency_ms(twin):
                    found.append(
                        f"'{key}' takes {self.latency_ms(key) / self.latency_ms(twin):.1f} times "
                        "its kernel-5 twin: this runtime "
                        "has no fast 7x7 depthwise convolution; export with the rewrite "
                        "split_depthwise"
                    )
        return found

    def merged(self, other: LatencyTable) -> LatencyTable:
        """Both tables' blocks, e.g. of two spaces. Blocks in both keep all visits of both.

        The calibration goes, since it belongs to one session's sums. Raises UserError naming the
        field and both values when the identities differ.
        """
        check_same(
            self.identity.device,
            other.identity.device,
            what="latency tables to merge differ in device",
        )
        check_same(
            self.identity.settings,
            other.identity.settings,
            what="latency tables to merge differ in settings",
        )
        check_same(self.identity, other.identity, what="latency tables to merge differ")
        entries = dict(self.entries)
        for key, entry in other.entries.items():
            entries[key] = entries[key].merged(entry) if key in entries else entry
        return LatencyTable(
            self.identity,
            entries,
            self.sentinel_ms,
            None,
            min(self.created_unix_s, other.created_unix_s),
            " + ".join(dict.fromkeys(part for part in (self.origin, other.origin) if part)),
            trials={**other.trials, **self.trials},
            call_ms=other.call_ms if self.call_ms is None else self.call_ms,
        )

    def describe(self) -> str:
        """One line for every place where figures of the table appear."""
        state = "uncalibrated" if self.calibration is None else self.calibration.describe()
        return ", ".join(
            part
            for part in (
                self._what,
                f"{len(self.entries)} blocks",
                state,
                describe(self.trials, self.identity.rewrites),
            )
            if part
        )

    def to_json(self) -> dict[str, Any]:
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
            "calibration": None if self.calibration is None else self.calibration.to_json(),
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
        """Reads what `save` wrote. Raises UserError when the file is absent, truncated or no
        latency table."""
        document = atomic.read_document(
            path,
            format=FORMAT,
            version=VERSION,
            older=OLDER,
            what="latency table",
            made_by="pnas latency-table --space=...",
        )
        where, fix = str(path), "Build it again: pnas latency-table"
        if document["version"] in OLDER:
            document = {"call_ms": None, **document}
        absent = sorted(
            {"device", "settings", "entries", "calibration", *_PLAIN_FIELDS} - set(document)
        )
        if absent:
            raise UserError(
                f"latency table {where} is incomplete",
                expected="the fields of a latency table",
                received=f"no {absent}",
                fix=fix,
            )
        plain = {
            name: value_of(hint, document[name], what=f"{name} of latency table {where}", fix=fix)
            for name, hint in _PLAIN_FIELDS.items()
        }
        for name in ("sentinel_ms", "call_ms"):
            if plain[name] is not None and not plain[name] > 0:
                raise UserError(
                    f"{name} of latency table {where}",
                    expected="a positive number",
                    received=str(plain[name]),
                    fix=fix,
                )
        if not isinstance(document["entries"], dict):
            raise UserError(
                f"entries of latency table {where}",
                expected="an object, one entry a block",
                received=repr(document["entries"])[:200],
                fix=fix,
            )
        device = from_json(Device, document["device"], where=f"{where}, device")
        settings = from_json(Settings, document["settings"], where=f"{where}, settings")
        entries = {
            key: measurement_from_json(
                entry, device=device, settings=settings, where=f"{where}, entry '{key}'"
            )
            for key, entry in document["entries"].items()
        }
        calibration = calibration_from_json(document["calibration"], where=where)
        trials = (
            {}
            if document["version"] == 1
            else trials_from_json(
                document.get("trials"), device=device, settings=settings, where=where
            )
        )
        with named(where):
            return cls(
                Identity(device, settings, plain["dtype"], plain["rewrites"]),
                entries,
                plain["sentinel_ms"],
                calibration,
                plain["created_unix_s"],
                plain["origin"],
                plain["failures"],
                trials,
                plain["call_ms"],
            )

    @property
    def _what(self) -> str:
        device, settings = self.identity.device, self.identity.settings
        cores = f" cores {','.join(map(str, device.cores))}" if device.cores else ""
        return (
            f"{device.kind} {device.model}, {device.processor}{cores}, {settings.runtime} "
            f"{settings.runtime_version} "
            f"{settings.delegate}, {settings.threads} "
            f"thread{'s' if settings.threads > 1 else ''}, {self.identity.dtype}"
        )

    def _why_missing(self, keys: list[str]) -> str:
        reason = next((self.failures[key] for key in keys if key in self.failures), "")
        return f"; its measurement failed: {reason}" if reason else ""


def table_of(measurements: dict[str, Measurement], **facts: Any) -> LatencyTable:
    """A table of measurements of one origin. facts: further fields of LatencyTable. Raises
    UserError when they mix."""
    device, settings = same_origin(measurements.values())
    model = next(iter(measurements.values())).model
    return LatencyTable(
        Identity(device, settings, model.dtype, model.rewrites), measurements, **facts
    )
