"""Which folders are classes and which are parts, as common tools lay them out.

    class/image                                      Keras, torchvision
    train/class/image, valid/..., test/...           Roboflow, TFDS, Kaggle; val, validation, dev
    seg_train/seg_train/class/image                  archives with a folder of their name
    ILSVRC/Data/CLS-LOC/train/class/image, val/image ImageNet, whose other parts have no labels
    class/train/image                                the other way about
    class/image, test/class/image                    a part beside the classes

A folder called "train" is a part only when it holds folders with images beside a part to test: it
may as well be a class of vehicles. Where nothing decides that, it is refused. Knows names and
places, and opens no file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from pnas_tf.data.folder_scan import Folder
from pnas_tf.errors import UserError

PARTS = {
    "train": ("train", "training", "trainset", "traindata"),
    "test": ("test", "testing", "testset", "testdata"),
    "val": ("val", "valid", "validation", "validate", "dev", "valset", "valdata"),
}
_PART_OF = {name: part for part, names in PARTS.items() for name in names}


@dataclass
class Layout:
    """train, test: class name to its folders (several where names are equal after normalisation).
    test is empty where there is no part with labels. place: the folder of the training classes.
    kinds: why images are left out, by path. notes: sentences."""

    place: str = ""
    train: dict[str, list[Folder]] = field(default_factory=dict)
    test: dict[str, list[Folder]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, folder: Folder, kind: str) -> None:
        """Names `kind` as the reason for all images below `folder`."""
        for image in folder.images_below():
            self.kinds.setdefault(image, kind)


def find_layout(top: Folder, root: str) -> Layout:
    """Raises UserError when two folders could be the training part, one could be it or a class, or
    parts hold images without classes. root: for messages."""
    layout = Layout()
    base = _descend(top)
    parts = _parts(base, root)
    if parts is None:
        _refuse_parts_without_classes(base, root)
        _refuse_part_or_class(base, root)
        layout.place = base.path
        if _is_class_first(base):
            _take_class_first(layout, base)
        else:
            tests = _tests_beside_classes(base)
            layout.train = _classes(base, besides=tests)
            _take_tests(layout, tests)
            _note_folders_of_all(layout)
    else:
        _take_parts(layout, base, *parts)
    if layout.place not in ("", "train"):
        layout.notes.insert(0, f"Classes are the folders of {layout.place}.")
    _note_merged(layout)
    return layout


def part_of(name: str) -> str | None:
    """ "train", "test", "val" or None: by the whole name, or one word of it ("seg_train",
    "TrainImages")."""
    plain = name.casefold().strip()
    if plain in _PART_OF:
        return _PART_OF[plain]
    words = (word.casefold() for word in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name))
    found = {_PART_OF[word] for word in words if word in _PART_OF}
    return found.pop() if len(found) == 1 else None


def _descend(folder: Folder) -> Folder:
    """Past folders that hold one folder with folders, as archives unpack."""
    while True:
        candidates = folder.candidates()
        if len(candidates) != 1 or not candidates[0].holders():
            return folder
        (folder,) = candidates


def _classes(folder: Folder, besides: Sequence[Folder] = ()) -> dict[str, list[Folder]]:
    classes: dict[str, list[Folder]] = {}
    for candidate in folder.candidates():
        if candidate in besides:
            continue
        classes.setdefault(unicodedata.normalize("NFC", candidate.name), []).append(candidate)
    return classes


def _parts(base: Folder, root: str) -> tuple[Folder, list[Folder]] | None:
    """(the training part, parts to test on in the order in which they are asked for); None where
    folders are classes."""
    of = {folder.name: part_of(folder.name) for folder in base.candidates()}
    trains = [base.folders[n] for n, part in of.items() if part == "train"]
    trains = [folder for folder in trains if folder.holders()]
    tests = [base.folders[n] for wanted in ("test", "val") for n, p in of.items() if p == wanted]
    if not trains or not tests:
        return None
    if len(trains) > 1:
        exact = [folder for folder in trains if folder.name.casefold() in _PART_OF]
        if len(exact) != 1:
            raise UserError(
                f"image folder {base.place(root)} has {len(trains)} training parts",
                expected="one folder called train or training",
                received=", ".join(repr(folder.name) for folder in trains),
                fix="Move one of them elsewhere, or put their images together.",
            )
        trains = exact
    return trains[0], tests


def _tests_beside_classes(base: Folder) -> list[Folder]:
    """Folders called test or val whose own folders are called as classes beside them, in the order
    in which they are asked for."""
    holders = [folder for folder in base.holders() if not folder.paths]
    found = [
        folder for wanted in ("test", "val") for folder in holders if part_of(folder.name) == wanted
    ]
    names = {folder.name.casefold() for folder in base.holders() if folder not in found}
    return [
        folder for folder in found if {one.name.casefold() for one in folder.holders()} <= names
    ]


def _refuse_parts_without_classes(base: Folder, root: str) -> None:
    """Parts are no classes, though each is a folder of images."""
    parts = {folder.name: _PART_OF.get(folder.name.casefold()) for folder in base.holders()}
    if len(parts) > 1 and all(parts.values()) and "train" in parts.values():
        raise UserError(
            f"image folder {base.place(root)} has parts without classes",
            expected="one folder a class in each of them",
            received=", ".join(repr(name) for name in parts) + " with images right inside",
            fix="Put the images of each class into a folder of its own, or name files and labels "
            "in a table: --dataset=csv:labels.csv.",
        )


def _refuse_part_or_class(base: Folder, root: str) -> None:
    """A training part without a part to test is told by nothing from a class of trains whose images
    lie in folders. One that has the word in its name is a class, unless others hold the same."""
    others = base.candidates()
    for folder in others if len(others) > 1 else ():
        below = {one.name.casefold() for one in _descend(folder).holders()}
        if part_of(folder.name) != "train" or _descend(folder).paths or len(below) < 2:
            continue
        beside = [one for one in others if one is not folder]
        alike = below.intersection(
            each.name.casefold() for one in beside for each in _descend(one).holders()
        )
        if folder.name.casefold() in _PART_OF or alike:
            raise UserError(
                f"image folder {base.place(root)} has {folder.name!r}, which may be the training "
                "part or a class",
                expected="folders of classes alone, or beside train one called test or val",
                received=f"beside it {', '.join(repr(one.name) for one in beside[:5])}",
                fix="Where its folders are the classes, call the part to test 'test', or name this "
                f"part alone: --dataset=folder:{folder.place(root)}. Where it is a class, put its "
                "images right into it.",
            )


def _note_folders_of_all(layout: Layout) -> None:
    """Classes whose folders are called alike may be parts by names of their own."""
    folders = [folder for some in layout.train.values() for folder in some]
    below = {tuple(one.name for one in folder.holders()) for folder in folders}
    names = below.pop() if len(below) == 1 else ()
    if len(folders) > 1 and len(names) > 1 and not any(folder.paths for folder in folders):
        named = f"{', '.join(map(repr, names[:3]))}{', ...' if names[3:] else ''}"
        layout.notes.append(
            f"Each class holds the folders {named}; if these are the classes, call the folders "
            "that hold them train and test."
        )


def _take_parts(layout: Layout, base: Folder, train: Folder, tests: list[Folder]) -> None:
    train_base = _descend(train)
    layout.place, layout.train = train_base.path, _classes(train_base)
    _take_tests(layout, tests)
    for folder in base.folders.values():
        if folder is not train and folder not in tests:
            layout.leave_out(folder, f"in {folder.path}, which is no part")


def _take_tests(layout: Layout, tests: list[Folder]) -> None:
    """The first of the parts that has labels is tested on."""
    for part in tests:
        classes = _classes(_descend_alike(part))
        with_images = [
            name for name, some in classes.items() if any(f.images_below() for f in some)
        ]
        known = {name.casefold() for name in layout.train}
        if not known & {name.casefold() for name in with_images}:
            layout.leave_out(part, f"in {part.path}, which has no folders of the classes")
            if with_images or part.paths:
                layout.notes.append(f"{part.path} has no labels, and is not used.")
        elif layout.test:
            layout.leave_out(part, f"in {part.path}, a part that is not used")
        else:
            layout.test = classes
            layout.notes.append(f"Tested on {part.path}.")


def _descend_alike(part: Folder) -> Folder:
    """Past folders named as their own, as "seg_test/seg_test"."""
    while not part.paths:
        candidates = part.candidates()
        if len(candidates) != 1 or not (
            candidates[0].name.casefold() == part.name.casefold() or part_of(candidates[0].name)
        ):
            break
        (part,) = candidates
    return part


def _is_class_first(base: Folder) -> bool:
    """Whether every class holds the parts, instead of every part the classes."""
    holders = base.holders()
    return len(holders) >= 2 and all(
        not folder.paths
        and {"train"} < {part_of(below.name) for below in folder.holders()}
        and all(part_of(below.name) for below in folder.holders())
        for folder in holders
    )


def _take_class_first(layout: Layout, base: Folder) -> None:
    for name, folders in _classes(base).items():
        below = [part for folder in folders for part in folder.holders()]
        layout.train[name] = [part for part in below if part_of(part.name) == "train"]
    names = {part_of(part.name) for folder in base.holders() for part in folder.holders()}
    wanted = "test" if "test" in names else "val"
    for name, folders in _classes(base).items():
        for part in (part for folder in folders for part in folder.holders()):
            if part_of(part.name) == wanted:
                layout.test.setdefault(name, []).append(part)
            elif part_of(part.name) != "train":
                layout.leave_out(part, f"in {part.name}, a part that is not used")
    layout.notes.append(f"Every class has parts of its own; tested on {wanted}.")


def _note_merged(layout: Layout) -> None:
    for classes in (layout.train, layout.test):
        for name, folders in classes.items():
            if (
                len({folder.name for folder in folders}) > 1
                and len({unicodedata.normalize("NFC", folder.name) for folder in folders}) == 1
            ):
                layout.notes.append(
                    f"{len(folders)} folders are called {name!r}, written with other code points: "
                    "one class."
                )
