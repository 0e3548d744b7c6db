"""Trains the network of architecture.json on the run's dataset, from scratch or from the searched
weights.

  pnas train --run_dir=runs/demo --dataset=digits

takes about a minute on 2 cores (digits, space tiny, 30 epochs), prints one line an epoch and the
test accuracy, and writes train/model.keras, train/result.json, train/answers.json (right and wrong
by class) and train/history.json. A stopped training goes on from its last checkpoint.
"""

from __future__ import annotations

from pathlib import Path

from pnas_tf.config import (
    DataConfig,
    DistributionConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
)
from pnas_tf.run.layout import Artifact
from pnas_tf.run.step import Demand, Step
from pnas_tf.steps.inputs import Inputs


def _inherits(job: Inputs) -> bool:
    return job.configs[TrainConfig].init == "inherit"


def _reads(job: Inputs) -> tuple[Path, ...]:
    searched = (job.folder / Artifact.SEARCH_HISTORY,) if _inherits(job) else ()
    return (job.folder / Artifact.ARCHITECTURE, *searched)


def demands_of(config: TrainConfig) -> tuple[Demand, ...]:
    """A batch of the training; inherited weights re-estimate statistics on the train split."""
    from pnas_tf.data.fitted_options import fit_split

    splits = (fit_split(config), *(("train",) if config.init == "inherit" else ()))
    return tuple(Demand(split, "batch_size", config.batch_size) for split in splits)


def _begin(job: Inputs) -> None:
    _ = job.distribution, job.network_dataset


def _run(job: Inputs) -> None:
    from pnas_tf.data.accuracy import accuracy_words
    from pnas_tf.search.supernet_weights import SupernetWeights
    from pnas_tf.training.loop import TrainRecipe, train_network
    from pnas_tf.training.result import save_result

    config, optimizer = job.configs[TrainConfig], job.configs[OptimizerConfig]
    architecture, dataset = job.architecture, job.network_dataset
    size = dataset.fit_batch_size(config)
    folder = job.folder / Artifact.TRAINING
    weights = None
    if _inherits(job):
        supernet = SupernetWeights(
            job.folder / Artifact.SEARCH, architecture.space, optimizer=optimizer
        )
        network = supernet.network(architecture, dataset, batch_size=size)
        weights = network.get_weights()
    trained = train_network(
        architecture,
        dataset,
        TrainRecipe(config, optimizer, job.seed),
        folder,
        initial_weights=weights,
        distribution=job.distribution,
    )
    if job.distribution.is_chief:
        result = save_result(trained.model, dataset, folder, batch_size=size, seed=job.seed)
        accuracy, images = result["test_accuracy"], result["test_images"]
        assert isinstance(accuracy, float) and isinstance(images, int)
        print(f"test accuracy {accuracy_words(accuracy, images)}")


TRAIN: Step[Inputs] = Step(
    "train",
    (RunConfig, DataConfig, TrainConfig, OptimizerConfig, DistributionConfig),
    _run,
    writes=lambda _: (
        Artifact.NETWORK,
        Artifact.TRAINING_RESULT,
        Artifact.TRAINING_ANSWERS,
        Artifact.TRAINING_HISTORY,
    ),
    reads=_reads,
    identity=lambda job: {"dataset": job.network_dataset.identity},
    begin=_begin,
    demands=lambda job: demands_of(job.configs[TrainConfig]),
    partial=(Artifact.TRAINING,),
    together=True,
)
