"""Arrays as .npy bytes, without pickle. Knows nothing of files."""

from __future__ import annotations

import io
import math
import tokenize

import numpy as np


def bytes_of(array: np.ndarray) -> bytes:
    """The array as .npy bytes."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def array_of(content: bytes) -> np.ndarray:
    """The array of .npy bytes, of plain numbers and exactly as long as its header says. Raises
    ValueError."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read_header is None:
        raise ValueError(f"version {version} of .npy")
    try:
        shape, is_fortran, dtype = read_header(stream)
    except (
        SyntaxError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
        MemoryError,
        IndexError,
        tokenize.TokenError,
    ) as error:
        raise ValueError(
            f"a broken header: {type(error).__name__}"
        ) from error  # NumPy reads it as a Python literal
    count, size_bytes = math.prod(shape), len(content) - stream.tell()
    plain = dtype.kind in "biufc" and dtype.subdtype is None
    if not plain or min(shape, default=0) < 0 or count * dtype.itemsize != size_bytes:
        raise ValueError(f"{size_bytes} bytes for an array {list(shape)[:8]} of {dtype}")
    array = np.frombuffer(content, dtype, count, stream.tell()).copy()
    return array.reshape(shape[::-1]).T if is_fortran else array.reshape(shape)
