"""Files in a zip behind a .tflite model: labels, the architecture, measurements.

A client may unpack them anywhere, and a model may be a stranger's, so names are plain and sizes
bounded in both directions. Nothing is written to disk. Knows nothing of what the files say.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

from pnas_tf.errors import UserError
from pnas_tf.io.atomic import BAD_ZIP
from pnas_tf.tflite.model import MADE_BY

MAX_FILES = 64
MAX_FILE_BYTES = 16 * 2**20
MAX_ALL_BYTES = 64 * 2**20
# The earliest a zip can hold: the same content gives the same bytes on every day.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def attach_files(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """The model with a zip of `files` behind it, in their order."""
    stream = io.BytesIO(model)
    stream.seek(0, io.SEEK_END)
    # Clients map the files; they do not inflate them.
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data)
    return stream.getvalue()


def read_files(model: bytes, *, where: str) -> dict[str, bytes]:
    """The files in the zip behind a model, by name; empty when there is no zip.

    Args:
        model: content of a file, which may be anybody's.
        where: its name in errors.

    Raises:
        UserError: a damaged zip, more or larger files than the limits, or names that are not plain
            file names.
    """
    if not zipfile.is_zipfile(io.BytesIO(model)):
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            return _all_of(archive, where)
    except BAD_ZIP as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"files in {where} are damaged",
            expected="a whole, unencrypted zip behind the model",
            received=f"{type(error).__name__}: {error}"[:300],
            fix=MADE_BY,
        ) from error


def check_file(name: str, size: int, *, where: str) -> None:
    """Raises UserError on a name that could lead out of a folder, on any system, and on too many
    bytes."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]{0,99}", name) or name.endswith((".", " ")):
        raise UserError(
            f"file name in {where}",
            expected="a plain name of letters, digits, dot, dash and underscore",
            received=repr(name)[:200],
            fix="Rename the file.",
        )
    if size > MAX_FILE_BYTES:
        raise UserError(
            f"file '{name}' in {where}",
            expected=f"at most {MAX_FILE_BYTES} bytes",
            received=f"{size} bytes or more",
            fix="Shorten the file.",
        )


def _all_of(archive: zipfile.ZipFile, where: str) -> dict[str, bytes]:
    entries = archive.infolist()
    if len(entries) > MAX_FILES:
        raise UserError(
            f"files in {where}",
            expected=f"at most {MAX_FILES}",
            received=str(len(entries)),
            fix=MADE_BY,
        )
    files: dict[str, bytes] = {}
    total = 0
    for entry in entries:
        name = entry.filename
        check_file(name, entry.file_size, where=where)
        total += entry.file_size
        plain = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
        if total > MAX_ALL_BYTES or not plain:
            raise UserError(
                f"file '{name}' in {where}",
                expected=f"at most {MAX_ALL_BYTES} bytes in all, stored or deflated",
                received=f"{total} bytes, method {entry.compress_type}",
                fix=MADE_BY,
            )
        if name in files:
            raise UserError(
                f"files in {where}",
                expected="each name once",
                received=f"'{name}' twice",
                fix=MADE_BY,
            )
        files[name] = archive.read(entry)  # no more than the size it declares, checked above
    return files
