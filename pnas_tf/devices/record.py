"""The measurement record: raw times with everything that a comparison needs to know about where
they come from.

Immutable; median, p10, p90, spread and verdicts are derived when read. Records of different
devices, settings or models never merge. Knows nothing of how a device is reached, and nothing of
blocks or networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeVar

import numpy as np

from pnas_tf.devices.delegation import ACCELERATORS, Delegation
from pnas_tf.errors import UserError
from pnas_tf.io import Json
from pnas_tf.io.serialization import to_json

# What one sample is: an invocation's, a tool's aggregate over `count`, or scaled from another's.
STATISTICS = ("invocation", "median", "mean", "scaled")
MAX_TIME_NS = 1e15  # 11 days

# Verdict bounds, from sessions on shared 2-core machines: quiet ones stay below half of each.
MAX_SPREAD = 0.50  # (p90 - p10) / median of one model's samples
MAX_DRIFT = 0.05  # median of the second half of the runs against the first half
MAX_FREQUENCY_DROP = 0.10  # lowest clock seen during runs against the highest

Record = TypeVar("Record")


@dataclass(frozen=True)
class Device:
    """Where a model ran. kind: "host", "android" or "ssh". serial: which unit it is, where units
    have names."""

    kind: str
    model: str  # "Pixel 6", "x86_64 virtual machine"
    processor: str  # SoC or CPU name
    cores: tuple[int, ...] = ()  # cores that the process was held to; empty: it was not held to any
    os: str = ""
    build: str = ""
    serial: str = ""


@dataclass(frozen=True)
class Settings:
    """How a model was run, delegate as --delegate. runtime_version: of a tool the first digits of
    binary_sha256. partial_delegation: whether times of models executed in part were kept."""

    runtime: str
    runtime_version: str
    delegate: str
    threads: int
    partial_delegation: bool = False
    binary_sha256: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads is {self.threads}, not at least 1")


@dataclass(frozen=True)
class ModelFacts:
    """What was run. input_shape: [batch, height, width, channels]. rewrites: export rewrites in
    force."""

    sha256: str
    size_bytes: int
    dtype: str
    input_shape: tuple[int, ...]
    rewrites: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelRun:
    """One uninterrupted run of a model: warm-ups, then timed invocations, with nothing else
    between.

    Attributes:
        samples_ns: raw times. An aggregating tool gives one, which stands for `count` invocations.
        warmups_ns: raw times of the warm-ups.
        statistic: what one sample is, of `STATISTICS`.
        count: invocations behind an aggregate.
        aggregates_ns: the tool's other figures: {"min": ..., "p95": ..., "std": ...}.
        started_unix_s: when.
        sentinel_ns: median of the reference model in the same round, added by the session.
        temperature_c: of the hottest sensor, where the device tells.
        frequency_mhz: of the slowest core that the process was held to, where the device tells.
        throttling: the device's own words; "" when it does not throttle.
        delegation: how much of the model the delegate executed, where the tool tells.
    """

    samples_ns: tuple[float, ...]
    warmups_ns: tuple[float, ...] = ()
    statistic: str = "invocation"
    count: int = 0
    aggregates_ns: Mapping[str, float] = field(default_factory=dict)
    started_unix_s: float = 0.0
    sentinel_ns: float | None = None
    temperature_c: float | None = None
    frequency_mhz: float | None = None
    throttling: str = ""
    delegation: Delegation | None = None

    def __post_init__(self) -> None:
        times = [*self.samples_ns, 1.0 if self.sentinel_ns is None else self.sentinel_ns]
        if (
            not self.samples_ns
            or not all(0 < time_ns < MAX_TIME_NS for time_ns in times)
            or self.statistic not in STATISTICS
        ):
            raise ValueError(
                f"a run needs positive samples and a statistic of {STATISTICS}: {self}"
            )
        if self.count < 0:
            raise ValueError(f"a run of {self.count} invocations")

    @property
    def invocations(self) -> int:
        """Timed invocations behind this run."""
        return len(self.samples_ns) if self.statistic == "invocation" else self.count

    @property
    def median_ns(self) -> float:
        return statistics.median(self.samples_ns)


@dataclass(frozen=True)
class Measurement:
    """All runs of one model on one device under one setting."""

    device: Device
    settings: Settings
    model: ModelFacts
    runs: tuple[ModelRun, ...]

    @property
    def samples_ms(self) -> list[float]:
        """Every timed sample in the order taken."""
        return [sample / 1e6 for run in self.runs for sample in run.samples_ns]

    @property
    def invocations(self) -> int:
        return sum(run.invocations for run in self.runs)

    @property
    def median_ms(self) -> float:
        """Median of all samples. A mean would be moved 8 to 20 % by interruptions."""
        return statistics.median(self.samples_ms)

    @property
    def p10_ms(self) -> float:
        return float(np.quantile(self.samples_ms, 0.1))

    @property
    def p90_ms(self) -> float:
        return float(np.quantile(self.samples_ms, 0.9))

    @property
    def spread(self) -> float:
        """(p90 - p10) / median."""
        return (self.p90_ms - self.p10_ms) / self.median_ms

    @property
    def relative_error(self) -> float:
        """Standard error of the median over runs, as a fraction of it; infinite below three
        runs.

        1.2533 is the median's standard error in units of the mean's, 1.4826 makes the median
        deviation a standard one.
        """
        medians = [run.median_ns for run in self.runs]
        if len(medians) < 3:
            return float("inf")
        middle = statistics.median(medians)
        deviation = 1.4826 * statistics.median(abs(median - middle) for median in medians)
        return 1.2533 * deviation / len(medians) ** 0.5 / middle

    def corrected_ms(self, sentinel_ms: float | None) -> float:
        """Median with the device's drift taken out: each run is scaled by sentinel_ms / its own
        round's sentinel.

        Args:
            sentinel_ms: what the reference model takes in the session compared with; None where it
                had none, which leaves the plain median. Runs without one stay as they are.
        """
        if sentinel_ms is None:
            return self.median_ms
        return statistics.median(
            sample / 1e6 * (sentinel_ms * 1e6 / run.sentinel_ns if run.sentinel_ns else 1.0)
            for run in self.runs
            for sample in run.samples_ns
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this measurement is unstable, in words; empty when it is not."""
        found = []
        if len(self.samples_ms) >= 10 and self.spread > MAX_SPREAD:
            found.append(
                f"spread: p10 {self.p10_ms:.3g} to p90 {self.p90_ms:.3g} ms is {self.spread:.0%} "
                "of the median"
            )
        if len(self.runs) >= 4:
            half = len(self.runs) // 2
            first, second = (
                statistics.median(run.median_ns for run in part)
                for part in (self.runs[:half], self.runs[-half:])
            )
            if abs(second / first - 1) > MAX_DRIFT:
                found.append(
                    f"drift: {second / first - 1:+.1%} from the first half of the runs to the "
                    "second"
                )
        clocks = [run.frequency_mhz for run in self.runs if run.frequency_mhz]
        if clocks and min(clocks) < (1 - MAX_FREQUENCY_DROP) * max(clocks):
            found.append(f"clock: {max(clocks):.0f} MHz fell to {min(clocks):.0f} MHz")
        found += [
            f"throttling: {words}"
            for words in sorted({run.throttling for run in self.runs if run.throttling})
        ]
        return tuple(found)

    @property
    def partly(self) -> str:
        """Which part of the model the accelerator executed, in words; "" where it did all of it, or
        none was asked for. Such a time is a mixture with the CPU's."""
        if self.settings.delegate not in ACCELERATORS:
            return ""
        parts = [run.delegation for run in self.runs if run.delegation is not None]
        words = {part.describe() for part in parts if not part.is_full}
        if not words:
            return ""
        return f"partly on the CPU: {self.settings.delegate} executed {'; '.join(sorted(words))}"

    @property
    def estimated(self) -> str:
        """That the figure is no measurement, in words; "" where it is one."""
        scaled = any(run.statistic == "scaled" for run in self.runs)
        return "not measured: scaled by MACs from another classifier" if scaled else ""

    @property
    def doubts(self) -> tuple[str, ...]:
        """What a reader of the figure must be told: `partly`, `estimated` and the problems."""
        return tuple(words for words in (self.partly, self.estimated) if words) + self.problems

    @property
    def stable(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Json]:
        """Raw values, and derived figures beside them for readers; those are recomputed on load."""
        return {
            "median_ms": self.median_ms,
            "p10_ms": self.p10_ms,
            "p90_ms": self.p90_ms,
            "spread": self.spread,
            "invocations": self.invocations,
            "problems": list(self.problems),
            "model": to_json(self.model),
            "visits": [to_json(run) for run in self.runs],
        }


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
