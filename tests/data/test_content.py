"""A dataset is known by what its images hold, wherever they lie, and a folder is read once."""

import os
import shutil
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from pnas_tf.config import DataConfig
from pnas_tf.data import image_check
from pnas_tf.data.augmentation import Augmentation
from pnas_tf.data.dataset import Dataset, Subset, load_dataset
from pnas_tf.data.digits import Digits
from pnas_tf.data.image_data import from_arrays
from pnas_tf.data.sources import ArraySource
from pnas_tf.run.changes import differences

KINDS = {"files": {"in_memory_mb": 0}, "memory": {}}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def images(tmp_path):
    """20 BMPs of noise in each of two classes: all of one size in bytes."""
    generator = np.random.default_rng(0)
    for name in ("bright", "dark"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for index in range(20):
            save(tmp_path / "images" / name / f"{index:02}.bmp", generator)
    return tmp_path / "images"


def save(path, generator):
    Image.fromarray(generator.integers(0, 255, (9, 9, 3)).astype(np.uint8)).save(path)


def later(monkeypatch):
    """By the clock of the check the files that are there were written a while ago."""
    ahead_ns = round((image_check._SETTLED_S + 0.1) * 1e9)
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + ahead_ns)
    monkeypatch.setattr(image_check, "time", clock)


def fingerprint(folder, **options):
    return load_dataset(DataConfig(dataset=f"folder:{folder}", **options), resolution=8).fingerprint


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("settled", [False, True])
def test_a_photograph_replaced_in_place_is_noticed(images, options, settled, monkeypatch):
    """Of the same name and size, and of the same time too where a program sets it back."""
    if settled:
        later(monkeypatch)  # so that its hash is kept
    before = fingerprint(images, **options)
    assert fingerprint(images, **options) == before
    photograph = images / "dark/07.bmp"
    facts = photograph.stat()
    save(photograph, np.random.default_rng(1))
    os.utime(photograph, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert photograph.stat().st_size == facts.st_size
    assert fingerprint(images, **options) != before


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_names_and_classes_count_and_the_place_does_not(images, options, tmp_path):
    before = fingerprint(images, **options)
    assert fingerprint(f"{images}/../images/", **options) == before
    images.rename(tmp_path / "moved")
    assert fingerprint(tmp_path / "moved", **options) == before
    shutil.copytree(tmp_path / "moved", images, copy_function=shutil.copyfile)  # made in any order
    assert fingerprint(images, **options) == before
    one, other = images / "dark/03.bmp", images / "dark/04.bmp"
    one.rename(images / "kept")
    other.rename(one)
    (images / "kept").rename(other)
    assert fingerprint(images, **options) != before


def test_files_and_memory_are_told_apart(images):
    """Their batches differ: memory holds rounded pixels."""
    assert fingerprint(images, **KINDS["files"]) != fingerprint(images, **KINDS["memory"])


def test_the_parts_that_an_image_is_in_count(images, tmp_path):
    """The same files, the halves for training and for testing changed about."""
    for number in (0, 1):
        for image in images.rglob("*.bmp"):
            part = "train" if int(image.stem) % 2 == number else "test"
            place = tmp_path / str(number) / part / image.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, place)
    assert fingerprint(tmp_path / "0") != fingerprint(tmp_path / "1")


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_copies_of_a_photograph_are_in_one_split_and_said(images, options):
    """Nobody is tested on what has been trained on."""
    for photograph in images.rglob("*.bmp"):
        for number in (1, 2):
            shutil.copy(photograph, photograph.with_name(f"{photograph.stem} ({number}).bmp"))
    dataset = load_dataset(DataConfig(dataset=f"folder:{images}", **options), resolution=8)
    seen = [
        {
            subset.file_of(number).split(" ")[0].removesuffix(".bmp")
            for number in range(len(subset.positions))
        }
        for subset in (dataset.train_split, dataset.validation_split, dataset.test_split)
    ]
    assert not seen[0] & seen[2] and not seen[1] & seen[2]
    assert len(seen[0] & seen[1]) <= 2  # one of a class, whose share copies do not fill
    assert any(
        "80 images are there again in the same class" in note for note in dataset.files.notes
    )


def test_a_second_call_decodes_no_file_to_check_it(images, monkeypatch):
    checked = []
    check = image_check._checked
    monkeypatch.setattr(image_check, "_checked", lambda path: checked.append(path) or check(path))
    later(monkeypatch)
    before = fingerprint(images)
    assert sorted(checked) == sorted(map(str, images.rglob("*.bmp")))
    checked.clear()
    assert fingerprint(images, in_memory_mb=1) == before and not checked
    save(images / "dark/00.bmp", np.random.default_rng(1))
    assert fingerprint(images) != before and checked == [str(images / "dark/00.bmp")]


def test_names_that_are_not_text(images):
    os.rename(images / "dark/00.bmp", os.fsencode(images / "dark") + b"/\xff.bmp")
    assert fingerprint(images, in_memory_mb=0) == fingerprint(images, in_memory_mb=0)


def test_arrays_count_by_content():
    def made_of(pixels):
        part = [
            Subset(ArraySource(pixels, np.zeros(6, np.int32)), np.array([at, at + 1]))
            for at in (0, 2, 4)
        ]
        return Dataset(
            "made",
            ("one",),
            8,
            Augmentation("none", min_crop_scale=1.0, distort_color="none"),
            *part,
        ).fingerprint

    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8)
    changed = pixels.copy()
    changed[3, 0, 0, 0] ^= 1
    assert made_of(pixels) == made_of(pixels.copy()) != made_of(changed)


@pytest.mark.slow
def test_a_tfds_dataset_counts_by_what_tfds_knows(tmp_path, monkeypatch):
    """The checksums of its archives, and not where it or they lie."""

    def fingerprint(place, **archives):
        infos = {
            url: SimpleNamespace(size=9, checksum=checksum, filename="name")
            for url, checksum in archives.items()
        }
        monkeypatch.setattr(Digits, "url_infos", infos or None)
        return load_dataset(DataConfig(data_dir=str(tmp_path / place)), resolution=8).fingerprint

    plain = fingerprint("here")
    assert fingerprint("there") == plain
    known = fingerprint("here", one="a", two="b")
    assert known == fingerprint("here", elsewhere="a", two="b") != plain
    assert fingerprint("here", one="a", two="c") != known


# What a run folder says of a dataset, and what its changes are called.


def identity(folder, **options):
    return load_dataset(DataConfig(dataset=f"folder:{folder}", **options), resolution=8).identity


def told_changes(before, now):
    return differences({"identity": {"dataset": before}}, {"identity": {"dataset": now}})


def test_an_added_photograph_is_named_by_its_class(images):
    before = identity(images)
    save(images / "dark/zz.bmp", np.random.default_rng(3))
    changes = told_changes(before, identity(images))
    assert "dataset, images, dark, number: 20 before, 21 now" in changes
    assert not any("bright" in change for change in changes)


def test_a_replaced_photograph_is_named_by_its_class(images):
    before = identity(images)
    save(images / "dark/07.bmp", np.random.default_rng(1))
    assert told_changes(before, identity(images)) == ["dataset, images, dark: other content"]


def test_a_relabelled_photograph_changes_two_classes(images):
    before = identity(images)
    (images / "dark/07.bmp").rename(images / "bright/zz.bmp")
    changes = told_changes(before, identity(images))
    assert "dataset, images, dark, number: 20 before, 19 now" in changes
    assert "dataset, images, bright, number: 20 before, 21 now" in changes


def test_another_class_another_split_and_another_size_are_named(images):
    before = identity(images)
    split = told_changes(before, identity(images, split_seed=1))
    assert {change.split(":")[0] for change in split} <= {
        f"dataset, splits, {name}" for name in ("train", "validation", "test")
    }
    shutil.copytree(images / "dark", images / "dusk")
    changes = told_changes(before, identity(images))
    assert "dataset, classes: ['bright', 'dark'] before, ['bright', 'dark', 'dusk'] now" in changes
    assert "dataset, images, dusk: not there before" in changes


@pytest.mark.parametrize("spelling", ["{}/", "{}/../images", "{}/.", "{}_link"])
def test_the_spelling_of_a_folder_is_no_identity(images, tmp_path, spelling):
    (tmp_path / "images_link").symlink_to(images)
    assert identity(spelling.format(images)) == identity(images)


def test_copies_in_arrays_are_in_one_split_and_said(caplog):
    generator = np.random.default_rng(0)
    different = generator.integers(0, 255, (40, 8, 8, 3)).astype(np.uint8)
    numbers = np.tile(np.arange(40), 3)
    data = from_arrays(different[numbers], numbers % 2, ["even", "odd"])
    assert "80 images are there again in the same class" in caplog.text
    for augmentation in ("none", "imagenet"):  # in memory resized, and whole
        config = replace(data.config, augmentation=augmentation)
        dataset = load_dataset(config, resolution=8, arrays=data.arrays)
        splits = (dataset.train_split, dataset.validation_split, dataset.test_split)
        seen = [set(numbers[split.positions]) for split in splits]
        assert not seen[0] & seen[2] and not seen[1] & seen[2]
        assert len(seen[0] & seen[1]) <= 2
