"""Table, search, training, export, benchmark and validation on one stand-in phone, in one chain,
with the cable pulled twice."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

import phones  # noqa: E402


@pytest.mark.slow
@pytest.mark.device
@pytest.mark.root
@pytest.mark.skipif(bool(phones.missing()), reason=phones.missing() or "-")
def test_the_whole_way_by_adb_loses_nothing_when_the_cable_is_pulled():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "phone_chain.py"), "--small"],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "whole: nothing is missing or lost" in done.stdout
    assert "the phone is pulled out for 2 seconds" in done.stdout
