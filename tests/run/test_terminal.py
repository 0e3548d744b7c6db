"""What is printed, what stands in the log alone, and what a person sees on a screen."""

import logging
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pnas_tf.config import RunConfig
from pnas_tf.errors import UserError
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import Artifact
from pnas_tf.run.terminal import DETAILS, TERMINAL, Voice, say, warn

ROOT = Path(__file__).resolve().parents[2]


def tell():
    say("a result")
    DETAILS("a detail")
    Voice("host")("round 1")
    logging.getLogger("pnas_tf.io.locks").warning("no locks here")
    warn("times are unstable", ["block a", "block b"])
    warn("times are unstable", ["block c"])


@pytest.mark.parametrize(
    "mode, printed",
    [
        ("", "a result\n"),
        ("verbose", "a result\na detail\nhost: round 1\n"),
        ("quiet", ""),
    ],
)
def test_everything_is_in_the_log_and_little_on_the_terminal(tmp_path, capsys, mode, printed):
    with TERMINAL.speaking():
        if mode:
            setattr(TERMINAL, mode, True)
        TERMINAL.keep_log(tmp_path)
        tell()
        TERMINAL.close_with("refused")
    out, err = capsys.readouterr()
    log = tmp_path / Artifact.LOG
    assert out == printed
    assert err == (f"WARNING no locks here\nWARNING times are unstable (details: {log})\n")  # once
    text = log.read_text()
    for line in ("a result", "a detail", "host: round 1", "no locks here", "refused"):
        assert re.search(rf"^\d{{4}}-\d\d-\d\d [\d:,]+ [A-Z]+ +{line}$", text, re.MULTILINE), text
    assert re.findall(r"^    (block .)$", text, re.MULTILINE) == ["block a", "block b", "block c"]


def test_a_log_is_appended_to_and_what_was_told_before_it_is_in_it(tmp_path):
    for word in ("first", "second"):
        with TERMINAL.speaking():
            say(f"before {word}")
            TERMINAL.keep_log(tmp_path)
            say(word)
    words = re.findall(r"RESULT +(.*)", (tmp_path / Artifact.LOG).read_text())
    assert words == ["before first", "first", "before second", "second"]


def test_a_library_without_a_program_is_quiet_but_for_warnings(capsys, tmp_path, caplog):
    tell()
    assert capsys.readouterr().out == ""
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    with TERMINAL.speaking():
        pass
    assert not logging.getLogger("pnas_tf").handlers and logging.getLogger("pnas_tf").propagate


def do(folder, *names, error=None):
    def work():
        (folder / f"{TERMINAL.stage.split()[-1]}_parts").mkdir(exist_ok=True)
        if error is not None and TERMINAL.stage.endswith(names[-1]):
            raise error

    for number, name in enumerate(names, 1):
        TERMINAL.stage = f"[{number}/{len(names)}] {name}"
        parts = (f"{name}_parts",)
        if folder.step(name, inputs={}, outputs=(), work=work, partial=parts):
            TERMINAL.end("done (3 s)")


def test_a_continued_run_says_in_one_line_what_was_there(tmp_path, capsys):
    with TERMINAL.speaking(), RunFolder(tmp_path) as folder:
        do(folder, "one", "two")
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] one: begins",
        "[1/2] one: done (3 s)",
        "[2/2] two: begins",
        "[2/2] two: done (3 s)",
    ]
    with pytest.raises(KeyboardInterrupt), TERMINAL.speaking(), RunFolder(tmp_path) as folder:
        do(folder, "one", "two", "three", error=KeyboardInterrupt())
    capsys.readouterr()
    with TERMINAL.speaking(), RunFolder(tmp_path) as folder:
        do(folder, "one", "two", "three")
    assert capsys.readouterr().out.splitlines() == [
        "complete, skipped: one, two",
        "[3/3] three: begins where it was stopped",
        "[3/3] three: done (3 s)",
    ]
    with TERMINAL.speaking(), RunFolder(tmp_path) as folder:
        with TERMINAL.stages():
            do(folder, "one", "two")
        say("a table")
    assert capsys.readouterr().out == "complete, skipped: one, two\na table\n"


@pytest.mark.parametrize("before", [None, "mine"])
def test_a_refusal_takes_its_log_back(tmp_path, before):
    log = tmp_path / Artifact.LOG
    if before:
        log.write_text(before)
    with TERMINAL.speaking(), pytest.raises(UserError), RunFolder(tmp_path) as folder:
        try:
            do(folder, "one", error=UserError("no", expected="a", received="b", fix="c"))
        finally:
            (tmp_path / Artifact.STEPS).unlink()  # as `unless_refused` does
    assert log.exists() == bool(before)
    assert not before or log.read_text().startswith(before)


def test_each_folder_of_a_call_has_its_own_log(tmp_path):
    """As of pnas specialise, whose folders are filled while it holds the searched one."""
    with RunFolder(tmp_path / "searched") as folder:
        do(folder, "one")
    with TERMINAL.speaking(), RunFolder(tmp_path / "searched") as searched:
        searched.settle([RunConfig()])
        say("asked")
        for name in ("first", "second"):
            with RunFolder(tmp_path / name) as folder:
                say(f"before {name}")
                do(folder, "one")
                say(name)
        with pytest.raises(UserError), RunFolder(tmp_path / "third"):
            raise UserError("no", expected="a", received="b", fix="c")
        say("at the end")
    told = {
        path.parent.name: re.findall(r"RESULT +(\w.*)", path.read_text())
        for path in tmp_path.glob(f"*/{Artifact.LOG}")
    }
    assert told == {
        "first": ["asked", "before first", "first"],
        "second": ["before second", "second"],
        "searched": ["at the end"],
    }


def test_a_log_that_cannot_be_written_stops_nobody(tmp_path, capsys):
    (tmp_path / Artifact.LOG).mkdir()
    with TERMINAL.speaking():
        TERMINAL.keep_log(tmp_path)
        say("a result")
    assert capsys.readouterr() == ("a result\n", "")


PROGRAM = r"""
import time
from pnas_tf.run import progress
from pnas_tf.run.process import open_standard_streams
from pnas_tf.run.progress import Progress
from pnas_tf.run.terminal import DETAILS, TERMINAL, say, warn
progress.LIVE_INTERVAL_S = 0.0
open_standard_streams()
with TERMINAL.speaking():
    say("digits: 10 classes \u2013 359 test images")
    for number, name in enumerate(("latency_table", "search"), 1):
        TERMINAL.stage = f"[{number}/2] {name}"
        TERMINAL.begin(continues=False)
        with Progress(name, 20) as work:
            for unit in range(20):
                DETAILS(f"unit {unit}")
                work.update(figures={"epoch": f"{unit}/20", "expected latency": "0.105 ms"})
                if unit == 9 and number == 1:
                    warn("the device was busy")
        TERMINAL.end("all is well, in more words than eighty columns hold: 100.0 % (3 s)")
    warn("too long for a line of eighty columns, but to be copied whole: pnas run --run_dir=runs/a")
"""
SCREEN = [
    "digits: 10 classes {dash} 359 test images",
    "WARNING the device was busy",
    "[1/2] latency_table: all is well, in more words than eighty columns hold: 100.0 % (3 s)",
    "[2/2] search: all is well, in more words than eighty columns hold: 100.0 % (3 s)",
    "WARNING too long for a line of eighty columns, but to be copied whole: pnas run "
    "--run_dir=runs/a",
]


def words_of(rows):
    """The lines again that were broken between words, and those that the terminal broke."""
    lines = []
    for row in rows:
        if row.startswith("    "):
            lines[-1] += f" {row.strip()}"
        else:
            lines.append(row)
    return lines


def screen(written, columns):
    """The rows of a terminal: a carriage return goes to the first column, what is written there
    replaces what was."""
    rows = []
    for line in written.replace("\r\n", "\n").split("\n"):
        cells = [" "] * columns
        for part in line.split("\r"):
            assert len(part) < columns or "--" in part, f"wider than {columns}: {part!r}"
            cells[: len(part)] = part
        rows.append("".join(cells).rstrip())
    return [row for row in rows if row]


def in_a_terminal(tmp_path, columns, **environment):
    """What a program writes to a pseudo-terminal of so many columns."""
    main, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        stdin=other,
        stdout=other,
        stderr=other,
        env={
            **{name: value for name, value in os.environ.items() if name != "COLUMNS"},
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            **environment,
        },
        preexec_fn=lambda: os.system(f"stty cols {columns} rows 20"),
    )
    os.close(other)
    written = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(main)
    assert process.wait() == 0
    return written.decode()


@pytest.mark.parametrize("columns", [60, 80])
def test_a_live_line_leaves_nothing_behind(tmp_path, columns):
    written = in_a_terminal(tmp_path, columns, PYTHONUTF8="1")
    assert "\x1b" not in written and "\r[2/2] search  50 %" in written
    assert "\r[2/2] search  ..." in written  # before there is progress to show
    rows = screen(written, columns)
    assert sum(row.startswith("    ") for row in rows) == 2
    assert not any(row.endswith(("100.0", "(3")) or row.startswith("    %") for row in rows)
    assert words_of(rows) == [line.format(dash="\u2013") for line in SCREEN]


@pytest.mark.parametrize(
    "environment",
    [{"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["no colours", "ASCII alone"],
)
def test_terminals_of_little(tmp_path, environment):
    written = in_a_terminal(tmp_path, 80, **environment)
    dash = "?" if "LC_ALL" in environment else "\u2013"
    assert "\x1b" not in written
    assert words_of(screen(written, 80)) == [line.format(dash=dash) for line in SCREEN]


def test_a_dumb_terminal_gets_lines(tmp_path):
    written = in_a_terminal(tmp_path, 80, TERM="dumb", PYTHONUTF8="1").replace("\r\n", "\n")
    assert not set(written) & {"\r", "\x1b"}
    begins = [
        f"[{number}/2] {name}: begins" for number, name in ((1, "latency_table"), (2, "search"))
    ]
    assert [line for line in written.splitlines() if line.endswith("begins")] == begins
    assert [line for line in words_of(written.splitlines()) if not line.endswith("begins")] == [
        line.format(dash="\u2013") for line in SCREEN
    ]
