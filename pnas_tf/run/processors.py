"""How many cores this process may keep busy: those it may run on, and no more than a container's
quota of processor time pays for. Knows nothing of TensorFlow.

Source: the kernel's documentation of control groups (cpu.max of version 2, cpu.cfs_quota_us of
version 1).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def usable_cores() -> int:
    """At least 1."""
    quota = cpu_quota()
    allowed = _allowed()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def hold_tensorflow() -> None:
    """Gives TensorFlow, before it is loaded, as many threads as a quota pays for, where there is
    one; it counts the cores of the machine, and threads beyond the quota stand still for most of
    each period. What the user has set stays."""
    if cpu_quota() is not None and usable_cores() < _allowed():
        for variable in _THREADS:
            os.environ.setdefault(variable, str(usable_cores()))


def cpu_quota() -> float | None:
    """Cores that the process's control groups pay for, the least of all above it; None where they
    set no limit, or the system has none."""
    quotas = [quota for group in _groups() if (quota := _quota(group)) is not None]
    return min(quotas, default=None)


def _allowed() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups() -> list[Path]:
    """The folders of the process's groups that may limit its time, and of all above them. In a
    container the path may be the host's, of which the container sees its own group as the root."""
    found = []
    for line in _text(OWN_CGROUP).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        roots = [CGROUPS / controllers, CGROUPS / "cpu"] if controllers else [CGROUPS]
        for root in roots:
            place = root / path.strip("/")
            found += [place, *(above for above in place.parents if above.is_relative_to(root))]
    return found


def _quota(group: Path) -> float | None:
    words = _text(group / "cpu.max").split()
    if not words:
        words = [_text(group / f"cpu.cfs_{what}_us").strip() for what in ("quota", "period")]
    if len(words) != 2 or not all(word.isdigit() for word in words) or not int(words[1]):
        return None  # "max", or -1 of version 1
    return int(words[0]) / int(words[1])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
