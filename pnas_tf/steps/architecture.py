"""Takes a network that was not searched: a published one, or that of a file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import ArchitectureConfig, DataConfig, PretrainedConfig, RunConfig
from pnas_tf.errors import UserError
from pnas_tf.run.layout import Artifact
from pnas_tf.run.step import Step
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    from pnas_tf.space.architecture import Architecture


def _asked_for(job: Inputs) -> Architecture:
    """With the classes that it was published or written with."""
    from pnas_tf.space.published import open_architecture

    config = job.configs[ArchitectureConfig]
    return open_architecture(config.architecture, resolution=config.train_resolution)


def _check(job: Inputs) -> None:
    from pnas_tf.data.run_space import check_channels

    check_channels(_asked_for(job).space)
    searched = [each for each in (Artifact.SEARCH, Artifact.DERIVATION) if job.has(each)]
    if searched:  # finished or not
        raise UserError(
            f"--architecture={job.configs[ArchitectureConfig].architecture}",
            expected="a run folder without a search",
            received=f"{searched[0]} in {job.folder.path}",
            fix="Choose another --run_dir, or leave --architecture out to train what was found.",
        )
    if job.source:
        from pnas_tf.networks.takeover import check_takeover

        check_takeover(_asked_for(job), job.pretrained)


def _run(job: Inputs) -> None:
    found = _asked_for(job)
    space = dataclasses.replace(found.space, classes=len(job.data.class_names))
    architecture = dataclasses.replace(found, space=space)
    architecture.save(job.folder / Artifact.ARCHITECTURE)


def _summary(job: Inputs) -> str:
    from pnas_tf.space.architecture import Architecture

    found = Architecture.load(job.folder / Artifact.ARCHITECTURE)
    return (
        f"{found.space.name}: {found.parameters / 1e6:.2f} M parameters, "
        f"{found.macs / 1e6:.0f} M MACs at {found.space.resolution} px, "
        f"{found.space.classes} classes"
    )


def _reads(job: Inputs) -> tuple[Path, ...]:
    name = job.configs[ArchitectureConfig].architecture
    return (Path(name),) if name.endswith(".json") else ()


ARCHITECTURE: Step[Inputs] = Step(
    "architecture",
    (RunConfig, DataConfig, ArchitectureConfig, PretrainedConfig),
    _run,
    writes=lambda _: (Artifact.ARCHITECTURE,),
    reads=_reads,
    identity=lambda job: {"classes": list(job.data.class_names)},
    check=_check,
    summary=_summary,
    unused=lambda _: (PretrainedConfig,),  # is only checked against the network
    wanted=lambda job: bool(job.configs[ArchitectureConfig].architecture),
    asked_by="--architecture",
)
