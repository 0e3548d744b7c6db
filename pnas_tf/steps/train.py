"""Trains the network of architecture.json on the run's dataset, from scratch or from the searched
weights.

  pnas train --run_dir=runs/demo --dataset=digits

takes about a minute on 2 cores (digits, space tiny, 30 epochs), prints one line an epoch and the
test accuracy, and writes train/model.keras, train/result.json and train/history.json. A stopped
training goes on from its last checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from pnas_tf.config import (
    DataConfig,
    DistributionConfig,
    OptimizerConfig,
    RunConfig,
    TrainConfig,
)
from pnas_tf.run.folder import RunFolder

CONFIGS = (RunConfig, DataConfig, TrainConfig, OptimizerConfig, DistributionConfig)
OUTPUTS = ["train/model.keras", "train/result.json", "train/history.json"]


def main(
    folder: RunFolder,
    run: RunConfig,
    data: DataConfig,
    config: TrainConfig,
    optimizer: OptimizerConfig,
    distribution: DistributionConfig,
) -> None:
    """The training step of a run."""
    from pnas_tf.data.dataset import load_dataset
    from pnas_tf.space.architecture import Architecture
    from pnas_tf.training.distribution import start
    from pnas_tf.training.result import check_classes

    started = start(distribution)
    architecture = Architecture.load(folder / "architecture.json")
    if config.train_distort_color is not None:
        data = dataclasses.replace(data, distort_color=config.train_distort_color)
    dataset = load_dataset(data, resolution=architecture.space.resolution)
    check_classes(architecture.space.classes, dataset)
    inputs: dict[str, Any] = {
        "architecture": folder / "architecture.json",
        "dataset": dataset.fingerprint,
        "config": config,
        "optimizer": optimizer,
        "distribution": distribution,
        "seed": run.seed,
    }
    if config.init == "inherit":
        inputs["search"] = folder / "search/history.json"
    folder.step(
        "train",
        inputs=inputs,
        outputs=OUTPUTS,
        partial=["train"],
        work=functools.partial(
            _train, folder, run, config, optimizer, architecture, dataset, distribution, started
        ),
    )


def _train(
    folder: RunFolder,
    run: RunConfig,
    config: TrainConfig,
    optimizer: OptimizerConfig,
    architecture: Any,
    dataset: Any,
    distribution: DistributionConfig,
    started: Any,
) -> None:
    import tensorflow as tf

    from pnas_tf.search.supernet_weights import Inheritance
    from pnas_tf.training.loop import train_network
    from pnas_tf.training.result import save_outcome

    tf.config.experimental.enable_op_determinism()
    weights = None
    if config.init == "inherit":
        inheritance = Inheritance(folder / "search", architecture.space, optimizer=optimizer)
        weights = inheritance.network(
            architecture, dataset, batch_size=config.batch_size
        ).get_weights()
    trained = train_network(
        architecture,
        dataset,
        config,
        folder / "train",
        optimizer=optimizer,
        seed=run.seed,
        initial_weights=weights,
        distribution=started,
        options=distribution,
    )
    if folder.follows:
        return
    result = save_outcome(
        trained.model, dataset, folder / "train", batch_size=config.batch_size, seed=run.seed
    )
    print(f"test accuracy {result['test_accuracy']:.2%} of {result['test_images']} images")
    print(f"wrote {folder / 'train/model.keras'}")
