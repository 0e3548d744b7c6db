"""Every file of the corpus comes out as its table says: colours computed without any reader, or a
refusal with the reason."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pnas_tf.data import image_format, image_reader
from pnas_tf.data.image_format import UnreadableImage
from pnas_tf.data.image_reader import decode

CORPUS = Path(__file__).parent / "images"
TABLE = json.loads((CORPUS / "expected.json").read_text(encoding="utf-8"))
HAS = {"heic": image_format.heic_is_readable(), "avif": image_format.avif_is_readable()}


def pixels_of(name):
    return decode((CORPUS / "files" / name).read_bytes()).pixels


def test_the_table_names_every_file():
    assert sorted(TABLE) == sorted(path.name for path in (CORPUS / "files").iterdir())
    assert sum(path.stat().st_size for path in (CORPUS / "files").iterdir()) < 2**20


@pytest.mark.parametrize("name", TABLE)
def test_what_comes_of_each_file(name):
    right = TABLE[name]
    if not HAS.get(right.get("needs"), True):
        pytest.skip(f"{right['needs']} is not installed")
    if "refused" in right:
        with pytest.raises(UnreadableImage) as error:
            pixels_of(name)
        assert right["refused"] in str(error.value) and len(str(error.value)) > 3
        return
    pixels = pixels_of(name)
    assert pixels.dtype == np.uint8 and list(pixels.shape) == right["shape"]
    corners = [pixels[row, column] for row in (0, -1) for column in (0, -1)]
    np.testing.assert_allclose(corners, right["corners"], atol=right["tolerance"])
    np.testing.assert_allclose(pixels.mean((0, 1)), right["mean"], atol=right["tolerance"])


@pytest.mark.parametrize("name", [name for name in TABLE if "_exif_" in name])
def test_orientation_is_that_of_pillow(name):
    path = CORPUS / "files" / name
    if "refused" in TABLE[name] or path.suffix in (".heic", ".avif") or "rgba" in name:
        return
    with Image.open(path) as image:
        by_pillow = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), float)
    np.testing.assert_allclose(pixels_of(name), by_pillow, atol=10)


def test_jpegs_decode_to_pillows_pixels():
    """The strict decoder is another library than Pillow, of the same libjpeg-turbo."""
    for name in ("jpg_420.jpg", "jpg_422.jpg", "jpg_444.jpg", "jpg_progressive.jpg"):
        with Image.open(CORPUS / "files" / name) as image:
            np.testing.assert_allclose(pixels_of(name), np.asarray(image), atol=1)


def test_a_harmless_fault_hides_no_missing_pixels():
    """libjpeg's warnings behind the first one are not passed on."""
    whole = (CORPUS / "files" / "jpg_progressive.jpg").read_bytes()
    second = whole.index(b"\xff\xda", whole.index(b"\xff\xda") + 2)  # the next scan
    stray = whole[:second] + b"\0\0\0" + whole[second:]
    np.testing.assert_array_equal(decode(stray).pixels, decode(whole).pixels)
    with pytest.raises(UnreadableImage, match="truncated"):
        decode(stray[: (second + len(stray)) // 2])


def test_heic_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(image_format, "heic_is_readable", lambda: False)
    with pytest.raises(UnreadableImage, match=r"pip install 'pnas_tf\[heic\]'"):
        pixels_of("heic_named.jpg")


def test_large_images_are_decoded_one_at_a_time(monkeypatch):
    """Whoever decodes a large image holds the lock; small ones do not ask for it."""
    monkeypatch.setattr(image_reader, "_LARGE_PIXELS", 100)
    with image_reader._turn(101):
        assert not image_reader._ONE_LARGE_AT_A_TIME.acquire(blocking=False)
        with image_reader._turn(100):
            pass
    assert image_reader._ONE_LARGE_AT_A_TIME.acquire(blocking=False)
    image_reader._ONE_LARGE_AT_A_TIME.release()
