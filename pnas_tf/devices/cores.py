"""Which cores of a far device are its big ones, read from its own cpufreq, and the `taskset` mask
of them.

Knows nothing of how the device is reached beyond running a script there. Source: the kernel's
cpufreq documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pnas_tf.devices.connection import Connection

MAX_CORES = 4096
_NUMBER = re.compile("[0-9]{1,12}")
_ALLOWED = re.compile(r"^Cpus_allowed_list:[ \t]*([0-9,-]{1,4000})", re.MULTILINE)
_SCRIPT = """
for core in /sys/devices/system/cpu/cpu[0-9]*; do
  top=$(cat "$core/cpufreq/cpuinfo_max_freq" 2>/dev/null) || top=-
  on=$(cat "$core/online" 2>/dev/null) || on=1
  echo "core ${core##*/cpu} ${top:--} ${on:-1}"
done
command -v taskset >/dev/null 2>&1 && echo taskset
"""


@dataclass(frozen=True)
class Core:
    """One core: its number and its highest clock in kHz (None where cpufreq says nothing)."""

    index: int
    max_khz: int | None


@dataclass(frozen=True)
class CoreMap:
    """The online cores of a device, and whether processes can be held to some of them."""

    cores: tuple[Core, ...]
    has_taskset: bool

    def big(self, threads: int) -> tuple[int, ...]:
        """The fastest cores, whole clusters at a time, until there is one for each thread; () when
        it cannot be told or held.

        A phone's fastest cluster may be a single core: four threads on it would measure a queue.
        """
        known = [core for core in self.cores if core.max_khz is not None]
        if not self.has_taskset or len(known) < len(self.cores) or not known:
            return ()
        chosen: list[int] = []
        for clock in sorted(
            {core.max_khz for core in known if core.max_khz is not None}, reverse=True
        ):
            chosen += [core.index for core in known if core.max_khz == clock]
            if len(chosen) >= threads:
                break
        return tuple(sorted(chosen))


def held_cores(
    connection: Connection, threads: int, *, say: Callable[[str], None]
) -> tuple[int, ...]:
    """The cores that processes there will be held to, tried once; () where they cannot be, which is
    said.

    Raises as `Connection.run` does.
    """
    known = read_cores(connection)
    wanted = known.big(threads)
    if not wanted:
        lacks = "its cpufreq tells no clocks" if known.has_taskset else "it has no taskset"
        say(f"processes are not held to cores: {lacks}")
        return ()
    tried = connection.run(f"taskset {taskset_mask(wanted)} cat /proc/self/status")
    allowed = _ALLOWED.search(tried.output)
    if tried.exit_code != 0:
        reason = tried.output.strip()[-200:] or f"taskset ended with exit code {tried.exit_code}"
        given: tuple[int, ...] = ()
    else:  # a cpuset may give fewer than asked for, without an error
        given = wanted if allowed is None else cores_of_list(allowed.group(1))
        reason = f"it gives cores {_text(given)}"
    if len(given) < min(threads, len(wanted)) or not set(given) <= set(wanted):
        say(f"processes are not held to cores {_text(wanted)}: {reason}")
        return ()
    return given


def cores_of_list(text: str) -> tuple[int, ...]:
    """ "0-3,8" as the kernel prints sets of cores: (0, 1, 2, 3, 8). What is no number is passed
    over."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = (word.strip() for word in part.partition("-"))
        if _NUMBER.fullmatch(first) and (not last or _NUMBER.fullmatch(last)):
            found |= set(range(int(first), min(int(last or first) + 1, MAX_CORES)))
    return tuple(sorted(found))


def _text(cores: tuple[int, ...]) -> str:
    return ",".join(map(str, cores)) or "none"


def read_cores(connection: Connection) -> CoreMap:
    """Asks the device. Raises as `Connection.run` does."""
    return parse_cores(connection.run(_SCRIPT).output)


def parse_cores(text: str) -> CoreMap:
    """Reads the lines "core INDEX MAX_KHZ ONLINE" and "taskset"; offline cores are left out."""
    cores, has_taskset = [], False
    for line in text.splitlines():
        words = line.split()
        if words == ["taskset"]:
            has_taskset = True
        elif (
            len(words) == 4
            and words[0] == "core"
            and _NUMBER.fullmatch(words[1])
            and int(words[1]) < MAX_CORES
            and words[3] == "1"
        ):
            cores.append(
                Core(int(words[1]), int(words[2]) if _NUMBER.fullmatch(words[2]) else None)
            )
    return CoreMap(tuple(sorted(cores, key=lambda core: core.index)), has_taskset)


def taskset_mask(cores: tuple[int, ...]) -> str:
    """Hexadecimal affinity mask without 0x, as both util-linux and toybox `taskset` take it: (4, 5,
    6, 7) is "f0"."""
    return format(sum(1 << core for core in cores), "x")
