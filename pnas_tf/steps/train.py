"""Trains the network of architecture.json on the run's dataset: from scratch, from the searched
weights, or from weights that were learnt on other images.

  pnas train --run_dir=runs/demo --dataset=digits

takes about a minute on 2 cores (digits, space tiny, 30 epochs), prints the test accuracy, with
--verbose a line an epoch, and writes train/model.keras, train/result.json, train/answers.json
(right and wrong by class) and train/history.json. A stopped training goes on from its last
checkpoint. A network that was not searched is trained by

  pnas train --run_dir=runs/flowers --dataset=folder:flowers --architecture=efficientnet_lite0
    --train_resolution=96 --pretrained=imagenet

which fine-tunes a thousand photographs in about 4 minutes; docs/howto/pretrained.md.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pnas_tf.config import (
    DataConfig,
    DistributionConfig,
    OptimizerConfig,
    PretrainedConfig,
    RunConfig,
    TrainConfig,
)
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run.layout import Artifact
from pnas_tf.run.step import Demand, Step
from pnas_tf.run.terminal import say
from pnas_tf.steps.inputs import Inputs

if TYPE_CHECKING:
    import tf_keras as keras

    from pnas_tf.networks.takeover import Takeover


def _inherits(job: Inputs) -> bool:
    """Whether the network starts from the weights of the run's own supernet."""
    return job.init == "inherit"


def _takes_over(job: Inputs) -> bool:
    """Whether it starts from those of --pretrained itself."""
    return job.init == "pretrained"


def _reads(job: Inputs) -> tuple[Path, ...]:
    from pnas_tf.interop.pretrained_files import find_pretrained, teacher_files

    source = job.configs[TrainConfig].teacher
    searched = (job.folder / Artifact.SEARCH_HISTORY,) if _inherits(job) else ()
    others = find_pretrained(job.source).files if _takes_over(job) and job.source else ()
    return (
        job.folder / Artifact.ARCHITECTURE,
        *searched,
        *others,
        *(teacher_files(source) if source else ()),
    )


def demands_of(config: TrainConfig) -> tuple[Demand, ...]:
    """A batch of the training; inherited weights re-estimate statistics on the train split."""
    from pnas_tf.data.fitted_options import fit_split

    splits = (fit_split(config), *(("train",) if config.init == "inherit" else ()))
    return tuple(Demand(split, "batch_size", config.batch_size) for split in splits)


def _check(job: Inputs) -> None:
    """Refuses weights that cannot be read, or are not the network's."""
    from pnas_tf.training.forward import check_depth
    from pnas_tf.training.recipe import tuning_of

    tuning_of(job.configs[TrainConfig])
    if job.has(Artifact.ARCHITECTURE):
        check_depth(job.architecture.space, job.configs[TrainConfig])
    _ = job.teacher
    if job.init == "pretrained" and not job.source:
        raise UserError(
            "--init=pretrained",
            expected="weights to start from",
            received="no --pretrained",
            fix="Add e.g. --pretrained=imagenet.",
        )
    if _inherits(job) and job.has(Artifact.ARCHITECTURE) and not job.has(Artifact.SEARCH_HISTORY):
        raise UserError(
            "--init=inherit",
            expected="the supernet of a search in this folder",
            received=f"no {Artifact.SEARCH_HISTORY} in {job.folder.path}",
            fix="Search there first: pnas search; or write --init=scratch, or with --pretrained "
            "--init=pretrained.",
        )
    if not _takes_over(job):
        return
    known = job.pretrained
    if job.has(Artifact.ARCHITECTURE):
        from pnas_tf.networks.takeover import check_takeover

        check_takeover(job.architecture, known)


def _started(job: Inputs) -> tuple[keras.Model, Takeover]:
    """The network with the weights of --pretrained."""
    from pnas_tf.training.fine_tuning import start_from

    optimizer = job.configs[OptimizerConfig]
    return start_from(
        job.pretrained, job.architecture, job.network_dataset, optimizer, seed=job.seed
    )


def _begin(job: Inputs) -> None:
    _ = job.distribution, job.network_dataset


def _initial(job: Inputs) -> tuple[keras.Model | None, Takeover | None]:
    """The network to start from, and what it took over; None: drawn from the seed."""
    from pnas_tf.search.supernet_weights import SupernetWeights

    if _takes_over(job):
        return _started(job)
    if not _inherits(job):
        return None, None
    architecture, dataset = job.architecture, job.network_dataset
    supernet = SupernetWeights(
        job.folder / Artifact.SEARCH,
        architecture.space,
        optimizer=job.configs[OptimizerConfig],
    )
    size = dataset.fit_batch_size(job.configs[TrainConfig])
    return supernet.network(architecture, dataset, batch_size=size), None


def _origin(job: Inputs) -> dict[str, object] | None:
    """For result.json: whose weights the searched ones that the network inherits started from."""
    from pnas_tf.search.start import source_of_start

    source = source_of_start(job.folder / Artifact.SEARCH) if _inherits(job) else None
    return None if source is None else {"source": source, "through": str(Artifact.SEARCH_START)}


def _run(job: Inputs) -> None:
    from pnas_tf.training.loop import TrainRecipe, train_network
    from pnas_tf.training.result import save_result

    config, dataset = job.configs[TrainConfig], job.network_dataset
    folder = job.folder / Artifact.TRAINING
    network, takeover = _initial(job)
    origin = _origin(job) if takeover is None else asdict(takeover)
    for line in takeover.lines() if takeover else ():
        say(line)
    trained = train_network(
        job.architecture,
        dataset,
        TrainRecipe(
            config,
            job.configs[OptimizerConfig],
            job.seed,
            tensorboard=job.configs[RunConfig].tensorboard,
            teacher=job.teacher,
        ),
        folder,
        initial_weights=None if network is None else network.get_weights(),
        distribution=job.distribution,
    )
    if job.distribution.is_chief:
        save_result(
            trained.model,
            dataset,
            folder,
            batch_size=dataset.fit_batch_size(config),
            seed=job.seed,
            pretrained=origin,
        )


def _summary(job: Inputs) -> str:
    from pnas_tf.data.accuracy import accuracy_words

    path = job.folder / Artifact.TRAINING_RESULT
    result = atomic.read_json(path, what="result of a training", made_by="pnas train")
    assert isinstance(result, dict)
    accuracy, images = result["test_accuracy"], result["test_images"]
    assert isinstance(accuracy, float) and isinstance(images, int)
    return f"test accuracy {accuracy_words(accuracy, images)}"


TRAIN: Step[Inputs] = Step(
    "train",
    (RunConfig, DataConfig, PretrainedConfig, TrainConfig, OptimizerConfig, DistributionConfig),
    _run,
    writes=lambda _: (
        Artifact.NETWORK,
        Artifact.TRAINING_RESULT,
        Artifact.TRAINING_ANSWERS,
        Artifact.TRAINING_HISTORY,
    ),
    reads=_reads,
    identity=lambda job: {"dataset": job.network_dataset.identity},
    check=_check,
    begin=_begin,
    summary=_summary,
    demands=lambda job: demands_of(job.configs[TrainConfig]),
    partial=(Artifact.TRAINING,),
    together=True,
)
