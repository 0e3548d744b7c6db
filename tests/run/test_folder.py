"""One folder a run: skipping, changed inputs, settings, the lock, and what is left after a refusal
or a kill."""

import json
import logging
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pnas_tf.config import BenchmarkConfig, ExportConfig, RunConfig, TrainConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.options import option
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import Artifact
from pnas_tf.run.records import read_steps
from pnas_tf.run.settings import (
    Configs,
    check_taken_back,
    fixed_of,
    read_config,
    remaking_of,
)

CONFIG, STEPS, LOCK = Artifact.CONFIG, Artifact.STEPS, Artifact.LOCK
HOLDER = """
import sys, time
from pnas_tf.run.folder import RunFolder
with RunFolder(sys.argv[1]) as folder:
    written = folder / "a.txt"
    folder.step("one", inputs={}, outputs=["a.txt"], work=lambda: written.write_text("a"))
    print("held", flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True)
class Options:
    kept: int = option(1, "A number.")
    remade: int = option(1, "May change, and remakes.", fixed=False, remakes=True)
    names: tuple[str, ...] = option((), "A list.")
    free: int = option(1, "May change.", fixed=False)
    file: str = option("", "A file.", is_file=True)


def inputs_of(options=Options(), **files):
    """As `Step.inputs` gives them."""
    return {
        "options": {"Options": fixed_of(options)},
        "remakes": {"Options": remaking_of(options)},
        "files": [(name, path) for name, path in files.items()],
        "identity": None,
    }


class Work:
    """A step that counts how often it ran and writes `text`."""

    def __init__(self, folder, text="a", output="a.txt"):
        self.folder, self.text, self.output, self.runs = folder, text, output, 0

    def __call__(self):
        self.runs += 1
        atomic.write_text(self.folder / self.output, self.text)

    def step(self, inputs, **options):
        return self.folder.step("one", inputs=inputs, outputs=[self.output], work=self, **options)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file() and path.name != LOCK
    }


def test_a_complete_step_is_skipped_and_changes_no_file(tmp_path, caplog):
    caplog.set_level(logging.INFO, "pnas_tf")
    with RunFolder(tmp_path) as folder:
        work = Work(folder)
        assert work.step({"x": 1, "y": (1, 2)})
    before = contents(tmp_path)
    with RunFolder(tmp_path) as folder:
        work.folder = folder
        assert not work.step(
            {"y": [1, 2], "x": 1}
        )  # neither order nor list against tuple is a change
    assert work.runs == 1 and contents(tmp_path) == before
    assert "one: complete, skipped" in caplog.text


def test_the_duration_of_a_step_includes_runs_that_were_stopped(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def working(seconds, ends):
        def work():
            clock[0] += seconds
            (tmp_path / "run" / "a.txt").write_text("a")
            if not ends:
                raise KeyboardInterrupt

        return work

    def duration(*, inputs):
        with RunFolder(tmp_path / "run") as folder:
            for seconds, ends in ((3.0, False), (5.0, False), (7.0, True)):
                try:
                    folder.step(
                        "one", inputs=inputs, outputs=["a.txt"], work=working(seconds, ends)
                    )
                except KeyboardInterrupt:
                    record = folder.steps()["one"]
                    assert record.outputs is None and record.duration_s is None
                    assert record.spent_s > 0
            return folder.steps()["one"].duration_s

    assert duration(inputs={"x": 1}) == 15.0
    assert duration(inputs={"x": 2}) == 15.0  # what was spent on other inputs does not count


@pytest.mark.parametrize("change", ["input", "file", "output edited", "output gone", "record gone"])
def test_whatever_changes_makes_the_step_run_again(tmp_path, change):
    source = tmp_path / "source.txt"
    source.write_text("before")
    with RunFolder(tmp_path / "run") as folder:
        work = Work(folder)
        work.step({"x": 1, "source": source})
        match change:
            case "file":
                source.write_text("after")
            case "output edited":
                (folder / "a.txt").write_text("b")
            case "output gone":
                (folder / "a.txt").unlink()
            case "record gone":
                (folder / STEPS).unlink()
        assert work.step({"x": 2 if change == "input" else 1, "source": source}) and work.runs == 2
        assert not work.step({"x": 2 if change == "input" else 1, "source": source})
        assert (folder / "a.txt").read_text() == "a"


def test_free_options_are_no_inputs(tmp_path):
    with RunFolder(tmp_path) as folder:
        work = Work(folder)
        assert work.step(inputs_of(Options()))
        assert not work.step(inputs_of(Options(free=2)))
        assert work.step(inputs_of(Options(kept=2)))
        assert work.step(inputs_of(Options(kept=2, remade=2)))


def test_partial_work_is_continued_and_goes_when_the_inputs_change(tmp_path):
    with RunFolder(tmp_path) as folder:
        seen = []

        def work():
            (folder / "part").mkdir(exist_ok=True)
            seen.append(sorted(path.name for path in (folder / "part").iterdir()))
            (folder / "part" / str(len(seen))).touch()
            if len(seen) != 3:
                raise KeyboardInterrupt
            (folder / "out").touch()

        def step(x):
            return folder.step(
                "one", inputs={"x": x}, outputs=["out"], partial=["part", "absent"], work=work
            )

        for x in (1, 1):
            with pytest.raises(KeyboardInterrupt):
                step(x)
        assert step(1) and seen == [[], ["1"], ["1", "2"]]
        assert not step(1)
        with pytest.raises(KeyboardInterrupt):
            step(2)
        assert seen[-1] == []


def test_work_that_fails_is_not_complete(tmp_path):
    with RunFolder(tmp_path) as folder:

        def fail():
            (folder / "a.txt").write_text("half")
            raise OSError("disk full")

        with pytest.raises(OSError, match="disk full"):
            folder.step("one", inputs={}, outputs=["a.txt"], work=fail)
        with pytest.raises(RuntimeError, match=r"left out \['b.txt'\]"):
            folder.step("two", inputs={}, outputs=["b.txt"], work=lambda: None)
        assert {record.outputs for record in folder.steps().values()} == {None}
        assert Work(folder).step({})


def test_settings_are_kept_and_others_refused_naming_both(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.settle([Options(kept=3, names=("a", "b"))])
        assert not (folder / CONFIG).exists()
        Work(folder).step(inputs_of(Options(kept=3, names=("a", "b"))))
    assert read_config(tmp_path) == {
        "Options": {"kept": 3, "remade": 1, "names": ["a", "b"], "free": 1, "file": ""}
    }
    before = contents(tmp_path)
    with RunFolder(tmp_path) as folder, pytest.raises(UserError) as error:
        folder.settle([Options(kept=4, names=("a", "b"))])
    assert "--kept" in error.value.what and (error.value.expected, error.value.received) == (
        "3",
        "4",
    )
    assert contents(tmp_path) == before
    with RunFolder(tmp_path) as folder:
        folder.settle([Options(kept=3, names=("a", "b"), free=2)])
        Work(folder, output="b.txt").step({"new": 1})
    assert read_config(tmp_path)["Options"]["free"] == 2


def test_an_option_is_not_taken_back_while_something_was_made_with_it(tmp_path):
    usual, now = Configs([TrainConfig(epochs=60)]), Configs([TrainConfig()])
    with RunFolder(tmp_path) as folder:
        check_taken_back(folder.path, now, usual, folder.held)
        Work(folder).step({"options": {"TrainConfig": fixed_of(usual[TrainConfig])}})
        with pytest.raises(UserError, match="another --epochs") as refused:
            check_taken_back(folder.path, now, usual, folder.held)
        assert (refused.value.expected, refused.value.received) == ("60", "none, its default")
        check_taken_back(folder.path, now, now, folder.held)  # was never given
        folder.settle([RunConfig(restart=True)])
        check_taken_back(folder.path, now, usual, folder.held)


@pytest.mark.parametrize("other", ["net.json", "./net.json", "/moved/elsewhere/net.json"])
def test_a_file_counts_by_its_name_and_content_wherever_it_lies(tmp_path, other):
    made = Options(file="runs/net.json")
    with RunFolder(tmp_path) as folder:
        folder.settle([made])
        Work(folder).step(inputs_of(made))
    now = Options(file=other)
    with RunFolder(tmp_path) as folder:
        folder.settle([now])
        assert not Work(folder).step(inputs_of(now))
        with pytest.raises(UserError, match="another --file"):
            folder.settle([Options(file="runs/net2.json")])
    assert read_config(tmp_path)["Options"]["file"] == other


def test_wishes_of_one_call_are_not_kept_nor_read_where_they_were(tmp_path):
    wishes = (BenchmarkConfig(models=("other.tflite",)), ExportConfig(debug_layers=True))
    with RunFolder(tmp_path) as folder:
        folder.settle([RunConfig(restart=True), *wishes])
        Work(folder).step(inputs_of())
    document = json.loads((tmp_path / CONFIG).read_text())
    kept = {name for part in document.values() if isinstance(part, dict) for name in part}
    assert {"seed", "op_profile", "formats"} <= kept
    assert kept.isdisjoint({"restart", "models", "debug_layers"})
    document["ExportConfig"]["debug_layers"] = True  # as an earlier version wrote
    (tmp_path / CONFIG).write_text(json.dumps(document))
    assert "debug_layers" not in read_config(tmp_path)["ExportConfig"]


@pytest.mark.parametrize("name", [CONFIG, STEPS])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": "pnas_tf/other", "version": 1}',
        "\x00\xff",
        '{"format": "pnas_tf/%s", "version": 2, "steps": [], "Options": 3}',
        '{"format": "pnas_tf/%s", "version": 2, "steps": {"one": {"outputs": 3}}, "Options": []}',
    ],
)
def test_corrupt_records_are_refused_and_stay(tmp_path, name, text):
    with RunFolder(tmp_path) as folder:
        folder.settle([Options()])
        Work(folder).step({})
    text = text % name.removesuffix(".json") if "%s" in text else text
    (tmp_path / name).write_text(text, encoding="latin-1")
    before = contents(tmp_path)
    with RunFolder(tmp_path) as folder, pytest.raises(UserError, match=name):
        folder.settle([Options()])
        Work(folder).step({})
    assert contents(tmp_path) == before


def test_a_refusal_leaves_nothing_behind(tmp_path):
    with pytest.raises(UserError, match="refused"), RunFolder(tmp_path / "new" / "deep" / "run"):
        raise UserError("refused", expected="", received="", fix="")
    assert not list(tmp_path.iterdir())
    mine = tmp_path / "mine"
    mine.mkdir()
    with RunFolder(mine):
        pass
    assert mine.is_dir() and not list(mine.iterdir())
    (mine / ".notes.tmp").write_text("the user's")
    with RunFolder(mine):
        pass
    assert contents(mine) == {".notes.tmp": b"the user's"}


@pytest.mark.parametrize("where", ["file", "file/run", "/proc/run"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, where):
    """Permissions do not stop root, who runs many test machines; these stop everyone."""
    (tmp_path / "file").write_text("here")
    with pytest.raises(UserError, match="cannot be used"), RunFolder(tmp_path / where):
        pass
    assert contents(tmp_path) == {"file": b"here"}


def test_the_lock_names_its_holder_and_dies_with_it(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        for _ in range(2):
            line = holder.stdout.readline()
            if line == "held\n":
                break
        assert line == "held\n"
        before = contents(tmp_path)
        with pytest.raises(UserError) as error, RunFolder(tmp_path):
            pass
        assert f"pid {holder.pid}" in error.value.received and contents(tmp_path) == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with RunFolder(tmp_path) as folder:
        assert not Work(folder).step({})


def test_what_a_killed_process_was_writing_is_swept(tmp_path):
    with RunFolder(tmp_path) as folder:
        folder.settle([Options()])
        Work(folder).step({})
    (tmp_path / "train").mkdir()
    litter = tmp_path / "train" / ".history.json.x1y2.tmp"
    litter.write_text("{")
    with RunFolder(tmp_path):
        assert not litter.exists()
    assert json.loads((tmp_path / STEPS).read_text())["steps"]["one"]["outputs"]


@pytest.mark.parametrize("name", [CONFIG, STEPS])
def test_a_folder_of_an_earlier_version_is_refused_with_what_to_do(tmp_path, name):
    with RunFolder(tmp_path) as folder:
        folder.settle([Options()])
        Work(folder).step({})
    document = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(json.dumps({**document, "version": 1}))
    before = contents(tmp_path)
    with RunFolder(tmp_path) as folder, pytest.raises(UserError) as error:
        folder.settle([Options()])
    version = f'"version": {document["version"]}'
    assert name in error.value.what and version in error.value.expected
    assert '"version": 1' in error.value.received and "another --run_dir" in error.value.fix
    assert "pnas search goes on with them" in error.value.fix
    assert contents(tmp_path) == before


class Clock:
    """Time that passes when a step works."""

    def __init__(self, monkeypatch):
        self.now_s = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def chain(
    folder, clock, source, *, restart=False, options=Options(), took_s=(3600, 7200), texts="ab"
):
    """Steps "first", of a file and the options, and "second", of what the first one left: which of
    them were done."""
    done = []

    def work(name, text, seconds):
        def do():
            clock.now_s += seconds
            done.append(name)
            (folder / f"{name}_part").mkdir(exist_ok=True)
            (folder / f"{name}_part" / "checkpoint").write_text(text)
            (folder / f"{name}.txt").write_text(text)

        return do

    folder.settle([RunConfig(restart=restart), options])
    for name, text, seconds, inputs in (
        ("first", texts[0], took_s[0], inputs_of(options, source=source)),
        ("second", texts[1], took_s[1], {"files": [("first.txt", folder / "first.txt")]}),
    ):
        folder.step(
            name,
            inputs=inputs,
            outputs=[f"{name}.txt"],
            partial=[f"{name}_part"],
            work=work(name, text, seconds),
        )
    return done


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").write_text("before")
    return tmp_path / "source"


def test_other_inputs_of_what_took_long_are_refused_by_name_and_nothing_is_touched(
    tmp_path, clock, source
):
    with RunFolder(tmp_path / "run") as folder:
        assert chain(folder, clock, source) == ["first", "second"]
        source.write_text("after")
        before = contents(folder.path)
        with pytest.raises(UserError) as error:
            chain(folder, clock, source)
        assert "source: other content" in error.value.received
        assert "1 h 0 min" in error.value.expected and "2 h 0 min" in error.value.expected
        assert "--restart" in error.value.fix and "old-1" in error.value.fix
        assert contents(folder.path) == before
        source.write_text("before")  # the other way out
        assert chain(folder, clock, source) == []


@pytest.mark.parametrize("took_s", [(30, 7200), (7200, 30)])
def test_a_step_is_as_dear_as_what_was_made_from_it(tmp_path, clock, source, took_s):
    with RunFolder(tmp_path / "run") as folder:
        chain(folder, clock, source, took_s=took_s)
        source.write_text("after")
        with pytest.raises(UserError, match="made from something else"):
            chain(folder, clock, source)


def test_restart_moves_the_old_result_aside_with_its_record_and_is_no_setting(
    tmp_path, clock, source
):
    with RunFolder(tmp_path / "run") as folder:
        chain(folder, clock, source)
        before = contents(folder.path)
        source.write_text("after")
        assert chain(folder, clock, source, restart=True, texts="cd") == ["first", "second"]
        old = contents(folder.path / "old-1")
        for name in ("first.txt", "second.txt", "first_part/checkpoint", "second_part/checkpoint"):
            assert old[name] == before[name] != contents(folder.path)[name]
        assert set(read_steps(folder.path / "old-1")) == {"first", "second"}
        assert old[str(CONFIG)] == before[str(CONFIG)]
    with RunFolder(tmp_path / "run") as folder:  # the same command goes on, the next asks again
        assert chain(folder, clock, source, restart=True, texts="ef") == []
        source.write_text("third")
        with pytest.raises(UserError, match="old-2"):
            chain(folder, clock, source)


def test_an_option_that_remakes_asks_for_all_that_follows(tmp_path, clock, source):
    with RunFolder(tmp_path / "run") as folder:
        chain(folder, clock, source)
    with RunFolder(tmp_path / "run") as folder:  # the same result: what reads it stays
        assert chain(folder, clock, source, options=Options(remade=2)) == ["first"]
        assert not read_steps(folder.path)["second"].superseded
    with RunFolder(tmp_path / "run") as folder:
        done = chain(folder, clock, source, options=Options(remade=3), texts="cd")
        assert done == ["first", "second"]
        assert (folder / "old-1/first.txt").read_text() == "a"
        assert (folder / "old-2/second.txt").read_text() == "b"


def test_what_an_option_that_remakes_reads_comes_with_it(tmp_path, clock, source):
    """A budget of files reads what they hold; without one nobody reads it."""
    other = tmp_path / "other.txt"
    other.write_text("footprint")

    def step(folder, remade, **files):
        inputs = inputs_of(Options(remade=remade), source=source, **files)
        inputs["identity"] = {"space": 1, **({"export": 2} if files else {})}

        def work():
            clock.now_s += 3600
            (folder.path / "out").write_text("made")

        return folder.step("step", inputs=inputs, outputs=["out"], work=work)

    with RunFolder(tmp_path / "run") as folder:
        assert step(folder, 1) and step(folder, 2, other=other) and step(folder, 3)
        assert step(folder, 4, other=other)
        with pytest.raises(UserError, match="other: no longer there"):  # no option has changed
            step(folder, 4)
        other.write_text("another")
        with pytest.raises(UserError, match="other: other content"):
            step(folder, 5, other=other)
        source.write_text("another")
        with pytest.raises(UserError, match="source: other content"):
            step(folder, 5)


def test_what_took_a_moment_goes_without_a_question(tmp_path, clock, source):
    with RunFolder(tmp_path / "run") as folder:
        chain(folder, clock, source, took_s=(5, 5))
        source.write_text("after")
        assert chain(folder, clock, source, texts="cd") == ["first", "second"]
        assert not (folder / "old-1").exists()


@pytest.mark.parametrize("ends", ["killed", "stopped late", "stopped soon"])
def test_what_stopped_work_left_is_kept_unless_it_took_a_moment(tmp_path, clock, source, ends):
    def work():
        (tmp_path / "run/part").write_text("hours")
        clock.now_s += 30 if ends == "stopped soon" else 3600
        raise KeyboardInterrupt

    def step(text, work=work):
        source.write_text(text)
        inputs = inputs_of(source=source)
        folder.step("one", inputs=inputs, outputs=["out"], partial=["part"], work=work)

    with RunFolder(tmp_path / "run") as folder:
        with pytest.raises(KeyboardInterrupt):
            step("before")
        if ends == "killed":
            document = json.loads((folder / STEPS).read_text())
            document["steps"]["one"] |= {"running": True, "spent_s": 0.0}
            (folder / STEPS).write_text(json.dumps(document))
        end = KeyboardInterrupt if ends == "stopped soon" else UserError
        with pytest.raises(end):
            step("after")
        assert (folder / "part").read_text() == "hours"


def test_files_of_a_step_that_nobody_knows_are_moved_aside(tmp_path, clock, source):
    """As when a damaged steps.json was deleted, or a file was put there by hand."""
    with RunFolder(tmp_path / "run") as folder:
        chain(folder, clock, source)
        (folder / STEPS).unlink()
        assert chain(folder, clock, source, texts="cd") == ["first", "second"]
        assert (folder / "old-1/second_part/checkpoint").read_text() == "b"
        assert (folder / "old-1/first.txt").read_text() == "a"


def test_an_option_may_change_until_something_depends_on_it(tmp_path):
    def settle(folder, **options):
        folder.settle([Options(**options)])

    with RunFolder(tmp_path) as folder:
        settle(folder, kept=3)
        Work(folder, output="other.txt").step({"options": {}})  # takes none of them
    with RunFolder(tmp_path) as folder:
        settle(folder, kept=4)

        def fail():
            raise UserError("no such device", expected="", received="", fix="")

        inputs = inputs_of(Options(kept=4))
        with pytest.raises(UserError, match="no such device"):
            folder.step("two", inputs=inputs, outputs=["b.txt"], work=fail)
        settle(folder, kept=5)
        work = Work(folder)
        folder.step("two", inputs=inputs_of(Options(kept=5)), outputs=["a.txt"], work=work)
        with pytest.raises(UserError, match="another --kept"):
            settle(folder, kept=6)
        assert read_config(tmp_path)["Options"]["kept"] == 5
        folder.settle([Options(kept=6), RunConfig(restart=True)])


def test_a_file_of_a_refused_call_goes_with_it(tmp_path):
    def write(path):
        return path.write_text("names")

    with pytest.raises(UserError, match="refused"), RunFolder(tmp_path / "runs/new") as folder:
        assert folder.note("left_out.csv", write).read_text() == "names"
        raise UserError("refused", expected="", received="", fix="")
    assert not list(tmp_path.iterdir())
    (tmp_path / "left_out.csv").write_text("the user's")
    with RunFolder(tmp_path) as folder:
        folder.note("left_out.csv", write)
    assert (tmp_path / "left_out.csv").exists()
    with RunFolder(tmp_path) as folder:
        folder.note("mine.csv", write)
        Work(folder).step({})
    assert (tmp_path / "mine.csv").exists()


def test_settings_of_a_call_without_work_are_kept_and_those_of_a_refused_one_are_not(tmp_path):
    def call(*, refused=False, **options):
        with RunFolder(tmp_path) as folder:
            folder.settle([Options(**options)])
            Work(folder).step({})
            if refused:
                raise UserError("refused", expected="", received="", fix="")

    call(free=1)
    with pytest.raises(UserError, match="refused"):
        call(free=2, refused=True)
    assert read_config(tmp_path)["Options"]["free"] == 1
    call(free=3)
    assert read_config(tmp_path)["Options"]["free"] == 3
