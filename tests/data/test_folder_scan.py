"""What lies in a folder of images beside photographs: runs, what may not be read, names that would
command a terminal."""

import dataclasses
import os

import pytest

from pnas_tf.data import folder_scan
from pnas_tf.data.file_tree import scan_tree
from pnas_tf.errors import UserError


def fill(root, *places):
    """Three empty files in each, which scanning never opens."""
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        for number in range(3):
            (root / place / f"{number}.png").touch()


def test_run_folders_hold_no_photographs(tmp_path):
    """`--run_dir` within the images, as by default where these are the current folder."""
    fill(tmp_path, "cat", "dog", "runs/run/plots")
    (tmp_path / "runs" / "run" / ".lock").touch()
    tree = scan_tree(tmp_path)
    assert tree.class_names == ("cat", "dog")
    assert folder_scan.counted(tree.left_out) == "1 run folder of pnas"
    (tmp_path / ".lock").touch()
    with pytest.raises(UserError, match="is the run folder") as error:
        scan_tree(tmp_path)
    assert "another --run_dir" in error.value.fix


def test_a_class_that_may_not_be_read_is_no_class_less(tmp_path, monkeypatch):
    """The tests may run as root, whom no permission stops."""
    fill(tmp_path, "cat", "dog", "bird")
    kind = folder_scan._kind

    def closed(entry, path, readable):
        is_closed = path.startswith("bird/")
        return folder_scan.CLOSED_FILES if is_closed else kind(entry, path, readable)

    monkeypatch.setattr(folder_scan, "_kind", closed)
    with pytest.raises(UserError, match="bird has no images") as error:
        scan_tree(tmp_path)
    assert error.value.received == "3 files that may not be read"
    assert "permissions" in error.value.fix


def test_names_in_the_summary_command_no_terminal(tmp_path):
    fill(tmp_path, "cat", "dog")
    tree = scan_tree(tmp_path)
    odd = os.path.join(tree.root, "cat", "a\n\u202egpj.\x1b[2Jjpg")
    broken = dataclasses.replace(tree, train=(*tree.train[1:], odd)).without({odd: "empty file"})
    assert "cat/a\\n\\u202egpj.\\x1b[2Jjpg (empty file)" in broken.summary()
    assert len(broken.summary().splitlines()) == 2
