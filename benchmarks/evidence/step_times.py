"""What a weight step, an architecture step and a training step take, interleaved in one process on
a machine at rest."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evidence.plan import Study
from pnas_tf.config import OptimizerConfig
from pnas_tf.search.targets import Target
from pnas_tf.space.architecture import Architecture

_WARM_UPS, _ROUNDS = (
    12,
    24,
)  # a supernet's step compiles blocks of new shapes for the first dozen paths


def step_times(study: Study, dataset: Any, *, target: Target, networks: Path) -> dict[str, Any]:
    """{"median_ms": {"training": ..., "weight": ..., "comparing": ..., "two_path": ...,
    "reinforce": ...}} on one core at the study's batch sizes.

    training: the mean over the random networks of the middle budget. Paths are drawn uniformly, as
    in the warm-up phase.
    """
    steps = {**_training_steps(study, dataset, networks), **_search_steps(study, dataset, target)}
    samples: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(_WARM_UPS + _ROUNDS):
        for name, step in steps.items():
            began = time.perf_counter()
            step(round_number)
            if round_number >= _WARM_UPS:
                samples[name].append(1e3 * (time.perf_counter() - began))
    medians = {name: statistics.median(values) for name, values in samples.items()}
    training = [medians.pop(name) for name in list(medians) if name.startswith("training_")]
    return {"median_ms": {"training": statistics.mean(training), **medians}, "samples_ms": samples}


def _batch(dataset: Any, size: int) -> tuple[Any, Any]:
    return next(iter(dataset.train_batches(batch_size=size, seed=0, epoch=0)))


def _training_steps(study: Study, dataset: Any, networks: Path) -> dict[str, Callable[[int], Any]]:
    from pnas_tf.networks.network import build_network
    from pnas_tf.training.step import TrainStep

    recipe = study.training
    found: dict[str, Callable[[int], Any]] = {}
    images, labels = _batch(dataset, dataset.fit_batch_size(recipe))
    for number in range(min(4, study.random_networks)):
        network = Architecture.load(networks / f"random_{study.middle.name}_{number}.json")
        step = TrainStep(build_network(network), OptimizerConfig())

        def train(at: int, step: TrainStep = step) -> None:
            step(images, labels, learning_rate=0.01, step=at)

        found[f"training_{number}"] = train
    return found


def _search_steps(study: Study, dataset: Any, target: Target) -> dict[str, Callable[[int], Any]]:
    """Steps of the library's own search, at the end of whose work nothing is kept."""
    import tempfile

    from pnas_tf.networks.layers import Normalisation
    from pnas_tf.search import sampling
    from pnas_tf.search.loop import Search
    from pnas_tf.search.objective import SearchTargets
    from pnas_tf.search.recipe import SearchRecipe
    from pnas_tf.search.weight_step import path_result
    from pnas_tf.supernet.numerics import Numerics
    from pnas_tf.supernet.supernet import Supernet

    optimizer = OptimizerConfig()
    found: dict[str, Callable[[int], Any]] = {}
    for algorithm in (
        "two_path",
        *(("reinforce",) if any(row[0] == "reinforce" for row in study.searches) else ()),
    ):
        # A rate of almost nothing keeps the probabilities where they are.
        config = dataclasses.replace(study.search_config(algorithm), arch_learning_rate=1e-9)
        supernet = Supernet(
            study.space,
            config,
            numerics=Numerics(
                Normalisation.of(optimizer), optimizer.weight_decay, optimizer.no_decay
            ),
            seed=0,
        )
        search = Search(
            supernet,
            dataset,
            SearchTargets((target,), config),
            SearchRecipe(config, optimizer, seed=0),
            folder=Path(tempfile.mkdtemp()),
        )
        weight, alpha = (
            _batch(dataset, search.sizes.batch_size),
            _batch(dataset, search.sizes.architecture_batch_size),
        )

        def train(at: int, search: Any = search, batch: Any = weight) -> None:
            search.train_weights(at, *batch)

        def learn(at: int, search: Any = search, batch: Any = alpha) -> None:
            search.train_alpha(*batch)

        def compare(at: int, search: Any = search, batch: Any = weight) -> None:
            path_result(
                search.supernet,
                sampling.sample_path(
                    search.probabilities, sampling.generator_at(0, "compared", at)
                ),
                *batch,
            )

        if "weight" not in found:
            found |= {"weight": train, "comparing": compare}
        found[algorithm] = learn
    return found


def ratio_by_steps(
    medians: dict[str, float],
    *,
    weight_steps: int,
    architecture_steps: int,
    comparing_steps: int,
    trained_steps: int,
    algorithm: str,
    training_steps: int,
) -> float:
    """Search time over training time, from the steps of each. comparing_steps: batches of the
    networks that the derivation compared; trained_steps: training steps of those that it trained
    on."""
    search = (
        weight_steps * medians["weight"]
        + architecture_steps * medians[algorithm]
        + comparing_steps * medians.get("comparing", 0.0)
    )
    search += trained_steps * medians["training"]
    return float(np.divide(search, training_steps * medians["training"]))
