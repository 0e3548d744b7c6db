"""What the system says that others took from this process while it ran a model.

One thread: a sample's waits, which can be taken out of it. Measured as an ordinary user beside two
busy processes, halves of a session differ by 16 % on networks of 3 ms with the waits and by 1.9 %
without. Whatever cannot be taken out of a sample (time that the hypervisor gave to other machines,
a preempted thread among several) marks the whole run. Imports nothing of this project.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

COARSEST_S = 1e-6  # a clock of the thread's own time that ticks more slowly tells no waits
LEAST_WAIT = 0.005  # of a sample: two clocks do not begin and end at once
LEAST_STOLEN = 0.02  # of a run
LEAST_PREEMPTED = 0.1  # of the invocations; now and then the system itself needs the core


@dataclass(frozen=True)
class Counters:
    """Readings at one moment. stolen_s: of this process's cores, since the machine started; None
    where the system does not tell."""

    at_s: float
    preemptions: int
    stolen_s: float | None


def read() -> Counters:
    """The counters now."""
    return Counters(time.perf_counter(), _preemptions(), _stolen_s())


def words(before: Counters, after: Counters, *, invocations: int | None) -> str:
    """What was lost between two readings; "" for nothing.

    Args:
        before: at the start of a run.
        after: at its end.
        invocations: between them; None where involuntary switches do not count, since what they
            took is taken out of the samples.
    """
    found = []
    lost = after.preemptions - before.preemptions
    if invocations is not None and lost > LEAST_PREEMPTED * invocations:
        found.append(f"preempted {lost} times in {invocations} invocations")
    if before.stolen_s is not None and after.stolen_s is not None:
        share = (after.stolen_s - before.stolen_s) / (after.at_s - before.at_s)
        if share > LEAST_STOLEN:
            found.append(f"{min(1.0, share):.0%} of the time stolen by other machines")
    return ", ".join(found)


def waits(samples_ns: Sequence[int], own_ns: Sequence[int]) -> list[int]:
    """For how long of each sample the thread had no core; empty where it always had one.

    Args:
        samples_ns: by the clock on the wall.
        own_ns: by the clock that stands while the thread does.
    """
    if time.get_clock_info("thread_time").resolution > COARSEST_S or 0 in own_ns:
        return []
    found = [
        sample - own if sample - own > LEAST_WAIT * sample else 0
        for sample, own in zip(samples_ns, own_ns, strict=True)
    ]
    return found if any(found) else []


def _preemptions() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _stolen_s() -> float | None:
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    try:
        times = psutil.cpu_times(percpu=True)
        return sum(times[core].steal for core in cores if core < len(times)) / max(1, len(cores))
    except (AttributeError, OSError, RuntimeError):  # no such counter but on Linux
        return None
