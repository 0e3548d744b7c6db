"""Every image of a dataset decoded in full before any work, once: what it holds, its size, or why
it cannot be used.

Results are kept in the user's cache folder, one file for each folder of images, by name, size and
times of the files, so that a second look reads no file that has not changed. Knows nothing of
classes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from pnas_tf.data import image_reader
from pnas_tf.data.file_tree import NAMED, write_names
from pnas_tf.data.image_format import FORMATS, KINDS, UnreadableImage
from pnas_tf.errors import UserError, shown
from pnas_tf.io import atomic, npy
from pnas_tf.run.progress import Progress

Result = TypeVar("Result")
HASH_BYTES = 32
THREADS = 8  # decoders leave Python's lock; more threads would hold more large images at once
_CHUNK = 4096  # files that are asked for at once: a million promises would fill the memory
_KEY_BYTES = 16
_FACTS = 4  # height, width, orientation, place in KINDS counted from 1: each an int32
_FACT_BYTES = 4 * _FACTS
_ROW_BYTES = 2 * _KEY_BYTES + HASH_BYTES + _FACT_BYTES
_MAX_CACHE_BYTES = 2**31
# A file may change twice within one tick of its file system's clock (2 s on the coarsest, FAT), and
# its times then say nothing: what is this new is read again the next time.
_SETTLED_S = 2.0


@dataclass(frozen=True)
class CheckedImages:
    """Facts of images, in the order in which they were asked for.

    Attributes:
        hashes: uint8 [images, 32], SHA-256 of the files.
        sizes: int32 [images, 2], height and width in pixels, upright; 0 where unreadable.
        orientations: int32 [images], the EXIF tag that was applied, 1 to 8; 0 where unreadable.
        kinds: int32 [images], places in `KINDS`, counted from 1; 0 where unreadable.
        unreadable: path to reason.
    """

    hashes: np.ndarray
    sizes: np.ndarray
    orientations: np.ndarray
    kinds: np.ndarray
    unreadable: Mapping[str, str]

    @property
    def short_side(self) -> int:
        """The median over the images that can be read, in pixels."""
        sides = self.sizes.min(axis=1)
        return int(np.median(sides[sides > 0])) if sides.any() else 0

    def words(self) -> str:
        """ "150 JPEG, 9 WebP; 60 of them turned upright", of the images that can be read."""
        counts = np.bincount(self.kinds, minlength=len(KINDS) + 1)[1:]
        order = np.argsort(-counts, kind="stable")
        kinds = ", ".join(f"{counts[place]} {KINDS[place]}" for place in order if counts[place])
        turned = int((self.orientations > 1).sum())
        return kinds + (f"; {turned} of them turned upright" if turned else "")


def check_images(
    paths: Sequence[str], *, root: str, say: Callable[[str], None] | None = None
) -> CheckedImages:
    """Reads and decodes each file, in parallel, unless an earlier call did and it has not changed:
    its name within `root`, its size, its times (of the content and of the inode, which no program
    sets back) and its inode are the same, and so are the decoders.

    say: takes lines on the progress; None shows them on standard error. Stopped, it keeps what it
    has done. No file raises: what cannot be opened is unreadable.
    """
    cache = _cache_file(root)
    kept = _read(cache)
    now_ns = time.time_ns()
    keys = [_digest(os.fsencode(os.path.relpath(path, root))) for path in paths]
    with ThreadPoolExecutor(THREADS) as pool:
        facts = list(_over(pool, _stat, paths))
    states = [_state(fact) for fact in facts]
    rows = [_known(kept, key, state) for key, state in zip(keys, states)]
    unknown = [place for place, row in enumerate(rows) if row is None]
    unreadable: dict[str, str] = {}
    fresh: dict[bytes, bytes] = {}
    pool = ThreadPoolExecutor(THREADS)
    try:
        with Progress("checking images", len(unknown), say=say) as progress:
            found = _over(pool, _checked, [paths[place] for place in unknown])
            for place, result in zip(unknown, found):
                if isinstance(result, str):
                    unreadable[paths[place]] = result
                else:
                    rows[place] = result
                    fact = facts[place]
                    if fact is not None and _settled(fact, now_ns):
                        fresh[keys[place]] = states[place] + result
                progress.update()
    finally:
        pool.shutdown(cancel_futures=True)
        if fresh:
            _keep(cache, {**kept, **fresh})
    return _result(rows, unreadable)


def refuse_unreadable(unreadable: Mapping[str, str], *, root: str, total: int) -> UserError:
    """The error that names images that cannot be read; all of them stand in a file that it names.

    unreadable: path to reason. total: the images that were looked at.
    """
    rows = [(os.path.relpath(path, root), reason) for path, reason in unreadable.items()]
    named = "; ".join(f"{shown(path)} ({reason})" for path, reason in rows[:NAMED])
    more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
    listed = _list_all(rows, root) if more else None
    return UserError(
        f"{len(rows)} unreadable image{'s' if len(rows) > 1 else ''} in {root}",
        expected=f"{total} whole {FORMATS} files",
        received=named + more + (f"; all of them: {listed}" if listed else ""),
        fix="Repair or remove these files, or go on without them: --skip_unreadable (in Python: "
        "data_config=pnas_tf.config.DataConfig(skip_unreadable=True)).",
    )


def _over(
    pool: ThreadPoolExecutor, function: Callable[[str], Result], paths: Sequence[str]
) -> Iterator[Result]:
    """What `function` says of each path, in order."""
    for start in range(0, len(paths), _CHUNK):
        yield from pool.map(function, paths[start : start + _CHUNK])


def _list_all(rows: list[tuple[str, str]], root: str) -> Path | None:
    cache = _cache_file(root)
    if not atomic.is_kept(cache.parent):
        return None
    try:
        return write_names(cache.with_name(f"{cache.stem}_unreadable.csv"), rows)
    except OSError as error:
        logging.getLogger(__name__).warning(
            "the names of all unreadable images are not kept: %s", error
        )
        return None


def _checked(path: str) -> bytes | str:
    """The file's hash and facts as bytes, or why it cannot be used."""
    try:
        content = Path(path).read_bytes()
        picture = image_reader.decode(content)
    except UnreadableImage as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    height, width = picture.pixels.shape[:2]
    kind = KINDS.index(picture.kind) + 1
    facts = np.array([height, width, picture.orientation, kind], "<i4")
    return hashlib.sha256(content).digest() + facts.tobytes()


def _result(rows: list[bytes | None], unreadable: Mapping[str, str]) -> CheckedImages:
    blank = bytes(HASH_BYTES + _FACT_BYTES)
    table = np.frombuffer(b"".join(row or blank for row in rows), np.uint8)
    table = table.reshape(len(rows), HASH_BYTES + _FACT_BYTES)
    facts = np.ascontiguousarray(table[:, HASH_BYTES:]).view("<i4").astype(np.int32)
    facts = facts.reshape(len(rows), _FACTS)
    return CheckedImages(table[:, :HASH_BYTES], facts[:, :2], facts[:, 2], facts[:, 3], unreadable)


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _state(fact: os.stat_result | None) -> bytes:
    """What must be the same for an earlier result to hold."""
    if fact is None:
        return b""
    times = f"{fact.st_size} {fact.st_mtime_ns} {fact.st_ctime_ns} {fact.st_ino}"
    return _digest(f"{image_reader.VERSION} {times}".encode())


def _settled(fact: os.stat_result, now_ns: int) -> bool:
    return max(fact.st_mtime_ns, fact.st_ctime_ns) < now_ns - _SETTLED_S * 1e9


def _known(kept: Mapping[bytes, bytes], key: bytes, state: bytes) -> bytes | None:
    row = kept.get(key, b"")
    return row[_KEY_BYTES:] if state and row[:_KEY_BYTES] == state else None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_KEY_BYTES).digest()


def _cache_file(root: str) -> Path:
    name = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]
    return atomic.user_cache_folder("images") / f"{name}.npy"


def _read(cache: Path) -> dict[bytes, bytes]:
    """{key of the name: state, hash and facts}; empty where nothing was kept."""
    try:
        if not cache.is_file():
            return {}
        content = atomic.read_bytes(
            cache, what="image checks", made_by="delete them", limit=_MAX_CACHE_BYTES
        )
        rows = npy.array_of(content)
        if rows.dtype != np.uint8 or rows.ndim != 2:
            raise ValueError(f"an array {rows.shape} of {rows.dtype}")
        if rows.shape[1] != _ROW_BYTES:  # an earlier version kept fewer facts
            return {}
    except (UserError, ValueError, EOFError, OSError) as error:
        logging.getLogger(__name__).warning("%s is damaged and is made again: %s", cache, error)
        return {}
    return {row[:_KEY_BYTES].tobytes(): row[_KEY_BYTES:].tobytes() for row in rows}


def _keep(cache: Path, kept: Mapping[bytes, bytes]) -> None:
    rows = np.frombuffer(b"".join(key + rest for key, rest in kept.items()), np.uint8)
    try:
        atomic.write_bytes(cache, npy.bytes_of(rows.reshape(len(kept), -1)))
    except OSError as error:
        logging.getLogger(__name__).warning(
            "image checks are not kept, and are made again next time: %s", error
        )
