"""What --dataset may say, checked before any image is looked at, within a second and without
TensorFlow: its form, the path in it, the name that TFDS knows. Knows nothing of images."""

from __future__ import annotations

import contextlib
import difflib
import os
from pathlib import Path

from pnas_tf.data.file_tree import close_folders, existing_folder, hint
from pnas_tf.errors import UserError
from pnas_tf.io import atomic

PREFIXES = ("folder", "csv")
_OWN = "digits"
_INFO, _VERSION = "dataset_info.json", "[0-9]*.[0-9]*.[0-9]*"  # of TFDS
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def check_dataset(dataset: str, *, data_dir: str) -> None:
    """Raises UserError on what names no dataset, with what was most likely meant.

    Args:
        dataset: as --dataset has it.
        data_dir: TFDS folder, empty for its default; what it holds is a dataset too.
    """
    prefix, separator, rest = dataset.partition(":")
    if separator and prefix.strip().lower() in PREFIXES:
        form = prefix.strip().lower()
        if prefix != form:
            raise _meant(dataset, f"{form}:{rest.strip()}")
        _check_path(form, rest)
    elif dataset != _OWN and not _is_tfds(dataset, data_dir):
        raise unknown_dataset(dataset, data_dir=data_dir)


def public_name(dataset: str) -> str:
    """Of --dataset what may stand in a file for others: of the user's own images their last folder
    or table alone, as the places above it are nobody's business and no part of what images are."""
    form, separator, path = dataset.partition(":")
    if not separator or form not in PREFIXES:
        return dataset
    return f"{form}:{Path(os.path.abspath(path)).name}"


def unknown_dataset(dataset: str, *, data_dir: str) -> UserError:
    """The error of a name that TFDS does not know: a folder or a table of that name is what was
    meant, else a close name."""
    place = _place(dataset)
    if place is not None:
        form = "csv" if place.is_file() and place.suffix.lower() == ".csv" else "folder"
        if place.exists() or _is_path(dataset):
            return _meant(dataset, f"{form}:{dataset}", place)
    prepared = _prepared(data_dir)
    if dataset in prepared:
        return UserError(
            f"dataset '{dataset}' is not whole",
            expected="the files that TFDS writes, in a folder of their version",
            received="no version in the TFDS folder that can be opened",
            fix="Bring its files back, or remove its folder and prepare it again.",
        )
    known = [_OWN, *_tfds_names(), *prepared]
    close = difflib.get_close_matches(dataset.lower(), known, n=4, cutoff=0.6)
    folders = [f"folder:{name}" for name in close_folders(Path(dataset))]
    meant = [*folders, *close]
    return UserError(
        "unknown dataset",
        expected="digits, folder:PATH, csv:TABLE or a tensorflow_datasets name" + hint(meant),
        received=repr(dataset),
        fix=f"{f'Write --dataset={meant[0]}' if meant else 'Correct --dataset'}; images of your "
        "own are --dataset=folder:PATH, with one folder a class.",
    )


def _meant(dataset: str, meant: str, place: Path | None = None) -> UserError:
    if place is not None and not place.exists():
        there = "no such path" + hint(close_folders(place))
    else:
        there = "the path alone" if place is not None else repr(dataset)
    return UserError(
        f"--dataset={dataset}",
        expected="digits, folder:PATH, csv:TABLE or a tensorflow_datasets name",
        received=there,
        fix=f"Write --dataset={meant}",
    )


def _check_path(form: str, path: str) -> None:
    place = _place(path)
    if place is not None and place.is_file():
        kind = place.suffix.lower()
        if form == "folder" and kind == ".csv":
            raise _meant(f"folder:{path}", f"csv:{path}")
        if kind in _ARCHIVES:
            raise UserError(
                f"--dataset={form}:{path}",
                expected="a folder with one folder a class",
                received="an archive",
                fix="Unpack it, and name the folder that comes of it.",
            )
    if form == "folder":
        _refuse_tfds(path, Path(existing_folder(path)).absolute())
    elif place is None or not place.is_file():
        folder = place is not None and place.is_dir()
        raise UserError(
            f"table of images {path}" if path else "table of images without a name",
            expected="a CSV file with the columns path and label",
            received="a folder" if folder else "no such file" if path else "an empty PATH",
            fix=f"Write --dataset=folder:{path}" if folder else "Correct --dataset=csv:TABLE.",
        )


def _refuse_tfds(path: str, place: Path) -> None:
    """Raises UserError where a folder is of TFDS: that of a version, of a dataset or of all."""
    found: list[Path] = []
    with contextlib.suppress(OSError):  # it is told where the folder is listed
        found = [*place.glob(_INFO), *place.glob(f"{_VERSION}/{_INFO}")]
        inner = [each for each in place.iterdir() if each.is_dir() and each.name != "downloads"]
        infos = [next(each.glob(f"{_VERSION}/{_INFO}"), None) for each in inner]
        found += [each for each in infos if each] if all(infos) else []
    if not found:
        return
    info = max(found)
    name, above = info.parent.parent.name, info.parents
    with contextlib.suppress(UserError):
        document = atomic.read_json(info, what="dataset description", made_by="TFDS")
        name = str(document.get("name", name)) if isinstance(document, dict) else name
    home = next((each for each in above if each.name == name), info.parent.parent)
    dataset = info.parent.parent.relative_to(home.parent).as_posix()  # with its configuration
    raise UserError(
        f"--dataset=folder:{path}",
        expected="a folder of images",
        received=f"a folder of tensorflow_datasets, with {info.relative_to(place)}",
        fix=f"Write --dataset={dataset} --data_dir={home.parent}",
    )


def plain_name(dataset: str) -> str:
    """A TFDS dataset's name in all its spellings, without configuration and version: "cifar10" of
    CIFAR10, Cifar10 and cifar_10."""
    return dataset.split("/")[0].split(":")[0].lower().replace("_", "")


def _is_path(dataset: str) -> bool:
    """Whether it is written as TFDS writes no name."""
    return dataset.startswith((".", "/", "~")) or dataset.endswith("/") or "\\" in dataset


def _place(path: str) -> Path | None:
    """The path without "~"; None where it stands for no home, or for nothing."""
    try:
        return Path(path).expanduser() if path.strip() else None
    except RuntimeError:
        return None


def _is_tfds(dataset: str, data_dir: str) -> bool:
    """Whether TFDS is to be asked: it knows the name, or has it prepared, or finds it by a
    namespace."""
    if _is_path(dataset):
        return False
    base = dataset.split("/")[0].split(":")[0]
    if ":" in dataset or base in _prepared(data_dir):
        return True
    return plain_name(dataset) in map(plain_name, _tfds_names())


def tfds_home(data_dir: str) -> Path:
    """The TFDS folder. data_dir: empty for its default."""
    home = data_dir or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return Path(os.path.expanduser(home))


def _prepared(data_dir: str) -> list[str]:
    """Names of what the TFDS folder holds. data_dir: empty for its default."""
    try:
        entries = os.scandir(tfds_home(data_dir))
    except OSError:
        return []
    return sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")


def _tfds_names() -> list[str]:
    import tensorflow_datasets as tfds

    return sorted(tfds.list_builders(with_community_datasets=False))
