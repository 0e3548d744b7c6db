"""TF_CONFIG, and a run folder that one process writes and others follow."""

import json
import threading
import time

import pytest

from pnas_tf.errors import UserError
from pnas_tf.run.cluster import cluster_of
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.follower import POLL_S, RunFollower

WORKERS = ["one:1", "two:1"]


def environment(task, cluster=None):
    return {"TF_CONFIG": json.dumps({"cluster": cluster or {"worker": WORKERS}, "task": task})}


def test_the_first_worker_is_the_chief():
    first, second = (
        cluster_of(environment({"type": "worker", "index": index})) for index in range(2)
    )
    assert first.is_chief and not second.is_chief
    assert first.addresses == second.addresses == tuple(WORKERS) and second.index == 1


def test_a_chief_of_its_own_kind_comes_before_the_workers():
    cluster = {"chief": ["boss:1"], "worker": WORKERS}
    assert cluster_of(environment({"type": "chief", "index": 0}, cluster)).is_chief
    worker = cluster_of(environment({"type": "worker", "index": 0}, cluster))
    assert (worker.index, worker.is_chief, worker.addresses) == (1, False, ("boss:1", *WORKERS))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": -1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_what_is_no_cluster_of_equal_workers_is_refused(text):
    with pytest.raises(UserError, match="TF_CONFIG"):
        cluster_of({"TF_CONFIG": text} if text else {})


def test_a_follower_begins_when_the_chief_has_begun_and_writes_nothing(tmp_path):
    path, begun, done = tmp_path / "run", [], threading.Event()

    def follow():
        with RunFollower(path, wait_s=20) as folder:
            folder.settle([])
            folder.step(
                "search",
                inputs={"a": 1},
                outputs=["made"],
                partial=["stale"],
                work=lambda: begun.append((path / "stale").exists()),
            )
            folder.wait_for("search", lambda: {"a": 1}, ["made"])
            done.set()

    def chief(folder):
        while not begun:  # as a collective would wait
            pass
        (path / "made").write_text("x")

    path.mkdir()
    (path / "stale").write_text("of other inputs")
    thread = threading.Thread(target=follow)
    thread.start()
    with RunFolder(path) as folder:
        folder.settle([])
        assert folder.step(
            "search",
            inputs={"a": 1},
            outputs=["made"],
            work=lambda: chief(folder),
            partial=["stale"],
        )
    thread.join(20)
    assert done.is_set() and begun == [False]
    before = {name: name.read_bytes() for name in path.rglob("*") if name.is_file()}
    with RunFollower(path, wait_s=1) as folder:
        assert not folder.step(
            "search", inputs={"a": 1}, outputs=["made"], work=lambda: pytest.fail("complete")
        )
    assert {name: name.read_bytes() for name in path.rglob("*") if name.is_file()} == before


def test_a_follower_of_other_settings_says_so(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        folder.settle([])
        folder.step("search", inputs={"a": 1}, outputs=[], work=lambda: None)
    with (
        RunFollower(tmp_path / "run", wait_s=0.5) as follower,
        pytest.raises(UserError, match="same settings"),
    ):
        follower.step("search", inputs={"a": 2}, outputs=[], work=lambda: pytest.fail("never"))


def test_a_follower_waits_for_the_chiefs_result_of_today(tmp_path):
    """Not for an earlier one of other inputs, nor for one whose inputs the chief still writes."""
    found, made, written = [], tmp_path / "history", threading.Event()

    def inputs():
        return {"files": [("history", made)]}

    def derive(folder):
        def work():
            (folder / "network").write_text(f"of {made.read_text()}")

        folder.step("derive", inputs=inputs(), outputs=["network"], work=work)

    def search(folder, work, seed=2):
        seeds = {"seed": seed}
        folder.step("search", inputs=seeds, outputs=["history"], work=work, always=True)

    def follow():
        with RunFollower(tmp_path, wait_s=20) as folder:
            search(folder, written.set)  # ends before the chief has written what came of it
            found.append(made.read_text())
            folder.wait_for("derive", inputs, ["network"])
            found.append((folder / "network").read_text())

    def work(text):
        written.wait(20)
        time.sleep(3 * POLL_S)
        made.write_text(text)

    with RunFolder(tmp_path) as folder:
        search(folder, lambda: made.write_text("before"), seed=1)
        derive(folder)
        thread = threading.Thread(target=follow)
        thread.start()
        search(folder, lambda: work("now"))
        time.sleep(3 * POLL_S)
        derive(folder)
    thread.join(20)
    assert found == ["now", "of now"]
