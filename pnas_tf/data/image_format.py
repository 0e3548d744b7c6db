"""Which decoder reads a file, by its first bytes; and what a file is that no decoder reads.

Knows nothing of pixels.
"""

from __future__ import annotations

import importlib
import importlib.util

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
    features,
)

from pnas_tf.data.png_file import SIGNATURE

FORMATS = "JPEG, PNG, WebP, GIF, BMP, AVIF or HEIC"
TWO_PICTURES = "JPEG with a second picture inside"
KINDS = ("JPEG", TWO_PICTURES, "PNG", "WebP", "GIF", "BMP", "AVIF", "HEIC")
_SPELT = {"WEBP": "WebP", "HEIF": "HEIC", "DIB": "BMP"}
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


class UnreadableImage(ValueError):
    """str(error) is the reason, in a few words."""


def heic_is_readable() -> bool:
    """Whether the optional package that reads HEIC is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def avif_is_readable() -> bool:
    """Whether this Pillow reads AVIF (from 11.3 on)."""
    return "avif" in features.get_supported_modules()


def reader_of(content: bytes) -> type[ImageFile.ImageFile]:
    """Pillow's class for the file. Raises UnreadableImage, which says what the file is instead."""
    for start, reader in (
        # Not Pillow's own choice: it takes two pictures in a file for a format of its own (MPO).
        (b"\xff\xd8\xff", JpegImagePlugin.JpegImageFile),
        (SIGNATURE, PngImagePlugin.PngImageFile),
        (b"GIF87a", GifImagePlugin.GifImageFile),
        (b"GIF89a", GifImagePlugin.GifImageFile),
        (b"BM", BmpImagePlugin.BmpImageFile),
    ):
        if content.startswith(start):
            return reader
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if content[4:8] == b"ftyp":
        return _box_reader(content)
    raise UnreadableImage(_no_image(content))


def kind_of(image: ImageFile.ImageFile) -> str:
    """One of `KINDS`, of an image that a reader of `reader_of` opened."""
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        return TWO_PICTURES if "mp" in image.info else "JPEG"  # its index of pictures (CIPA DC-007)
    return _SPELT.get(image.format or "", image.format or "")


def _box_reader(content: bytes) -> type[ImageFile.ImageFile]:
    """For files of boxes (ISO 14496-12), which name their kinds at the start: AVIF, HEIC, video."""
    end = min(int.from_bytes(content[:4], "big"), 256)
    brands = {content[at : at + 4] for at in (8, *range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        if not avif_is_readable():
            raise UnreadableImage("AVIF image, which needs pillow>=11.3")
        return importlib.import_module("PIL.AvifImagePlugin").AvifImageFile
    if brands & set(_HEIF_BRANDS):
        if not heic_is_readable():
            raise UnreadableImage("HEIC image, which needs: pip install 'pnas_tf[heic]'")
        return importlib.import_module("pillow_heif").HeifImageFile
    raise UnreadableImage("a video, or another file of its kind")


def _no_image(content: bytes) -> str:
    """What a file is that begins like no image, as far as people come across it."""
    start = content[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not content:
        return "empty file"
    if not content.strip(b"\0"):
        return "not an image: nothing but zeros"
    if start.startswith(b"version https://git-lfs"):
        return "not an image but its Git LFS pointer: git lfs pull"
    if content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")):
        return "a TIFF, whose pages and ranges have no one meaning: save it as PNG"
    if b"<svg" in start:
        return "an SVG drawing, which has no pixels"
    if start.startswith((b"<!doctype html", b"<html")):
        return "not an image but a web page"
    return f"not an image: it begins with {content[:8]!r}"
