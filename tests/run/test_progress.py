"""Estimates, plain lines without a terminal, a bar on one, and a clock that is set back."""

import io
import time

import pytest

from pnas_tf.run import progress
from pnas_tf.run.progress import Progress, duration


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def run(clock, work, seconds, **options):
    lines = []
    with Progress("work", len(seconds), say=lines.append, **options) as work:
        for took in seconds:
            clock.now += took
            work.update()
    return lines


def test_lines_come_at_a_modest_rate_with_what_is_left(clock):
    lines = run(clock, "work", [1.0] * 200)
    assert lines[:2] == [
        "work: 10 of 200 (5 %), about 3 min 10 s left",
        "work: 40 of 200 (20 %), about 2 min 40 s left",
    ]
    assert len(lines) == 7 and lines[-1] == "work: 190 of 200 (95 %), about 10 s left"


def test_the_first_unit_which_compiles_is_no_measure_of_the_others(clock):
    lines = run(clock, "work", [60.0, *[1.0] * 99])
    assert lines[0] == "work: 1 of 100 (1 %)"
    assert lines[1] == "work: 31 of 100 (31 %), about 1 min 9 s left"


def test_what_is_left_follows_the_pace_of_the_last_minute(clock):
    """A search's joint phase is slower than its warm-up phase."""
    lines = run(clock, "work", [1.0] * 100 + [3.0] * 100)
    assert lines[-1].endswith("left") and "190 of 200" in lines[-1] and "about 30 s" in lines[-1]


def test_work_that_an_earlier_call_did_is_counted_but_not_timed(clock):
    lines = []
    with Progress("work", 100, done=80, say=lines.append) as work:
        for _ in range(20):
            clock.now += 10
            work.update(figures={"loss": "1.5"})
    assert lines[1] == "work: 84 of 100 (84 %), about 2 min 40 s left, loss 1.5"


def test_short_work_says_nothing(clock):
    assert run(clock, "work", [0.1] * 50) == []


def test_a_wall_clock_that_is_set_back_moves_nothing(monkeypatch):
    """Not even tqdm's own, which times by the wall clock."""
    wall = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(wall)))
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "BAR_INTERVAL_S", 0.0)
    with Progress("work", 50) as work:
        for _ in range(50):
            time.sleep(0.002)
            work.update()
    drawn = terminal.getvalue().split("\r")
    assert len(drawn) > 50 and "50/50" in drawn[-3] and "-" not in drawn[-3]


@pytest.mark.parametrize("term", ["dumb", "xterm", None])
@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_only_where_a_line_can_be_drawn_anew(
    monkeypatch, clock, capsys, term, terminal
):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    with Progress("work", 30) as work:
        for _ in range(30):
            clock.now += 1
            work.update()
        work.print("a result")
    told = stream.getvalue()
    assert ("\r" in told) == (terminal and term != "dumb")
    assert "\x1b" not in told and "10 of 30" in told.replace("10/30", "10 of 30")
    assert capsys.readouterr().out == "a result\n"


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_standard_error(monkeypatch, clock, stream):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed if stream else None)
    assert not progress.can_redraw()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (130, "2 min 10 s"),
        (11100, "3 h 5 min"),
        (183600, "2 days 3 h"),
        (-5, "0 s"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
