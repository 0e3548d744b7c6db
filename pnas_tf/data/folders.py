"""Image folders, one folder a class: found, named and checked before any work. Knows nothing of
tensors.

PATH/class/image.jpg, or, as tfds.folder_dataset.ImageFolder has it, PATH/train/class/image.jpg
beside PATH/test (or PATH/validation or PATH/val). The latter's own reader takes neither BMP nor GIF
and has no say over order, so files are listed here and read with tf.data.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pnas_tf.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
FORMATS = ("JPEG", "PNG", "BMP", "GIF")
TEST_FOLDERS = ("test", "validation", "val")
NAMED_FAILURES = 5
MAX_NAME = 200
MAX_PIXELS = 89_478_485  # Pillow's own bound: a small file can unpack to many gigabytes
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82", "GIF": b"\x3b"}


@dataclass(frozen=True)
class ImageFolder:
    """Class names, and the files of each split with their labels. test is empty where the folder
    has no test split."""

    class_names: tuple[str, ...]
    train: tuple[str, ...]
    train_labels: np.ndarray
    test: tuple[str, ...]
    test_labels: np.ndarray
    short_side: int  # median over the images, in pixels


def scan_folder(path: str | os.PathLike) -> ImageFolder:
    """Lists `path` and reads the header of every image.

    Raises:
        UserError: it is missing, no folder, empty, has fewer than two classes or a class without
            images, or images are unreadable: their number, and the first few by name.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(
            f"image folder {root}",
            expected="a folder with one folder a class",
            received="a file" if root.exists() else "no such path",
            fix="Correct the PATH of --dataset=folder:PATH.",
        )
    train_root, test_root = _parts(root)
    classes = _subfolders(train_root)
    if len(classes) < 2:
        raise UserError(
            f"image folder {train_root} has {'one class' if classes else 'no classes'}",
            expected="at least two folders, one a class",
            received=str([folder.name for folder in classes]),
            fix="Put the images of each class into a folder of its own.",
        )
    names = tuple(folder.name for folder in classes)
    for name in names:  # they become lines of label files, and stand in reports and on terminals
        if not name.isprintable() or len(name) > MAX_NAME:
            raise UserError(
                f"class folder {name!r} in {train_root}",
                expected=f"a name of at most {MAX_NAME} printable characters",
                received=repr(name)[:200],
                fix="Rename the folder.",
            )
    train, train_labels = _listing(train_root, names)
    test, test_labels = _listing(test_root, names) if test_root else ((), np.zeros(0, np.int32))
    sizes = _check((*train, *test), root)
    return ImageFolder(names, train, train_labels, test, test_labels, int(np.median(sizes)))


def _parts(root: Path) -> tuple[Path, Path | None]:
    folders = {folder.name: folder for folder in _subfolders(root)}
    tests = [folders[name] for name in TEST_FOLDERS if name in folders]
    if (
        "train" in folders
        and tests
        and len(folders) <= 1 + len(TEST_FOLDERS)
        and _subfolders(folders["train"])
    ):
        return folders["train"], tests[0]
    return root, None


def _listing(root: Path, names: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray]:
    strangers = sorted({folder.name for folder in _subfolders(root)} - set(names))
    if strangers:
        raise UserError(
            f"test folder {root} has classes that the training folder lacks",
            expected=f"among {list(names)[:20]}",
            received=str(strangers[:NAMED_FAILURES]),
            fix="Make the folders of both parts agree.",
        )
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        files = _images(root / name)
        if not files:
            raise UserError(
                f"class folder {root / name} has no images",
                expected=f"files ending in {', '.join(SUFFIXES)}",
                received=_content(root / name),
                fix="Add images, or remove the folder.",
            )
        paths += files
        labels += [label] * len(files)
    return tuple(paths), np.asarray(labels, np.int32)


def _check(paths: tuple[str, ...], root: Path) -> list[int]:
    """The short sides of all images, in pixels."""
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(_inspect, paths, chunksize=64))
    failures = [
        f"{os.path.relpath(path, root)} ({result})"
        for path, result in zip(paths, results)
        if isinstance(result, str)
    ]
    if failures:
        raise unreadable(root, failures)
    return [result for result in results if isinstance(result, int)]


def unreadable(root: str | os.PathLike, failures: list[str]) -> UserError:
    """The error for images that cannot be read; failures: "path (reason)"."""
    more = f" and {len(failures) - NAMED_FAILURES} more" if len(failures) > NAMED_FAILURES else ""
    return UserError(
        f"{len(failures)} unreadable image{'s' if len(failures) > 1 else ''} in {root}",
        expected="whole JPEG, PNG, BMP or GIF files",
        received="; ".join(failures[:NAMED_FAILURES]) + more,
        fix="Repair or remove these files.",
    )


def _inspect(path: str) -> int | str:
    """The short side in pixels, or why the file cannot be used."""
    try:
        with Image.open(path) as image:
            if image.format not in FORMATS:
                return f"{image.format} image"
            if image.width * image.height > MAX_PIXELS:
                return f"{image.width} x {image.height} pixels are too many"
            if image.format == "BMP" and image.mode != "RGB":
                return f"BMP of mode {image.mode}; only 24-bit BMP can be decoded"
            if not _ends_whole(path, image.format):
                image.load()  # decodes everything, so that trailing bytes are told from a cut file
            return min(image.size)
    except UnidentifiedImageError:
        return "empty file" if os.path.getsize(path) == 0 else "not an image"
    # Pillow's readers raise a dozen unrelated kinds on damaged files, and document none
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:100]


def _ends_whole(path: str, image_format: str) -> bool:
    end = _ENDS.get(image_format)
    if end is None:
        return False
    with open(path, "rb") as stream:
        stream.seek(-min(len(end), os.path.getsize(path)), os.SEEK_END)
        return stream.read() == end


def _subfolders(root: Path) -> list[Path]:
    return sorted(
        (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")),
        key=lambda entry: entry.name,
    )


def _images(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(
        entry.path
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(SUFFIXES)
        and not entry.name.startswith(".")
        and os.path.isfile(entry.path)
    )


def _content(folder: Path) -> str:
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    return f"{len(names)} other files, e.g. {names[0]}" if names else "nothing"
