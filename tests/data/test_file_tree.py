"""Folders as common tools lay them out, and every file of them accounted for."""

import csv
import os
import unicodedata

import pytest

from pnas_tf.data import folder_scan
from pnas_tf.data.file_tree import scan_tree
from pnas_tf.data.split_layout import part_of
from pnas_tf.errors import UserError


def fill(root, *places, number=3, suffix=".jpg"):
    """Empty files, which scanning never opens."""
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            (root / place / f"{index}{suffix}").touch()
    return root


def everything(root):
    """All files below, and folders that hold none, as paths within `root`."""
    return {
        os.path.relpath(os.path.join(place, name), root)
        for place, _, names in os.walk(root)
        for name in names
    }


def accounted(tree, root):
    """Checks that each file is used once or left out once."""
    used = [os.path.relpath(path, root) for path in tree.used]
    left = [file.path for file in tree.left_out]
    assert len(set(used)) == len(used) and len(set(left)) == len(left)
    assert not set(used) & set(left)
    assert set(used) | set(left) >= everything(root)
    assert len(tree.train) == len(tree.train_labels) and len(tree.test) == len(tree.test_labels)
    assert len(tree.summary().splitlines()) <= 5
    return tree


def kinds(tree):
    return folder_scan.counted(tree.left_out)


@pytest.mark.parametrize(
    "parts, test",
    [
        (["train", "valid", "test"], "test"),
        (["train", "val", "test"], "test"),
        (["Train", "Test"], "Test"),
        (["TRAIN", "VAL"], "VAL"),
        (["training", "testing"], "testing"),
        (["train", "dev"], "dev"),
        (["Training", "Validation"], "Validation"),
        (["seg_train/seg_train", "seg_test/seg_test"], "seg_test"),
        (["training_set/training_set", "test_set/test_set"], "test_set"),
        (["data/train", "data/test"], "data/test"),
        (["flowers/Flowers/train_images", "flowers/Flowers/val_images"], "flowers/Flowers/val"),
    ],
)
def test_parts_of_common_tools(tmp_path, parts, test):
    for part in parts:
        fill(tmp_path, f"{part}/cat", f"{part}/dog", number=4 if "rain" in part.lower() else 2)
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert tree.class_names == ("cat", "dog")
    assert (len(tree.train), len(tree.test)) == (8, 4)
    assert all(os.path.relpath(path, tmp_path).startswith(test) for path in tree.test)
    if len(parts) == 3:
        assert kinds(tree) == f"4 in {parts[1]}, a part that is not used"
        assert f"4 in {parts[1]}" in tree.summary()


def test_imagenet_has_no_labels_but_those_of_train(tmp_path):
    base = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    fill(base, "train/n01440764", "train/n01443537", "val", "test", suffix=".JPEG")
    fill(tmp_path, "ILSVRC/Annotations/CLS-LOC/val", suffix=".xml")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert tree.class_names == ("n01440764", "n01443537") and tree.test == ()
    assert "which has no folders of the classes" in kinds(tree) and "3 .xml" in kinds(tree)
    assert "val has no labels" in tree.summary() and "test has no labels" in tree.summary()


@pytest.mark.parametrize("test", ["test", "test/images", "test/unknown"])
def test_an_unlabelled_test_part_gives_way_to_val(tmp_path, test):
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog", test)
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert len(tree.test) == 6 and all("/val/" in path for path in tree.test)
    assert kinds(tree) == "3 in test, which has no folders of the classes"


def test_classes_in_another_case_are_no_reason_to_drop_a_part(tmp_path):
    fill(tmp_path, "train/Cat", "train/Dog", "val/cat", "val/dog")
    with pytest.raises(UserError, match="classes that the training folder lacks") as error:
        scan_tree(tmp_path)
    assert error.value.received == "['cat', 'dog']"


def test_an_empty_test_part_gives_way_too(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "val/cat", "val/dog")
    (tmp_path / "test" / "cat").mkdir(parents=True)
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert len(tree.test) == 6 and "Tested on val." in tree.summary()


def test_train_may_be_a_class(tmp_path):
    fill(tmp_path, "train", "bus", "car")
    assert scan_tree(tmp_path).class_names == ("bus", "car", "train")
    fill(tmp_path, "train/steam", "train/diesel")
    assert scan_tree(tmp_path).class_names == ("bus", "car", "train")


def test_a_part_beside_the_classes_is_no_class(tmp_path):
    fill(tmp_path, "cat", "dog", "Test/cat", "Test/dog", "val/cat", "val/dog")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert tree.class_names == ("cat", "dog") and len(tree.train) == len(tree.test) == 6
    assert "Tested on Test." in tree.summary()
    assert kinds(tree) == "6 in val, a part that is not used"


def test_a_folder_called_test_of_names_that_do_not_stand_beside_is_a_class(tmp_path):
    fill(tmp_path, "cat", "dog", "Test/cat", "Test/wolf")
    assert scan_tree(tmp_path).class_names == ("Test", "cat", "dog")


def test_classes_that_hold_the_parts(tmp_path):
    fill(tmp_path, "cat/train", "cat/test", "dog/train", "dog/test", "dog/val")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert (len(tree.train), len(tree.test)) == (6, 6)
    assert kinds(tree) == "3 in val, a part that is not used"


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "valid", "test")])
def test_parts_without_classes_are_refused(tmp_path, parts):
    """As competitions hand them out, with the labels in a table or in the names."""
    fill(tmp_path, *parts)
    with pytest.raises(UserError, match="parts without classes") as error:
        scan_tree(tmp_path)
    assert "csv:labels.csv" in error.value.fix


def test_two_training_parts_are_refused(tmp_path):
    fill(tmp_path, "a_train/cat", "a_train/dog", "b_train/cat", "b_train/dog", "test/cat")
    with pytest.raises(UserError, match="2 training parts") as error:
        scan_tree(tmp_path)
    assert error.value.received == "'a_train', 'b_train'"


def test_folders_that_are_no_part_are_said(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "extra/cow")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert kinds(tree) == "3 in extra, which is no part"


@pytest.mark.parametrize(
    "name, part",
    [
        ("Train", "train"),
        ("TESTING", "test"),
        ("seg_train", "train"),
        ("val2017", "val"),
        ("train-images", "train"),
        ("trains", None),
        ("latest", None),
        ("devil", None),
        ("train_test", None),
    ],
)
def test_names_of_parts(name, part):
    assert part_of(name) == part


def test_everything_else_is_counted_by_kind(tmp_path, monkeypatch):
    """61 files of every kind beside 40 that are used."""
    monkeypatch.setattr(folder_scan, "heic_is_readable", lambda: False)
    fill(tmp_path, "cat", "dog", number=10)
    fill(tmp_path, "cat", number=5, suffix=".jfif")
    fill(tmp_path, "dog", number=5, suffix=".jpe")
    fill(tmp_path, "dog/2021/may", number=10, suffix=".WEBP")
    fill(tmp_path, "cat", number=20, suffix=".heic")
    for number in range(20):
        (tmp_path / "dog" / f"link{number}.jpg").symlink_to(tmp_path / "nowhere" / f"{number}")
    fill(tmp_path, "cat", number=4, suffix=".TIF")
    fill(tmp_path, "", number=6)
    fill(tmp_path, "__MACOSX/cat", "cat/@eaDir/0.jpg", number=2)
    for name in (".DS_Store", "Thumbs.db", "cat/._0.jpg", "README", "labels.csv", "cat/.x/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "cat" / "pipe.jpg")
    (tmp_path / "cat" / "up").symlink_to(tmp_path)
    (tmp_path / "cat" / "self.jpg").symlink_to(tmp_path / "cat" / "self.jpg")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert len(tree.used) == 40
    assert tree.summary().splitlines()[:2] == [
        "40 images of 2 classes",
        f"{len(tree.left_out)} files not used: 21 links that lead nowhere, 20 .heic (pip install "
        "'pnas_tf[heic]' reads them), 8 hidden or of the system, 6 beside the class folders, "
        "4 .tif, 1 .csv, 1 link back to a folder above, 1 pipe, socket or device, 1 without a "
        "suffix that says what they are",
    ]
    assert "10 images lie in folders below a class folder" in tree.summary()
    path = tree.write_csv(tmp_path / "run" / "images_left_out.csv")
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["path", "reason"] and rows[1:] == [
        [file.path, file.kind] for file in tree.left_out
    ]


def test_many_kinds_are_summed_up(tmp_path):
    fill(tmp_path, "cat", "dog")
    for number in range(30):
        (tmp_path / f"notes.x{number:02}").touch()
    line = scan_tree(tmp_path).summary().splitlines()[1]
    assert line.startswith("30 files not used: 1 .x00, ") and line.endswith("18 of 18 other kinds")


def test_heic_is_used_where_its_package_is(tmp_path, monkeypatch):
    fill(tmp_path, "cat", "dog", suffix=".HEIC")
    monkeypatch.setattr(folder_scan, "heic_is_readable", lambda: True)
    assert len(scan_tree(tmp_path).used) == 6
    monkeypatch.setattr(folder_scan, "heic_is_readable", lambda: False)
    with pytest.raises(UserError) as error:
        scan_tree(tmp_path)
    assert "pip install 'pnas_tf[heic]'" in error.value.received + error.value.fix


@pytest.mark.parametrize(
    "make, received, fix",
    [
        (lambda place: fill(place, "", suffix=".tif"), "3 .tif", "Save these files"),
        (lambda place: place.mkdir(), "nothing", "Add images"),
        (lambda place: fill(place, "").rename(place), "", ""),
    ],
)
def test_a_class_without_images_is_refused_by_what_it_holds(tmp_path, make, received, fix):
    fill(tmp_path, "cat", "dog")
    make(tmp_path / "eel")
    if not received:
        assert len(scan_tree(tmp_path).class_names) == 3
        return
    with pytest.raises(UserError, match="eel has no images") as error:
        scan_tree(tmp_path)
    assert error.value.received == received and error.value.fix.startswith(fix)


def test_links_alone_are_said_to_lead_nowhere(tmp_path):
    fill(tmp_path, "cat", "dog")
    (tmp_path / "eel").mkdir()
    for number in range(20):
        (tmp_path / "eel" / f"l{number}.jpg").symlink_to("/nowhere/at/all")
    with pytest.raises(UserError) as error:
        scan_tree(tmp_path)
    assert error.value.received == "20 links that lead nowhere"


def test_links_to_folders_are_followed(tmp_path):
    fill(tmp_path / "pool", "a", "b")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "pool" / "a")
    (tmp_path / "data" / "dog").symlink_to("../pool/b")
    assert len(scan_tree(tmp_path / "data").used) == 6


def test_folders_of_other_files_are_no_classes(tmp_path):
    fill(tmp_path, "cat", "dog")
    fill(tmp_path, "annotations/deep", suffix=".xml")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert tree.class_names == ("cat", "dog") and kinds(tree) == "3 .xml"


def test_a_hidden_root_is_a_root(tmp_path):
    fill(tmp_path, ".photos/cat", ".photos/dog")
    assert len(scan_tree(tmp_path / ".photos").used) == 6


@pytest.mark.parametrize("path", ["", "nowhere"])
def test_no_folder(tmp_path, path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="image folder"):
        scan_tree(path)


def test_names_equal_after_normalisation_are_one_class(tmp_path):
    names = ["café", unicodedata.normalize("NFD", "café")]
    assert names[0] != names[1]
    fill(tmp_path, *names, "thé")
    tree = accounted(scan_tree(tmp_path), tmp_path)
    assert tree.class_names == ("café", "thé") and len(tree.used) == 9
    assert "2 folders are called 'café'" in tree.summary()
    fill(tmp_path / "parts", f"train/{names[0]}", "train/x", f"val/{names[1]}", "val/x")
    assert len(scan_tree(tmp_path / "parts").test) == 6


def test_refused_names_of_folders(tmp_path):
    fill(tmp_path, "cat", "do\u202eg")
    with pytest.raises(UserError) as error:
        scan_tree(tmp_path)
    assert "U+202E" in str(error.value)
