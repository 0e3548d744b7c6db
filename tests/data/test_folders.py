"""Image folders: what is found, and every refusal with its names."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pnas_tf.config import DataConfig
from pnas_tf.data import augmentation as views
from pnas_tf.data.dataset import load_dataset
from pnas_tf.data.folders import open_images
from pnas_tf.data.image_reader import decode
from pnas_tf.errors import UserError
from pnas_tf.run.os_errors import as_users, told

CORPUS = Path(__file__).parent / "images" / "files"


def scan_folder(path):
    return open_images(f"folder:{path}", skip_unreadable=False)


def save(path, *, size=(12, 10), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.effect_noise(size, 80).convert(mode).save(path, **options)


@pytest.fixture
def root(tmp_path):
    for name in ("cat", "dog"):
        for number in range(6):
            save(tmp_path / name / f"{number}.jpg")
    return tmp_path


def test_classes_are_sorted_and_other_files_left_alone(root):
    save(root / "ant" / "x.PNG", size=(30, 40))
    (root / "ant" / "notes.txt").write_text("no image")
    (root / ".hidden").mkdir()
    (root / "README").write_text("no class")
    folder = scan_folder(root)
    assert folder.class_names == ("ant", "cat", "dog")
    assert folder.train_labels.tolist() == [0] + [1] * 6 + [2] * 6
    assert [path.split("/")[-2] for path in folder.train[:2]] == ["ant", "cat"]
    assert folder.short_side == 10 and folder.test == ()


def test_train_and_test_folders_are_parts(tmp_path):
    for part, count in (("train", 6), ("val", 3)):
        for name in ("cat", "dog"):
            for number in range(count):
                save(tmp_path / part / name / f"{number}.png")
    folder = scan_folder(tmp_path)
    assert (len(folder.train), len(folder.test), folder.class_names) == (12, 6, ("cat", "dog"))
    dataset = load_dataset(DataConfig(dataset=f"folder:{tmp_path}"), resolution=8)
    assert dataset.test_size == 6 and dataset.train_size + dataset.validation_size == 12
    save(tmp_path / "val" / "cow" / "0.png")
    with pytest.raises(UserError, match="classes that the training folder lacks") as error:
        scan_folder(tmp_path)
    assert "cow" in error.value.received


@pytest.mark.parametrize(
    "make, what",
    [
        (lambda root: root / "nowhere", "no such path"),
        (lambda root: root / "cat" / "0.jpg", "a file"),
    ],
)
def test_path_must_be_a_folder(make, what, root):
    with pytest.raises(UserError, match="image folder") as error:
        scan_folder(make(root))
    assert error.value.received == what


def test_one_class_no_class_and_empty_class(root, tmp_path_factory):
    with pytest.raises(UserError, match="no classes"):
        scan_folder(tmp_path_factory.mktemp("empty"))
    alone = tmp_path_factory.mktemp("alone")
    save(alone / "cat" / "0.jpg")
    with pytest.raises(UserError, match="one class"):
        scan_folder(alone)
    (root / "eel").mkdir()
    with pytest.raises(UserError, match="eel has no images"):
        scan_folder(root)


def break_files(root):
    """Eight ways for a file to be no image."""
    whole = (root / "cat" / "0.jpg").read_bytes()
    (root / "cat" / "a_empty.jpg").write_bytes(b"")
    (root / "cat" / "b_text.png").write_text("not an image")
    (root / "cat" / "c_cut.jpg").write_bytes(whole[: len(whole) // 2])
    save(root / "cat" / "d_cut.png")
    (root / "cat" / "d_cut.png").write_bytes((root / "cat" / "d_cut.png").read_bytes()[:-30])
    (root / "cat" / "e_page.jpg").write_text("<html></html>")
    (root / "cat" / "f_link.jpg").symlink_to(root / "cat" / "f_link.png")
    save(root / "cat" / "f_link.png")
    (root / "cat" / "f_link.png").chmod(0)
    (root / "cat" / "f_link.png").write_bytes(b"")
    (root / "dog" / "g_zeros.gif").write_bytes(bytes(200))
    save(root / "dog" / "h.bmp")
    (root / "dog" / "h.bmp").write_bytes((root / "dog" / "h.bmp").read_bytes()[:200])
    return 9


def test_unreadable_images_are_counted_and_the_first_ones_named(root):
    count = break_files(root)
    with pytest.raises(UserError) as error:
        scan_folder(root)
    assert error.value.what == f"{count} unreadable images in {root}"
    for name in (
        "cat/a_empty.jpg (empty file)",
        "b_text.png (not an image",
        "c_cut.jpg (Truncated File",
        "d_cut.png (truncated",
        "e_page.jpg (not an image but a web page)",
    ):
        assert name in error.value.received
    assert "and 4 more; all of them: " in error.value.received


def test_unreadable_images_can_be_left_out(root):
    count = break_files(root)
    config = DataConfig(dataset=f"folder:{root}", skip_unreadable=True, alpha_fraction=0.4)
    dataset = load_dataset(config, resolution=8)
    assert dataset.train_size + dataset.validation_size + dataset.test_size == 12
    found = open_images(config.dataset, skip_unreadable=True)
    assert len(found.files.left_out) == count and len(found.train_hashes) == len(found.train) == 12
    assert f"{count} files not used: " in found.files.summary()
    assert "unreadable" in found.files.summary()


@pytest.mark.parametrize("broken, is_refused", [(1, False), (2, False), (3, True)])
def test_one_broken_file_in_a_hundred_is_left_out_and_named(tmp_path, broken, is_refused):
    """Of 200 files two at most, by a folder and by a table alike; more ask for a decision."""
    for number in range(200):
        save(tmp_path / ("cat", "dog")[number % 2] / f"{number:03}.jpg")
    names = [f"{('cat', 'dog')[number % 2]}/{number:03}.jpg" for number in range(200)]
    rows = [f"{name},{name[:3]}" for name in names]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    for name in names[:broken]:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    for dataset in (f"folder:{tmp_path}", f"csv:{tmp_path}/labels.csv"):
        if is_refused:
            with pytest.raises(UserError, match="3 unreadable images") as error:
                open_images(dataset, skip_unreadable=False)
            assert all(name in error.value.received for name in names[:3])
            assert "--skip_unreadable" in error.value.fix
        found = open_images(dataset, skip_unreadable=is_refused)
        assert len(found.train) == len(found.train_hashes) == 200 - broken
        left = [file.path for file in found.files.left_out if file.kind.startswith("unreadable: ")]
        assert left == sorted(names[:broken]) and names[0] in found.files.summary()


def test_a_table_of_images_is_the_same_dataset_as_its_folder(root):
    """By content and labels, wherever the images lie."""
    rows = [
        f"{path.parent.name}/{path.name},{path.parent.name}" for path in sorted(root.rglob("*.jpg"))
    ]
    (root / "labels.csv").write_text("\n".join(["path,label", *rows]))
    by_table = load_dataset(DataConfig(dataset=f"csv:{root}/labels.csv"), resolution=8)
    by_folder = load_dataset(DataConfig(dataset=f"folder:{root}"), resolution=8)
    assert by_table.fingerprint == by_folder.fingerprint


@pytest.mark.parametrize("in_memory_mb", [0, 1024])
@pytest.mark.parametrize("augmentation", ["none", "imagenet"])
def test_pixels_are_those_of_the_reader(tmp_path, in_memory_mb, augmentation):
    """Upright, over white, of the first picture: in training, test and calibration alike."""
    names = (
        "jpg_exif_6.jpg",
        "png_hidden_red.png",
        "jpg_two_pictures_exif_6.jpg",
        "gif_one_clear.gif",
    )
    for part in ("train", "test"):
        for label, name in enumerate(("a", "b")):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(4):
                source = CORPUS / names[2 * label + number % 2]
                shutil.copy(source, tmp_path / part / name / f"{number}{source.suffix}")
    config = DataConfig(
        dataset=f"folder:{tmp_path}", in_memory_mb=in_memory_mb, augmentation=augmentation
    )
    dataset = load_dataset(config, resolution=16)
    images, _ = dataset.test_arrays()
    fraction = views.CENTRE_FRACTION if augmentation == "imagenet" else 1.0
    for image, name in zip(images, [names[number % 2 + 2 * (number // 4)] for number in range(8)]):
        pixels = decode((CORPUS / name).read_bytes()).pixels
        right = views.central_view(pixels, size=16, fraction=fraction)
        np.testing.assert_allclose(image * 127.5 + 127.5, right, atol=0.51)
    calibrating = dataset.representative_images(4)
    for image in calibrating:
        assert min(np.abs(image - other).max() for other in images) < 0.01


def test_an_image_that_breaks_while_it_is_used_is_named(root):
    dataset = load_dataset(DataConfig(dataset=f"folder:{root}", in_memory_mb=0), resolution=8)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(Exception, match=r"image .*\.jpg") as error:
        dataset.test_arrays()
    said = told(error.value)
    assert "gone or broken" in said.what and str(root) in said.what and said.what.count("\n") == 0
    assert said.received == "empty file" and "same command again" in said.fix
    with pytest.raises(UserError, match="gone or broken"), as_users():  # as the library's functions
        dataset.test_arrays()
    for other in (OSError(28, "No space left on device"), ValueError("ours")):  # stay what they are
        with pytest.raises(type(other)) as kept, as_users():
            raise other
        assert kept.value is other


def test_copies_with_another_label_or_in_both_parts_are_said(tmp_path):
    for place in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (tmp_path / place).mkdir(parents=True)
        for index in range(2):
            save(tmp_path / place / f"{index}.png")
    whole = open_images(f"folder:{tmp_path}", skip_unreadable=False).files
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "train/cat/again.png")  # harmless
    assert not [note for note in whole.notes if "image" in note]
    shutil.copy(tmp_path / "train/cat/0.png", tmp_path / "train/dog/copy.png")
    for index in range(2):
        shutil.copy(tmp_path / f"train/dog/{index}.png", tmp_path / f"test/dog/{index}.png")
    notes = open_images(f"folder:{tmp_path}", skip_unreadable=False).files.notes
    assert "1 image is in two classes: train/cat/0.png and train/dog/copy.png." in notes
    leaked = "2 images are both to train and to test: train/dog/0.png and test/dog/0.png, ..."
    assert leaked in notes


def test_trailing_bytes_do_not_make_an_image_unreadable(root):
    path = root / "cat" / "0.jpg"
    path.write_bytes(path.read_bytes() + b"\n" * 16)
    assert len(load_dataset(DataConfig(dataset=f"folder:{root}"), resolution=8).class_names) == 2


def test_damage_behind_a_good_header_and_end_is_found_when_read(root):
    """PNG whose data chunk is damaged: its header and its end are fine, so only decoding tells."""
    path = root / "dog" / "0.png"
    save(path, size=(64, 64))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="1 unreadable image in"):
        load_dataset(DataConfig(dataset=f"folder:{root}"), resolution=8)


@pytest.mark.parametrize(
    "mode, suffix",
    [
        ("L", "jpg"),
        ("CMYK", "jpg"),
        ("P", "png"),
        ("RGBA", "png"),
        ("LA", "png"),
        ("I;16", "png"),
        ("P", "gif"),
        ("RGB", "bmp"),
        ("1", "png"),
    ],
)
def test_every_common_pixel_format_becomes_rgb(mode, suffix, root):
    if mode == "I;16":
        Image.fromarray(np.arange(120, dtype=np.uint16).reshape(10, 12) * 500).save(
            root / "cat" / f"z.{suffix}"
        )
    else:
        save(root / "cat" / f"z.{suffix}", mode=mode)
    for augmentation in ("none", "imagenet"):
        dataset = load_dataset(
            DataConfig(dataset=f"folder:{root}", augmentation=augmentation), resolution=8
        )
        assert (
            sum(
                len(labels)
                for _, labels in dataset.combined_batches(
                    batch_size=2, seed=0, epoch=0
                ).as_numpy_iterator()
            )
            == 10
        )
        assert dataset.test_arrays()[0].shape[1:] == (8, 8, 3)


def test_too_few_images_for_the_split(tmp_path):
    for name in ("cat", "dog"):
        for number in range(2):
            save(tmp_path / name / f"{number}.jpg")
    with pytest.raises(UserError, match="too few images"):
        load_dataset(DataConfig(dataset=f"folder:{tmp_path}"), resolution=8)
