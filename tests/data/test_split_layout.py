"""Folders that may be parts or classes: told apart, refused with what to do, or said."""

import re

import pytest

from pnas_tf.data.file_tree import scan_tree
from pnas_tf.errors import UserError


def fill(root, *places):
    """Empty files, which scanning never opens."""
    for place in places:
        (root / place).mkdir(parents=True, exist_ok=True)
        for index in range(3):
            (root / place / f"{index}.jpg").touch()
    return root


@pytest.mark.parametrize(
    "places",
    [
        ("train/cat", "train/dog", "eval/cat", "eval/dog"),
        ("train/cat", "train/dog", "unlabeled"),
        ("train/cat", "train/dog", "sample", "extra/cow"),
        ("seg_train/seg_train/cat", "seg_train/seg_train/dog", "seg_eval/cat", "seg_eval/dog"),
    ],
)
def test_train_beside_folders_that_are_no_parts_is_refused(tmp_path, places):
    """They would be two classes. What the error advises helps in either case."""
    fill(tmp_path, *places)
    with pytest.raises(UserError, match="may be the training part or a class") as error:
        scan_tree(tmp_path)
    named = re.search(r"--dataset=folder:(.*?)\. ", error.value.fix)[1]
    assert scan_tree(named).class_names == ("cat", "dog")
    (part,) = (place for place in tmp_path.iterdir() if "train" in place.name)
    for image in list(part.rglob("*.jpg")):
        image.rename(part / f"{image.parent.name}{image.name}")
    assert part.name in scan_tree(tmp_path).class_names


def test_a_class_with_train_in_its_name_may_hold_folders(tmp_path):
    fill(tmp_path, "bus", "bullet train/tgv", "bullet train/shinkansen")
    assert scan_tree(tmp_path).class_names == ("bullet train", "bus")


def test_parts_may_be_named_in_camel_case(tmp_path):
    fill(tmp_path, "TrainImages/cat", "TrainImages/dog", "TestImages/cat", "TestImages/dog")
    tree = scan_tree(tmp_path)
    assert tree.class_names == ("cat", "dog") and len(tree.train) == len(tree.test) == 6


def test_folders_that_all_classes_hold_are_said(tmp_path):
    """fold1 and fold2 may be classes, as cat and dog of several years are."""
    fill(tmp_path, "fold1/cat", "fold1/dog", "fold2/cat", "fold2/dog")
    tree = scan_tree(tmp_path)
    assert tree.class_names == ("fold1", "fold2")
    assert any("holds the folders 'cat', 'dog'" in note for note in tree.notes)
    fill(tmp_path, "fold2")
    assert not any("holds the folders" in note for note in scan_tree(tmp_path).notes)
