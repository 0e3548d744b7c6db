"""A folder as it lies on the disk: images, other files by kind, folders below. Knows nothing of
classes or splits, and opens no file."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pnas_tf.data.image_format import avif_is_readable, heic_is_readable
from pnas_tf.run.layout import Artifact

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".png", ".apng", ".gif", ".bmp", ".dib", ".webp"),
)
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
AVIF_SUFFIXES = (".avif", ".avifs")
# Pictures all the same: a folder that holds them is meant as a class.
FOREIGN_PICTURES = frozenset(
    (
        *(".tif", ".tiff", *HEIC_SUFFIXES, *AVIF_SUFFIXES, ".jp2", ".j2k", ".jxl", ".jxr"),
        *(".psd", ".svg", ".ico", ".ppm", ".pgm", ".pnm", ".tga", ".exr", ".hdr", ".dcm"),
        *(".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".orf", ".rw2", ".raf"),
    )
)
DANGLING = "links that lead nowhere"
SYSTEM = "hidden or of the system"
LOOP = "links back to a folder above"
CLOSED = "folders that may not be read"
CLOSED_FILES = "files that may not be read"
RUN = "run folders of pnas"
TOO_DEEP = "folders too deep"
NO_FILE = "pipes, sockets or devices"
_OF_ONE = {
    DANGLING: "link that leads nowhere",
    LOOP: "link back to a folder above",
    CLOSED: "folder that may not be read",
    CLOSED_FILES: "file that may not be read",
    RUN: "run folder of pnas",
    TOO_DEEP: "folder too deep",
    NO_FILE: "pipe, socket or device",
}
HEIC_MISSING = "(pip install 'pnas_tf[heic]' reads them)"
MAX_DEPTH = 64
MAX_KINDS = 12  # that are told one by one
_SYSTEM_NAMES = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "@recycle", "@recently-snapshot", "#snapshot"),
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"),
        *("$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    )
)


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used. path: within the scanned folder. kind: why, in words that follow
    their number ("20 .heic")."""

    path: str
    kind: str


@dataclass(eq=False)
class Folder:
    """path: within the scanned folder, "" for itself. paths: of its images,
    sorted. folders: by name, sorted. others: what was left out right here."""

    name: str
    path: str
    paths: list[str] = field(default_factory=list)
    folders: dict[str, Folder] = field(default_factory=dict)
    others: list[LeftOut] = field(default_factory=list)

    def place(self, root: str) -> str:
        """Where it lies. root: of the scanned folder."""
        return os.path.join(root, self.path) if self.path else root

    def walk(self) -> Iterator[Folder]:
        """This folder and all below, in order of their paths."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def images_below(self) -> list[str]:
        """The images here and in all folders below."""
        return [path for folder in self.walk() for path in folder.paths]

    def others_below(self) -> list[LeftOut]:
        """What was left out here and in all folders below."""
        return [file for folder in self.walk() for file in folder.others]

    def holders(self) -> list[Folder]:
        """The folders right below that hold images, there or further down."""
        return [folder for folder in self.folders.values() if any(f.paths for f in folder.walk())]

    def candidates(self) -> list[Folder]:
        """The folders right below that somebody may have meant as classes or parts: they hold
        images, pictures that are not read, or nothing at all."""
        return [folder for folder in self.folders.values() if folder.is_meant()]

    def is_meant(self) -> bool:
        """As `candidates`."""
        files = [file for file in self.others_below() if file.kind != SYSTEM]
        return (
            any(folder.paths for folder in self.walk())
            or not files
            or any(
                file.kind in (DANGLING, CLOSED, CLOSED_FILES, LOOP)
                or suffix_of(file.path) in FOREIGN_PICTURES
                for file in files
            )
        )


def scan(root: str) -> Folder:
    """Lists everything below `root`; links are followed. Raises OSError when `root` itself cannot
    be listed."""
    readable = (
        SUFFIXES
        + (HEIC_SUFFIXES if heic_is_readable() else ())
        + (AVIF_SUFFIXES if avif_is_readable() else ())
    )
    os.scandir(root).close()
    top = Folder("", "")
    _fill(top, root, readable, [os.path.realpath(root)])
    return top


def counted(files: Sequence[LeftOut]) -> str:
    """ "20 .heic, 3 .txt", the most frequent kind first; a kind ends at its colon."""
    kinds = Counter(file.kind.partition(": ")[0] for file in files)
    rows = sorted(kinds.items(), key=lambda row: (-row[1], row[0]))
    shown = [
        f"{count} {_OF_ONE.get(kind, kind) if count == 1 else kind}"
        for kind, count in rows[:MAX_KINDS]
    ]
    rest = sum(count for _, count in rows[MAX_KINDS:])
    return ", ".join(shown + [f"{rest} of {len(rows) - MAX_KINDS} other kinds"] * (rest > 0))


def suffix_of(path: str) -> str:
    """ ".jpg", small letters; "" where there is none."""
    return os.path.splitext(path)[1].lower()


def is_run(place: str) -> bool:
    """Whether pnas keeps a run in a folder, which holds pictures that are no photographs."""
    return os.path.isfile(os.path.join(place, Artifact.LOCK))


def _fill(folder: Folder, root: str, readable: tuple[str, ...], above: list[str]) -> None:
    """above: the real paths of the folders that `folder` lies in, itself included."""
    try:
        with os.scandir(folder.place(root)) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError:
        folder.others.append(LeftOut(folder.path, CLOSED))
        return
    for entry in entries:
        path = os.path.join(folder.path, entry.name)
        kind = _kind(entry, path, readable)
        if kind is not None:
            folder.others.append(LeftOut(path, kind))
        elif not _is_folder(entry):
            folder.paths.append(path)
        elif entry.name.startswith(".") or entry.name.lower() in _SYSTEM_NAMES:
            folder.others += [LeftOut(file, SYSTEM) for file in _everything(root, path)]
        elif is_run(entry.path):
            folder.others.append(LeftOut(path, RUN))
        else:
            real = os.path.realpath(entry.path) if entry.is_symlink() else ""
            real = real or os.path.join(above[-1], entry.name)
            if real in above:
                folder.others.append(LeftOut(path, LOOP))
            elif len(above) >= MAX_DEPTH:
                folder.others.append(LeftOut(path, TOO_DEEP))
            else:
                below = folder.folders[entry.name] = Folder(entry.name, path)
                _fill(below, root, readable, [*above, real])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circle of links
        return False


def _kind(entry: os.DirEntry[str], path: str, readable: tuple[str, ...]) -> str | None:
    """Why a file is no image by its name; None of images and of folders."""
    if _is_folder(entry):
        return None
    if entry.name.startswith(".") or entry.name.lower() in _SYSTEM_NAMES:
        return SYSTEM
    try:
        mode = entry.stat().st_mode
    except OSError:
        return DANGLING if entry.is_symlink() else CLOSED_FILES
    if not stat.S_ISREG(mode):
        return NO_FILE
    suffix = suffix_of(path)
    if suffix in readable:
        return None
    if suffix in HEIC_SUFFIXES:
        return f"{suffix} {HEIC_MISSING}"
    if suffix in AVIF_SUFFIXES:
        return f"{suffix} (pillow>=11.3 reads them)"
    if not suffix or len(suffix) > 10 or not suffix.isprintable():
        return "without a suffix that says what they are"
    return unicodedata.normalize("NFC", suffix)


def _everything(root: str, path: str) -> list[str]:
    """The files below a folder that is passed over, links not followed."""
    top = os.path.join(root, path)
    found = []
    for place, folders, names in os.walk(top) if not os.path.islink(top) else ():
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [os.path.relpath(os.path.join(place, name), root) for name in (*names, *links)]
    return found or [path]
