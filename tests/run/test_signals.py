"""What signals do to a program outside of its loops (inside: test_step_loop.py)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import shutil, signal, time
from pnas_tf.cli import program
from pnas_tf.run import process, signals
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
process.stop_when_asked()
def is_asked_during(words):
    print(words, flush=True)
    for _ in range(6000):  # Python does not hear a signal that comes just before a sleep
        time.sleep(0.01)
"""
CLEANS_UP = """
try:
    is_asked_during("working")
except signals.Stopped:
    is_asked_during("cleaning up")
"""
ENDS = """
program.exit_status(lambda: is_asked_during("working"))
is_asked_during("cleaning up")
"""
ENDS_AT_ONCE = """
process.keep_temporary_files_together()
remove = shutil.rmtree
def rmtree(*paths, **options):
    shutil.rmtree = remove
    is_asked_during("cleaning up")
shutil.rmtree = rmtree
is_asked_during.__code__ = is_asked_during.__code__.replace(co_filename="/tensorflow/loop.py")
is_asked_during("working")
"""


@pytest.mark.parametrize(
    "program, first",
    [
        *((CLEANS_UP, number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU)),
        *((program, signal.SIGINT) for program in (CLEANS_UP, ENDS, ENDS_AT_ONCE)),
    ],
)
def test_a_second_signal_ends_what_cleans_up_without_a_traceback(program, first):
    """SIGXCPU comes each second, and is heard once; batch systems send SIGUSR1. What was said
    before the second one is not said again."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + program],
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
