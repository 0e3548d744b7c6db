"""Another device or another budget from a search that is there, without searching again.

  pnas specialise --run_dir=runs/demo --out=runs/small --max_latency_ms=0.25 --max_size_kb=100

takes about 20 seconds on 2 cores (digits, space tiny) and makes --out a run folder of its own: the
supernet, the latency table, architecture.json and derivation.json. `pnas train --run_dir=runs/small
--init=inherit --epochs=3` trains it on, then `pnas export` and `pnas benchmark` go on there.
--table=phone.json is another device's. --budgets=FILE.json makes several at once, each in --out
below its name, and writes front.json with one front a device:

  [{"name": "phone", "table": "phone.json", "max_latency_ms": 12},
   {"name": "board", "max_latency_ms": 30, "max_size_kb": 250, "max_ram_kb": 128},
   {"name": "both", "max_latency_ms": 30, "also": ["phone.json=12"]}]

A search by --algorithm=one_shot ranks networks for any budget; what another search learnt is for
the target that it had.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
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
from pnas_tf.run.layout import OWN, Artifact, files_of_devices
from pnas_tf.run.records import check_owner, read_steps
from pnas_tf.run.settings import fixed_of, read_config
from pnas_tf.run.terminal import say, warn
from pnas_tf.search.recipe import ONE_SHOT
from pnas_tf.steps.closing import tell_files
from pnas_tf.steps.derive import DERIVE, result_of
from pnas_tf.steps.effects import EFFECTS, price_effects
from pnas_tf.steps.footprint import brought_footprint, kept_footprint
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.pipeline import fit_options, run_steps, steps_to_do
from pnas_tf.steps.search import SEARCH
from pnas_tf.steps.specialise_folder import bring, check_out
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
    check_owner(DERIVE.name, [Artifact.ARCHITECTURE], call.folder.path)
    _check_finished(call)
    _check_searched_with(call)
    for request in requests_of(call.configs[SpecialiseConfig], call.configs[DeriveConfig]):
        with named(request.where):
            if request.table:
                with named(request.table):
                    LatencyTable.load(request.table).check_covers(call.space, given=request.table)
            check_out(request, call)
            _check_possible(request, call)


def _check_possible(request: Request, call: Inputs) -> None:
    """Raises UserError where no network keeps the budgets, as far as that is known: those of files
    are looked at where their footprint is there."""
    from pnas_tf.search.budgets import OF_FILES, budgets_of
    from pnas_tf.search.derivation import limits_of
    from pnas_tf.search.targets import search_targets
    from pnas_tf.tflite.footprint import Footprint

    table = LatencyTable.load(request.table or call.folder / Artifact.LATENCY_TABLE)
    if request.derive.derive != "budget":
        return
    search, _ = _searched_for(request, call)
    budgets, footprint = budgets_of(request.derive), None
    if any(budget.kind in OF_FILES for budget in budgets):
        kept = _kept_footprint(request, call)
        footprint = Footprint.load(kept) if kept.exists() else None
    if footprint is None:
        budgets = [budget for budget in budgets if budget.kind not in OF_FILES]
    targets = search_targets(call.space, table, search)
    limits_of(call.space, table, targets, budgets, footprint=footprint, files=None)


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


def specialise(call: Inputs) -> None:
    """Makes a run folder of each request, and the fronts of several. Raises UserError where one of
    them cannot be made; those before it are then on the fronts."""
    config = call.configs[SpecialiseConfig]
    algorithm = call.configs[SearchConfig].algorithm
    if algorithm != ONE_SHOT:
        warn(
            f"{call.folder.path} was searched by --algorithm={algorithm} for one target; what it "
            "learnt is for that. --algorithm=one_shot ranks networks for any."
        )
    rows: dict[str, list[dict[str, Json]]] = {}
    try:
        for request in requests_of(config, call.configs[DeriveConfig]):
            with named(request.where):
                row = _make(request, call, judged=bool(config.budgets))
            rows.setdefault(request.table or OWN, []).append(row)
    except UserError:
        if config.budgets and rows:
            _write_fronts(rows, Path(config.out))
        raise
    if config.budgets:
        _write_fronts(rows, Path(config.out))


def _make(request: Request, call: Inputs, *, judged: bool) -> dict[str, Json]:
    """One run folder; its row of a front."""
    run = dataclasses.replace(call.configs[RunConfig], run_dir=os.fspath(request.out))
    search, left_out = _searched_for(request, call)
    _tell_left_out(request, search, left_out)
    is_new = not request.out.exists()
    try:
        with RunFolder(request.out) as folder:
            bring(request, call, folder)
            inner = call.at(folder, call.configs.replaced([run, search, request.derive]))
            price_effects(inner)
            footprint = brought_footprint(_kept_footprint(request, call))
            todo = steps_to_do((footprint, DERIVE), inner)
            inner = fit_options(todo, inner)
            run_steps(todo, inner)
            tell_files(inner)
            job = inner.only(DERIVE.configs)
            return _row(request, result_of(job), job) if judged else {}
    except UserError:
        if is_new:  # nothing in it but what was brought
            shutil.rmtree(request.out, ignore_errors=True)
        raise


def _kept_footprint(request: Request, call: Inputs) -> Path:
    assert isinstance(call.folder, RunFolder)
    asked = call.at(call.folder, call.configs.replaced([request.derive]))
    return kept_footprint(asked, request.table)


def _searched_for(request: Request, call: Inputs) -> tuple[SearchConfig, dict[str, Json]]:
    """The search's options for a request, and what of them is left out: on another device the
    target and the further devices that the search had of its own. What the command line asks for
    stays."""
    search = call.configs[SearchConfig]
    if not request.table:
        return request.of(search), {}
    theirs = read_config(call.folder.path).get(SearchConfig.__name__, {})
    usual: dict[str, Json] = {
        "target_latency_ms": SearchConfig.target_latency_ms,
        "also": SearchConfig.also,
    }
    own: dict[str, Json] = {
        "target_latency_ms": search.target_latency_ms,
        "also": list(search.also),
    }
    left_out = {
        name: value
        for name, value in own.items()
        if value == theirs.get(name) and value not in (usual[name], [])
    }
    taken = {name: usual[name] for name in left_out}
    search = dataclasses.replace(search, **taken)  # type: ignore[arg-type]
    return request.of(search), left_out


def _tell_left_out(request: Request, search: SearchConfig, left_out: Mapping[str, Json]) -> None:
    for name, value in left_out.items():
        say(
            f"the search's own --{name}={value} does not hold on another device; "
            "--max_latency_ms sets a budget"
        )
    is_usual = search.objective == SearchConfig.objective
    if request.table and is_usual and request.derive.max_latency_ms is None:
        say(
            f"no --max_latency_ms for {request.table}: networks are held to the middle between the "
            "space's fastest and slowest there"
        )


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
