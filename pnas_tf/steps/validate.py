"""Compares predicted with measured latency on random networks and writes validation.json and
validation.png.

  pnas validate --run_dir=runs/phone --space=proxyless --networks=40 --max_mape=3

takes about 5 minutes on 2 cores (proxyless; most of it conversion) and prints how far predictions
are off; log.txt has bias, errors and rank correlations of each way of predicting, the MACs-only
baseline and the worst networks (--verbose prints them). Uses latency_table.json of the run folder
(pnas latency-table). Exit status 1 when the mean
absolute error in percent is above --max_mape.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    ConversionConfig,
    DataConfig,
    DeviceConfig,
    PretrainedConfig,
    ValidateConfig,
)
from pnas_tf.errors import UserError, number_of
from pnas_tf.run.layout import Artifact
from pnas_tf.run.step import Step
from pnas_tf.run.terminal import DETAILS, say, warn
from pnas_tf.steps.devices import binary_of, host_runtime, setup_of
from pnas_tf.steps.inputs import OF_SPACE, Inputs, by_name

if TYPE_CHECKING:
    from pnas_tf.space.architecture import Architecture


def _reads(job: Inputs) -> tuple[Path, ...]:
    networks = map(Path, job.configs[ValidateConfig].architectures)
    return (job.folder / Artifact.LATENCY_TABLE, *networks, *binary_of(job))


def _begin(job: Inputs) -> None:
    _ = job.table


def _run(job: Inputs) -> None:
    from pnas_tf.devices.registry import runner_for
    from pnas_tf.latency import validate
    from pnas_tf.report.validation_plot import plot_validation

    config = job.configs[ValidateConfig]
    if config.architectures:
        networks = _named(config.architectures)
    else:
        networks = validate.held_out_architectures(job.space, count=config.networks, seed=job.seed)
    runner = runner_for(job.configs[DeviceConfig], say=DETAILS)
    try:
        setup = setup_of(job, runner, DETAILS)
        document = validate.validate(job.table, networks, setup)
    finally:
        runner.close()
    document["max_mape_percent"] = config.max_mape
    validate.save(job.folder / Artifact.VALIDATION, document)
    plot_validation(document, job.folder / Artifact.VALIDATION_PLOT)
    setup.forget_sessions()


def _named(files: Sequence[str]) -> dict[str, Architecture]:
    """Networks by the names of their files."""
    from pnas_tf.space.architecture import Architecture

    found = {name: Architecture.load(path) for name, path in by_name(files).items()}
    if len(found) < 2:
        raise UserError(
            f"--architectures={','.join(files)}",
            expected="at least two networks: ranks and spread are of several",
            received=number_of(len(found), "network"),
            fix="Give more, or leave it out for random ones.",
        )
    return found


def _summary(job: Inputs) -> str:
    from pnas_tf.report.validation_text import read_validation, validation_words

    return validation_words(read_validation(job.folder / Artifact.VALIDATION))


def _report(job: Inputs) -> int:
    """Tells the figures; 1 when the bound is not held."""
    from pnas_tf.report.validation_text import (
        read_validation,
        validation_lines,
        validation_warnings,
    )

    found = read_validation(job.folder / Artifact.VALIDATION)
    for line in validation_lines(found):
        DETAILS(line)
    for meaning in validation_warnings(found):
        warn(meaning, found.warnings)
    error, bound = found.headline.mape_percent, job.configs[ValidateConfig].max_mape
    if bound is None or error <= bound:
        return 0
    say(f"mean absolute error {error:.2f} % is above --max_mape={bound:g}")
    return 1


VALIDATE: Step[Inputs] = Step(
    "validate",
    (
        *OF_SPACE,
        DeviceConfig,
        ConversionConfig,
        ValidateConfig,
    ),
    _run,
    writes=lambda _: (Artifact.VALIDATION, Artifact.VALIDATION_PLOT),
    reads=_reads,
    identity=lambda job: {"space": job.space.to_json(), "runtime": host_runtime(job)},
    begin=_begin,
    indirect=(DataConfig, PretrainedConfig),  # classes of the space, and which it is
    summary=_summary,
    report=_report,
)
