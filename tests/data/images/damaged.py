"""Files that are no whole image: cut, changed, emptied, or something else altogether. Each comes
with a piece of the reason for which it must be refused."""

import io
import struct
import zlib

import by_hand
import numpy as np
from PIL import Image


def damaged_files(scene, written):
    """(name, content, {"refused": piece of the reason}). written: encodes pixels by Pillow."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    yield from _jpegs(scene, noise, written)
    yield from _pngs(noise, written)
    yield from _others(scene, noise, written)
    yield from _strangers(written(scene, "JPEG"))


def refused(reason):
    return {"refused": reason}


def _jpegs(scene, noise, written):
    whole = written(noise, "JPEG", quality=60)
    start = whole.index(b"\xff\xda") + 14
    half = start + (len(whole) - start) // 2
    yield "jpg_cut.jpg", whole[:half], refused("truncated")
    yield "jpg_cut_with_end.jpg", whole[:half] + b"\xff\xd9", refused("premature end")
    late = len(whole) - 60
    yield "jpg_cut_late_with_end.jpg", whole[:late] + b"\xff\xd9", refused("premature end")
    zeroed = whole[:half] + bytes(len(whole) - half - 2) + b"\xff\xd9"
    yield "jpg_zeroed_half.jpg", zeroed, refused("Corrupt JPEG data")
    yield from _hidden_damage(noise, written)
    yield "jpg_header_alone.jpg", whole[:start], refused("")
    yield "jpg_start_alone.jpg", whole[:2], refused("not an image")
    yield "jpg_tables_cut.jpg", whole[:100], refused("")
    progressive = written(noise, "JPEG", quality=60, progressive=True)
    place = len(progressive) * 2 // 3
    yield "jpg_progressive_cut.jpg", progressive[:place], refused("truncated")
    content = progressive[:place] + b"\xff\xd9"
    yield "jpg_progressive_cut_with_end.jpg", content, refused("premature end")
    grey = written(noise[..., 0], "JPEG", "L", quality=60)
    yield "jpg_grey_cut_with_end.jpg", grey[: len(grey) // 2] + b"\xff\xd9", refused("premature")
    inks = written(noise, "JPEG", "CMYK", quality=60)
    yield "jpg_cmyk_cut_with_end.jpg", inks[: len(inks) // 2] + b"\xff\xd9", refused("premature")
    pair = written(noise, "MPO", quality=60, save_all=True, append_images=[])
    yield "jpg_camera_cut.jpg", pair[: len(pair) // 2], refused("truncated")
    frame = whole.index(b"\xff\xc0")
    deep = bytearray(whole)
    deep[frame + 4] = 12
    yield "jpg_12_bits.jpg", bytes(deep), refused("12-bit")
    swapped = bytearray(whole)
    swapped[frame + 1] = 0xC9  # says that it is coded arithmetically
    yield "jpg_wrong_coding.jpg", bytes(swapped), refused("")
    huge = bytearray(whole)
    huge[frame + 5 : frame + 9] = b"\xff\xdc\xff\xdc"
    yield "jpg_huge.jpg", bytes(huge), refused("65500 x 65500 = 4290250000 pixels")


def _hidden_damage(noise, written):
    """Behind a harmless fault, the only one that libjpeg tells."""
    rows = written(noise, "JPEG", quality=60, restart_marker_rows=1)
    first, third, last = (rows.index(bytes([0xFF, code])) for code in (0xD0, 0xD1, 0xD2))
    lost = rows[: third + 2] + bytes(last - third - 2) + rows[last:]
    yield "jpg_rows_zeroed.jpg", lost, refused("Corrupt JPEG data")
    few = bytes(12)  # more than libjpeg reads ahead, which it does not tell
    for name, content in (("rows_zeroed_behind", lost), ("before_restart", rows)):
        stray = content[:first] + few + content[first:]
        yield f"jpg_stray_{name}.jpg", stray, refused("extraneous bytes before marker 0xd0")
    ended = rows[:first] + few + b"\xff\xd9"
    yield "jpg_stray_rows_cut_behind.jpg", ended, refused("found marker 0xd9 instead of RST0")
    scan = written(noise, "JPEG", quality=60)
    place = scan.index(b"\xff\xda") + 12
    odd = scan[:place] + b"\0" + scan[place + 1 :]
    yield "jpg_odd_scan.jpg", odd, _same(np.asarray(Image.open(io.BytesIO(scan))))
    cut = odd[: len(odd) // 2] + b"\xff\xd9"
    yield "jpg_odd_scan_cut_with_end.jpg", cut, refused("premature end")


def _pngs(noise, written):
    whole = written(noise, "PNG")
    data = whole.index(b"IDAT")
    middle = bytearray(whole)
    middle[len(whole) // 2] ^= 0xFF
    yield "png_flipped_byte.png", bytes(middle), refused("checksum in chunk IDAT")
    stored = bytearray(by_hand.png(noise, level=0))
    stored[len(stored) // 2] ^= 0xFF
    yield "png_flipped_stored.png", bytes(stored), refused("checksum in chunk IDAT")
    yield "png_cut.png", whole[: len(whole) // 2], refused("truncated")
    yield "png_cut_with_end.png", whole[: len(whole) // 2] + whole[-12:], refused("truncated")
    yield "png_no_end.png", whole[:-12], refused("truncated")
    yield "png_header_alone.png", whole[: data - 4], refused("truncated")
    yield "png_signature_alone.png", whole[:8], refused("truncated")
    pixels = zlib.compress(by_hand.rows_of(noise[:32], 8))
    header = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    rows = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    short = by_hand.SIGNATURE + b"".join(by_hand.chunk(*row) for row in rows)
    yield "png_half_the_rows.png", short, refused("truncated")
    for name, size in (("huge", (30000, 30000)), ("large", (9000, 9000))):
        header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
        rows[0] = (b"IHDR", header)
        content = by_hand.SIGNATURE + b"".join(by_hand.chunk(*row) for row in rows)
        number = f"{size[0]} x {size[1]} = {size[0] * size[1]} pixels"
        yield f"png_{name}.png", content, refused(number)
    rows[0] = (b"IHDR", struct.pack(">IIBBBBB", 0, 64, 8, 2, 0, 0, 0))
    none = by_hand.SIGNATURE + b"".join(by_hand.chunk(*row) for row in rows)
    yield "png_no_width.png", none, refused("0 x 64 pixels")
    apples = whole[:8] + by_hand.chunk(b"CgBI", b"\x50\0\x20\2") + whole[8:]
    yield "png_of_an_app.png", apples, refused("Apple")
    text = by_hand.png(noise, extra=[(b"tEXt", b"Comment\0abc")])
    place = text.index(b"abc")
    yield "png_text_flipped.png", text[:place] + b"xyz" + text[place + 3 :], _same(noise)
    keyed = by_hand.png(noise, extra=[(b"tRNS", b"\0\1\0\2\0\3")])
    place = keyed.index(b"tRNS") + 4
    flipped = keyed[:place] + b"\1" + keyed[place + 1 :]
    yield "png_key_flipped.png", flipped, refused("checksum in chunk tRNS")


def _same(pixels):
    corners = [pixels[row, column].tolist() for row in (0, -1) for column in (0, -1)]
    mean = [round(float(value), 1) for value in pixels.mean((0, 1))]
    return {"shape": list(pixels.shape), "corners": corners, "mean": mean, "tolerance": 2}


def _others(scene, noise, written):
    for kind, suffix in (("GIF", "gif"), ("BMP", "bmp"), ("WEBP", "webp")):
        whole = written(noise, kind, "P" if kind == "GIF" else "RGB")
        yield f"{suffix}_cut.{suffix}", whole[: len(whole) // 2], refused("")
        yield f"{suffix}_header_alone.{suffix}", whole[:14], refused("")
        if kind == "GIF":
            yield "gif_cut_with_end.gif", whole[: len(whole) // 2] + b"\0;", refused("truncated")
            yield "gif_end_alone.gif", whole[:781] + b";", refused("")


def _strangers(jpeg):
    yield "no_bytes.jpg", b"", refused("empty file")
    yield "no_bytes.png", b"", refused("empty file")
    yield "zeros.jpg", bytes(300), refused("zeros")
    yield "text.png", b"this is no image\n", refused("not an image")
    page = b"\n<!DOCTYPE html><html><body>404</body></html>"
    yield "web_page.jpg", page, refused("web page")
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
    yield "lfs_pointer.jpg", pointer, refused("git lfs pull")
    drawing = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"></svg>'
    yield "drawing.png", drawing, refused("SVG")
    yield "film.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(40), refused("video")
    yield "print.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", refused("not an image")
    yield "document.jpg", b"%PDF-1.7\n", refused("not an image")
    yield "icon.png", b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0", refused("not an image")
    yield "byte_first.jpg", b"\n" + jpeg, refused("not an image")
