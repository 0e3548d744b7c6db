"""Takes an architecture from a finished search, within a budget, and with --sweep one for each of
several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DeriveConfig,
    ExportConfig,
    OptimizerConfig,
    PretrainedConfig,
    RunConfig,
    SearchConfig,
    SweepConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.options import heeded
from pnas_tf.run.layout import Artifact, sweep_architecture
from pnas_tf.run.step import Demand, Step
from pnas_tf.run.terminal import DETAILS, say, warn
from pnas_tf.steps.footprint import dtypes_of, file_options, files_of, tables_of
from pnas_tf.steps.inputs import OF_SPACE, Inputs
from pnas_tf.steps.search import tables_read

if TYPE_CHECKING:
    from pathlib import Path

    from pnas_tf.search.file_limits import FileLimits
    from pnas_tf.search.result import SearchResult
    from pnas_tf.search.targets import Target
    from pnas_tf.space.architecture import Architecture

CONFIGS = (
    *OF_SPACE,
    SearchConfig,
    OptimizerConfig,
    DeriveConfig,
    ExportConfig,
)


def result_of(job: Inputs) -> SearchResult:
    """The search of a run."""
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.result import SearchResult

    recipe = SearchRecipe(job.configs[SearchConfig], job.configs[OptimizerConfig], seed=job.seed)
    return SearchResult(job.folder / Artifact.SEARCH, job.space, job.dataset, job.table, recipe)


def _limits(job: Inputs) -> FileLimits:
    """All budgets. Raises UserError on what no network keeps together."""
    from pnas_tf.search.budgets import budgets_of
    from pnas_tf.search.derivation import limits_of
    from pnas_tf.tflite.footprint import Footprint

    config, of_files = job.configs[DeriveConfig], bool(dtypes_of(job))
    return limits_of(
        job.space,
        job.table,
        job.targets,
        budgets_of(config),
        footprint=Footprint.load(job.folder / Artifact.FOOTPRINT) if of_files else None,
        files=files_of(job) if of_files else None,
    )


def _check(job: Inputs) -> None:
    """As far as the files are there."""
    from pnas_tf.search.budgets import check_budgets
    from pnas_tf.search.recipe import check_derivation

    config = job.configs[DeriveConfig]
    check_budgets(config)
    check_derivation(job.configs[SearchConfig], config)
    if job.configs[ExportConfig].export_resolution is not None:
        _check_resolution(job)
    if _is_known(job) and config.derive == "budget":
        _limits(job)


def _check_resolution(job: Inputs) -> None:
    """Raises UserError on files of another size than that at which a limit is judged."""
    from pnas_tf.search.budgets import budgets_of
    from pnas_tf.search.file_limits import check_resolution

    check_resolution(
        budgets_of(job.configs[DeriveConfig]),
        job.configs[ExportConfig],
        job.space.resolution,
        also=bool(job.configs[SearchConfig].also),
    )


def _is_known(job: Inputs) -> bool:
    """Whether the files that budgets are judged by are there."""
    return job.has(Artifact.LATENCY_TABLE) and (not dtypes_of(job) or job.has(Artifact.FOOTPRINT))


def _check_sweep(job: Inputs) -> None:
    """As far as the files are there: each budget alone, and beside those that all networks keep."""
    _milliseconds(job)
    budgets = _budgets(job) if job.has(Artifact.LATENCY_TABLE) else []
    for budget in budgets if _is_known(job) else ():
        _limits(job).swept(budget).check_possible(job.space)


def _budgets(job: Inputs) -> list[Target]:
    """Of --sweep. Raises UserError on what no network can keep to."""
    from pnas_tf.search.targets import latency_budget

    return [
        latency_budget(job.space, job.table, milliseconds, flag="--sweep")
        for milliseconds in _milliseconds(job)
    ]


def _milliseconds(job: Inputs) -> list[float]:
    texts = job.configs[SweepConfig].sweep
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise UserError(
            "--sweep",
            expected="budgets in ms, comma-separated",
            received=repr(",".join(texts)),
            fix="Write e.g. --sweep=40,60,80",
        ) from error


def _reads(job: Inputs) -> tuple[Path, ...]:
    from pnas_tf.search.recipe import ONE_SHOT

    own = (job.folder / Artifact.SEARCH_HISTORY, *tables_read(job))
    if job.configs[SearchConfig].algorithm == ONE_SHOT:
        own = (*own, job.folder / Artifact.EFFECTS)
    if not dtypes_of(job):
        return own
    others = (path for path in tables_of(job) if path not in own)
    return (*own, job.folder / Artifact.FOOTPRINT, *others)


def _identity(job: Inputs) -> dict[str, object]:
    return {"space": job.space.to_json(), "dataset": job.dataset.identity}


def _remade_by(job: Inputs) -> dict[str, object]:
    """Options of the export count where a budget is of its files."""
    return {"export": file_options(job.configs[ExportConfig])} if dtypes_of(job) else {}


def _demands(job: Inputs) -> tuple[Demand, ...]:
    """A batch of the train split for the networks that are trained on."""
    config = job.configs[DeriveConfig]
    if config.derive != "budget" or min(config.derive_networks, config.derive_trained) < 2:
        return ()
    return (Demand("train", "derive_batch_size", config.derive_batch_size),)


def _derive(job: Inputs) -> None:
    config = heeded(job.configs[DeriveConfig])
    limits = _limits(job) if config.derive == "budget" else None
    found = result_of(job).derivation(config, limits=limits, progress=DETAILS)
    if limits is None:
        _tell_beyond(job.targets, found.architecture)
    found.save(job.folder.path)


def _tell_beyond(targets: Sequence[Target], network: Architecture) -> None:
    """Says what a network that was held to nothing takes more than the search was to reach."""
    from pnas_tf.search.derive import path_of

    for target in targets:
        quantity = target.quantity
        value = quantity.of(path_of(network))
        if value > target.value:
            warn(
                f"{quantity.name} {value:.4g} {quantity.unit} is above the target of "
                f"{target.value:.4g}: --derive=most_probable holds to none"
            )


def _summary(job: Inputs) -> str:
    """The network that was found, and what it takes of each budget."""
    from pnas_tf.report.budgets import derived_budgets
    from pnas_tf.space.architecture import Architecture

    found = Architecture.load(job.folder / Artifact.ARCHITECTURE)
    parts = [f"a network of {found.macs / 1e6:.3g} M MACs, {found.parameters / 1e3:.4g} k weights"]
    for row in derived_budgets(job.folder.path):
        value = row["predicted"] if row["measured"] is None else row["measured"]
        parts.append(f"{row['name']} {value:.4g} of {row['most']:.4g} {row['unit']}")
    return ", ".join(parts)


def _sweep_summary(job: Inputs) -> str:
    names = ", ".join(f"{budget:g}" for budget in _milliseconds(job))
    return f"a network for each of {names} ms"


def _sweep(job: Inputs) -> None:
    """An architecture for each budget, with its accuracy by supernet weights."""
    from pnas_tf.data.accuracy import accuracy_words
    from pnas_tf.report.pareto_plot import plot_pareto_front
    from pnas_tf.steps.tensorboard import write_sweep

    rows, points, images = [], [], job.dataset.validation_size
    for point in result_of(job).sweep(
        _budgets(job), job.configs[DeriveConfig], limits=_limits(job), progress=DETAILS
    ):
        points.append(point)
        name = sweep_architecture(point.budget_ms)
        point.architecture.save(job.folder / name)
        rows.append(
            {
                "budget_ms": point.budget_ms,
                "architecture": name,
                "predicted_ms": point.predicted_ms,
                "alpha_accuracy": point.validation_accuracy,
                "images": images,
                "macs": point.architecture.macs,
                "parameters": point.architecture.parameters,
            }
        )
        say(
            f"budget {point.budget_ms:g} ms: predicted {point.predicted_ms:.4g} ms, "
            f"{point.architecture.macs} MACs, top-1 on the search's validation split "
            f"{accuracy_words(point.validation_accuracy, images)}"
        )
    if job.configs[RunConfig].tensorboard:
        write_sweep(job.folder.path, points)
    plot_pareto_front(rows, job.folder / Artifact.SWEEP_PLOT)
    atomic.write_json(
        job.folder / Artifact.SWEEP, {"format": "pnas_tf/sweep", "version": 1, "networks": rows}
    )


DERIVE: Step[Inputs] = Step(
    "derive",
    CONFIGS,
    _derive,
    writes=lambda _: (Artifact.ARCHITECTURE, Artifact.DERIVATION),
    reads=_reads,
    identity=_identity,
    remade_by=_remade_by,
    demands=_demands,
    check=_check,
    summary=_summary,
    # The first chooses the space, and what was searched counts.
    indirect=(PretrainedConfig, ExportConfig),
)

SWEEP: Step[Inputs] = Step(
    "sweep",
    (*CONFIGS, SweepConfig),
    _sweep,
    writes=lambda job: (
        Artifact.SWEEP,
        Artifact.SWEEP_PLOT,
        *map(sweep_architecture, _milliseconds(job)),
    ),
    reads=_reads,
    identity=_identity,
    remade_by=_remade_by,
    demands=_demands,
    check=_check_sweep,
    wanted=lambda job: bool(job.configs[SweepConfig].sweep),
    summary=_sweep_summary,
    indirect=(PretrainedConfig, ExportConfig),
)
