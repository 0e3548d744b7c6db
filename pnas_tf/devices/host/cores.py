"""Which cores of this computer a model is held to: the fastest kind that has one for each thread,
never two kinds, and no two threads on one physical core while there are others.

Kinds are told by the kernel's names of their performance counters (cpu_core, armv8_cortex_a72), by
capacity and by clock. Reads a tree like /sys/devices; holds no process to anything. Source: the
kernel's documentation of sysfs-devices-system-cpu, cpu-capacity and cpufreq.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pnas_tf.devices.cores import cores_of_list
from pnas_tf.errors import number_of

SYSFS = Path("/sys/devices")
# Cores of one kind differ by 7 % where the best are allowed a higher clock (Intel's favoured cores,
# binned clusters of an RK3588), kinds by 15 % and more.
_SAME_KIND = 0.88


@dataclass(frozen=True)
class HostCore:
    """One core as the kernel numbers them.

    Attributes:
        index: its number.
        counters: names of the performance counters that it has, which tell its design; () for none.
        capacity: computing power, of 1,024 for the machine's best; None where it is not told.
        max_khz: highest clock; None likewise.
        siblings: cores that are threads of the same physical core, itself among them.
    """

    index: int
    counters: tuple[str, ...] = ()
    capacity: int | None = None
    max_khz: int | None = None
    siblings: tuple[int, ...] = ()


@dataclass(frozen=True)
class CoreChoice:
    """cores: to hold a process to; () for none. note: what the user should know of it, or ""."""

    cores: tuple[int, ...]
    note: str = ""


def choose_cores(threads: int, cores: Iterable[HostCore]) -> CoreChoice:
    """The cores for so many threads, of those that may be used.

    The last ones of a kind, since the first take most interrupts. Where all are of one kind and too
    few, all of them.
    """
    kinds = _kinds(list(cores))
    physical = [_one_a_physical_core(kind) for kind in kinds]
    for number, kind in enumerate(physical):
        if len(kind) >= threads:
            slower = f"{threads} threads: held to slower cores, the fastest are {len(physical[0])}"
            return CoreChoice(_last(kind, threads), slower if number else "")
    for number, kind in enumerate(kinds):
        if len(kind) >= threads:
            there = number_of(len(physical[number]), "physical core")
            note = f"{threads} threads on {there}: some share one"
            return CoreChoice(_last(kind, threads), note)
    if len(kinds) == 1:
        return CoreChoice(_last(kinds[0], threads))
    counts = " and ".join(str(len(kind)) for kind in kinds)
    note = (
        f"{threads} threads are held to no cores: there are {counts} of different kinds, and "
        "figures of a mixture vary"
    )
    return CoreChoice((), note if kinds else "")


def read_host_cores(allowed: Iterable[int], sysfs: Path = SYSFS) -> list[HostCore]:
    """What the kernel tells of these cores. Absent files are absent facts."""
    counters = {path.parent.name: cores_of_list(_text(path)) for path in sysfs.glob("*/cpus")}
    found = []
    for index in sorted(allowed):
        folder = sysfs / "system" / "cpu" / f"cpu{index}"
        siblings = _text(folder / "topology" / "core_cpus_list") or _text(
            folder / "topology" / "thread_siblings_list"
        )
        found.append(
            HostCore(
                index,
                tuple(sorted(name for name, members in counters.items() if index in members)),
                _number(folder / "cpu_capacity"),
                _number(folder / "cpufreq" / "cpuinfo_max_freq"),
                cores_of_list(siblings) or (index,),
            )
        )
    return found


def _kinds(cores: list[HostCore]) -> list[list[HostCore]]:
    """The cores by kind, the fastest kind first: by capacity where the kernel tells it of all, else
    by clock."""
    by_design: dict[tuple[str, ...], list[HostCore]] = {}
    for core in cores:
        by_design.setdefault(core.counters, []).append(core)
    tells_capacity = all(core.capacity for core in cores)
    kinds: list[list[HostCore]] = []
    for design in by_design.values():
        for group in _split(design, [core.max_khz or 0 for core in design]):
            kinds += _split(group, [core.capacity or 0 for core in group])
    return sorted(
        kinds,
        key=lambda kind: (
            max(core.capacity or 0 for core in kind) if tells_capacity else 0,
            max(core.max_khz or 0 for core in kind),
            "cpu_core" in kind[0].counters,  # Intel's name of its fast cores, where no clock is
        ),
        reverse=True,
    )


def _split(cores: list[HostCore], speeds: list[int]) -> list[list[HostCore]]:
    """Groups of about one speed."""
    groups: list[list[HostCore]] = []
    top = 0
    for speed, core in sorted(zip(speeds, cores), key=lambda pair: (-pair[0], pair[1].index)):
        if not groups or speed < _SAME_KIND * top:
            groups.append([])
            top = speed
        groups[-1].append(core)
    return groups


def _one_a_physical_core(kind: list[HostCore]) -> list[HostCore]:
    """The last of each set of siblings."""
    last = {core.siblings: core for core in sorted(kind, key=lambda core: core.index)}
    return list(last.values())


def _last(cores: list[HostCore], threads: int) -> tuple[int, ...]:
    return tuple(sorted(core.index for core in cores)[-threads:])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() and len(text) <= 12 else None
