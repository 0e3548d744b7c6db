"""How many cores a container pays for, by trees of control groups as the kernel writes them."""

import os

import pytest

from pnas_tf.config import DeviceConfig
from pnas_tf.devices.host import runner
from pnas_tf.run import processors
from pnas_tf.run.processors import cpu_quota, hold_tensorflow, usable_cores


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Of 8 cores; a function says which group the process is in and what the groups allow."""
    monkeypatch.setattr(processors, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(processors, "OWN_CGROUP", tmp_path / "cgroup")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for variable in processors._THREADS:
        monkeypatch.delenv(variable, raising=False)

    def lay(own, **files):
        (tmp_path / "cgroup").write_text(own)
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return lay


V1 = "12:memory:/a\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/a\n"
QUOTAS = {
    "no control groups": ("", {}, None),
    "no limit": ("0::/a\n", {"a/cpu.max": "max 100000\n"}, None),
    "half a core": ("0::/a\n", {"a/cpu.max": "50000 100000\n"}, 0.5),
    "two and a half": ("0::/a/b\n", {"a/b/cpu.max": "250000 100000\n"}, 2.5),
    "of a group above": (
        "0::/a/b\n",
        {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n"},
        3,
    ),
    "the least of several": (
        "0::/a/b\n",
        {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "400000 100000\n"},
        3,
    ),
    "the container's root, of a group that the host names": (
        "0::/system.slice/docker-1.scope\n",
        {"cpu.max": "200000 100000\n"},
        2,
    ),
    "version 1": (
        V1,
        {
            "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "150000\n",
            "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
        },
        1.5,
    ),
    "version 1 as a container sees it": (
        V1,
        {"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"},
        4,
    ),
    "version 1 without a limit": (
        V1,
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
        None,
    ),
    "another controller's limit": ("3:memory:/\n", {"memory/cpu.max": "100000 100000\n"}, None),
    "damaged": ("0::/a\nx\n", {"a/cpu.max": "5\n", "cpu.max": "100 0\n"}, None),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_quota_of_a_tree(machine, name):
    own, files, quota = QUOTAS[name]
    machine(own, **files)
    assert cpu_quota() == quota
    assert usable_cores() == (8 if quota is None else -(-quota // 1))


def test_a_quota_above_the_cores_gives_no_more_of_them(machine):
    machine("0::/\n", **{"cpu.max": "1600000 100000\n"})
    assert cpu_quota() == 16 and usable_cores() == 8
    hold_tensorflow()
    assert not set(processors._THREADS) & set(os.environ)


def test_tensorflow_gets_the_threads_that_are_paid_for_and_a_users_choice_stays(
    machine, monkeypatch
):
    machine("0::/\n", **{"cpu.max": "250000 100000\n"})
    intra, inter = processors._THREADS
    monkeypatch.setenv(inter, "5")
    monkeypatch.setenv(intra, "0")
    monkeypatch.delenv(intra)  # so that it is taken away again afterwards
    hold_tensorflow()
    assert (os.environ[intra], os.environ[inter]) == ("3", "5")


def test_a_measurement_of_more_threads_than_the_quota_says_so(machine):
    machine("0::/\n", **{"cpu.max": "150000 100000\n"})
    assert "quota of 1.5 cores" in runner.own_cores(2).note
    assert "quota" not in runner.own_cores(DeviceConfig().threads).note
