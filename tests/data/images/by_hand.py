"""Files that Pillow does not write, byte by byte: PNGs of every depth, BMPs of 16 bits, ICC
profiles. Written after the standards, so that no reader is checked against itself."""

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
ADAM7 = (*ADAM7, (0, 1, 1, 2))
# Columns: red, green, blue in XYZ, adapted to D50 (Bradford).
P3_TO_XYZ = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
SRGB_TO_XYZ = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)
D50 = (0.9642, 1.0, 0.8249)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks(content):
    """[(kind, data)] of a PNG."""
    found, at = [], len(SIGNATURE)
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return found


def rows_of(samples, depth):
    """Filter byte 0 and packed samples for each row. samples: int [height, width, channels]."""
    packed = b""
    for row in samples:
        flat = row.reshape(-1).astype(int)
        if depth == 16:
            packed += b"\0" + flat.astype(">u2").tobytes()
        elif depth == 8:
            packed += b"\0" + flat.astype("u1").tobytes()
        else:
            bits = "".join(format(value, f"0{depth}b") for value in flat)
            bits += "0" * (-len(bits) % 8)
            packed += b"\0" + bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return packed


def png(samples, *, depth=8, colour=2, extra=(), interlaced=False, level=9):
    """samples: int [height, width, channels]. colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha,
    6 RGBA. extra: chunks between header and pixels."""
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced))
    passes = (
        [samples[top::down, left::right] for left, top, right, down in ADAM7]
        if interlaced
        else [samples]
    )
    data = b"".join(rows_of(part, depth) for part in passes if part.size)
    return b"".join(
        [SIGNATURE, chunk(b"IHDR", header)]
        + [chunk(*one) for one in extra]
        + [chunk(b"IDAT", zlib.compress(data, level)), chunk(b"IEND", b"")]
    )


def bmp(rows, *, width, height, bits, masks=(), palette=b"", compression=0):
    """rows: pixel bytes as they lie in the file. height: negative where the top row is first."""
    masks = b"".join(struct.pack("<I", mask) for mask in masks)
    start = 14 + 40 + len(masks) + len(palette)
    header = struct.pack(
        "<IiiHHIIiiII",
        40,
        width,
        height,
        1,
        bits,
        compression,
        len(rows),
        0,
        0,
        len(palette) // 4,
        0,
    )
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(rows), 0, 0, start)
        + header
        + masks
        + palette
        + rows
    )


def bmp_of_version_4(rows, *, width, height):
    """32 bits with a mask for opacity. rows: BGRA, the lowest row first."""
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(rows), 0, 0, 0, 0)
    header += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", 122 + len(rows), 0, 0, 122) + header + rows


def _s15(value):
    return struct.pack(">i", round(value * 65536))


def profile(space, tags, *, kind=b"mntr", connection=b"XYZ "):
    """An ICC profile of version 2. space: b"RGB ", b"GRAY" or b"CMYK". kind: of a display, or
    b"prtr" of a printer. connection: the space that colours are given in, or b"Lab "."""
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"made\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + b"".join(map(_s15, D50)),
        **tags,
    }
    start, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = start + len(body)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, kind, space, connection)
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    header += b"".join(map(_s15, D50)) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body


def _gamma(value):
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def p3_profile():
    """Display P3's primaries with a gamma of 2.2."""
    columns = {
        name: b"XYZ \0\0\0\0" + b"".join(map(_s15, column))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), P3_TO_XYZ.T)
    }
    return profile(b"RGB ", {**columns, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(2.2))})


def grey_profile():
    """Grey with a gamma of 1.8, as old Macintoshes had it."""
    return profile(b"GRAY", {b"kTRC": _gamma(1.8)})


# Lab as bytes (255 for L = 100; 128 for a = b = 0): paper, then what each full ink adds. Affine, so
# that every way to interpolate gives the same.
PAPER_LAB = np.array([255, 128, 128])
INKS_LAB = np.array([[-38, -20, -25], [-51, 40, -5], [-13, 0, 45], [-153, 0, 0]])


def cmyk_profile():
    """A printer's, with a table of all 16 mixtures of full inks (lut8Type of ICC.1:2001)."""
    ramp = bytes(range(256))
    mixtures = (np.array(mixture) for mixture in np.ndindex(2, 2, 2, 2))
    table = b"".join(bytes((PAPER_LAB + mixture @ INKS_LAB).tolist()) for mixture in mixtures)
    identity = b"".join(map(_s15, np.eye(3).reshape(-1)))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + 4 * ramp + table + 3 * ramp
    return profile(b"CMYK", {b"A2B0": lut}, kind=b"prtr", connection=b"Lab ")


def cmyk_as_srgb(inks):
    """inks: 0..255, 255 for a full one. By CIE 1976 L*a*b* of D50."""
    code = PAPER_LAB + inks / 255.0 @ INKS_LAB
    lightness, a, b = code[..., 0] / 2.55, code[..., 1] - 128, code[..., 2] - 128
    y = (lightness + 16) / 116
    roots = np.stack([y + a / 500, y, y - b / 200], axis=-1)
    small = (roots - 4 / 29) * 108 / 841
    xyz = np.where(roots > 6 / 29, roots**3, small) * D50
    return srgb_encoded(xyz @ np.linalg.inv(SRGB_TO_XYZ).T)


def srgb_encoded(linear):
    """IEC 61966-2-1. linear: 0..1; gives 0..255."""
    linear = np.clip(linear, 0, 1)
    low, high = 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, low, high) * 255


def p3_as_srgb(pixels):
    linear = (pixels / 255.0) ** 2.2
    return srgb_encoded(linear @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T)


def grey_as_srgb(pixels):
    return srgb_encoded((pixels / 255.0) ** 1.8)
