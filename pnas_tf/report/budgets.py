"""What a run's exported files take of memory, and how they stand to the budgets that their network
was derived within. Knows the files' names and forms, and nothing of how they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.errors import UserError
from pnas_tf.io import Json, atomic
from pnas_tf.io.serialization import value_of
from pnas_tf.run.layout import Artifact, model_file
from pnas_tf.search.budgets import OF_FILES, Budget, file_dtypes

if TYPE_CHECKING:
    from pnas_tf.space.architecture import Architecture

Row = Mapping[str, Json]
_MADE_BY = "pnas run --run_dir=..."
ARENA_DTYPES = ("float32", "int8")  # of files that microcontrollers' runtime takes


def derived_budgets(folder: Path) -> tuple[Row, ...]:
    """The rows of derivation.json; none of a network that was not derived.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / Artifact.DERIVATION
    if not path.is_file():
        return ()
    document = atomic.read_document(
        path, format="pnas_tf/derivation", version=1, what="derivation", made_by=_MADE_BY
    )
    rows = value_of(
        tuple[Row, ...],
        document.get("budgets", []),
        what=f"budgets of {path}",
        fix=f"Make it again: {_MADE_BY}",
    )
    return tuple(row for row in rows if isinstance(row.get("most"), int | float))


def ram_bytes(contents: Mapping[str, bytes]) -> dict[str, Json]:
    """Number format -> tensor arena of the file, of those that have one. contents: number format ->
    file."""
    from pnas_tf.tflite.arena import arena_of
    from pnas_tf.tflite.schema_reader import parse

    found: dict[str, Json] = {}
    for dtype in ARENA_DTYPES:
        arena = arena_of(parse(contents[dtype])) if dtype in contents else None
        if arena is not None:
            found[dtype] = arena.total_bytes
    return found


def budget_rows(
    budgets: Iterable[Row],
    sizes: Mapping[str, Json],
    ram: Mapping[str, Json],
    *,
    resized: Architecture | None = None,
    batch: int = 1,
) -> list[dict[str, Json]]:
    """Each budget with "value", that of the exported file where it is of one, else as predicted,
    and "kept".

    Args:
        budgets: of `derived_budgets`.
        sizes, ram: number format -> bytes.
        resized: the network where it was exported at another resolution than it was derived at.
        batch: images of a call of the files. Latency was predicted for one, at that resolution.
    """
    at_size: dict[str, Json] = {}
    if resized is not None:
        at_size["macs"] = resized.macs
    if resized is not None or batch != 1:
        at_size["latency_ms"] = None
    rows = []
    for budget in budgets:
        value = at_size.get(str(budget.get("kind")), budget.get("predicted"))
        in_file = {"size_kb": sizes, "ram_kb": ram}.get(str(budget.get("kind")))
        if in_file is not None:
            found = in_file.get(str(budget.get("dtype") or "int8"))
            value = found / 1000 if isinstance(found, int | float) else None
        most = budget["most"]
        assert isinstance(most, int | float)
        kept = value <= most if isinstance(value, int | float) else None
        rows.append(
            {
                "kind": budget.get("kind"),
                "name": budget.get("name"),
                "unit": budget.get("unit"),
                "most": most,
                "value": value,
                "kept": kept,
            }
        )
    return rows


def check_exported(
    budgets: Sequence[Row],
    contents: Mapping[str, bytes],
    *,
    fix: str = "",
    resized: Architecture | None = None,
    batch: int = 1,
) -> list[dict[str, Json]]:
    """Refuses files of an export that break a budget.

    Args:
        budgets: of `derived_budgets`.
        contents: number format -> file.
        fix: what to do then; "": to derive anew.
        resized, batch: as of `budget_rows`.

    Returns:
        The budgets of files that are not among these, and those that it is not known to keep as it
        is exported.

    Raises:
        UserError: says by how much.
    """
    unheld = []
    sizes: dict[str, Json] = {dtype: len(content) for dtype, content in contents.items()}
    ram = ram_bytes(contents) if budgets else {}
    for row in budget_rows(budgets, sizes, ram, resized=resized, batch=batch):
        if row["kept"] is False and row["kind"] in OF_FILES:
            value, most = row["value"], row["most"]
            assert isinstance(value, int | float) and isinstance(most, int | float)
            raise UserError(
                f"{row['name']} is beyond its budget",
                expected=f"at most {most:g} {row['unit']}",
                received=f"{value:g} {row['unit']}",
                fix=fix
                or "Derive anew with the options of this export: the command that derived it "
                "(pnas search, run or specialise), "
                f"--max_{row['kind']}={most:g} and these options; "
                f"quantisation-aware files may need {value - most:.1f} {row['unit']} less.",
            )
        if row["value"] is None or (resized is not None and row["kept"] is False):
            unheld.append(row)
    return unheld


def model_contents(folder: Path, dtypes: Iterable[str]) -> dict[str, bytes]:
    """Number format -> exported file of a run, of those that are there."""
    paths = {dtype: folder / model_file(dtype) for dtype in dtypes}
    return {dtype: path.read_bytes() for dtype, path in paths.items() if path.is_file()}


def check_formats(budgets: Sequence[Budget], formats: Sequence[str]) -> None:
    """Raises UserError where a budget is of a file that is not made."""
    absent = [dtype for dtype in file_dtypes(budgets) if dtype not in formats]
    if absent:
        raise UserError(
            f"export within a budget of the {absent[0]} file",
            expected=f"{absent[0]} among the formats",
            received=", ".join(formats),
            fix="Add it to the formats, or leave that budget out.",
        )


def check_files(budgets: Sequence[Budget], contents: Mapping[str, bytes]) -> None:
    """Raises UserError where files, exported by Python, break a budget of theirs. contents: as of
    `check_exported`."""
    names = {"size_kb": "size of the {} file", "ram_kb": "peak RAM"}
    rows: list[Row] = [
        {
            "kind": budget.kind,
            "dtype": budget.dtype,
            "name": names[budget.kind].format(budget.dtype),
            "unit": "kB",
            "most": float(budget.most),
        }
        for budget in budgets
        if budget.kind in OF_FILES
    ]
    fix = (
        "Export with table=, that of the search. Other options of this export: derive with "
        "limits=found.limits(DeriveConfig(), budgets, export=config)."
    )
    check_exported(rows, contents, fix=fix)
