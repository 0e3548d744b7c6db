"""The picture that all files of the corpus show, and what is right for it, by numpy alone."""

import io

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 32
COLOURS = np.array([[[200, 40, 40], [40, 160, 60]], [[50, 70, 190], [230, 200, 60]]])
WHITE = 255


def scene():
    """uint8 [32, 64, 3]: four fields, whose edges lie on those of JPEG's blocks."""
    return COLOURS.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1).astype(np.uint8)


def opacity():
    """uint8 [32, 64]: opaque, half, clear, opaque."""
    fields = np.array([[255, 128], [0, 255]])
    return fields.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1).astype(np.uint8)


def grey():
    """uint8 [32, 64]"""
    fields = np.array([[17, 85], [170, 238]])
    return fields.repeat(HEIGHT // 2, 0).repeat(WIDTH // 2, 1).astype(np.uint8)


def upright(pixels, tag):
    """What a viewer shows of stored pixels under an EXIF orientation (tag 0x0112)."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(pixels, 1),
    }[tag]


def over_white(pixels, alpha):
    share = alpha[..., None] / 255.0
    return pixels * share + WHITE * (1 - share)


def accepted(pixels, *, tolerance=2, needs=""):
    pixels = np.asarray(pixels, float)
    if pixels.ndim == 2:
        pixels = pixels[..., None].repeat(3, -1)
    corners = [pixels[row, column] for row in (0, -1) for column in (0, -1)]
    return {
        "shape": list(pixels.shape),
        "corners": [[round(value) for value in corner] for corner in corners],
        "mean": [round(value, 1) for value in pixels.mean((0, 1))],
        "tolerance": tolerance,
        **({"needs": needs} if needs else {}),
    }


def written(pixels, kind, mode="RGB", **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    image.convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def exif(tag):
    facts = Image.Exif()
    facts[0x0112] = tag
    return facts.tobytes()


def xmp(tag):
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
        f'syntax-ns#"><rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation='
        f'"{tag}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def rgba():
    return np.dstack([scene(), opacity()])
