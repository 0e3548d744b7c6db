"""What signals do to a program outside of its loops (inside: test_step_loop.py)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import signal, time
from pnas_tf.run import process, signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
process.stop_when_asked()
try:
    print("working", flush=True)
    time.sleep(60)
except signals.Stopped:
    print("cleaning up", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGXCPU])
def test_a_second_signal_ends_what_cleans_up_without_a_traceback(first):
    """SIGXCPU comes each second, and is heard once; batch systems send SIGUSR1."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line, numbers in (("working", (first,)), ("cleaning up", (first, signal.SIGTERM))):
        assert process.stdout.readline().strip() == line
        for number in numbers:
            process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and errors.count("interrupted") == 1, errors
    assert "Traceback" not in errors
