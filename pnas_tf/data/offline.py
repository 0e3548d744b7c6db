"""Dataset archives that are already on disk, put where TFDS looks for its downloads. Knows nothing
of images.

TFDS names a download by its address and SHA-256 and does not fetch what is there. Every archive is
checked against the SHA-256 that TFDS carries before it is placed.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path
from typing import Any

from pnas_tf import _tf_private
from pnas_tf.errors import UserError
from pnas_tf.io import atomic

# Debian's dataset-fashion-mnist holds the published archives but for the gzip header, whose file
# name and time its packaging removed for reproducibility. With name and time (seconds since 1970)
# put back they are the published files, bit for bit: the SHA-256 proves it.
_GZIP_TIMES_S = {
    # train-images-idx3-ubyte.gz
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84": 1504176606,
    # train-labels-idx1-ubyte.gz
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845": 1504176606,
    # t10k-images-idx3-ubyte.gz
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073": 1504176627,
    # t10k-labels-idx1-ubyte.gz
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5": 1504176627,
}
_PLAIN_GZIP_HEADER = b"\x1f\x8b\x08\x00"
_GZIP_HEADER_BYTES = 10


def place_archives(
    builder: Any, folder: str | os.PathLike, *, download_dir: str | os.PathLike
) -> None:
    """Puts the archives of TFDS `builder` from `folder` into `download_dir`, under the names that
    TFDS asks for.

    Raises UserError when the dataset has no downloads, or when archives are missing or not the
    published ones: all of them by name, with both checksums.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"--offline_files={folder}",
            expected=f"a folder with the archives of {builder.name}",
            received="a file" if folder.exists() else "no such path",
            fix="Correct the path.",
        )
    wanted = builder.url_infos or {}
    if not wanted:
        raise UserError(
            f"--offline_files cannot serve dataset {builder.name}",
            expected="a dataset whose downloads TFDS knows",
            received="no addresses in TFDS's checksum list",
            fix="Leave the option out.",
        )
    problems, found = [], {}
    for url, info in wanted.items():
        name = info.filename or url.rsplit("/", 1)[-1]
        content, problem = _archive(folder / name, info.checksum)
        if problem:
            problems.append(f"{name} {problem}")
        else:
            found[url] = content
    if problems:
        raise UserError(
            f"archives of {builder.name} in {folder}",
            expected="; ".join(
                sorted(
                    f"{info.filename} ({info.size} bytes, sha256 {info.checksum})"
                    for info in wanted.values()
                )
            ),
            received="; ".join(sorted(problems)),
            fix="Fetch the published files into this folder.",
        )
    for url, content in found.items():
        _place(builder, url, content, Path(download_dir))


def _archive(path: Path, sha256: str) -> tuple[Path | bytes, str]:
    """The archive (a path, or its restored bytes) and what is wrong with it, empty if nothing."""
    if not path.is_file():
        return path, "is missing"
    received = atomic.sha256_of(path)
    if received == sha256:
        return path, ""
    if sha256 in _GZIP_TIMES_S:
        content = path.read_bytes()
        if content.startswith(_PLAIN_GZIP_HEADER):
            name = path.stem.encode("latin-1") + b"\0"
            flags_and_time = (
                b"\x1f\x8b\x08\x08" + struct.pack("<I", _GZIP_TIMES_S[sha256]) + b"\x00\x03"
            )
            restored = flags_and_time + name + content[_GZIP_HEADER_BYTES:]
            if hashlib.sha256(restored).hexdigest() == sha256:
                return restored, ""
    return path, f"has sha256 {received}"


def _place(builder: Any, url: str, content: Path | bytes, download_dir: Path) -> None:
    info = builder.url_infos[url]
    target = download_dir / builder.name / _tf_private.download_name(url, info.checksum)
    if not target.is_file() or atomic.sha256_of(target) != info.checksum:
        if isinstance(content, bytes):
            atomic.write_bytes(target, content)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(content.resolve())  # archives may be huge; TFDS only reads them
    # TFDS takes a download for whole when its .INFO stands beside it.
    atomic.write_json(
        f"{target}.INFO",
        {
            "urls": [url],
            "dataset_names": [builder.name],
            "original_fname": info.filename or target.name,
            "url_info": info.asdict(),
        },
    )
