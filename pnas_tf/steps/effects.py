"""Fits the effect model of a supernet that was trained without alpha, where the search was of that
kind, and writes search/effects.json."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    EffectsConfig,
    OptimizerConfig,
    PretrainedConfig,
    SearchConfig,
)
from pnas_tf.run.layout import OWN, Artifact
from pnas_tf.run.step import Step
from pnas_tf.steps.inputs import OF_SPACE, Inputs
from pnas_tf.steps.search import tables_read

if TYPE_CHECKING:
    from pnas_tf.latency.table import LatencyTable


def _tables(job: Inputs) -> dict[str, LatencyTable]:
    """Device -> its table."""
    from pnas_tf.latency.table import LatencyTable

    own, *others = tables_read(job)
    return {OWN: LatencyTable.load(own)} | {str(each): LatencyTable.load(each) for each in others}


def _run(job: Inputs) -> None:
    from pnas_tf.steps.derive import result_of

    result_of(job).fit_effects(job.configs[EffectsConfig], _tables(job))


def price_effects(job: Inputs) -> None:
    """Writes anew what each choice costs by the tables of this job, where there is an effect model.
    Raises UserError where its file is damaged."""
    from pnas_tf.search.worth import worth_of_choices
    from pnas_tf.steps.derive import result_of

    path = job.folder / Artifact.EFFECTS
    if path.exists():
        effects = result_of(job).effects
        effects.save(path, choices=worth_of_choices(job.space, effects, _tables(job)))


def _summary(job: Inputs) -> str:
    from pnas_tf.steps.derive import result_of

    return result_of(job).effects.words


def _wanted(job: Inputs) -> bool:
    from pnas_tf.search.recipe import ONE_SHOT

    return job.configs[SearchConfig].algorithm == ONE_SHOT


def _reads(job: Inputs) -> tuple[Path, ...]:
    return (job.folder / Artifact.SEARCH_HISTORY, *tables_read(job))


EFFECTS: Step[Inputs] = Step(
    "effects",
    (
        *OF_SPACE,
        SearchConfig,
        OptimizerConfig,
        EffectsConfig,
    ),
    _run,
    writes=lambda _: (Artifact.EFFECTS,),
    reads=_reads,
    summary=_summary,
    identity=lambda job: {"space": job.space.to_json(), "dataset": job.dataset.identity},
    wanted=_wanted,
    asked_by="--algorithm=one_shot",
    indirect=(PretrainedConfig,),  # chooses the space, and what was searched counts
)
