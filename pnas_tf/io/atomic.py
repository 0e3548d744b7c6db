"""Files that are whole or absent: atomic writing, what killed writers left, JSON documents with a
format name and a version.

Every hand-over between steps goes through here, and so does every document that a stranger may have
written: its size, depth and numbers are bounded before anything looks at it (docs/security.md).
Knows nothing of what the documents say.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import struct
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import platformdirs

from pnas_tf.errors import UserError
from pnas_tf.io.serialization import Json

_TEMPORARY = ".tmp"
MAX_DOCUMENT_BYTES = (
    64 * 2**20
)  # a latency table with all raw values is about 1 MB, the history of a 648-block search 20 MB
MAX_DOCUMENT_ITEMS = 8_000_000  # "[],[],..." takes 30 times its size in memory
MAX_DOCUMENT_DEPTH = 32  # ours have 8
_INTEGERS = range(
    -(2**63), 2**63
)  # what other readers of JSON take; longer digits take quadratic time
# What zipfile raises on damaged archives; it documents the first alone.
BAD_ZIP = (
    zipfile.BadZipFile,
    KeyError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    IndexError,
    struct.error,
    zlib.error,
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def write_bytes(path: str | os.PathLike, content: bytes) -> Path:
    """Writes `content` to a temporary file beside `path`, syncs it, and renames it into place.

    Raises OSError (disk full, read-only folder) that names `path`, with `path` as it was before.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = _locked_temporary(path)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
                os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _locked_temporary(path: Path) -> tuple[int, str]:
    """A new temporary file for `path`, locked as long as its descriptor is open: `sweep` takes
    those that nobody holds.

    Its mode is that of any new file: the kernel takes the umask off. `mkstemp` would give 0o600,
    and the umask can be read only by setting it for all threads of the process.
    """
    while True:
        temporary = str(path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}"))
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666
            )
        except FileExistsError:
            continue
        with contextlib.suppress(
            OSError
        ):  # a file system without locks; nothing there is swept either
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, temporary
        os.close(descriptor)  # swept in the moment before it was locked


@contextlib.contextmanager
def scratch_folder(folder: str | os.PathLike) -> Iterator[Path]:
    """A temporary folder in `folder`, for libraries that write only to names of their own; `sweep`
    takes it after a kill."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", suffix=_TEMPORARY, dir=folder) as scratch:
        yield Path(scratch)


def sweep(folder: str | os.PathLike, *, deep: bool = False) -> None:
    """Removes what killed processes were writing in `folder` by `write_bytes`. Files that a living
    process writes stay.

    deep: also in the folders below, and with scratch folders, which only the holder of a run folder
    may take away.
    """
    for litter in list(
        Path(folder).rglob(f".*{_TEMPORARY}") if deep else Path(folder).glob(f".*{_TEMPORARY}")
    ):
        if litter.is_dir() and deep:
            shutil.rmtree(litter)
        elif litter.is_file():
            _remove_unless_held(litter)


def _remove_unless_held(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:  # renamed into its place, or swept by another process
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:  # held by a living writer, or no lock to be had
        return
    finally:
        os.close(descriptor)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, document: Json) -> Path:
    """Writes a JSON document atomically; NaN and infinity are refused, since JSON has neither."""
    return write_text(
        path, json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    )


def read_bytes(
    path: str | os.PathLike, *, what: str, made_by: str, limit: int = MAX_DOCUMENT_BYTES
) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    what: what the file is to the user ("latency table"). made_by: the command that makes one.
    Raises UserError when it is absent, cannot be read, is no file (a pipe or a device would never
    end) or is too large.
    """
    try:
        # O_NONBLOCK: opening a pipe would wait for a writer.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            kind = os.fstat(stream.fileno())
            if not stat.S_ISREG(kind.st_mode):
                raise UserError(
                    f"no {what} at {path}",
                    expected="a regular file",
                    received="something else",
                    fix=f"Make one: {made_by}",
                )
            content = stream.read(limit + 1) if kind.st_size <= limit else b""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, UserError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(
            f"no {what} at {path}",
            expected="a file that can be read",
            received=reason,
            fix=f"Make one: {made_by}",
        ) from error
    if max(kind.st_size, len(content)) > limit:
        raise UserError(
            f"{what} {path} is too large",
            expected=f"at most {limit} bytes",
            received=f"{max(kind.st_size, len(content))} bytes",
            fix=f"Make it again: {made_by}",
        )
    return content


def read_text(
    path: str | os.PathLike, *, what: str, made_by: str, limit: int = MAX_DOCUMENT_BYTES
) -> str:
    """`read_bytes` as UTF-8 text. Raises UserError naming the first byte that is none."""
    return _text(
        read_bytes(path, what=what, made_by=made_by, limit=limit),
        what=what,
        where=str(path),
        made_by=made_by,
    )


def read_json(path: str | os.PathLike, *, what: str, made_by: str) -> Json:
    """Reads any JSON document. Raises UserError as `read_bytes` and `parse_json`."""
    return parse_json(
        read_bytes(path, what=what, made_by=made_by), what=what, where=str(path), made_by=made_by
    )


def parse_json(content: bytes, *, what: str, where: str, made_by: str) -> Json:
    """The document in `content`: finite numbers, integers of 64 bits, Unicode text, at most
    MAX_DOCUMENT_DEPTH deep.

    where: the file's name in errors. Raises UserError when it is anything else, naming line and
    column or the entry.
    """
    if sum(map(content.count, b",:[{")) > MAX_DOCUMENT_ITEMS:
        raise UserError(
            f"{what} {where} is too large",
            expected=f"at most {MAX_DOCUMENT_ITEMS} items",
            received="more",
            fix=f"Make it again: {made_by}",
        )
    text = _text(content, what=what, where=where, made_by=made_by)
    try:
        document = json.loads(text, parse_constant=_refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{what} {where} is corrupt or truncated",
            expected="JSON",
            received=f"line {error.lineno} column {error.colno}: {error.msg}",
            fix=f"Make it again: {made_by}",
        ) from error
    except (RecursionError, _NotJson) as error:
        place = (
            f"line {text.count(chr(10), 0, text.find(str(error))) + 1}: the number "
            f"{str(error)[:40]}"
            if isinstance(error, _NotJson)
            else f"more than {MAX_DOCUMENT_DEPTH} levels"
        )
        raise UserError(
            f"{what} {where} is not a document of ours",
            expected="JSON of finite numbers and small depth",
            received=place,
            fix=f"Make it again: {made_by}",
        ) from error
    fault = _fault(document, 0)
    if fault is not None:
        raise UserError(
            f"{what} {where} is not a document of ours",
            expected="JSON of finite numbers, Unicode text and small depth",
            received=f"{fault[1]} at {'/'.join(fault[0])[:200] or 'the top'}",
            fix=f"Make it again: {made_by}",
        )
    return document


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


def read_document(
    path: str | os.PathLike,
    *,
    format: str,
    version: int,
    what: str,
    made_by: str,
    older: tuple[int, ...] = (),
) -> dict[str, Json]:
    """Reads a JSON object whose "format" and "version" are ours; older: earlier versions that the
    caller reads too.

    Raises UserError when they are not, naming both sides.
    """
    document = read_json(path, what=what, made_by=made_by)
    head = (document.get("format"), document.get("version")) if isinstance(document, dict) else None
    if isinstance(document, dict) and head in [(format, known) for known in (version, *older)]:
        return document
    received = (
        type(document).__name__
        if head is None
        else f'"format": {head[0]!r}, "version": {head[1]!r}'
    )
    raise UserError(
        f"{path} is not a {what} that this program reads",
        received=received[:200],
        expected=f'an object with "format": {format!r}, "version": {version}',
        fix=f"Make one: {made_by}",
    )


def user_cache_folder(name: str) -> Path:
    """Where what can be made again is kept when the user names no place: pnas_tf/NAME in the
    system's cache folder (Linux: $XDG_CACHE_HOME, else ~/.cache)."""
    return platformdirs.user_cache_path("pnas_tf", appauthor=False) / name


def sha256_of(path: str | os.PathLike) -> str:
    """The file's SHA-256 as 64 hex digits."""
    with open(path, "rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(stream.read()).hexdigest()
        )


class _NotJson(ValueError):
    """str(error) is the number as it stands in the text."""


def _refuse_constant(name: str) -> None:
    raise _NotJson(name)


def _integer(digits: str) -> int:
    if len(digits) > 20 or int(digits) not in _INTEGERS:
        raise _NotJson(digits)
    return int(digits)


def _text(content: bytes, *, what: str, where: str, made_by: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{what} {where} is not text",
            expected="UTF-8",
            received=f"byte {error.start}: {error.reason}",
            fix=f"Make it again: {made_by}",
        ) from error


def _fault(value: Json, depth: int) -> tuple[tuple[str, ...], str] | None:
    """(place, problem) of the first value that no document of ours can hold."""
    if isinstance(value, float):
        return None if math.isfinite(value) else ((), f"the number {value}")
    if isinstance(value, str):
        return None if value.isascii() or not _SURROGATE.search(value) else ((), "half a character")
    if not isinstance(value, (dict, list)):
        return None
    if depth == MAX_DOCUMENT_DEPTH:
        return (), f"more than {MAX_DOCUMENT_DEPTH} levels"
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        found = _fault(name, depth) or _fault(item, depth + 1)
        if found is not None:
            return (str(name), *found[0]), found[1]
    return None
