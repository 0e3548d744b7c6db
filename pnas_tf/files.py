"""Files that are whole or absent: atomic writing, and JSON documents with a format name and a version.

Every hand-over between steps goes through here. Knows nothing of what the documents say.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pnas_tf.errors import UserError

MAX_JSON_BYTES = 256 * 2**20  # a latency table with all raw values is about 1 MB


def write_bytes(path: str | os.PathLike, content: bytes) -> Path:
    """Writes `content` to a temporary file beside `path`, syncs it, and renames it into place.

    Raises OSError (disk full, read-only folder) with `path` as it was before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def write_text(path: str | os.PathLike, text: str) -> Path:
    """`write_bytes` of UTF-8 text."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike, document: Any) -> Path:
    """Writes a JSON document atomically; NaN and infinity are refused, since JSON has neither."""
    return write_text(path, json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike, *, what: str, made_by: str) -> Any:
    """Reads any JSON document.

    what: what the file is to the user ("latency table"). made_by: the command that makes one.
    Raises UserError when the file is absent, too large, truncated or not JSON, naming the place.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise UserError(f"{what} {path} is too large", expected=f"at most {MAX_JSON_BYTES} bytes",
                            received=f"{path.stat().st_size} bytes", fix=f"Make it again: {made_by}")
        text = path.read_bytes().decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f"no {what} at {path}", expected="a JSON file", received=error.strerror or "nothing",
                        fix=f"Make one: {made_by}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{what} {path} is not text", expected="UTF-8 JSON", received=f"byte {error.start}: {error.reason}",
                        fix=f"Make it again: {made_by}") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{what} {path} is corrupt or truncated", expected="JSON",
                        received=f"line {error.lineno} column {error.colno}: {error.msg}",
                        fix=f"Make it again: {made_by}") from error
    except (RecursionError, _NotJson) as error:
        raise UserError(f"{what} {path} is not a document of ours", expected="JSON of finite numbers and small depth",
                        received=str(error) or type(error).__name__, fix=f"Make it again: {made_by}") from error


def read_document(path: str | os.PathLike, *, format: str, version: int, what: str, made_by: str) -> dict[str, Any]:
    """Reads a JSON object whose "format" and "version" are ours.

    Raises UserError when they are not, naming both sides.
    """
    document = read_json(path, what=what, made_by=made_by)
    received = (document.get("format"), document.get("version")) if isinstance(document, dict) else type(document).__name__
    if received != (format, version):
        raise UserError(f"{path} is not a {what} that this program reads", expected=str((format, version)),
                        received=str(received), fix=f"Make one: {made_by}")
    return document


def sha256_of(path: str | os.PathLike) -> str:
    """The file's SHA-256 as 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(stream.read()).hexdigest()


class _NotJson(ValueError):
    pass


def _refuse_constant(name: str) -> None:
    raise _NotJson(f"the number {name}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
