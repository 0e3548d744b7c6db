"""What of a folder's files is not used is told once in a run, and listed in the run folder."""

import shutil
from pathlib import Path

import pytest

from pnas_tf.config import DataConfig, SpaceConfig
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.steps.inputs import Inputs

CORPUS = Path(__file__).parent.parent / "data" / "images" / "files"


@pytest.fixture
def photographs(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        for number in range(8):
            shutil.copy(CORPUS / "jpg_420.jpg", tmp_path / "photographs" / name / f"{number}.jpg")
    (tmp_path / "photographs" / "cat" / "film.mov").touch()
    return tmp_path / "photographs"


def told(photographs, folder, capsys):
    data = DataConfig(dataset=f"folder:{photographs}", skip_unreadable=True)
    with RunFolder(folder) as run:
        assert Inputs(run, Configs([data, SpaceConfig(resolution=32)])).dataset.files is not None
    return capsys.readouterr().out


def test_files_that_are_not_used_are_told_once(photographs, tmp_path, capsys):
    first = told(photographs, tmp_path / "run", capsys)
    assert "16 images of 2 classes\n1 file not used: 1 .mov\n" in first
    listed = tmp_path / "run" / "images_left_out.csv"
    assert str(listed) in first and "cat/film.mov,.mov" in listed.read_text()
    assert told(photographs, tmp_path / "run", capsys) == ""
    (photographs / "dog" / "0.jpg").write_bytes(b"")
    assert "1 unreadable" in told(photographs, tmp_path / "run", capsys)
    assert "dog/0.jpg,unreadable: empty file" in listed.read_text()
