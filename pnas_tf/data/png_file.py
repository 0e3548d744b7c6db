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
_ADAM7 = (  # ISO 15948, 8.2: left, top, steps to the right and down of each pass
    *((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)),
    *((0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)),
)
_INFLATED_AT_ONCE = 2**20
_MAX_DEFLATE_RATIO = 1032  # no stream unpacks to more than so many times its length
# Colours, transparency, profile and orientation; the rest is text, times, guesses and animation.
_SHAPES_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"iCCP", b"eXIf")


class PngDamage(ValueError):
    """str(error) is what is wrong, in words for the owner of the file."""


@dataclass(frozen=True)
class PngFacts:
    """width, height: pixels. bit_depth: of a sample, 1 to 16. pixels: the parts of the compressed
    stream. content: the file with the chunks that shape pixels alone."""

    width: int
    height: int
    bit_depth: int
    is_interlaced: bool
    pixels: tuple[bytes, ...]
    content: bytes

    def check_rows(self) -> None:
        """Raises PngDamage when the compressed stream holds too few rows, though it ends well:
        decoders leave the others black."""
        pixel_bits = self.bit_depth * _SAMPLES.get(self.content[25], 1)
        passes = _ADAM7 if self.is_interlaced else ((0, 0, 1, 1),)
        expected, found = 0, 0
        for left, top, right, down in passes:
            columns, rows = -((left - self.width) // right), -((top - self.height) // down)
            if columns > 0 and rows > 0:
                expected += rows * (1 + (columns * pixel_bits + 7) // 8)
        stream = zlib.decompressobj()
        for piece in (*self.pixels, b""):
            while True:
                inflated = len(stream.decompress(piece, _INFLATED_AT_ONCE))
                found += inflated
                piece = stream.unconsumed_tail
                if found >= expected or stream.eof or not (piece or inflated):
                    break
        if found < expected:
            raise PngDamage(f"truncated: {found} of {expected} bytes of pixels")


def png_size(content: bytes) -> tuple[int, int]:
    """(width, height) as the header says, whole or not. Raises PngDamage when there is none, or the
    file is too short for so many pixels."""
    if content[12:16] == b"CgBI":
        raise PngDamage("a PNG as Apple packs it into apps, which is none")
    if len(content) < 29 or content[12:16] != b"IHDR":
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
        PngDamage: a chunk that shapes pixels is cut or its checksum is wrong, rows or the end are
            missing.
    """
    width, height = png_size(content)
    kept, pixels = [SIGNATURE], []
    for kind, chunk in _chunks(content):
        if kind not in _SHAPES_PIXELS:
            if kind[:1].isupper():  # critical, and unknown: ISO 15948, 5.4
                raise PngDamage(f"chunk {kind!r} that no PNG has")
            continue
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise PngDamage(f"damaged: wrong checksum in chunk {kind.decode()}")
        kept.append(chunk)
        if kind == b"IDAT":
            pixels.append(chunk[8:-4])
    return PngFacts(width, height, content[24], bool(content[28]), tuple(pixels), b"".join(kept))


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
