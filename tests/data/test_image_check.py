"""Every image is decoded once, in full, before any work; and any tree of files is accounted for."""

import csv
import os
import re
import shutil
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pnas_tf.data import image_check, image_reader
from pnas_tf.data.file_tree import scan_tree
from pnas_tf.data.image_check import check_images, refuse_unreadable
from pnas_tf.errors import UserError
from pnas_tf.io import atomic

FILES = Path(__file__).parent / "images" / "files"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def decoded(monkeypatch):
    """The contents that were decoded, in any order."""
    contents = []
    decode = image_reader.decode
    monkeypatch.setattr(
        image_reader, "decode", lambda content: contents.append(content) or decode(content)
    )
    return contents


@pytest.fixture
def photographs(tmp_path):
    """40 PNGs, 12 x 9."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(40):
        pixels = generator.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def paths(folder):
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.fixture
def settled(monkeypatch):
    """The files were written a while ago: by a clock that is ahead."""
    ahead_ns = round((image_check._SETTLED_S + 0.1) * 1e9)
    clock = types.SimpleNamespace(time_ns=lambda: time.time_ns() + ahead_ns)
    monkeypatch.setattr(image_check, "time", clock)


def test_facts_of_whole_images(tmp_path):
    names = ["jpg_exif_6.jpg", "png_rgb.png", "webp_lossy.webp", "jpg_two_pictures.jpg"]
    for name in names:
        shutil.copy(FILES / name, tmp_path)
    found = check_images([str(tmp_path / name) for name in names], root=str(tmp_path))
    assert found.sizes.tolist() == [[64, 32], [32, 64], [32, 64], [32, 64]]
    assert found.orientations.tolist() == [6, 1, 1, 1] and not found.unreadable
    assert found.short_side == 32
    hashes = [row.tobytes().hex() for row in found.hashes]
    assert hashes == [atomic.sha256_of(tmp_path / name) for name in names]


def test_no_images():
    found = check_images([], root="/")
    assert found.hashes.shape == (0, 32) and found.short_side == 0


def test_a_second_call_decodes_nothing(photographs, decoded, settled):
    first = check_images(paths(photographs), root=str(photographs))
    assert len(decoded) == 40
    decoded.clear()
    again = check_images(paths(photographs)[::-1], root=str(photographs))
    assert not decoded
    np.testing.assert_array_equal(again.hashes[::-1], first.hashes)
    np.testing.assert_array_equal(again.sizes[::-1], first.sizes)
    some = check_images(paths(photographs)[:3], root=f"{photographs}/../photographs")
    assert not decoded and (some.hashes == first.hashes[:3]).all()


def test_what_changed_is_decoded_again(photographs, decoded, settled):
    before = check_images(paths(photographs), root=str(photographs))
    decoded.clear()
    path = photographs / "07.png"
    facts, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # of the same size and time
    after = check_images(paths(photographs), root=str(photographs))
    assert list(after.unreadable) == [str(path)] and len(decoded) == 1
    assert (before.hashes != after.hashes).any(axis=1).nonzero()[0].tolist() == [7]


def test_another_decoder_decodes_again(photographs, decoded, monkeypatch, settled):
    check_images(paths(photographs), root=str(photographs))
    decoded.clear()
    monkeypatch.setattr(image_reader, "VERSION", "another")
    check_images(paths(photographs), root=str(photographs))
    assert len(decoded) == 40


def test_what_is_new_is_not_believed(photographs, monkeypatch, decoded):
    monkeypatch.setattr(image_check, "_SETTLED_S", 3600.0)
    check_images(paths(photographs), root=str(photographs))
    check_images(paths(photographs), root=str(photographs))
    assert len(decoded) == 80


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\x93NUMPY\x01\x00"])
def test_a_damaged_cache_is_made_again(photographs, tmp_path, damage, decoded, settled):
    first = check_images(paths(photographs), root=str(photographs))
    (kept,) = (tmp_path / "cache").rglob("*.npy")
    kept.write_bytes(damage)
    again = check_images(paths(photographs), root=str(photographs))
    assert (again.hashes == first.hashes).all() and len(decoded) == 80


def test_a_stopped_check_goes_on_where_it_was(photographs, monkeypatch, decoded, settled):
    monkeypatch.setattr(image_check, "_CHUNK", 8)
    checked = image_check._checked

    def stop(path):
        if path.endswith("20.png"):
            raise KeyboardInterrupt
        return checked(path)

    monkeypatch.setattr(image_check, "_checked", stop)
    with pytest.raises(KeyboardInterrupt):
        check_images(paths(photographs), root=str(photographs))
    monkeypatch.setattr(image_check, "_checked", checked)
    decoded.clear()
    found = check_images(paths(photographs), root=str(photographs))
    assert not found.unreadable and len(decoded) == 20


def test_a_home_that_cannot_be_written_is_no_obstacle(photographs, monkeypatch, caplog, settled):
    monkeypatch.setattr(atomic, "_substitute", [])
    monkeypatch.setenv("XDG_CACHE_HOME", str(photographs / "00.png"))
    found = check_images(paths(photographs), root=str(photographs))
    assert not found.unreadable and "lost when this process ends" in caplog.text


def test_all_names_of_broken_files_are_told(photographs):
    """80 of 400 broken: five in the message, all in the file that it names."""
    for number in range(80):
        (photographs / f"broken {number:02}.jpg").write_bytes(b"")
    (photographs / "broken 00.jpg").unlink()
    (photographs / "broken 00.jpg").symlink_to(photographs / "none.jpg")
    found = check_images(paths(photographs), root=str(photographs))
    assert len(found.unreadable) == 80
    error = refuse_unreadable(found.unreadable, root=str(photographs), total=120)
    assert error.what == f"80 unreadable images in {photographs}"
    assert "broken 01.jpg (empty file)" in error.received and "and 75 more" in error.received
    assert "broken 00.jpg (No such file or directory)" in error.received
    assert "--skip_unreadable (in Python: data_config=" in error.fix
    listed = re.search(r"all of them: (.*\.csv)", error.received)[1]
    with open(listed, encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert [row[0] for row in rows[1:]] == [f"broken {number:02}.jpg" for number in range(80)]


def test_broken_files_can_be_left_out(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for source in ("jpg_420.jpg", "jpg_cut_with_end.jpg", "png_rgb.png"):
            shutil.copy(FILES / source, tmp_path / name)
    tree = scan_tree(tmp_path)
    found = check_images(tree.used, root=tree.root)
    rest = tree.without(found.unreadable)
    assert len(rest.train) == 4 and rest.train_labels.tolist() == [0, 0, 1, 1]
    assert [file.path for file in rest.left_out] == [
        "cat/jpg_cut_with_end.jpg",
        "dog/jpg_cut_with_end.jpg",
    ]
    (tmp_path / "dog" / "jpg_420.jpg").write_bytes(b"")
    (tmp_path / "dog" / "png_rgb.png").write_bytes(b"")
    found = check_images(tree.used, root=tree.root)
    with pytest.raises(UserError, match="class 'dog'"):
        tree.without(found.unreadable)


@pytest.mark.parametrize("broken", [["dog"], ["cat", "dog"]])
def test_broken_files_take_no_class_out_of_the_part_to_test(tmp_path, broken):
    """Nor all of it: another split would be tested on, unsaid."""
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / place).mkdir(parents=True)
        shutil.copy(FILES / "png_rgb.png", tmp_path / place)
    for name in broken:
        (tmp_path / "test" / name / "png_rgb.png").write_bytes(b"")
    tree = scan_tree(tmp_path)
    found = check_images(tree.used, root=tree.root)
    with pytest.raises(UserError, match=f"class '{broken[0]}'") as error:
        tree.without(found.unreadable)
    assert "to test" in error.value.expected and error.value.received == "unreadable: all 1"


NAMES = st.sampled_from(
    [
        *("train", "Valid", "test", "cat", "dog", "cafe\u0301", "caf\u00e9", "__MACOSX", ".hidden"),
        *("a.jpg", "b.JPEG", "c.png", "d.webp", "e.heic", "f.tif", "notes.txt", "Thumbs.db"),
        *("no suffix", "do\u202eg", "\udcff.jpg", "x" * 120),
    ]
)
CONTENTS = st.sampled_from(["jpg_420.jpg", "png_cut.png", "no_bytes.jpg", "webp_lossy.webp"])
LEAVES = st.one_of(CONTENTS, st.sampled_from(["link", "loop", "pipe"]))
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=4),
    lambda below: st.dictionaries(NAMES, st.one_of(LEAVES, below), max_size=5),
    max_leaves=20,
)


def lay(folder, tree):
    folder.mkdir(exist_ok=True)
    for name, content in tree.items():
        place = folder / name
        if isinstance(content, dict):
            lay(place, content)
        elif content == "link":
            place.symlink_to("nowhere")
        elif content == "loop":
            place.symlink_to(folder)
        elif content == "pipe":
            os.mkfifo(place)
        else:
            shutil.copy(FILES / content, place)


@given(TREES)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.slow
def test_any_tree_is_accounted_for_or_refused(tree):
    """Every file is used, left out once with a reason, or the folder is refused by name; what is
    used decodes, or is named with the decoder's reason."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        lay(root, tree)
        try:
            found = scan_tree(root)
        except UserError as error:
            assert str(root) in str(error)
            return
        used = [os.path.relpath(path, root) for path in found.used]
        left = [file.path for file in found.left_out]
        listed = {
            os.path.relpath(os.path.join(place, name), root)
            for place, folders, names in os.walk(root)
            for name in [*names, *(n for n in folders if os.path.islink(os.path.join(place, n)))]
        }
        assert sorted(used + left) == sorted(set(used + left))
        assert listed <= set(used + left)
        assert len(found.class_names) >= 2 and len(found.summary().splitlines()) <= 5
        checked = check_images(found.used, root=found.root)
        broken = {path for path in found.used if 0 in checked.sizes[found.used.index(path)]}
        assert broken == set(checked.unreadable)
        found.write_csv(Path(scratch) / "left.csv")
