"""Image folders: what is found, and every refusal with its names."""

import numpy as np
import pytest
from PIL import Image

from pnas_tf.config import DataConfig
from pnas_tf.data.dataset import load_dataset
from pnas_tf.data.folders import scan_folder
from pnas_tf.errors import UserError


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
    """Eight ways for a file to be no image that TensorFlow decodes."""
    whole = (root / "cat" / "0.jpg").read_bytes()
    (root / "cat" / "a_empty.jpg").write_bytes(b"")
    (root / "cat" / "b_text.png").write_text("not an image")
    (root / "cat" / "c_cut.jpg").write_bytes(whole[: len(whole) // 2])
    save(root / "cat" / "d_cut.png")
    (root / "cat" / "d_cut.png").write_bytes((root / "cat" / "d_cut.png").read_bytes()[:-30])
    save(root / "cat" / "e_webp.jpg", format="WEBP")
    save(root / "cat" / "f_palette.bmp", mode="P")
    (root / "dog" / "g_zeros.gif").write_bytes(bytes(200))
    save(root / "dog" / "h.bmp")
    (root / "dog" / "h.bmp").write_bytes((root / "dog" / "h.bmp").read_bytes()[:200])
    return 8


def test_unreadable_images_are_counted_and_the_first_ones_named(root):
    count = break_files(root)
    with pytest.raises(UserError) as error:
        scan_folder(root)
    assert error.value.what.startswith(f"{count} unreadable images")
    for name in (
        "cat/a_empty.jpg (empty file)",
        "b_text.png (not an image)",
        "c_cut.jpg (",
        "d_cut.png (",
        "e_webp.jpg (WEBP image)",
    ):
        assert name in error.value.received
    assert error.value.received.endswith("and 3 more")


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
