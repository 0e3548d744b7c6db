"""One folder a run: skipping, changed inputs, settings, the lock, and what is left after a refusal
or a kill."""

import json
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pnas_tf.config import option
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import Artifact
from pnas_tf.run.settings import identity_of, read_config

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


def test_a_complete_step_is_skipped_and_changes_no_file(tmp_path, capsys):
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
    assert "one: complete, skipped" in capsys.readouterr().out


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
        assert work.step(identity_of(Options()))
        assert not work.step(identity_of(Options(free=2)))
        assert work.step(identity_of(Options(kept=2)))
        assert work.step(identity_of(Options(kept=2, remade=2)))


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
        Work(folder).step({})
    assert read_config(tmp_path) == {
        "Options": {"kept": 3, "remade": 1, "names": ["a", "b"], "free": 1}
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
    assert name in error.value.what and '"version": 2' in error.value.expected
    assert '"version": 1' in error.value.received and "another --run_dir" in error.value.fix
    assert contents(tmp_path) == before
