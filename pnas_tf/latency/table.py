"""The latency table: what each distinct block takes on one device under one setting (section 3.3
and appendix B).

The hand-over from the device to search: versioned JSON with identity and raw values. A missing key
is an error, never a default. Knows nothing of how models are made or run; imports no TensorFlow.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pnas_tf.devices.drift_correction import NONE, ROUND
from pnas_tf.devices.record import Measurement
from pnas_tf.errors import UserError, named, number_of
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import to_json
from pnas_tf.latency.calibration import Calibration
from pnas_tf.latency.doubts import Doubt, doubts_of, doubts_of_session
from pnas_tf.latency.few_shot import MEASURE_ANEW, FewShot
from pnas_tf.latency.identity import Identity
from pnas_tf.latency.rewrite_selection import Trial, describe
from pnas_tf.latency.table_document import read_document
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.ops import MBConv, Zero
from pnas_tf.space.registry import space_from_json
from pnas_tf.tflite.rewrites.choice import rewrites_of_blocks, wanted_among

FORMAT, VERSION = "pnas_tf/latency_table", 4
# 1: without trials of rewrites; 2: the time of a call; 3: the session's correction, space, prices
OLDER = (1, 2, 3)
MAX_KERNEL7_RATIO = 5.0  # 49 taps against 25 should cost about 2 times


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
        failures: latency key -> why it has no entry; name of a network of `few_shot` -> the same.
        trials: latency key -> the block without and with the export rewrite that changes it, where
            rewrites were chosen by measurement.
        call_ms: what a model that does next to nothing takes, which every block alone takes too and
            a network once; None where it was not measured.
        correction: how the building session takes drift out, of `drift_correction.CORRECTIONS`.
        noise_percent: by how much its halves differ; None where nobody knows.
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
    space: SearchSpace | None = None
    few_shot: FewShot | None = None
    correction: str = ROUND
    noise_percent: float | None = None

    def __post_init__(self) -> None:
        for key, entry in self.entries.items():
            self.identity.check(entry, what=f"table entry '{key}'")

    @property
    def keys(self) -> frozenset[str]:
        """Latency keys of the blocks that have a latency."""
        return frozenset(self.entries).union(self.few_shot.prices if self.few_shot else ())

    def latency_ms(self, key: str) -> float:
        """What the block takes alone, in ms, drift taken out by the reference model; in a table
        from few networks its price.

        Raises:
            UserError: the table lacks it; says why where its measurement failed.
        """
        if self.few_shot is not None and key in self.few_shot.prices:
            return self.few_shot.prices[key].latency_ms
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
        """What the block adds to a network: its latency alone, less that of a call; or its
        price."""
        if self.few_shot is not None:
            return self.latency_ms(key)
        return max(0.0, self.latency_ms(key) - (self.call_ms or 0.0))

    @cached_property
    def _latencies_ms(self) -> dict[str, float]:
        reference_ms = None if self.correction == NONE else self.sentinel_ms
        return {key: entry.corrected_ms(reference_ms) for key, entry in self.entries.items()}

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
        """Latency keys of the blocks of `space` that have no latency."""
        return [key for key in space.distinct_blocks() if key not in self.keys]

    def check_covers(self, space: SearchSpace, *, given: str = "") -> None:
        """Raises UserError where the table lacks blocks of `space`; names one, and why it failed.
        given: its file or the flag with it; "": it is the run folder's."""
        missing = self.missing(space)
        if not missing:
            return
        same, why = "the same --space, --resolution and --width", self._why_missing(missing)
        fix = "Where the table is of other images or options, choose another --run_dir; "
        fix += f"else build it: pnas latency-table with {same}, and this --run_dir"
        if given:
            fix = f"Give a table of {same}: pnas latency-table, in a folder of its own."
        elif why:
            fix = f"Measure all of it: {MEASURE_ANEW}, with this --run_dir"
        raise UserError(
            f"{given or 'latency table'} does not cover space '{space.name}' at "
            f"{space.resolution} px",
            expected=f"{len(space.distinct_blocks())} blocks",
            received=f"{len(missing)} missing, e.g. '{missing[0]}'{why}",
            fix=fix,
        )

    def warnings(self, *, now_unix_s: float | None = None) -> list[str]:
        """The lines of `doubts`."""
        return [line for doubt in self.doubts(now_unix_s=now_unix_s) for line in doubt.lines]

    def doubts(self, *, now_unix_s: float | None = None) -> list[Doubt]:
        """What a reader must be told: uncalibrated, old, partly run, unstable. By default now."""
        found = []
        if self.few_shot is not None:
            found += [f"no table of measured blocks: {self.few_shot.describe()}"]
            found += self.few_shot.doubts
        elif self.calibration is None:
            found.append(
                "uncalibrated: sums of isolated blocks, which are about 7 % below whole networks"
            )
        elif self.calibration.held_out_mape_percent > 5:
            found.append(
                f"badly calibrated: held-out error {self.calibration.held_out_mape_percent:.1f} %"
            )
        found += doubts_of_session(self.created_unix_s, self.noise_percent, now_unix_s)
        few = self.few_shot.measurements if self.few_shot is not None else {}
        return [*map(Doubt, found), *doubts_of({**few, **self.entries})]

    def kernel7_warnings(self, space: SearchSpace) -> list[str]:
        """Kernel-7 blocks that take more than `MAX_KERNEL7_RATIO` times their kernel-5 twins: the
        runtime has no kernel for them."""
        found = []
        for key, block in space.distinct_blocks().items():
            if not isinstance(block.op, MBConv) or block.op.kernel != 7:
                continue
            twin = replace(block, op=replace(block.op, kernel=5)).key
            if not {key, twin} <= self.keys:
                continue
            if self.latency_ms(key) > MAX_KERNEL7_RATIO * self.latency_ms(twin) > 0:
                ratio = self.latency_ms(key) / self.latency_ms(twin)
                found.append(
                    f"'{key}' takes {ratio:.1f} times its kernel-5 twin: this runtime has no fast "
                    "7x7 depthwise convolution; export with the rewrite split_depthwise"
                )
        return found

    def describe(self) -> str:
        """One line for every place where figures of the table appear."""
        figures = self.few_shot or self.calibration
        parts = (
            self.identity.describe(),
            number_of(len(self.keys), "block"),
            "uncalibrated" if figures is None else figures.describe(),
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
            "correction": self.correction,
            "noise_percent": self.noise_percent,
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "space": None if self.space is None else self.space.to_json(),
            "few_shot": None if self.few_shot is None else self.few_shot.to_json(),
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
            added = {"call_ms": None, "correction": ROUND, "noise_percent": None}
            document = {**added, "space": None, "few_shot": None, **document}
        if document["version"] == 1:
            document = {"trials": {}, **document}
        read, entries, trials = read_document(document, where=where, fix=fix)
        with named(where):
            return cls(
                Identity(read.device, read.settings, read.dtype, read.rewrites),
                entries,
                sentinel_ms=read.sentinel_ms,
                calibration=read.calibration,
                created_unix_s=read.created_unix_s,
                origin=read.origin,
                failures=read.failures,
                trials=trials,
                call_ms=read.call_ms,
                space=None if read.space is None else space_from_json(read.space, where=where),
                few_shot=None
                if read.few_shot is None
                else FewShot.from_json(read.few_shot, read.device, read.settings, where=where),
                correction=read.correction,
                noise_percent=read.noise_percent,
            )

    def _why_missing(self, keys: list[str]) -> str:
        reason = next((self.failures[key] for key in keys if key in self.failures), "")
        return f"; why: {reason}" if reason else ""
