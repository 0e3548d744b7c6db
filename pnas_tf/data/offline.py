"""Dataset archives that are already on disk, put where TFDS looks for its downloads. Knows nothing
of images.

TFDS names a download by its address and SHA-256 and does not fetch what is there. Every archive is
checked against the SHA-256 that TFDS carries before it is placed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf import _tf_private
from pnas_tf.errors import UserError
from pnas_tf.io import atomic

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


def place_archives(
    builder: tfds.core.DatasetBuilder, folder: str | os.PathLike, *, download_dir: str | os.PathLike
) -> None:
    """Puts the archives of TFDS `builder` from `folder` into `download_dir`, under the names that
    TFDS asks for.

    Args:
        builder: of the dataset.
        folder: that holds the archives under their published names.
        download_dir: TFDS's.

    Raises:
        UserError: the dataset has no downloads, or archives are missing or not the published ones:
            all of them by name, with both checksums.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"--offline_files={folder}",
            expected=f"a folder with the archives of {builder.name}",
            received="a file" if folder.exists() else "no such path",
            fix="Correct the path.",
        )
    if not builder.url_infos:
        raise UserError(
            f"--offline_files cannot serve dataset {builder.name}",
            expected="a dataset whose downloads TFDS knows",
            received="no addresses in TFDS's checksum list",
            fix="Leave the option out.",
        )
    for url, archive in _checked(builder, folder).items():
        _place(builder, url, archive, Path(download_dir))


def _checked(builder: tfds.core.DatasetBuilder, folder: Path) -> dict[str, Path]:
    """Address -> archive. Raises UserError unless every one is there as it was published."""
    found, problems = {}, []
    for url, info in builder.url_infos.items():
        path = folder / (info.filename or url.rsplit("/", 1)[-1])
        received = atomic.sha256_of(path) if path.is_file() else ""
        if received == info.checksum:
            found[url] = path
        else:
            problems.append(f"{path.name} {f'has sha256 {received}' if received else 'is missing'}")
    if problems:
        expected = sorted(
            f"{info.filename} ({info.size} bytes, sha256 {info.checksum})"
            for info in builder.url_infos.values()
        )
        raise UserError(
            f"archives of {builder.name} in {folder}",
            expected="; ".join(expected),
            received="; ".join(sorted(problems)),
            fix="Fetch the published files into this folder.",
        )
    return found


def _place(builder: tfds.core.DatasetBuilder, url: str, archive: Path, download_dir: Path) -> None:
    info = builder.url_infos[url]
    target = download_dir / builder.name / _tf_private.download_name(url, info.checksum)
    if not target.is_file() or atomic.sha256_of(target) != info.checksum:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(archive.resolve())  # archives may be huge; TFDS only reads them
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
