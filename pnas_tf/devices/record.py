"""The measurement record: raw times with everything that a comparison needs to know about where
they come from.

Immutable; median, p10, p90, spread and verdicts are derived when read. Records of different
devices, settings or models never merge. Knows nothing of how a device is reached, and nothing of
blocks or networks.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pnas_tf.devices.delegation import ACCELERATORS, Delegation
from pnas_tf.devices.stability import problems_of
from pnas_tf.io import Json
from pnas_tf.io.serialization import to_json

# What one sample is: an invocation's, a tool's aggregate over `count`, or scaled from another's.
STATISTICS = ("invocation", "median", "mean", "scaled")
MAX_TIME_NS = 1e15  # 11 days


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
        started_unix_s, ended_unix_s: when, with warm-ups, on far devices with loading too; 0.0
            where it is not kept.
        waited_ns: for how long of each sample the model was ready to go on and had no core; empty
            where the system does not tell, or where it never waited.
        disturbed: what the system says that the run lost to others and no sample tells; "" for
            nothing.
        sentinel_ns: the reference model beside this run, added by the session; in records of
            versions before 2 that of its round.
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
    ended_unix_s: float = 0.0
    waited_ns: tuple[float, ...] = ()
    disturbed: str = ""
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
        if self.waited_ns and not (
            len(self.waited_ns) == len(self.samples_ns)
            and all(
                0 <= waited < sample
                for waited, sample in zip(self.waited_ns, self.samples_ns, strict=True)
            )
        ):
            raise ValueError(f"waits that are none of the samples': {self.waited_ns}")

    @property
    def invocations(self) -> int:
        """Timed invocations behind this run."""
        return len(self.samples_ns) if self.statistic == "invocation" else self.count

    @property
    def net_ns(self) -> tuple[float, ...]:
        """The samples without what they waited for a core: what they take on a quiet device."""
        if not self.waited_ns:
            return self.samples_ns
        return tuple(
            sample - waited for sample, waited in zip(self.samples_ns, self.waited_ns, strict=True)
        )

    @property
    def median_ns(self) -> float:
        return statistics.median(self.net_ns)


@dataclass(frozen=True)
class Measurement:
    """All runs of one model on one device under one setting."""

    device: Device
    settings: Settings
    model: ModelFacts
    runs: tuple[ModelRun, ...]

    @property
    def used_runs(self) -> tuple[ModelRun, ...]:
        """Those that were not disturbed; all where these are less than half."""
        calm = tuple(run for run in self.runs if not run.disturbed)
        return calm if 2 * len(calm) >= len(self.runs) else self.runs

    @property
    def samples_ms(self) -> list[float]:
        """Every timed sample of the used runs in the order taken, waits taken out."""
        return [sample / 1e6 for run in self.used_runs for sample in run.net_ns]

    @property
    def invocations(self) -> int:
        return sum(run.invocations for run in self.runs)

    @property
    def median_ms(self) -> float:
        """Median of all samples, waits taken out. A mean would be moved 8 to 20 % by
        interruptions."""
        return statistics.median(self.samples_ms)

    @property
    def raw(self) -> Measurement:
        """The same as it passed on the clock: all runs, waits not taken out."""
        return replace(
            self, runs=tuple(replace(run, waited_ns=(), disturbed="") for run in self.runs)
        )

    @property
    def raw_median_ms(self) -> float:
        return self.raw.median_ms

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
        medians = [run.median_ns for run in self.used_runs]
        if len(medians) < 3:
            return float("inf")
        middle = statistics.median(medians)
        deviation = 1.4826 * statistics.median(abs(median - middle) for median in medians)
        return 1.2533 * deviation / len(medians) ** 0.5 / middle

    def corrected_ms(self, sentinel_ms: float | None) -> float:
        """Median with the device's drift taken out: each run is scaled by sentinel_ms / the
        sentinel beside it.

        Args:
            sentinel_ms: what the reference model takes in the session compared with; None where it
                had none, which leaves the plain median. Runs without one stay as they are.
        """
        if sentinel_ms is None:
            return self.median_ms
        return statistics.median(
            sample / 1e6 * (sentinel_ms * 1e6 / run.sentinel_ns if run.sentinel_ns else 1.0)
            for run in self.used_runs
            for sample in run.net_ns
        )

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this measurement is unstable, in words; empty when it is not."""
        runs = self.used_runs
        return problems_of(
            self.samples_ms,
            medians=[run.median_ns for run in runs],
            clocks_mhz=[run.frequency_mhz for run in runs if run.frequency_mhz],
            throttling={run.throttling for run in runs if run.throttling},
            disturbed=sum(bool(run.disturbed) for run in runs) / len(runs),
        )

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
    def stable(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Json]:
        """Raw values, and derived figures beside them for readers; those are recomputed on load."""
        return {
            "median_ms": self.median_ms,
            "raw_median_ms": self.raw_median_ms,
            "p10_ms": self.p10_ms,
            "p90_ms": self.p90_ms,
            "spread": self.spread,
            "invocations": self.invocations,
            "problems": list(self.problems),
            "model": to_json(self.model),
            "visits": [to_json(run) for run in self.runs],
        }
