"""The one reader of image files: what it decodes, in full, is an image; all else is refused with
the decoder's reason.

The format is what the first bytes say, whatever the file's name. Pictures come upright (by EXIF, or
by XMP in JPEG and WebP), as sRGB where an ICC profile says what they are, laid over `BACKGROUND`
where they are transparent; of several pictures or frames the first. A telephone shows them alike
(docs/android.md). Knows nothing of folders, classes or tensors.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import cast

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, PngImagePlugin

from pnas_tf.data import png_file
from pnas_tf.data.image_format import UnreadableImage, kind_of, reader_of
from pnas_tf.data.jpeg_file import jpeg_pixels
from pnas_tf.data.png_file import PngFacts

BACKGROUND = (255, 255, 255)  # what transparent pictures are laid over
MAX_PIXELS = 200_000_000  # the largest cameras of telephones; a small file can unpack to gigabytes
# Rises when files are read or refused otherwise than before; with it, what the decoders' versions
# decide, earlier checks are no longer believed.
VERSION = f"3 pillow {PIL.__version__} simplejpeg {simplejpeg.__version__}"
_LARGE_PIXELS = 40_000_000
_ONE_LARGE_AT_A_TIME = threading.Lock()
# EXIF tag 0x0112: (rows become columns, then the rows turned about, then the columns).
_UPRIGHT = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK"}


@dataclass(frozen=True)
class Picture:
    """pixels: uint8 [height, width, 3], upright sRGB. orientation: the EXIF tag, 1 to 8, that was
    applied. kind: of `image_format.KINDS`."""

    pixels: np.ndarray
    orientation: int
    kind: str


def decode(content: bytes, *, in_part: bool = False) -> Picture:
    """Decodes one image in full.

    Args:
        content: the file.
        in_part: whether a damaged JPEG will do, whose missing pixels libjpeg makes up.

    Returns:
        Its pixels uint8 [height, width, 3], upright, sRGB, over white.

    Raises:
        UnreadableImage: it is no whole image of `image_format.FORMATS`; callers name the file.
    """
    try:
        image, png = _opened(content)
        with _turn(image.width * image.height):
            pixels = _plain_jpeg(image, content, in_part)
            if pixels is None:
                pixels = _over_white(_loaded(image, content, in_part), png)
            orientation = _orientation(image)
            return Picture(_turned(pixels, orientation), orientation, kind_of(image))
    except (UnreadableImage, MemoryError):
        raise
    # Pillow's readers raise a dozen unrelated kinds on damaged files, and document none
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UnreadableImage(" ".join(reason.split())[:200]) from error


def _plain_jpeg(image: ImageFile.ImageFile, content: bytes, in_part: bool) -> np.ndarray | None:
    """Pixels that need no change of colour, without Pillow: half the time of a photograph. None of
    other files."""
    is_plain = isinstance(image, JpegImagePlugin.JpegImageFile) and image.mode == "RGB"
    if not is_plain or "icc_profile" in image.info:
        return None
    return jpeg_pixels(content, "RGB", in_part=in_part)


def _over_white(loaded: Image.Image, png: PngFacts | None) -> np.ndarray:
    if png is not None and (png.is_interlaced or not np.asarray(loaded)[-1].any()):
        png.check_rows()
    if png is not None and png.bit_depth == 16 and loaded.mode == "RGB":
        colour, alpha = loaded, _deep_opacity(loaded, png)
    else:
        colour, alpha = _layers(loaded, 8 if png is None else png.bit_depth)
    colour = _srgb(colour, loaded.info.get("icc_profile"))
    if alpha is not None:
        colour = Image.composite(colour, Image.new("RGB", colour.size, BACKGROUND), alpha)
    return np.asarray(colour)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels upright: uint8 [height, width, 3], contiguous."""
    if orientation not in _UPRIGHT:
        return pixels
    transposed, rows, columns = _UPRIGHT[orientation]
    whole: np.ndarray = pixels.view("V3")[..., 0]  # three bytes are moved at a time
    whole = whole.T if transposed else whole
    whole = whole[:: -1 if rows else 1, :: -1 if columns else 1]
    return np.ascontiguousarray(whole).view(np.uint8).reshape(*whole.shape, 3)


def _opened(content: bytes) -> tuple[ImageFile.ImageFile, PngFacts | None]:
    """The image behind its header."""
    png = None
    if content.startswith(png_file.SIGNATURE):
        _check_size(*png_file.png_size(content))
        png = png_file.png_facts(content)
        content = png.content
    image = reader_of(content)(BytesIO(content))
    _check_size(*image.size)
    return image, png


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(
            f"{width} x {height} = {width * height} pixels, at most {MAX_PIXELS} are read"
        )
    if width * height == 0:
        raise UnreadableImage(f"{width} x {height} pixels")


@contextlib.contextmanager
def _turn(pixels: int) -> Iterator[None]:
    """Large images are decoded one after another, or threads would fill the memory."""
    with _ONE_LARGE_AT_A_TIME if pixels > _LARGE_PIXELS else contextlib.nullcontext():
        yield


def _orientation(image: ImageFile.ImageFile) -> int:
    """EXIF tag 0x0112 of a file, 1 where it has none or its EXIF is damaged."""
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # metadata that Pillow cannot read; the pixels do not need it
        return 1
    return value if value in _UPRIGHT else 1


def _loaded(image: ImageFile.ImageFile, content: bytes, in_part: bool) -> Image.Image:
    """The image with its pixels. Raises when they are not all there."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        image.load()
        return image
    space = {"L": "GRAY", "RGB": "RGB"}.get(image.mode, "CMYK")
    pixels = jpeg_pixels(content, space, in_part=in_part)
    if space == "CMYK":  # Pillow knows whose CMYK is inverted
        image.load()
        return image
    loaded = Image.fromarray(pixels[:, :, 0] if space == "GRAY" else pixels)
    loaded.info = image.info
    return loaded


def _layers(image: Image.Image, bit_depth: int) -> tuple[Image.Image, Image.Image | None]:
    """(colours of mode L, RGB or CMYK; opacity of mode L or None)."""
    key = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey: the upper byte, as of 16-bit colours
        values = np.asarray(image).astype(np.int64)
        grey = Image.fromarray((values >> 8).clip(0, 255).astype(np.uint8))
        seen = None if key is None else Image.fromarray((values != key).astype(np.uint8) * 255)
        return grey, seen
    if image.mode in ("LA", "La"):
        image = image.convert("LA")
        return image.getchannel("L"), image.getchannel("A")
    if image.mode in ("RGBA", "RGBa", "PA"):
        image, is_bmp = image.convert("RGBA"), image.format in ("BMP", "DIB")
        alpha = image.getchannel("A")
        if is_bmp and alpha.getextrema() == (0, 0):  # the fourth byte is unused, whatever it says
            return image.convert("RGB"), None
        return image.convert("RGB"), alpha
    if key is not None and image.mode in ("1", "L", "P", "RGB"):
        return _keyed(image, key, bit_depth)
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGBA":
        return image.convert("RGB"), image.convert("RGBA").getchannel("A")
    plain = {"1": "L", "L": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    return image if image.mode == plain else image.convert(plain), None


def _keyed(
    image: Image.Image, key: int | bytes | tuple[int, ...], bit_depth: int
) -> tuple[Image.Image, Image.Image]:
    """As `_layers`, where a palette's opacities or one transparent colour are given (tRNS)."""
    if image.mode == "P":
        image = image.convert("RGBA")
        return image.convert("RGB"), image.getchannel("A")
    # Pillow gives the colour as the file has it, and pixels as 8 bits.
    samples = [
        sample * 255 // (2**bit_depth - 1) & 255
        for sample in ([key] if isinstance(key, int) else list(key))
    ]
    if image.mode == "1":
        samples = [255 if samples[0] else 0]
    plain = image.convert("RGB" if image.mode == "RGB" else "L")
    pixels = np.asarray(plain).reshape(plain.height, plain.width, -1)
    seen = (pixels != np.array(samples)).any(axis=-1)
    return plain, Image.fromarray(seen.astype(np.uint8) * 255)


def _deep_opacity(loaded: Image.Image, png: PngFacts) -> Image.Image | None:
    """Opacity of mode L of a PNG with colours of 16 bits, None where no colour is transparent."""
    key = loaded.info.get("transparency")
    if key is None:
        return None
    lower = PngImagePlugin.PngImageFile(BytesIO(png.content))
    # As if the lower byte came last in the file, so that it counts as the upper one.
    lower.tile = cast("list", [(*tile[:3], "RGB;16L") for tile in lower.tile])
    lower.load()
    samples = np.asarray(loaded).astype(np.uint16) << 8 | np.asarray(lower)
    return Image.fromarray((samples != np.array(key)).any(axis=-1).astype(np.uint8) * 255)


def _srgb(colour: Image.Image, profile: bytes | None) -> Image.Image:
    transform = None if not profile else _transform(profile, colour.mode)
    if transform is not None:
        return transform.apply(colour)
    return colour if colour.mode == "RGB" else colour.convert("RGB")


@functools.lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From `profile` to sRGB; None where it is sRGB, damaged, or of other colours than the
    pixels, which every viewer passes over."""
    try:
        given = ImageCms.getOpenProfile(BytesIO(profile))
        if given.profile.xcolor_space != _PROFILE_SPACES[mode]:
            return None
        if (given.profile.profile_description or "").startswith("sRGB"):
            return None
        return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        return None
