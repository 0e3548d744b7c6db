"""What can alpha see? What each candidate of each block adds to the supernet's cross-entropy, after
training by uniform paths.

  python -m benchmarks.supernet_effects --study=fashion --steps=1200 --shortcut_gamma=0.3

takes 2 minutes on one core. Prints one line a block: for each candidate its effect on the
cross-entropy of the validation split (lower is better), from a line fitted through random paths,
each on one batch and by that batch's statistics. Where `zero` costs no more than the standard
error, no gradient can teach alpha to keep the block. Where networks of the study have been trained
(--output), it also says how the supernet's cross-entropy orders them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pnas_tf.config import SearchConfig

BATCH, RATE = 128, 0.2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--study", default="fashion", help="data and space of a study of benchmarks/evidence"
    )
    parser.add_argument(
        "--output",
        default="runs/evidence",
        help="where the study's jobs are; its trained networks are ranked",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=1200,
        help=f"weight steps on {BATCH} images, cosine from rate {RATE} to zero",
    )
    parser.add_argument("--paths", type=int, default=400, help="random paths that are judged")
    parser.add_argument("--shortcut_gamma", type=float, default=SearchConfig.shortcut_gamma)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from benchmarks.evidence.studies import STUDIES
    from benchmarks.evidence.work import Workshop
    from pnas_tf.search.weight_step import path_result
    from pnas_tf.supernet.supernet import Supernet

    shop = Workshop(STUDIES[options.study], Path(options.output))
    supernet = Supernet(
        shop.study.space,
        SearchConfig(weights_init="aligned", shortcut_gamma=options.shortcut_gamma),
        seed=options.seed,
    )
    accuracy = train(supernet, shop.dataset, steps=options.steps, seed=options.seed)
    print(f"accuracy of the last 100 batches: {100 * accuracy:.1f} %")
    batches = list(shop.dataset.validation_batches(batch_size=500, seed=0, epoch=0, start_batch=0))[
        :4
    ]
    sizes = [len(choice.candidates) for choice in shop.study.space.choice_blocks]
    effects, error = fitted(
        sizes,
        lambda path, batch: path_result(supernet, path, *batches[batch])[0],
        paths=options.paths,
        batches=len(batches),
        seed=options.seed,
    )
    for choice, effect in zip(shop.study.space.choice_blocks, effects):
        names = [op.key.removeprefix("mbconv_") for op in choice.candidates]
        print(
            f"{choice.name}: "
            + ", ".join(f"{name} {value:+.4f}" for name, value in zip(names, effect, strict=True))
        )
    print(f"standard error of an effect: {error:.4f}")
    print(ranking(shop, supernet, shop.dataset))


def train(supernet: Any, dataset: Any, *, steps: int, seed: int) -> float:
    """Weight steps on uniform paths; returns the mean accuracy of the last 100 batches."""
    from pnas_tf.config import OptimizerConfig
    from pnas_tf.search import sampling
    from pnas_tf.search.weight_step import Momentum, weight_step

    momentum = Momentum(OptimizerConfig())
    accuracies: list[float] = []
    sizes = [len(mixed_op.candidates) for mixed_op in supernet.mixed_ops]
    while len(accuracies) < steps:
        epoch = len(accuracies) // dataset.steps_per_epoch("train", batch_size=BATCH)
        for images, labels in dataset.train_batches(
            batch_size=BATCH, seed=seed, epoch=epoch, start_batch=0
        ):
            path = sampling.sample_path(
                [np.full(size, 1 / size) for size in sizes],
                sampling.generator_at(seed, "path", len(accuracies)),
            )
            rate = 0.5 * RATE * (1 + math.cos(math.pi * len(accuracies) / steps))
            accuracies.append(
                weight_step(
                    supernet,
                    path,
                    images,
                    labels,
                    optimizer=momentum,
                    learning_rate=rate,
                )[1]
            )
            if len(accuracies) == steps:
                break
    return float(np.mean(accuracies[-100:]))


def ranking(shop: Any, supernet: Any, dataset: Any) -> str:
    """How the supernet's cross-entropy on the validation split orders the networks that the study
    has trained, against what they trained to."""
    from scipy.stats import spearmanr

    from benchmarks.evidence.plan import jobs
    from pnas_tf.search.derive import path_of
    from pnas_tf.search.supernet_weights import validation_loss

    trained: dict[tuple[int, ...], list[dict[str, float]]] = {}
    for job in jobs(shop.study):
        if job.kind == "train" and shop.finished(job.name):
            trained.setdefault(path_of(shop.network(job)), []).append(shop.result(job.name))
    if len(trained) < 4:
        return "fewer than four trained networks: no ranking"
    losses = [validation_loss(supernet, path, dataset, batch_size=BATCH) for path in trained]
    found = {
        name: spearmanr(
            [-loss for loss in losses],
            [sign * float(np.mean([row[name] for row in rows])) for rows in trained.values()],
        )
        for name, sign in (("alpha_accuracy", 1), ("alpha_loss", -1))
    }
    return (
        f"{len(trained)} trained networks, Spearman of the supernet's cross-entropy with trained "
        "accuracy "
        f"{found['alpha_accuracy'].statistic:.2f}, with trained cross-entropy "
        f"{found['alpha_loss'].statistic:.2f}"
    )


def fitted(
    sizes: list[int],
    loss: Callable[[tuple[int, ...], int], float],
    *,
    paths: int,
    batches: int,
    seed: int,
) -> tuple[list[np.ndarray], float]:
    """(for each block the effects of its candidates, of mean 0; the standard error of one). loss:
    (path, number of the batch) -> loss."""
    generator = np.random.default_rng([seed, 1])
    drawn = np.stack([generator.integers(size, size=paths) for size in sizes], axis=1)
    columns = [np.arange(paths) % batches == number for number in range(batches)]
    columns += [
        drawn[:, block] == candidate
        for block, size in enumerate(sizes)
        for candidate in range(1, size)
    ]
    losses = np.array(
        [
            loss(tuple(int(index) for index in path), number % batches)
            for number, path in enumerate(drawn)
        ]
    )
    design = np.stack(columns, axis=1).astype(np.float64)
    solution = np.linalg.lstsq(design, losses, rcond=None)[0]
    residual = losses - design @ solution
    effects, place = [], batches
    for size in sizes:
        effect = np.concatenate([[0.0], solution[place : place + size - 1]])
        effects.append(effect - effect.mean())
        place += size - 1
    degrees = max(1, paths - design.shape[1])
    return effects, float(np.sqrt(residual @ residual / degrees / (paths / max(sizes))))


if __name__ == "__main__":
    main()
