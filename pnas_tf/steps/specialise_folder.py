"""Fills the run folder of one request of `pnas specialise`: the searched supernet, the latency
tables, and what each choice costs by these. Knows nothing of how a network is derived there."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from pnas_tf.config import RunConfig
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import EVENTS, MEASURED, TABLES, Artifact
from pnas_tf.run.records import check_owner, read_steps
from pnas_tf.steps.derive import DERIVE
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.latency_table import LATENCY_TABLE, LATENCY_TABLE_INT8
from pnas_tf.steps.search import SEARCH, SPECIALISED
from pnas_tf.steps.specialise_requests import Request


def check_out(request: Request, call: Inputs) -> None:
    """Raises UserError on a folder whose search, table or network would be lost."""
    check_elsewhere(request.out, call.folder.path)
    check_owner(DERIVE.name, [Artifact.ARCHITECTURE], request.out)
    out, pairs = request.out, _brought(request, call)
    others = [there for here, there in pairs if there.exists() and not _alike(here, there)]
    is_searched = SEARCH.name in read_steps(out)
    if is_searched or (others and not call.configs[RunConfig].restart):
        raise UserError(
            f"--out={out}",
            expected="a new folder, or one that this search and this table were brought to before",
            received="a run folder with a search of its own"
            if is_searched
            else f"another {others[0].name} there",
            fix="Choose another --out" + ("." if is_searched else ", or add --restart."),
        )


def check_elsewhere(out: Path, source: Path) -> None:
    """Raises UserError on a request for the very folder that it is made of."""
    if out.resolve() == source.resolve():
        raise UserError(
            f"--out={out}",
            expected="another folder than --run_dir, which stays as it is",
            received="the same",
            fix="Choose another --out.",
        )


def _brought(request: Request, call: Inputs) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """Search history and latency table: where from, where to."""
    out, source = request.out, call.folder.path
    table = Path(request.table) if request.table else source / Artifact.LATENCY_TABLE
    history = (source / Artifact.SEARCH_HISTORY, out / Artifact.SEARCH_HISTORY)
    return history, (table, out / Artifact.LATENCY_TABLE)


def _alike(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def bring(request: Request, call: Inputs, folder: RunFolder) -> None:
    """Puts the supernet and the tables into `folder`, which this process holds; what another search
    or another device's table has left there moves aside."""
    source, out = call.folder.path, folder.path
    _give_way(request, call, folder)
    shutil.copytree(
        source / Artifact.SEARCH,
        out / Artifact.SEARCH,
        ignore=shutil.ignore_patterns(EVENTS, MEASURED),
        copy_function=_link,
        dirs_exist_ok=True,
    )
    if request.table:
        _copy(Path(request.table), out / Artifact.LATENCY_TABLE)
    else:
        for name in TABLES.values():
            if (source / name).exists():
                _copy(source / name, out / name)
    origin = {"from": str(source), "table": request.table}
    atomic.write_json(out / Artifact.SPECIALISED, {**SPECIALISED, **origin})


def _give_way(request: Request, call: Inputs, folder: RunFolder) -> None:
    """Moves aside what another search or another device's table has left there: checkpoints with
    higher numbers would pass for newer ones, and tables in other formats choose rewrites."""
    (history, own_history), (table, own_table) = _brought(request, call)
    if own_history.exists() and not _alike(history, own_history):
        folder.move_aside(SEARCH.name, [Artifact.SEARCH, Artifact.SPECIALISED])
    if own_table.exists() and not _alike(table, own_table):
        folder.move_aside(LATENCY_TABLE.name, [Artifact.LATENCY_TABLE])
        folder.move_aside(LATENCY_TABLE_INT8.name, [Artifact.LATENCY_TABLE_INT8])


def _copy(source: Path, target: Path) -> None:
    atomic.write_bytes(target, source.read_bytes())


def _link(source: str, target: str) -> str:
    """One file in two places; a copy where the disk has no such thing."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
    return target
