"""Another device or another budget from a search that is there, without searching again.

  pnas specialise --run_dir=runs/demo --out=runs/small --max_latency_ms=0.25 --max_size_kb=100

takes about 20 seconds on 2 cores (digits, space tiny) and makes --out a run folder of its own: the
supernet, the latency table, architecture.json and derivation.json. `pnas train --run_dir=runs/small
--init=inherit --epochs=3` trains it on, then `pnas export` and `pnas benchmark` go on there.
--table=phone.json is another device's. --budgets=FILE.json makes several at once, each in --out
below its name, and writes front.json with one front a device:

  [{"name": "phone", "table": "phone.json", "max_latency_ms": 12},
   {"name": "board", "max_latency_ms": 30, "max_size_kb": 250, "max_ram_kb": 128}]

A search by --algorithm=one_shot ranks networks for any budget; what another search learnt is for
the target that it had.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DataConfig,
    DeriveConfig,
    ExportConfig,
    OptimizerConfig,
    PretrainedConfig,
    RunConfig,
    SearchConfig,
    SpaceConfig,
    SpecialiseConfig,
)
from pnas_tf.errors import UserError, named
from pnas_tf.io import Json, atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import EVENTS, MEASURED, OWN, TABLES, Artifact, files_of_devices
from pnas_tf.run.records import check_owner, read_steps, write_steps
from pnas_tf.run.settings import fixed_of, read_config
from pnas_tf.run.terminal import say, warn
from pnas_tf.search.recipe import ONE_SHOT
from pnas_tf.steps.derive import DERIVE, result_of
from pnas_tf.steps.effects import EFFECTS
from pnas_tf.steps.footprint import FOOTPRINT
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.pipeline import fit_options, run_steps, steps_to_do, tell_files
from pnas_tf.steps.search import SEARCH, SPECIALISED
from pnas_tf.steps.specialise_requests import Request, requests_of

if TYPE_CHECKING:
    from pnas_tf.search.result import SearchResult

CONFIGS: tuple[type, ...] = (
    DataConfig,
    SpaceConfig,
    PretrainedConfig,
    SearchConfig,
    OptimizerConfig,
    DeriveConfig,
    ExportConfig,
    SpecialiseConfig,
)
_OF_DERIVATION = ("target_latency_ms", "objective", "target_value", "also")


def check_specialise(call: Inputs) -> None:
    """Raises UserError on what is not there or does not suit the space, before anything is made."""
    _check_finished(call)
    _check_searched_with(call)
    for request in requests_of(call.configs[SpecialiseConfig], call.configs[DeriveConfig]):
        if request.table:
            with named(request.table):
                LatencyTable.load(request.table).check_covers(call.space, given=request.table)
        _check_out(request, call)


def _check_finished(call: Inputs) -> None:
    """Raises UserError where the search, or its effect model, is not there or was stopped."""
    steps, is_there = read_steps(call.folder.path), call.has(Artifact.SEARCH_HISTORY)
    needed = [SEARCH.name]
    if call.configs[SearchConfig].algorithm == ONE_SHOT:
        is_there, needed = is_there and call.has(Artifact.EFFECTS), [*needed, EFFECTS.name]
    # A folder that the API or an earlier call of this program has filled has no such record.
    stopped = [name for name in needed if name in steps and steps[name].outputs is None]
    if stopped or not is_there:
        raise UserError(
            f"no finished search in {call.folder.path}",
            expected=f"{Artifact.SEARCH_HISTORY}, and of --algorithm=one_shot {Artifact.EFFECTS}",
            received=f"{' and '.join(stopped)} stopped on the way" if stopped else "none",
            fix="Finish it: the same pnas search goes on where it was."
            if stopped
            else "Search first: pnas search --algorithm=one_shot with the same --run_dir.",
        )


def _check_searched_with(call: Inputs) -> None:
    """Raises UserError on options that the search had others of: they would change nothing."""
    place, held = call.folder.path, call.folder.held
    for kind in (RunConfig, *CONFIGS):
        config: object = call.configs[kind]
        for name, value in fixed_of(config).items():
            before = held.get(kind.__name__, {}).get(name, value)
            free = value is None or kind is DeriveConfig or name in _OF_DERIVATION
            if value != before and not free:
                raise UserError(
                    f"--{name}",
                    expected=f"{before!r}, which {place} was searched with",
                    received=repr(value),
                    fix="Leave it out; another search takes another --run_dir.",
                )


def _check_out(request: Request, call: Inputs) -> None:
    """Raises UserError on a folder whose search, table or network would be lost."""
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


def _brought(request: Request, call: Inputs) -> tuple[tuple[Path, Path], tuple[Path, Path]]:
    """Search history and latency table: where from, where to."""
    out, source = request.out, call.folder.path
    table = Path(request.table) if request.table else source / Artifact.LATENCY_TABLE
    history = (source / Artifact.SEARCH_HISTORY, out / Artifact.SEARCH_HISTORY)
    return history, (table, out / Artifact.LATENCY_TABLE)


def _alike(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def specialise(call: Inputs) -> None:
    """Makes a run folder of each request, and the fronts of several."""
    config = call.configs[SpecialiseConfig]
    algorithm = call.configs[SearchConfig].algorithm
    if algorithm != "one_shot":
        warn(
            f"{call.folder.path} was searched by --algorithm={algorithm} for one target; what it "
            "learnt is for that. --algorithm=one_shot ranks networks for any."
        )
    rows: dict[str, list[dict[str, Json]]] = {}
    before = [call.folder.path]
    for request in requests_of(config, call.configs[DeriveConfig]):
        row = _make(request, call, before, judged=bool(config.budgets))
        rows.setdefault(request.table or OWN, []).append(row)
        before.append(request.out)
    if config.budgets:
        _write_fronts(rows, Path(config.out))


def _make(
    request: Request, call: Inputs, before: Sequence[Path], *, judged: bool
) -> dict[str, Json]:
    """One run folder; its row of a front. before: folders with a footprint, perhaps."""
    run = dataclasses.replace(call.configs[RunConfig], run_dir=os.fspath(request.out))
    search = call.configs[SearchConfig]
    if request.table:
        search = _for_another_device(search, request, call.folder.path)
    is_new = not request.out.exists()
    try:
        with RunFolder(request.out) as folder:
            _bring(request, call, before)
            inner = call.at(folder, call.configs.replaced([run, search, request.derive]))
            todo = steps_to_do((FOOTPRINT, DERIVE), inner)
            inner = fit_options(todo, inner)
            run_steps(todo, inner)
            tell_files(inner)
            job = inner.only(DERIVE.configs)
            return _row(request, result_of(job), job) if judged else {}
    except UserError:
        if is_new:  # nothing in it but what was brought
            shutil.rmtree(request.out, ignore_errors=True)
        raise


def _for_another_device(search: SearchConfig, request: Request, folder: Path) -> SearchConfig:
    """Without the target and the further devices of the search in `folder`, which is said: they
    were its own. What the command line asks for stays."""
    theirs = read_config(folder).get(SearchConfig.__name__, {})
    usual = {"target_latency_ms": SearchConfig.target_latency_ms, "also": SearchConfig.also}
    own = {"target_latency_ms": search.target_latency_ms, "also": list(search.also)}
    left_out = {
        name: value
        for name, value in own.items()
        if value == theirs.get(name) and value not in (usual[name], [])
    }
    for name, value in left_out.items():
        say(
            f"the search's own --{name}={value} does not hold on another device; "
            "--max_latency_ms sets a budget"
        )
    if search.objective == SearchConfig.objective and request.derive.max_latency_ms is None:
        say(
            f"no --max_latency_ms for {request.table}: networks are held to the middle between the "
            "space's fastest and slowest there"
        )
    taken = {name: usual[name] for name in left_out}
    return dataclasses.replace(search, **taken)  # type: ignore[arg-type]


def _row(request: Request, found: SearchResult, job: Inputs) -> dict[str, Json]:
    """A point of a front."""
    from pnas_tf.space.architecture import Architecture

    network = Architecture.load(job.folder / Artifact.ARCHITECTURE)
    accuracy = found.supernet_weights.validation_accuracy(
        network, found.dataset, batch_size=found.batch_size
    )
    return {
        "name": request.out.name,
        "budget_ms": request.derive.max_latency_ms,
        "predicted_ms": found.table.predict_ms(network),
        "alpha_accuracy": accuracy,
        "images": found.dataset.validation_size,
        "macs": network.macs,
        "parameters": network.parameters,
    }


def _bring(request: Request, call: Inputs, before: Sequence[Path]) -> None:
    """Puts the supernet and the tables there, and a footprint that was made with the same ones."""
    source, out = call.folder.path, request.out
    _clear(request, call)
    ignore = shutil.ignore_patterns(EVENTS, MEASURED)
    shutil.copytree(
        source / Artifact.SEARCH,
        out / Artifact.SEARCH,
        ignore=ignore,
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
    table = (out / Artifact.LATENCY_TABLE).read_bytes()
    for folder in before:
        steps, own = read_steps(folder), read_steps(out)
        known = (folder / Artifact.FOOTPRINT).exists() and "footprint" in steps
        if known and not own and (folder / Artifact.LATENCY_TABLE).read_bytes() == table:
            _copy(folder / Artifact.FOOTPRINT, out / Artifact.FOOTPRINT)
            write_steps(out, {"footprint": steps["footprint"]})


def _clear(request: Request, call: Inputs) -> None:
    """Takes away what another search or another device's table has left there: checkpoints with
    higher numbers would pass for newer ones, and tables in other formats choose rewrites."""
    (history, own_history), (table, own_table) = _brought(request, call)
    if own_history.exists() and not _alike(history, own_history):
        shutil.rmtree(request.out / Artifact.SEARCH)
    if own_table.exists() and not _alike(table, own_table):
        for name in TABLES.values():
            (request.out / name).unlink(missing_ok=True)


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


def _write_fronts(rows: dict[str, list[dict[str, Json]]], out: Path) -> None:
    from pnas_tf.report.pareto_plot import plot_pareto_front

    document: dict[str, Json] = {"format": "pnas_tf/front", "version": 1, "devices": dict(rows)}
    say(f"wrote {atomic.write_json(out / Artifact.FRONT, document)}")
    names = [Path(name).stem for name in rows]
    if len(set(names)) < len(names):  # as latency_table.json of two folders
        names = [f"{number}_{name}" for number, name in enumerate(names, start=1)]
    plots = files_of_devices(Artifact.FRONT_PLOT, names)
    for points, plot in zip(rows.values(), plots.values(), strict=True):
        say(f"wrote {plot_pareto_front(points, out / plot)}")
