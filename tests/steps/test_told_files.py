"""What of a folder's files is not used is told once in a run, and listed in the run folder."""

import shutil
from pathlib import Path

import pytest

from pnas_tf.config import DataConfig, SpaceConfig
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.settings import Configs
from pnas_tf.run.terminal import TERMINAL
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


def told(photographs, folder, capsys, *, refused=False):
    data = DataConfig(dataset=f"folder:{photographs}", skip_unreadable=True)
    with TERMINAL.speaking(), RunFolder(folder) as run:
        assert Inputs(run, Configs([data, SpaceConfig(resolution=32)])).dataset.files is not None
        if not refused:
            run.step("one", inputs={}, outputs=(), work=lambda: None, always=True)
    lines = capsys.readouterr().out.splitlines(keepends=True)
    return "".join(line for line in lines if "complete" not in line)


def test_a_call_refused_once_its_images_were_opened_leaves_no_folder(photographs, tmp_path, capsys):
    assert "1 file not used" in told(photographs, tmp_path / "runs/run", capsys, refused=True)
    assert not (tmp_path / "runs").exists()


def test_files_that_are_not_used_are_told_once(photographs, tmp_path, capsys):
    first = told(photographs, tmp_path / "run", capsys)
    listed = tmp_path / "run" / "images_left_out.csv"
    assert (
        f"16 images of 2 classes\n16 JPEG\n1 file not used (all names: {listed}): 1 .mov\n" in first
    )
    assert "cat/film.mov,.mov" in listed.read_text()
    assert told(photographs, tmp_path / "run", capsys) == ""
    (photographs / "dog" / "0.jpg").write_bytes(b"")
    assert "1 unreadable" in told(photographs, tmp_path / "run", capsys)
    assert "dog/0.jpg,unreadable: empty file" in listed.read_text()


def test_a_folder_of_photographs_is_told_in_five_lines(photographs, tmp_path, capsys):
    """Second pictures, orientation, WebP, one that is broken, one further down, and what a Mac
    leaves beside them."""
    (photographs / "cat/film.mov").unlink()
    for number, name in enumerate(("jpg_two_pictures_exif_6.jpg", "webp_lossy.webp")):
        for copy in range(3 + number):
            shutil.copy(CORPUS / name, photographs / "dog" / f"{copy}_{name}")
    (photographs / "cat" / "more").mkdir()
    shutil.copy(CORPUS / "jpg_exif_3.jpg", photographs / "cat" / "more" / "a.jpg")
    (photographs / "__MACOSX").mkdir()
    (photographs / "__MACOSX" / "._0.jpg").touch()
    (photographs / "cat" / "0.jpg").write_bytes(b"<html>")
    lines = told(photographs, tmp_path / "run", capsys).splitlines()
    listed = tmp_path / "run" / "images_left_out.csv"
    assert lines == [
        "23 images of 2 classes",
        "16 JPEG, 4 WebP, 3 JPEG with a second picture inside; 4 of them turned upright",
        f"2 files not used (all names: {listed}): 1 hidden or of the system, 1 unreadable; "
        "cannot be read: cat/0.jpg (not an image but a web page)",
        "1 image lies in folders below a class folder; used as of that class.",
        "8 images are in two classes: cat/1.jpg and dog/0.jpg, ... 11 images are there again in "
        "the same class, kept in one split where they fit: cat/1.jpg and cat/2.jpg, ...",
    ]
