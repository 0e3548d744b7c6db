"""Images named in a table: `csv:labels.csv` with path, label and, if wanted, split.

The header says which column is which; comma, semicolon or tab, as spreadsheets write them. Paths
are the table's own folder's, or absolute. Knows nothing of what the files hold.
"""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pnas_tf.data.class_names import class_name
from pnas_tf.data.file_tree import NAMED, FileTree
from pnas_tf.data.folder_scan import LeftOut
from pnas_tf.data.split_layout import PARTS, part_of
from pnas_tf.errors import UserError
from pnas_tf.io import atomic

COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "image_path"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "part", "subset", "set"),
}
MAX_TABLE_BYTES = 2**30
_FIX = "Correct these rows."


@dataclass(frozen=True)
class Row:
    """A line of the table, `number` counted from 1 with the header. split: as it stands there."""

    number: int
    path: str
    label: str
    split: str

    @property
    def part(self) -> str | None:
        """As `part_of`."""
        return part_of(self.split)


def read_manifest(path: str | os.PathLike) -> FileTree:
    """Reads a table of images. path: the CSV, UTF-8.

    Without a split column, or with "train" alone, there is no test split. Rows of "val" are tested
    on where none are of "test", and else left out; rows to test without a label are left out.

    Raises:
        UserError: no such table, no columns path and label, rows with an unknown split or without a
            label, files that are not there, a file with two labels or in two parts, fewer than two
            classes, or a class that a part lacks.
    """
    table = Path(path).expanduser()
    root = str(table.parent)
    rows, notes = _rows(table)
    _check_files(rows, root, table)
    unlabelled = [row for row in rows if not row.label]
    _refuse(
        [row for row in unlabelled if row.part == "train"],
        table,
        "have no label",
        "a class in each",
    )
    labelled = _once([row for row in rows if row.label], table, root)
    tested = "test" if any(row.part == "test" for row in labelled) else "val"
    train = [row for row in labelled if row.part == "train"]
    test = [row for row in labelled if row.part == tested]
    names = tuple(sorted({row.label for row in train}))
    _check_classes(names, test, table)
    left_out = [LeftOut(row.path, f"rows of {row.part} without a label") for row in unlabelled] + [
        LeftOut(row.path, f"rows of {row.part}, a part that is not used")
        for row in labelled
        if row.part not in ("train", tested)
    ]
    return FileTree(
        root,
        names,
        *_part(train, names, root),
        *_part(test, names, root),
        tuple(sorted(left_out, key=lambda file: file.path)),
        (*notes, *((f"Tested on the rows of {tested}.",) if test else ())),
    )


def _part(rows: list[Row], names: tuple[str, ...], root: str) -> tuple[tuple[str, ...], np.ndarray]:
    label_of = {name: label for label, name in enumerate(names)}
    rows = sorted(rows, key=lambda row: (label_of[row.label], row.path))
    labels = np.array([label_of[row.label] for row in rows], np.int32)
    return tuple(os.path.join(root, row.path) for row in rows), labels


def _rows(table: Path) -> tuple[list[Row], list[str]]:
    """(the rows, sentences on how they were read)"""
    content = atomic.read_bytes(
        table, what="table of images", made_by="a spreadsheet, or by hand", limit=MAX_TABLE_BYTES
    )
    try:
        if content.startswith(b"PK\x03\x04"):
            raise ValueError("a spreadsheet of its own format, or an archive")
        text = content.decode("utf-8-sig")
    except ValueError as error:  # also of bytes that are not UTF-8
        raise UserError(
            f"table of images {table}",
            expected="UTF-8 text",
            received=str(error)[:200],
            fix="Save it as CSV in UTF-8.",
        ) from error
    header, _, _ = text.partition("\n")
    delimiter = max(",;\t", key=header.count)
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise UserError(
            f"table of images {table}",
            expected="rows of cells, those with separators or line breaks in quotes",
            received=str(error),
            fix="Save it as CSV again.",
        ) from error
    where, notes = _columns(lines[0] if lines else [], table)
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = {name: line[at].strip() if at < len(line) else "" for name, at in where.items()}
        label = (
            class_name(cells["label"], what="class", where=f"{table}, row {number}")
            if cells["label"]
            else ""
        )
        path = _spelt(cells["path"], table.parent)
        rows.append(Row(number, path, label, cells.get("split", "train")))
    allowed = ", ".join(name for names in PARTS.values() for name in names[:2])
    strange = [row for row in rows if not row.part]
    named = ", ".join(sorted({repr(row.split) for row in strange})[:NAMED])
    _refuse(strange, table, f"have no split that is known: {named}", allowed)
    return rows, notes


def _spelt(path: str, root: Path) -> str:
    """The path as the file system has it: other systems write backslashes, or accents otherwise."""
    plain = path.replace("\\", "/")
    spellings = (path, plain, *(unicodedata.normalize(form, plain) for form in ("NFC", "NFD")))
    for spelling in spellings:
        if spelling and "\0" not in spelling and (root / spelling).is_file():
            short = os.path.normpath(spelling)  # of another file where ".." follows a link
            same = os.path.realpath(root / short) == os.path.realpath(root / spelling)
            return short if same else spelling
    return path


def _columns(header: list[str], table: Path) -> tuple[dict[str, int], list[str]]:
    """(name of `COLUMNS` to its place, sentences on those that several columns may be). The first
    of its spellings counts, wherever it stands."""
    plain = [cell.strip().casefold() for cell in header]
    where, notes = {}, []
    for name, spellings in COLUMNS.items():
        found = [at for spelling in spellings for at, cell in enumerate(plain) if cell == spelling]
        if not found:
            continue
        where[name] = found[0]
        if len(found) > 1:
            others = ", ".join(f"column {at + 1} ({header[at]!r})" for at in found[1:])
            taken = f"column {found[0] + 1} ({header[found[0]]!r})"
            notes.append(f"The {name} is {taken} of the table, not {others}.")
    if not {"path", "label"} <= set(where):
        raise UserError(
            f"header of the table of images {table}",
            expected="a first line path,label or path,label,split",
            received=", ".join(map(repr, header))[:200] or "nothing",
            fix="Name them so in the first line: path is the file of an image, seen from the "
            "table's folder, label its class.",
        )
    return where, notes


def _check_files(rows: list[Row], root: str, table: Path) -> None:
    missing = [
        row
        for row in rows
        if not row.path or "\0" in row.path or not os.path.isfile(os.path.join(root, row.path))
    ]
    _refuse(missing, table, "name files that are not there", f"paths within {root}")


def _once(rows: list[Row], table: Path, root: str) -> list[Row]:
    """Every file once. Raises UserError when it has two labels or parts."""
    first: dict[str, Row] = {}
    torn = []
    for row in rows:
        before = first.setdefault(os.path.realpath(os.path.join(root, row.path)), row)
        if (row.label, row.part) != (before.label, before.part):
            torn.append(row)
    _refuse(torn, table, "give a file another label or part", "one label and part for a file")
    return list(first.values())


def _check_classes(names: tuple[str, ...], test: list[Row], table: Path) -> None:
    if len(names) < 2:
        raise UserError(
            f"table of images {table} has {'one class' if names else 'no classes'} to train",
            expected="at least two labels",
            received=str(list(names)),
            fix="Name the images of at least two classes in rows that train.",
        )
    strangers = [row for row in test if row.label not in names]
    _refuse(strangers, table, "have labels that no training row has", f"among {list(names)[:20]}")
    missing = sorted(set(names) - {row.label for row in test})
    if test and missing:
        raise UserError(
            f"the rows to test of {table} lack classes",
            expected=f"all {len(names)} classes",
            received=f"no rows of {missing[:NAMED]}",
            fix="Add rows of them, or call all rows train: a fraction is then held out "
            "(--test_fraction).",
        )


def _refuse(rows: Sequence[Row], table: Path, fault: str, expected: str) -> None:
    if rows:
        more = f" and {len(rows) - NAMED} more" if len(rows) > NAMED else ""
        raise UserError(
            f"{len(rows)} rows of {table} {fault}",
            expected=expected,
            received="; ".join(f"row {row.number}: {row.path}" for row in rows[:NAMED]) + more,
            fix=_FIX,
        )
