"""A folder of images as classes and parts, every file of it accounted for: used, left out with a
reason, or the folder is refused.

Knows how common tools lay images out (Keras, torchvision, ImageNet, Roboflow, Kaggle, TFDS), and
nothing of what the files hold.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pnas_tf.data import folder_scan
from pnas_tf.data.class_names import class_name
from pnas_tf.data.folder_scan import Folder, LeftOut, counted
from pnas_tf.data.split_layout import Layout, find_layout
from pnas_tf.errors import UserError, number_of, shown
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact

LEFT_OUT_FILE = "images_left_out.csv"
BESIDE = "beside the class folders"
NAMED = 5
_UNREADABLE = "unreadable: "
_NAMED_IN_SUMMARY = 2
_WAYS = {  # why a class has no image: what to do
    folder_scan.HEIC_MISSING: "Install what reads HEIC: pip install 'pnas_tf[heic]'.",
    folder_scan.CLOSED: "Mend its permissions.",
    folder_scan.CLOSED_FILES: "Mend its permissions.",
    folder_scan.DANGLING: "Mend the links, or copy the files they mean.",
    folder_scan.LOOP: "Remove the link, which leads back to a folder above.",
}


@dataclass(frozen=True)
class FileTree:
    """Images with their labels, and all other files.

    Attributes:
        root: the folder that paths of `left_out` and of messages are given in.
        class_names: in the order of labels.
        train: paths with `root`, by class, then by path. test: as `train`; empty where there is no
            test split.
        train_labels: int32 [len(train)]. test_labels: int32 [len(test)].
        left_out: all files that are not used, by path. notes: what the owner may not expect, one
            sentence each.
        contents: what kinds of images are used, in words; "" before they were looked into.
    """

    root: str
    class_names: tuple[str, ...]
    train: tuple[str, ...]
    train_labels: np.ndarray
    test: tuple[str, ...]
    test_labels: np.ndarray
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    contents: str = ""

    @property
    def used(self) -> tuple[str, ...]:
        """The images of both parts."""
        return self.train + self.test

    def summary(self, listed_in: str = "") -> str:
        """At most five lines: what is used, what is not by kind, and the notes. listed_in: where
        all names of files that are not used stand."""
        parts = f": {len(self.train)} to train, {len(self.test)} to test" if self.test else ""
        lines = [f"{number_of(len(self.used), 'image')} of {len(self.class_names)} classes{parts}"]
        if self.contents:
            lines.append(self.contents)
        if self.left_out:
            number = len(self.left_out)
            files = number_of(number, "file")
            where = f" (all names: {listed_in})" if listed_in else ""
            lines.append(f"{files} not used{where}: {counted(self.left_out)}{self._broken()}")
        notes, room = list(self.notes), 4 - len(lines)
        lines += [*notes[:room], *([" ".join(notes[room:])] if notes[room:] else [])]
        return "\n".join(map(shown, lines))

    def _broken(self) -> str:
        """The first unreadable images with the reasons, for the end of a sentence."""
        broken = [file for file in self.left_out if file.kind.startswith(_UNREADABLE)]
        named = [
            f"{file.path} ({file.kind.removeprefix(_UNREADABLE)})"
            for file in broken[:_NAMED_IN_SUMMARY]
        ]
        more = len(broken) - len(named)
        return (
            "; cannot be read: " + "; ".join(named) + f" and {more} more" * (more > 0)
            if named
            else ""
        )

    def without(self, unreadable: Mapping[str, str]) -> FileTree:
        """The same without the images of `unreadable` (path to reason), which are left out.

        Raises UserError when a class would keep no image in a part.
        """
        train, train_labels = self._kept("train", self.train, self.train_labels, unreadable)
        test, test_labels = self._kept("test", self.test, self.test_labels, unreadable)
        broken = [
            LeftOut(os.path.relpath(path, self.root), f"{_UNREADABLE}{reason}")
            for path, reason in unreadable.items()
        ]
        return dataclasses.replace(
            self,
            train=train,
            train_labels=train_labels,
            test=test,
            test_labels=test_labels,
            left_out=tuple(sorted((*self.left_out, *broken), key=lambda file: file.path)),
        )

    def _kept(
        self, part: str, paths: tuple[str, ...], labels: np.ndarray, unreadable: Mapping[str, str]
    ) -> tuple[tuple[str, ...], np.ndarray]:
        stays = np.array([path not in unreadable for path in paths], bool)
        lost = np.setdiff1d(labels, labels[stays])
        if lost.size:
            raise UserError(
                f"class {self.class_names[lost[0]]!r} in {self.root}",
                expected=f"at least one image to {part} that can be read",
                received=f"unreadable: all {int((labels == lost[0]).sum())}",
                fix="Repair its images, or leave the "
                + ("class out." if part == "train" else "part to test out (--test_fraction)."),
            )
        return tuple(path for path, kept in zip(paths, stays) if kept), labels[stays]

    def write_csv(self, path: str | os.PathLike) -> Path:
        """Writes all names of `left_out` with their kinds. Returns the path."""
        return write_names(path, [(file.path, file.kind) for file in self.left_out])


def write_names(path: str | os.PathLike, rows: Sequence[tuple[str, str]]) -> Path:
    """Writes a CSV of (path, reason), UTF-8; bytes of names that are no text as \\udcff."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "reason"), *rows])
    return atomic.write_bytes(path, text.getvalue().encode("utf-8", "backslashreplace"))


def scan_tree(path: str | os.PathLike) -> FileTree:
    """Lists a folder of images: PATH/class/image.jpg, with folders for parts or without.

    Parts are called train, training, val, valid, validation, dev, test or testing, in any case and
    also as a word of a name ("seg_train"). Images deeper in a class folder are of that class.

    Raises:
        UserError: no folder, fewer than two classes, a class without images or with a name that is
            refused, a test split with other classes, two training parts.
    """
    root = existing_folder(path)
    if folder_scan.is_run(root):
        raise UserError(
            f"image folder {root} is the run folder of a call of pnas",
            expected="a folder of images alone",
            received=f"a run's {Artifact.LOCK} in it",
            fix="Name another --run_dir; where no run is wanted in there, remove that file.",
        )
    top = folder_scan.scan(root)
    layout = find_layout(top, root)
    _check_classes(layout, top, root)
    names = tuple(sorted(layout.train))
    train, train_labels = _listing(layout.train, names)
    test, test_labels = _listing(layout.test, names)
    used = {*train, *test}
    left_out = top.others_below() + [
        LeftOut(image, layout.kinds.get(image, BESIDE))
        for image in top.images_below()
        if image not in used
    ]
    return FileTree(
        root,
        names,
        tuple(os.path.join(root, image) for image in train),
        train_labels,
        tuple(os.path.join(root, image) for image in test),
        test_labels,
        tuple(sorted(left_out, key=lambda file: file.path)),
        (*layout.notes, *_deeper(layout)),
    )


def existing_folder(path: str | os.PathLike) -> str:
    """The folder's path without "~". Raises UserError where it is none, with close names."""
    root = Path(os.path.expanduser(path))
    if not os.fspath(path) or not root.is_dir():
        raise UserError(
            f"image folder {root}" if os.fspath(path) else "image folder without a name",
            expected="a folder with one folder a class",
            received="an empty PATH"
            if not os.fspath(path)
            else "a file"
            if root.exists()
            else "no such path",
            fix=f"Correct the PATH of --dataset=folder:PATH{hint(close_folders(root))}.",
        )
    return str(root)


def hint(names: Sequence[str]) -> str:
    """The close ones, for the end of a sentence."""
    return f"; close ones: {', '.join(names)}" if names else ""


def close_folders(place: Path) -> list[str]:
    """Folders beside it with a close name."""
    try:
        beside = [entry.name for entry in os.scandir(place.parent) if entry.is_dir()]
    except OSError:
        return []
    names = {name.casefold(): name for name in beside}
    close = difflib.get_close_matches(place.name.casefold(), names, n=3)
    return [str(place.with_name(names[name])) for name in close]


def _listing(
    classes: Mapping[str, list[Folder]], names: tuple[str, ...]
) -> tuple[list[str], np.ndarray]:
    images = [
        sorted(image for folder in classes.get(name, []) for image in folder.images_below())
        for name in names
    ]
    labels: np.ndarray = np.repeat(np.arange(len(names)), [len(some) for some in images])
    return [image for some in images for image in some], labels.astype(np.int32)


def _check_classes(layout: Layout, top: Folder, root: str) -> None:
    where = os.path.join(root, layout.place) if layout.place else root
    for name in (*layout.train, *layout.test):
        class_name(name, what="class folder", where=where)
    if len(layout.train) < 2:
        others = top.others_below()
        raise UserError(
            f"image folder {where} has {'one class' if layout.train else 'no classes'}",
            expected="at least two folders with images, one a class",
            received=f"folders {sorted(layout.train)}; {len(top.images_below())} images in all"
            + (f"; not images: {counted(others)}" if others else ""),
            fix="Put the images of each class into a folder of its own, or name files and labels "
            "in a table: --dataset=csv:labels.csv.",
        )
    for classes in (layout.train, layout.test):
        for name, folders in classes.items():
            if not any(folder.images_below() for folder in folders):
                place = folders[0].path if folders else name
                raise _empty_class(folders, os.path.join(root, place))
    if not layout.test:
        return
    strangers = sorted(set(layout.test) - set(layout.train))
    if strangers:
        raise UserError(
            f"the test split of {root} has classes that the training folder lacks",
            expected=f"among {sorted(layout.train)[:20]}",
            received=str(strangers[:NAMED]),
            fix="Make the folders of both parts agree.",
        )
    missing = sorted(set(layout.train) - set(layout.test))
    if missing:
        raise UserError(
            f"the test split of {root} lacks classes",
            expected=f"all {len(layout.train)} classes of the training part",
            received=f"no images of {missing[:NAMED]}",
            fix="Add images of them, or move the test split elsewhere: a fraction of the training "
            "images is then held out (--test_fraction).",
        )


def _empty_class(folders: list[Folder], where: str) -> UserError:
    others = [file for folder in folders for file in folder.others_below()]
    ways = (way for kind, way in _WAYS.items() if any(kind in file.kind for file in others))
    usual = "Save these files in one of those formats, or move the folder elsewhere."
    return UserError(
        f"class folder {where} has no images",
        expected=f"files ending in {', '.join(folder_scan.SUFFIXES)}",
        received=counted(others) or "nothing",
        fix=next(ways, usual) if others else "Add images, or remove the empty folder.",
    )


def _deeper(layout: Layout) -> list[str]:
    """A note on images that lie in folders of class folders."""
    number = sum(
        len(folder.images_below()) - len(folder.paths)
        for classes in (layout.train, layout.test)
        for folders in classes.values()
        for folder in folders
    )
    if not number:
        return []
    images = f"{number_of(number, 'image')} {'lies' if number == 1 else 'lie'}"
    return [f"{images} in folders below a class folder; used as of that class."]
