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
from dataclasses import dataclass
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
from pnas_tf.io.serialization import value_of
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.folder import RunFolder
from pnas_tf.run.layout import EVENTS, MEASURED, TABLES, Artifact, files_of_devices
from pnas_tf.run.records import read_steps, write_steps
from pnas_tf.run.settings import read_config
from pnas_tf.run.terminal import say, warn
from pnas_tf.steps.derive import DERIVE, result_of
from pnas_tf.steps.footprint import FOOTPRINT
from pnas_tf.steps.inputs import Inputs
from pnas_tf.steps.pipeline import fit_options, run_steps, steps_to_do, tell_files

if TYPE_CHECKING:
    from pnas_tf.search.result import SearchResult

CONFIGS = (
    DataConfig,
    SpaceConfig,
    PretrainedConfig,
    SearchConfig,
    OptimizerConfig,
    DeriveConfig,
    ExportConfig,
    SpecialiseConfig,
)
OWN = "the run's own device"
_LIMITS = ("max_latency_ms", "max_size_kb", "max_ram_kb", "max_macs", "max_parameters")


@dataclass(frozen=True)
class Request:
    """One network. table: of the device; "": the run's own. derive: with its budgets."""

    out: Path
    table: str
    derive: DeriveConfig


def requests_of(config: SpecialiseConfig, derive: DeriveConfig) -> list[Request]:
    """What the options ask for.

    Raises:
        UserError: no --out, no budget, or --budgets is no list of budgets.
    """
    if not config.out:
        raise UserError(
            "pnas specialise without --out",
            expected="a folder for what is made",
            received="none",
            fix="Add e.g. --out=runs/small",
        )
    if not config.budgets:
        return [_checked(Request(Path(config.out), config.table, derive), "pnas specialise")]
    where, fix = f"--budgets={config.budgets}", "See pnas specialise --help."
    document = atomic.read_json(Path(config.budgets), what="budgets", made_by="write it")
    rows = value_of(list[dict[str, object]], document, what=where, fix=fix)
    requests = []
    for number, row in enumerate(rows):
        place = f"{where}, number {number + 1}"
        known = {"name": str, "table": str, "size_dtype": str, **dict.fromkeys(_LIMITS, float)}
        unknown = set(row) - set(known)
        if unknown or "name" not in row:
            raise UserError(
                place,
                expected=f'an object with "name" and some of {", ".join(list(known)[1:])}',
                received=str(row)[:200],
                fix=fix,
            )
        values: dict[str, object] = {
            key: value_of(known[key], value, what=f"{key} of {place}", fix=fix)
            for key, value in row.items()
        }
        name, table = str(values.pop("name")), str(values.pop("table", config.table))
        own = dataclasses.replace(derive, **values)  # type: ignore[arg-type]
        requests.append(_checked(Request(Path(config.out) / Path(name).name, table, own), place))
    if len({request.out for request in requests}) < len(requests) or not requests:
        names = [request.out.name for request in requests]
        raise UserError(where, expected="names, all different", received=str(names), fix=fix)
    return requests


def _checked(request: Request, where: str) -> Request:
    from pnas_tf.search.budgets import Budget, check_budgets

    asked = {name: getattr(request.derive, name) for name in _LIMITS}
    if not request.table and not any(value is not None for value in asked.values()):
        raise UserError(
            where,
            expected=f"--table, or one of {', '.join(f'--{name}' for name in _LIMITS)}",
            received="neither another device nor a budget",
            fix="Add e.g. --max_latency_ms=12",
        )
    for name, value in asked.items():
        if value is not None:
            Budget(name.removeprefix("max_"), float(value))
    check_budgets(request.derive)
    if request.table:
        LatencyTable.load(request.table)
    return request


def check_specialise(call: Inputs) -> None:
    """Raises UserError on what is not there or does not suit the space, before anything is made."""
    if not call.has(Artifact.SEARCH_HISTORY):
        raise UserError(
            f"no finished search in {call.folder.path}",
            expected=f"{Artifact.SEARCH_HISTORY}",
            received="no such file",
            fix="Search first: pnas search --algorithm=one_shot with the same --run_dir.",
        )
    for request in requests_of(call.configs[SpecialiseConfig], call.configs[DeriveConfig]):
        if request.table:
            with named(request.table):
                LatencyTable.load(request.table).check_covers(call.space)


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
    run = RunConfig(run_dir=os.fspath(request.out), seed=call.seed)
    search = call.configs[SearchConfig]
    if request.table:
        search = _for_another_device(search, call.folder.path)
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


def _for_another_device(search: SearchConfig, folder: Path) -> SearchConfig:
    """Without the target and the further devices of the search in `folder`: they were its own. What
    the command line asks for stays."""
    theirs = read_config(folder).get(SearchConfig.__name__, {})
    if search.target_latency_ms == theirs.get("target_latency_ms"):
        search = dataclasses.replace(search, target_latency_ms=SearchConfig.target_latency_ms)
    if list(search.also) == theirs.get("also"):
        search = dataclasses.replace(search, also=())
    return search


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
    table = (out / Artifact.LATENCY_TABLE).read_bytes()
    for folder in before:
        steps, own = read_steps(folder), read_steps(out)
        known = (folder / Artifact.FOOTPRINT).exists() and "footprint" in steps
        if known and not own and (folder / Artifact.LATENCY_TABLE).read_bytes() == table:
            _copy(folder / Artifact.FOOTPRINT, out / Artifact.FOOTPRINT)
            write_steps(out, {"footprint": steps["footprint"]})


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
    plots = files_of_devices(Artifact.FRONT_PLOT, [Path(name).stem for name in rows])
    for points, plot in zip(rows.values(), plots.values(), strict=True):
        say(f"wrote {plot_pareto_front(points, out / plot)}")
