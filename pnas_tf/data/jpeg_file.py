"""Pixels of JPEG files in which nothing is made up.

libjpeg makes up what is missing and only warns; Pillow and TensorFlow do not pass its warnings on,
so half a picture in grey would count as one. It tells the first of its warnings alone: what does no
harm is mended, and the file decoded again, so that it hides nothing behind it. Knows nothing of
colours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import simplejpeg

from pnas_tf.data.image_format import UnreadableImage

# Many cameras leave a few stray bytes behind pixels, and some programs between segments. Before a
# restart marker they are no stray ones: a changed bit has made the pixels end early.
_STRAY = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_MAX_STRAY_BYTES = 64
_NO_END = "Premature end of JPEG file"
_WRONG_SCAN = "Invalid SOS parameters for sequential JPEG"  # three bytes that nobody needs
_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_RESTARTS, _END, _SCAN = range(0xD0, 0xD8), 0xD9, 0xDA
_ALONE = (0x01, *_RESTARTS, 0xD8)  # markers without a length behind them
_END_MARK = bytes([0xFF, _END])
_MOST_FAULTS = 8  # that are mended


def jpeg_pixels(content: bytes, space: str, *, in_part: bool = False) -> np.ndarray:
    """Decodes a whole file.

    Args:
        content: from its first byte.
        space: "RGB", "GRAY" or "CMYK".
        in_part: whether made up pixels will do.

    Returns:
        uint8 [height, width, channels].

    Raises:
        UnreadableImage: pixels are missing, or the file is damaged in another way.
    """
    if in_part:
        return simplejpeg.decode_jpeg(content, colorspace=space, strict=False)
    found = _decoded(content, space)
    for _ in range(_MOST_FAULTS):
        if isinstance(found, str):
            content, found = _mended(content, space, found)
    if isinstance(found, str):
        raise UnreadableImage(_reason(found))
    return found


def _decoded(content: bytes, space: str) -> np.ndarray | str:
    """The pixels, or the first fault in libjpeg's words."""
    try:
        return simplejpeg.decode_jpeg(content, colorspace=space)
    except ValueError as error:
        return str(error)


def _mended(content: bytes, space: str, fault: str) -> tuple[bytes, np.ndarray | str]:
    """The file without a harmless fault, and what is found then. Raises UnreadableImage where the
    fault is harmful."""
    for mended in _attempts(content, fault):
        found = _decoded(mended, space)
        if not isinstance(found, str) or found != fault:
            return mended, found
    raise UnreadableImage(_reason(fault))


def _attempts(content: bytes, fault: str) -> Iterator[bytes]:
    """Files that lack the fault, if it is where they suppose it; from the end, for a mend behind
    its place changes nothing that is told."""
    stray = _STRAY.match(fault)
    if stray and int(stray[1]) <= _MAX_STRAY_BYTES and int(stray[2], 16) not in _RESTARTS:
        for code, before, place in reversed(list(_markers(content))):
            start = place - int(stray[1])
            if code == int(stray[2], 16) and before <= start:
                yield content[:start] + content[place:]
    elif fault.startswith(_NO_END):  # the end mark alone, or pixels too?
        yield content + _END_MARK
    elif fault.startswith(_WRONG_SCAN):
        whole = bytearray(content)
        for code, _, place in _markers(content):
            if code == _SCAN:
                end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
                whole[end - 3 : end] = 0, 63, 0  # all coefficients, as sequential files have them
        yield bytes(whole)


def _markers(content: bytes) -> Iterator[tuple[int, int, int]]:
    """(code, end of the segment before it, place) of each marker up to the end of the first
    picture. Pixels lie between a segment and the next marker."""
    before = 0
    while found := _MARKER.search(content, before):
        code = found[1][0]
        yield code, before, found.start()
        if code == _END:
            return
        before = found.end()
        if code not in _ALONE:
            before += int.from_bytes(content[before : before + 2], "big")


def _reason(fault: str) -> str:
    return fault if fault.startswith("Unsupported") else f"damaged or truncated: {fault}"
