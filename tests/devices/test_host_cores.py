"""Which cores of this computer are chosen, on trees of /sys/devices laid out as real machines have
them."""

import dataclasses

import pytest

from pnas_tf.devices.cores import cores_of_list
from pnas_tf.devices.host.cores import choose_cores, read_host_cores
from pnas_tf.devices.host.worker import _frequency_mhz


@dataclasses.dataclass(frozen=True)
class Group:
    """Cores alike: numbers; threads of one physical core, which the kernel numbers side by side or
    `stride` apart; highest clock; capacity; performance counters."""

    numbers: str
    khz: int = 0
    capacity: int = 0
    counters: str = ""
    threads: int = 1
    stride: int = 1


MACHINES = {
    # 8 P-cores of two threads, two of them favoured, 8 E-cores
    "i7_13700": (
        Group("0-7", 5100000, counters="cpu_core", threads=2),
        Group("8-11", 5200000, counters="cpu_core", threads=2),
        Group("12-15", 5100000, counters="cpu_core", threads=2),
        Group("16-23", 4100000, counters="cpu_atom"),
    ),
    # 6 P-cores of two threads, 8 E-cores, 2 low-power E-cores that have the E-cores' counters
    "ultra_155h": (
        Group("0-1", 4800000, counters="cpu_core", threads=2),
        Group("2-9", 4500000, counters="cpu_core", threads=2),
        Group("10-11", 4800000, counters="cpu_core", threads=2),
        Group("12-19", 3800000, counters="cpu_atom"),
        Group("20-21", 2500000, counters="cpu_atom"),
    ),
    # 4 Cortex-A53, 2 Cortex-A72
    "rk3399": (
        Group("0-3", 1416000, 485, "armv8_cortex_a53"),
        Group("4-5", 1800000, 1024, "armv8_cortex_a72"),
    ),
    # the same board with an older kernel: clocks alone
    "rk3399_clocks": (Group("0-3", 1416000), Group("4-5", 1800000)),
    # 4 Cortex-A55, two clusters of Cortex-A76 that differ by their bins
    "rk3588": (
        Group("0-3", 1800000, 414),
        Group("4-5", 2352000, 1004),
        Group("6-7", 2400000, 1024),
    ),
    # two sockets are alike: 8 cores of two threads, the second ones behind all first ones
    "xeon": (Group("0-15", 3500000, threads=2, stride=8),),
    "plain": (Group("0-3"),),
    "raspberry": (Group("0-3", 2400000, 1024),),
    # an ARM server whose slow cores have a higher clock, which capacity knows
    "capacity_first": (Group("0-1", 2500000, 400), Group("2-3", 2000000, 1024)),
}


def tree(tmp_path, groups):
    """/sys/devices of a machine."""
    members: dict[str, list[int]] = {}
    for group in groups:
        numbers = cores_of_list(group.numbers)
        for place, number in enumerate(numbers):
            folder = tmp_path / "system" / "cpu" / f"cpu{number}"
            (folder / "topology").mkdir(parents=True)
            if group.stride > 1:
                siblings = [n for n in numbers if (n - number) % group.stride == 0]
            else:
                first = place - place % group.threads
                siblings = list(numbers[first : first + group.threads])
            (folder / "topology" / "core_cpus_list").write_text(",".join(map(str, siblings)) + "\n")
            if group.khz:
                (folder / "cpufreq").mkdir()
                (folder / "cpufreq" / "cpuinfo_max_freq").write_text(f"{group.khz}\n")
            if group.capacity:
                (folder / "cpu_capacity").write_text(f"{group.capacity}\n")
            if group.counters:
                members.setdefault(group.counters, []).append(number)
    for name, numbers in members.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpus").write_text(f"{numbers[0]}-{numbers[-1]}\n")
    (tmp_path / "cpu_uncore").mkdir()
    return tmp_path


def chosen(tmp_path, machine, threads, allowed=None):
    groups = MACHINES[machine]
    every = [number for group in groups for number in cores_of_list(group.numbers)]
    sysfs = tree(tmp_path, groups)
    return choose_cores(threads, read_host_cores(every if allowed is None else allowed, sysfs))


@pytest.mark.parametrize(
    ("machine", "threads", "cores"),
    [
        ("i7_13700", 1, (15,)),
        ("i7_13700", 2, (13, 15)),
        ("i7_13700", 4, (9, 11, 13, 15)),
        ("i7_13700", 8, (1, 3, 5, 7, 9, 11, 13, 15)),
        ("i7_13700", 16, tuple(range(16))),
        ("i7_13700", 17, ()),
        ("ultra_155h", 1, (11,)),
        ("ultra_155h", 6, (1, 3, 5, 7, 9, 11)),
        ("ultra_155h", 8, tuple(range(12, 20))),
        ("ultra_155h", 12, tuple(range(12))),
        ("ultra_155h", 22, ()),
        ("rk3399", 1, (5,)),
        ("rk3399", 2, (4, 5)),
        ("rk3399", 4, (0, 1, 2, 3)),
        ("rk3399", 6, ()),
        ("rk3399_clocks", 2, (4, 5)),
        ("rk3399_clocks", 4, (0, 1, 2, 3)),
        ("rk3588", 4, (4, 5, 6, 7)),
        ("rk3588", 5, ()),
        ("xeon", 1, (15,)),
        ("xeon", 4, (12, 13, 14, 15)),
        ("xeon", 8, tuple(range(8, 16))),
        ("xeon", 12, tuple(range(4, 16))),
        ("xeon", 64, tuple(range(16))),
        ("plain", 1, (3,)),
        ("plain", 2, (2, 3)),
        ("plain", 1000, (0, 1, 2, 3)),
        ("raspberry", 4, (0, 1, 2, 3)),
        ("capacity_first", 2, (2, 3)),
    ],
)
def test_the_fastest_kind_with_a_core_for_each_thread(tmp_path, machine, threads, cores):
    choice = chosen(tmp_path, machine, threads)
    assert choice.cores == cores
    kinds = [{*cores_of_list(group.numbers)} for group in MACHINES[machine]]
    if machine in ("rk3399", "rk3399_clocks", "capacity_first"):
        assert not cores or any(set(cores) <= kind for kind in kinds)  # never two kinds


@pytest.mark.parametrize(
    ("machine", "allowed", "threads", "cores"),
    [
        ("i7_13700", (4, 5, 17), 1, (5,)),
        ("i7_13700", (4, 5, 17), 2, (4, 5)),  # siblings rather than two kinds
        ("i7_13700", (16, 17), 2, (16, 17)),
        ("i7_13700", (16, 17), 3, (16, 17)),
        ("i7_13700", (3, 20), 2, ()),
        ("xeon", (3, 11), 1, (11,)),
        ("xeon", (3, 11), 2, (3, 11)),
        ("xeon", (3, 4), 2, (3, 4)),
        ("plain", (2,), 1, (2,)),
        ("plain", (), 1, ()),
    ],
)
def test_in_a_container_of_few_cores(tmp_path, machine, allowed, threads, cores):
    assert chosen(tmp_path, machine, threads, allowed).cores == cores


@pytest.mark.parametrize(
    ("machine", "threads", "words"),
    [
        ("i7_13700", 4, ""),
        ("plain", 1000, ""),
        ("rk3399", 4, "slower cores, the fastest are 2"),
        ("xeon", 12, "8 physical cores"),
        ("rk3399", 6, "held to no cores: there are 2 and 4 of different kinds"),
    ],
)
def test_what_is_not_as_one_would_expect_is_said(tmp_path, machine, threads, words):
    note = chosen(tmp_path, machine, threads).note
    assert (words in note) if words else note == ""


def test_a_tree_that_tells_nothing_gives_the_last_cores(tmp_path):
    assert choose_cores(2, read_host_cores({0, 1, 2, 3}, tmp_path / "absent")).cores == (2, 3)
    (tmp_path / "system" / "cpu" / "cpu1").mkdir(parents=True)
    (tmp_path / "system" / "cpu" / "cpu1" / "cpu_capacity").write_text("many")
    assert choose_cores(1, read_host_cores({0, 1}, tmp_path)).cores == (1,)


def test_the_clock_is_that_of_the_slowest_core_held_to(tmp_path):
    """Cores of a cluster share a policy, so cpufreq has fewer entries than there are cores."""
    for core, khz in enumerate([1416000] * 4 + [1800000, 1608000, 600000]):
        folder = tmp_path / f"cpu{core}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(f"{khz}\n")
    assert _frequency_mhz((4, 5), str(tmp_path)) == 1608.0
    assert _frequency_mhz((3,), str(tmp_path)) == 1416.0
    assert _frequency_mhz((), str(tmp_path)) is None  # an idle core's clock says nothing
    assert _frequency_mhz((4, 7), str(tmp_path)) is None
