"""Processes that benchmarks.busy keeps at work are there in the block, and gone behind it."""

import subprocess
import sys

import pytest

from benchmarks.busy import busy, main


@pytest.mark.parametrize("fails", [False, True])
def test_other_processes_work_as_long_as_the_block(monkeypatch, fails):
    started, popen = [], subprocess.Popen

    def start(command, **options):
        started.append(popen(command, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    try:
        with busy(2):
            assert [process.poll() for process in started] == [None, None]
            if fails:
                raise ValueError
    except ValueError:
        assert fails
    assert len(started) == 2 and all(process.returncode is not None for process in started)
    assert [process.args[0] for process in started] == [sys.executable] * 2


def test_each_call_has_its_number(monkeypatch, tmp_path):
    program = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch(); sys.exit('1' in sys.argv[1])"
    command = [sys.executable, "-c", program, f"{tmp_path}/made_{{n}}"]
    monkeypatch.setattr(sys, "argv", ["busy", "0", "--times=3", "--", *command])
    assert main() == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made_0", "made_1", "made_2"]
