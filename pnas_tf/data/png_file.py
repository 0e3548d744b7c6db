"""What a PNG file says of itself, chunk by chunk, before a decoder believes it (ISO 15948).

Decoders differ on damage: some read past a wrong checksum of the pixels, others refuse a file for a
comment. Here a chunk that shapes pixels must be whole, and no other chunk matters. Knows nothing of
pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by colour type
_MAX_DEFLATE_RATIO = 1032  # no stream unpacks to more than so many times its length
# Colours, transparency, profile and orientation; the rest is text, times, guesses and animation.
_SHAPES_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf")


class PngDamage(ValueError):
    """str(error) is what is wrong, in words for the owner of the file."""


@dataclass(frozen=True)
class PngFacts:
    """width, height: pixels. bit_depth: of a sample, 1 to 16. content: the file with the chunks
    that shape pixels alone."""

    width: int
    height: int
    bit_depth: int
    content: bytes


def png_size(content: bytes) -> tuple[int, int]:
    """(width, height) as the header says, whole or not. Raises PngDamage when there is none, or the
    file is too short for so many pixels."""
    if len(content) < 26 or content[12:16] != b"IHDR":
        raise PngDamage("truncated before its header ends")
    width, height, bit_depth, colour = struct.unpack(">IIBB", content[16:26])
    size_bytes = width * height * bit_depth * _SAMPLES.get(colour, 1) // 8
    if size_bytes > _MAX_DEFLATE_RATIO * len(content):
        raise PngDamage(
            f"damaged: {width} x {height} = {width * height} pixels cannot be in "
            f"{len(content)} bytes"
        )
    return width, height


def png_facts(content: bytes) -> PngFacts:
    """Reads all chunks and their checksums. content: a whole file.

    Raises:
        PngDamage: a chunk that shapes pixels is cut or its checksum is wrong, or the end is
            missing.
    """
    width, height = png_size(content)
    kept = [SIGNATURE]
    for kind, chunk in _chunks(content):
        if kind not in _SHAPES_PIXELS:
            if kind[:1].isupper():  # critical, and unknown: ISO 15948, 5.4
                raise PngDamage(f"chunk {kind!r} that no PNG has")
            continue
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise PngDamage(f"damaged: wrong checksum in chunk {kind.decode()}")
        kept.append(chunk)
    return PngFacts(width, height, content[24], b"".join(kept))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(name, the chunk with length and checksum) up to IEND; what follows it is nobody's."""
    view, start = memoryview(content), len(SIGNATURE)
    while True:
        if start + 12 > len(content):
            raise PngDamage("truncated: the end is missing")
        end = start + 12 + int.from_bytes(view[start : start + 4], "big")
        kind = bytes(view[start + 4 : start + 8])
        if end > len(content):
            raise PngDamage(f"truncated in chunk {kind.decode('ascii', 'backslashreplace')}")
        yield kind, bytes(view[start:end])
        if kind == b"IEND":
            return
        start = end
