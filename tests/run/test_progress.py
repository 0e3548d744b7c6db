"""Estimates, plain lines without a terminal, a live line on one, and a clock that is set back."""

import io
import re
import time

import pytest

import pnas_tf as pnas
from pnas_tf.run import progress, terminal
from pnas_tf.run.progress import Progress, _roughly, duration
from pnas_tf.run.terminal import TERMINAL, Voice, say, warn


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
    assert lines == [
        "work: 20 of 200 (10 %), about 3 min left",
        "work: 80 of 200 (40 %), about 2 min left",
        "work: 140 of 200 (70 %), about 60 s left",
    ]


def test_the_first_unit_which_compiles_is_no_measure_of_the_others(clock):
    lines = run(clock, "work", [60.0, *[1.0] * 99])
    assert lines[0] == "work: 1 of 100 (1 %)"
    assert lines[1] == "work: 61 of 100 (61 %), about 40 s left"


def test_what_is_left_follows_the_pace_of_the_last_minute(clock):
    """A search's joint phase is slower than its warm-up phase."""
    lines = run(clock, "work", [1.0] * 100 + [3.0] * 100)
    assert lines[-1] == "work: 194 of 200 (97 %), about 20 s left"


def test_work_that_an_earlier_call_did_is_counted_but_not_timed(clock):
    lines = []
    with Progress("work", 100, done=80, say=lines.append) as work:
        for _ in range(20):
            clock.now += 10
            work.update(figures={"loss": "1.5"})
    assert lines[1] == "work: 88 of 100 (88 %), about 2 min left, loss 1.5"


def test_short_work_says_nothing(clock):
    assert run(clock, "work", [0.1] * 50) == []


def test_a_wall_clock_that_is_set_back_moves_nothing(monkeypatch):
    wall = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(wall)))
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "LIVE_INTERVAL_S", 0.0)
    with Progress("work", 50) as work:
        for _ in range(50):
            time.sleep(0.002)
            work.update()
    drawn = terminal.getvalue().split("\r")
    assert len(drawn) > 50 and "100 % [##########]" in drawn[-3] and "-" not in drawn[-3]


@pytest.mark.parametrize("term", ["dumb", "xterm", None])
@pytest.mark.parametrize("terminal", [True, False])
def test_control_characters_only_where_a_line_can_be_drawn_anew(
    monkeypatch, clock, capsys, term, terminal
):
    stream = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", term) if term else monkeypatch.delenv("TERM", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    with TERMINAL.speaking(), Progress("work", 30) as work:
        TERMINAL.begin(continues=False)
        for _ in range(30):
            clock.now += 1
            work.update()
        say("a result")
        assert capsys.readouterr().out == "a result\n"
    told = stream.getvalue()
    assert ("\r" in told) == (terminal and term != "dumb")
    assert "\x1b" not in told and "work" in told
    assert terminal or told == "work: 20 of 30 (66 %), about 10 s left\n"


def test_what_a_notebook_starts_draws_nothing_anew(monkeypatch):
    """A kernel gives `!pnas` a terminal, and keeps each state of a line."""
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-color")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    assert terminal.can_redraw()
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    assert not terminal.can_redraw()


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_standard_error(monkeypatch, clock, stream):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed if stream else None)
    assert not terminal.can_redraw()
    with Progress("work", 30) as work:
        for _ in range(30):
            clock.now += 1
            work.update()


@pytest.mark.parametrize("columns", range(20, 140, 7))
def test_the_live_line_has_what_its_columns_hold(monkeypatch, clock, columns):
    """Percent at any width; at 80 columns the time left, at 120 the figures and the bar."""
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    figures = {"epoch": "17/40", "accuracy": "88 %", "expected latency": "0.105 ms"}
    with Progress("timing", 50, say=Voice("android:0123456789")) as work:
        for _ in range(21):
            clock.now += 1
            work.update(figures=figures)
    *_, line, _, _ = stream.getvalue().split("\r")
    assert len(line.rstrip()) < columns and line.startswith("timing, android:012"[: columns - 1])
    wanted = {40: "42 %", 60: "30 s left", 80: "epoch 17/40", 110: "expected latency 0.105 ms"}
    assert all(words in line for least, words in wanted.items() if columns >= least), line
    assert "[####......]" in line or columns < 118


def test_lines_of_many_pieces_of_work_are_as_few_as_of_one(monkeypatch, clock):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    TERMINAL.begin(continues=False)
    for piece in range(10):
        with Progress(f"piece {piece}", 30) as work:
            for _ in range(30):
                clock.now += 1
                work.update()
    assert 3 <= len(stream.getvalue().splitlines()) <= 1 + 300 / terminal.LINE_INTERVAL_S


def test_a_library_that_shall_be_quiet_shows_no_progress_but_warns(monkeypatch, clock, caplog):
    streams = {}
    for on in (True, False):
        pnas.quiet(on)
        streams[on] = io.StringIO()
        monkeypatch.setattr("sys.stderr", streams[on])
        with TERMINAL.speaking():
            pass  # a program within does not change it
        with Progress("work", 30, say=Voice("host")) as work:
            for _ in range(30):
                clock.now += 1
                work.update()
        warn(f"quiet is {on}")
    assert streams[True].getvalue() == "" and "work, host: 20 of 30" in streams[False].getvalue()
    assert caplog.messages == ["quiet is True", "quiet is False"]


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


def test_an_estimate_has_as_few_figures_as_it_is_worth():
    """Off by half of its last figure at most, and never "0 s" while there is work."""
    for seconds in (0.1, 3, 44, 89, 91, 600, 5390, 11_100, 183_600):
        words = _roughly(seconds)
        number = {"s": 1, "min": 60, "h": 3600, "days": 86_400}
        told = sum(int(n) * number[unit] for n, unit in re.findall(r"(\d+) (\w+)", words))
        assert abs(told - seconds) <= (5 if seconds < 90 else 30 if seconds < 86_400 else 1800)
        assert words != "0 s" and "min 0 s" not in words
