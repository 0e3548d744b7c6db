"""Files that are whole or absent: atomic writing, what killed writers left, JSON documents with a
format name and a version.

Every hand-over between steps goes through here, and so does every document that a stranger may have
written: its size, depth and numbers are bounded before anything looks at it (docs/security.md).
Knows nothing of what the documents say.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from pnas_tf.errors import UserError
from pnas_tf.io import locks
from pnas_tf.io.json_text import decode_text, parse_json
from pnas_tf.io.serialization import Json

_TEMPORARY = ".tmp"
_substitute: list[Path] = []  # of the user's cache folder, where there is none
# A latency table with all raw values is about 1 MB, the history of a 648-block search 20 MB.
MAX_DOCUMENT_BYTES = 64 * 2**20
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


def write_bytes(path: str | os.PathLike, content: bytes) -> Path:
    """Writes `content` to a temporary file beside `path`, syncs it, and renames it into place.

    Raises:
        OSError: disk full, read-only folder; names `path`, which is as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Locked as long as it is written: `sweep` takes those that nobody holds.
        with locks.wait_for_lock(temporary) as lock:
            try:
                with open(lock.descriptor, "wb", closefd=False) as stream:
                    stream.write(content)
                    stream.flush()
                    _sync(stream.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def _sync(descriptor: int) -> None:
    """Where the file system can: some network and user-space ones refuse it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP):
            raise


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

    Args:
        folder: whose files.
        deep: also in the folders below, and with scratch folders, which only the holder of a run
            folder may take away.
    """
    for litter in list(Path(folder).glob(f"{'**/' if deep else ''}.*{_TEMPORARY}")):
        if litter.is_dir() and deep:
            shutil.rmtree(litter)
        elif litter.is_file():
            _remove_unless_held(litter)


def _remove_unless_held(path: Path) -> None:
    # OSError: renamed into its place, swept by another process, or not ours to open
    with contextlib.suppress(OSError):
        lock = locks.try_lock(path, create=False)
        if lock is not None:
            with lock:
                if lock.exclusive:
                    path.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, document: Json) -> Path:
    """Writes a JSON document atomically; NaN and infinity are refused, since JSON has neither."""
    return write_bytes(path, json_bytes(document))


def json_bytes(document: Json) -> bytes:
    """What `write_json` writes."""
    text = json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def read_bytes(
    path: str | os.PathLike, *, what: str, made_by: str, limit: int = MAX_DOCUMENT_BYTES
) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Args:
        path: of the file.
        what: what it is to the user ("latency table").
        made_by: the command that makes one.
        limit: bytes.

    Raises:
        UserError: it is absent, cannot be read, is no file (a pipe or a device would never end) or
            is too large.
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
            # Without a number, for which Python would take as much memory at once.
            content = stream.read() if kind.st_size <= limit else b""
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        if isinstance(error, UserError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(
            f"no {what} at {path}",
            expected="a file that can be read",
            received=reason,
            fix="Mend its permissions."
            if isinstance(error, PermissionError)
            else f"Make one: {made_by}",
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
    return decode_text(
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


def read_document(
    path: str | os.PathLike,
    *,
    format: str,
    version: int,
    what: str,
    made_by: str,
    older: tuple[int, ...] = (),
) -> dict[str, Json]:
    """Reads a JSON object whose "format" and "version" are ours.

    Args:
        path: of the file.
        format: its format's name.
        version: the one that is written today.
        what: what it is to the user.
        made_by: the command that makes one.
        older: earlier versions that the caller reads too.

    Raises:
        UserError: they are not, naming both sides; or as `read_json`.
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
    system's cache folder (Linux: $XDG_CACHE_HOME, else ~/.cache).

    Where there is no home folder, or none that can be written, one among the temporary files, which
    goes with this process. That is said once.
    """
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("pnas_tf", appauthor=False) / name
        if not folder.is_absolute():  # "~", which earlier platformdirs gives where there is no home
            raise RuntimeError("there is no home folder")
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
        raise PermissionError(f"no permission to write {folder}")
    except (OSError, RuntimeError) as error:
        if not _substitute:
            _substitute.append(Path(tempfile.mkdtemp(prefix="pnas-cache-")))
            atexit.register(shutil.rmtree, _substitute[0], ignore_errors=True)
            logging.getLogger(__name__).warning(
                "there is no cache folder to write (%s): converted models, unfinished measurements "
                "and checks of images are lost when this process ends. Name a folder with "
                "XDG_CACHE_HOME",
                error,
            )
        return _substitute[0] / name


def is_kept(folder: Path) -> bool:
    """Whether a folder of `user_cache_folder` outlives this process."""
    return folder.parent not in _substitute


def sha256_of(path: str | os.PathLike) -> str:
    """The file's SHA-256 as 64 hex digits."""
    with open(path, "rb") as stream:
        return (
            hashlib.file_digest(stream, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(stream.read()).hexdigest()
        )
