"""What files hold, as SHA-256, kept between calls so that a large folder is read once.

Kept in the user's cache folder, one file for each folder of images. Knows nothing of images.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, npy
from pnas_tf.run.progress import Progress

HASH_BYTES = 32
_KEY_BYTES = 16
_MAX_CACHE_BYTES = 2**30  # 64 bytes a file: 16 million files
# A file may change twice within one tick of its file system's clock (2 s on the coarsest, FAT), and
# its times then say nothing: what is this new is read again the next time.
_SETTLED_S = 2.0


def content_hashes(paths: Sequence[str]) -> np.ndarray:
    """SHA-256 of each file: uint8 [files, 32].

    A file is not read again while its name within their common folder, its size, its times (of the
    content and of the inode, which no program sets back) and its inode are those of an earlier
    call.

    Raises:
        OSError: names a file that cannot be read.
    """
    if not paths:
        return np.zeros((0, HASH_BYTES), np.uint8)
    root = os.path.commonpath([os.path.abspath(os.path.dirname(path)) for path in paths])
    cache = _cache_file(root)
    kept = _read(cache)
    now_ns = time.time_ns()
    with ThreadPoolExecutor(8) as pool:
        facts = list(pool.map(os.stat, paths, chunksize=256))
    keys = [_digest(os.fsencode(os.path.relpath(os.path.abspath(path), root))) for path in paths]
    states = [
        _digest(
            f"{fact.st_size} {fact.st_mtime_ns} {fact.st_ctime_ns} {fact.st_ino}".encode("ascii")
        )
        for fact in facts
    ]
    hashes = [
        kept[key][_KEY_BYTES:] if key in kept and kept[key][:_KEY_BYTES] == state else b""
        for key, state in zip(keys, states)
    ]
    unknown = [place for place, known in enumerate(hashes) if not known]
    with ThreadPoolExecutor() as pool, Progress("hash images", len(unknown)) as progress:
        found = pool.map(atomic.sha256_of, [paths[place] for place in unknown])
        for place, digits in zip(unknown, found):
            hashes[place] = bytes.fromhex(digits)
            progress.update()
    settled = [
        place
        for place in unknown
        if max(facts[place].st_mtime_ns, facts[place].st_ctime_ns) < now_ns - _SETTLED_S * 1e9
    ]
    if settled:
        _keep(cache, {**kept, **{keys[at]: states[at] + hashes[at] for at in settled}})
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(len(paths), HASH_BYTES)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_KEY_BYTES).digest()


def _cache_file(root: str) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return atomic.user_cache_folder("images") / f"{name}.npy"


def _read(cache: Path) -> dict[bytes, bytes]:
    """{key of the name: state and hash}; empty where nothing was kept."""
    if not cache.is_file():
        return {}
    try:
        content = atomic.read_bytes(
            cache, what="image hashes", made_by="delete them", limit=_MAX_CACHE_BYTES
        )
        rows = npy.array_of(content)
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 2 * _KEY_BYTES + HASH_BYTES:
            raise ValueError(f"an array {rows.shape} of {rows.dtype}")
    except (UserError, ValueError, EOFError) as error:
        logging.warning("%s is damaged and is made again: %s", cache, error)
        return {}
    return {row[:_KEY_BYTES].tobytes(): row[_KEY_BYTES:].tobytes() for row in rows}


def _keep(cache: Path, kept: dict[bytes, bytes]) -> None:
    rows = np.frombuffer(b"".join(key + rest for key, rest in kept.items()), np.uint8)
    try:
        atomic.write_bytes(cache, npy.bytes_of(rows.reshape(len(kept), -1)))
    except OSError as error:
        logging.warning("image hashes are not kept, and are made again next time: %s", error)
