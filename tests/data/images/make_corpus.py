"""Makes files/ and expected.json beside this file: every format, mode, kind of metadata and of
damage that people bring, and what must come of each.

    python tests/data/images/make_corpus.py

What is right is computed from the scene, by numpy and the standards' formulas, and never by reading
a file that was written. A row of the table holds either shape, colours of the four corners and of
the mean with a tolerance, or a piece of the reason for which the file is refused. `needs` names the
optional package without which a file is refused.
"""

import json
import zlib
from pathlib import Path

import by_hand
import numpy as np
from damaged import damaged_files
from PIL import Image, PngImagePlugin
from scene import (
    COLOURS,
    HEIGHT,
    WIDTH,
    accepted,
    exif,
    grey,
    opacity,
    over_white,
    rgba,
    scene,
    upright,
    written,
    xmp,
)

HERE = Path(__file__).parent


def jpegs():
    rgb = scene()
    right = accepted(rgb, tolerance=6)
    for name, options in {
        "420": {"subsampling": 2},
        "422": {"subsampling": 1},
        "444": {"subsampling": 0},
        "progressive": {"progressive": True},
        "optimised": {"optimize": True},
        "restarts": {"restart_marker_blocks": 2},
        "comment": {"comment": b"made by hand"},
        "exif_0": {"exif": exif(0)},
        "exif_9": {"exif": exif(9)},
        "exif_text": {"exif": b"Exif\0\0no TIFF at all"},
        "exif_cut": {"exif": exif(6)[:14]},
        "icc_broken": {"icc_profile": b"no profile" * 20},
        "icc_of_grey": {"icc_profile": by_hand.grey_profile()},
    }.items():
        yield f"jpg_{name}.jpg", written(rgb, "JPEG", quality=95, **options), right
    for tag in range(1, 9):
        turned = accepted(upright(rgb, tag), tolerance=6)
        content = written(rgb, "JPEG", quality=95, exif=exif(tag))
        yield f"jpg_exif_{tag}.jpg", content, turned
    for tag in (3, 6):
        content = written(rgb, "JPEG", quality=95, xmp=xmp(tag))
        yield f"jpg_xmp_{tag}.jpg", content, accepted(upright(rgb, tag), tolerance=6)
    yield "jpg_grey.jpg", written(grey(), "JPEG", "L", quality=95), accepted(grey(), tolerance=6)
    grey_icc = written(grey(), "JPEG", "L", quality=95, icc_profile=by_hand.grey_profile())
    yield "jpg_grey_icc.jpg", grey_icc, accepted(by_hand.grey_as_srgb(grey()), tolerance=6)
    turned = written(grey(), "JPEG", "L", quality=95, exif=exif(8))
    yield "jpg_grey_exif_8.jpg", turned, accepted(upright(grey(), 8), tolerance=6)
    cmyk = np.dstack([255 - rgb, np.zeros_like(grey())])
    inks = Image.fromarray(cmyk, "CMYK")
    yield "jpg_cmyk.jpg", written(inks, "JPEG", "CMYK", quality=95), accepted(rgb, tolerance=10)
    mismatched = written(inks, "JPEG", "CMYK", quality=95, icc_profile=by_hand.p3_profile())
    yield "jpg_cmyk_icc_of_rgb.jpg", mismatched, accepted(rgb, tolerance=10)
    printed = written(inks, "JPEG", "CMYK", quality=95, icc_profile=by_hand.cmyk_profile())
    yield "jpg_cmyk_icc.jpg", printed, accepted(by_hand.cmyk_as_srgb(cmyk), tolerance=10)
    wide = written(rgb, "JPEG", quality=95, subsampling=0, icc_profile=by_hand.p3_profile())
    yield "jpg_icc_p3.jpg", wide, accepted(by_hand.p3_as_srgb(rgb), tolerance=8)
    second = Image.fromarray(255 - rgb)
    options = {"save_all": True, "append_images": [second], "quality": 95}
    yield "jpg_two_pictures.jpg", written(rgb, "MPO", **options), right
    turned = written(rgb, "MPO", exif=exif(6), **options)
    yield "jpg_two_pictures_exif_6.jpg", turned, accepted(upright(rgb, 6), tolerance=6)
    plain = written(rgb, "JPEG", quality=95)
    for suffix in ("jfif", "jpe", "jpeg", "JPG", "png", "webp"):
        yield f"jpg_named.{suffix}", plain, right
    yield "jpg_stray_bytes.jpg", plain[:-2] + b"\0" * 5 + plain[-2:], right
    yield "jpg_bytes_behind.jpg", plain + b"\n" * 40, right
    yield "jpg_film_behind.jpg", plain + b"\0\0\0\x18ftypmp42" + bytes(200), right
    yield "jpg_no_end_mark.jpg", plain[:-2], right


def pngs():
    rgb, alpha, values = scene(), opacity(), grey()
    right = accepted(rgb)
    yield "png_rgb.png", written(rgb, "PNG"), right
    yield "png_named.jpg", written(rgb, "PNG"), right
    yield "png_grey.png", written(values, "PNG", "L"), accepted(values)
    yield (
        "png_bilevel.png",
        written(values, "PNG", "1", bits=1),
        accepted(0 * values, tolerance=255),
    )
    yield "png_palette.png", written(Image.fromarray(rgb).quantize(4), "PNG", "P"), right
    for tag in range(1, 9):
        content = written(rgb, "PNG", exif=exif(tag))
        yield f"png_exif_{tag}.png", content, accepted(upright(rgb, tag))
    yield "png_rgba.png", written(rgba(), "PNG", "RGBA"), accepted(over_white(rgb, alpha))
    turned = written(rgba(), "PNG", "RGBA", exif=exif(6))
    yield "png_rgba_exif_6.png", turned, accepted(upright(over_white(rgb, alpha), 6))
    grey_alpha = Image.merge("LA", [Image.fromarray(values), Image.fromarray(alpha)])
    on_white = over_white(values[..., None], alpha)[..., 0]
    yield "png_grey_alpha.png", written(grey_alpha, "PNG", "LA"), accepted(on_white)
    wide = written(rgb, "PNG", icc_profile=by_hand.p3_profile())
    yield "png_icc_p3.png", wide, accepted(by_hand.p3_as_srgb(rgb))
    wide = written(rgba(), "PNG", "RGBA", icc_profile=by_hand.p3_profile())
    yield "png_rgba_icc_p3.png", wide, accepted(over_white(by_hand.p3_as_srgb(rgb), alpha))
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)]}
    yield "png_animated.png", written(rgb, "PNG", **frames), right
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "é" * 300, zip=True)
    yield "png_text.png", written(rgb, "PNG", pnginfo=text), right
    yield "png_bytes_behind.png", written(rgb, "PNG") + b"behind", right
    bomb = by_hand.png(rgb, extra=[(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21)))])
    yield "png_text_too_long.png", bomb, right
    yield "png_unknown_chunk.png", by_hand.png(rgb, extra=[(b"vpAg", b"12345")]), right
    yield "png_gamma.png", by_hand.png(rgb, extra=[(b"gAMA", b"\0\0\xb1\x8f")]), right
    yield "png_interlaced.png", by_hand.png(rgb, interlaced=True), right
    yield "png_stored.png", by_hand.png(rgb[::4, ::4], level=0), accepted(rgb[::4, ::4])
    yield from keyed_pngs()


def keyed_pngs():
    """All depths of the standard, with and without one transparent colour (tRNS)."""
    rgb, values = scene().astype(int), grey().astype(int)
    clear = np.where((values == 85), 0, 255)
    for depth in (1, 2, 4, 8, 16):
        top = 2**depth - 1
        samples = values * top // 255
        shown = samples * 255 // top
        key = int(85 * top // 255)
        hidden = np.where(samples == key, 255, shown)
        for name, extra, right in (
            ("", (), shown),
            ("_key", [(b"tRNS", key.to_bytes(2, "big"))], hidden),
        ):
            content = by_hand.png(samples[..., None], depth=depth, colour=0, extra=extra)
            yield f"png_grey_{depth}_bits{name}.png", content, accepted(right)
    palette = (b"PLTE", bytes(COLOURS.reshape(-1, 3).astype(np.uint8)))
    places = np.arange(4).reshape(2, 2).repeat(16, 0).repeat(32, 1)[..., None]
    for depth in (2, 4, 8):
        content = by_hand.png(places, depth=depth, colour=3, extra=[palette])
        yield f"png_palette_{depth}_bits.png", content, accepted(rgb)
    seen = over_white(rgb, np.array([[255, 0], [128, 255]]).repeat(16, 0).repeat(32, 1))
    extra = [palette, (b"tRNS", bytes([255, 0, 128]))]
    content = by_hand.png(places, colour=3, extra=extra)
    yield "png_palette_opacities.png", content, accepted(seen)
    one = over_white(rgb, np.array([[255, 0], [255, 255]]).repeat(16, 0).repeat(32, 1))
    extra = [palette, (b"tRNS", bytes([255, 0]))]
    yield "png_palette_one_clear.png", by_hand.png(places, colour=3, extra=extra), accepted(one)
    for depth in (8, 16):
        samples = rgb * 257 if depth == 16 else rgb
        key = b"".join(int(value).to_bytes(2, "big") for value in samples[0, -1])
        content = by_hand.png(samples, depth=depth, extra=[(b"tRNS", key)])
        yield f"png_rgb_{depth}_bits_key.png", content, accepted(one)
    near = rgb * 257
    near[:8] ^= 1  # of 16 bits, so that the upper 8 are alike
    for name, interlaced in (("", False), ("_interlaced", True)):
        extra = [(b"tRNS", key)]
        content = by_hand.png(near, depth=16, extra=extra, interlaced=interlaced)
        half = np.array([[255, 255], [255, 0], [255, 255], [255, 255]]).repeat(8, 0).repeat(32, 1)
        yield f"png_rgb_16_bits_near_key{name}.png", content, accepted(over_white(rgb, half))
    yield "png_rgb_16_bits.png", by_hand.png(rgb * 257, depth=16), accepted(rgb)
    for colour, planes, right in (
        (4, (values,), over_white(values[..., None], clear)[..., 0]),
        (6, (rgb[..., 0], rgb[..., 1], rgb[..., 2]), over_white(rgb, clear)),
    ):
        content = by_hand.png(np.dstack([*planes, clear]) * 257, depth=16, colour=colour)
        yield f"png_alpha_16_bits_{colour}.png", content, accepted(right)


def hidden_colours():
    """Pictures that look alike and hide other colours behind full transparency."""
    for name, colour in (("red", (255, 0, 0)), ("green", (0, 255, 0))):
        pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        pixels[..., :3] = colour
        yield f"png_hidden_{name}.png", written(pixels, "PNG", "RGBA"), accepted(grey() * 0 + 255)
        options = {"lossless": True, "exact": True}
        content = written(pixels, "WEBP", "RGBA", **options)
        yield f"webp_hidden_{name}.webp", content, accepted(grey() * 0 + 255)
    pixels[..., :3], pixels[..., 3] = (255, 0, 0), 128
    half = accepted(over_white(pixels[..., :3], pixels[..., 3]))
    yield "png_half_red.png", written(pixels, "PNG", "RGBA"), half


def gifs():
    rgb = scene()
    paletted = Image.fromarray(rgb).quantize(4)
    right = accepted(rgb)
    plain = written(paletted, "GIF", "P")
    yield "gif_plain.gif", plain, right
    yield "gif_interlaced.gif", written(paletted, "GIF", "P", interlace=1), right
    yield "gif_grey.gif", written(grey(), "GIF", "L"), accepted(grey())
    clear = paletted.getpixel((WIDTH - 1, 0))
    alpha = np.array([[255, 0], [255, 255]]).repeat(16, 0).repeat(32, 1)
    content = written(paletted, "GIF", "P", transparency=clear)
    yield "gif_one_clear.gif", content, accepted(over_white(rgb, alpha))
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)], "duration": 50}
    yield "gif_animated.gif", written(paletted, "GIF", "P", **frames), right
    yield "gif_bytes_behind.gif", plain + b"behind", right
    yield "gif_no_end_mark.gif", plain[:-1], right
    yield "gif_named.jpg", plain, right


def bmps():
    rgb, values = scene(), grey()
    plain = written(rgb, "BMP")
    yield "bmp_rgb.bmp", plain, accepted(rgb)
    yield "bmp_rgb.dib", plain, accepted(rgb)
    yield "bmp_grey.bmp", written(values, "BMP", "L"), accepted(values)
    paletted = Image.fromarray(rgb).quantize(4)
    yield "bmp_palette.bmp", written(paletted, "BMP", "P"), accepted(rgb)
    yield "bmp_bytes_behind.bmp", plain + b"\0\0", accepted(rgb)
    size = {"width": WIDTH, "height": HEIGHT}
    xrgb = np.dstack([rgb[::-1, :, ::-1], 0 * values]).astype(np.uint8).tobytes()
    yield "bmp_32_bits.bmp", by_hand.bmp(xrgb, bits=32, **size), accepted(rgb)
    down = rgb[:, :, ::-1].tobytes()
    size_down = {"width": WIDTH, "height": -HEIGHT}
    yield "bmp_top_down.bmp", by_hand.bmp(down, bits=24, **size_down), accepted(rgb)
    red, green, blue = rgb.astype(int)[::-1].transpose(2, 0, 1)
    packed = ((red >> 3) << 10 | (green >> 3) << 5 | blue >> 3).astype("<u2").tobytes()
    yield "bmp_16_bits.bmp", by_hand.bmp(packed, bits=16, **size), accepted(rgb, tolerance=8)
    packed = ((red >> 3) << 11 | (green >> 2) << 5 | blue >> 3).astype("<u2").tobytes()
    content = by_hand.bmp(packed, bits=16, masks=(0xF800, 0x07E0, 0x1F), compression=3, **size)
    yield "bmp_16_bits_565.bmp", content, accepted(rgb, tolerance=8)
    for name, opacities in (("unused", 0 * values), ("alpha", opacity())):
        right = rgb if name == "unused" else over_white(rgb, opacities)
        pixels = np.dstack([rgb[..., ::-1], opacities])[::-1].astype(np.uint8).tobytes()
        content = by_hand.bmp_of_version_4(pixels, **size)
        yield f"bmp_32_bits_{name}.bmp", content, accepted(right)
    palette = b"".join(bytes([*colour[::-1], 0]) for colour in COLOURS.reshape(-1, 3).tolist())
    runs = b"".join(bytes([32, left, 32, left + 1, 0, 0]) for left in [2] * 16 + [0] * 16)
    content = by_hand.bmp(runs + b"\0\1", bits=8, palette=palette, compression=1, **size)
    yield "bmp_run_lengths.bmp", content, accepted(rgb)


def webps():
    rgb, alpha = scene(), opacity()
    right = accepted(rgb, tolerance=8)
    yield "webp_lossy.webp", written(rgb, "WEBP", quality=95), right
    yield "webp_lossless.webp", written(rgb, "WEBP", lossless=True), accepted(rgb)
    yield "webp_named.jpg", written(rgb, "WEBP", quality=95), right
    yield "webp_named.png", written(rgb, "WEBP", lossless=True), accepted(rgb)
    content = written(rgba(), "WEBP", "RGBA", lossless=True)
    yield "webp_rgba.webp", content, accepted(over_white(rgb, alpha))
    content = written(rgba(), "WEBP", "RGBA", quality=95)
    yield "webp_rgba_lossy.webp", content, accepted(over_white(rgb, alpha), tolerance=10)
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - rgb)], "lossless": True}
    yield "webp_animated.webp", written(rgb, "WEBP", **frames), accepted(rgb)
    for tag in (3, 5, 6, 8):
        content = written(rgb, "WEBP", lossless=True, exif=exif(tag))
        yield f"webp_exif_{tag}.webp", content, accepted(upright(rgb, tag))
    content = written(rgb, "WEBP", lossless=True, icc_profile=by_hand.p3_profile())
    yield "webp_icc_p3.webp", content, accepted(by_hand.p3_as_srgb(rgb))


def tiffs():
    """Of any suffix, left to their owner to convert: pages and ranges have no one meaning."""
    refused = {"refused": "a TIFF"}
    yield "tiff_rgb.jpg", written(scene(), "TIFF"), refused
    deep = (grey().astype(np.uint16) << 8) + 3
    yield "tiff_grey_16_bits.png", written(deep, "TIFF", "I;16"), refused
    yield "tiff_big.jpg", written(scene(), "TIFF", big_tiff=True), refused
    yield "tiff_of_motorola.png", b"MM\0*" + bytes(40), refused


def boxes():
    import pillow_heif

    pillow_heif.register_heif_opener()
    rgb, alpha = scene(), opacity()
    for kind, needs in (("AVIF", "avif"), ("HEIF", "heic")):
        name = {"AVIF": "avif", "HEIF": "heic"}[kind]
        right = accepted(rgb, tolerance=10, needs=needs)
        content = written(rgb, kind, quality=95)
        yield f"{name}_rgb.{name}", content, right
        yield f"{name}_named.jpg", content, right
        see = accepted(over_white(rgb, alpha), tolerance=12, needs=needs)
        yield f"{name}_rgba.{name}", written(rgba(), kind, "RGBA", quality=95), see
        for tag in (3, 6):
            turned = accepted(upright(rgb, tag), tolerance=10, needs=needs)
            content = written(rgb, kind, quality=95, exif=exif(tag))
            yield f"{name}_exif_{tag}.{name}", content, turned
        cut = {"refused": "", "needs": needs}
        yield f"{name}_cut.{name}", content[: len(content) * 3 // 4], cut


def main():
    files = HERE / "files"
    for old in files.glob("*"):
        old.unlink()
    table = {}
    makers = (jpegs, pngs, hidden_colours, gifs, bmps, webps, tiffs, boxes)
    for maker in (*makers, lambda: damaged_files(scene(), written)):
        for name, content, right in maker():
            assert name not in table, name
            (files / name).write_bytes(content)
            table[name] = right
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table))
    (HERE / "expected.json").write_text("{\n" + rows + "\n}\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in files.glob("*"))
    print(f"{len(table)} files, {size} bytes")


if __name__ == "__main__":
    main()
