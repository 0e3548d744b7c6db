"""Does a training with more images a step want a higher learning rate (Goyal et al. 2017)?

  python -m benchmarks.batch_rates --dataset=folder:cifar10/train

trains one network of space tiny from random weights at 256 images a step, by the rate of 64 images
and by 4 times that, for each seed, and prints the accuracy on the search's validation split, which
is not trained on, and the mean difference with its standard error. No test image is looked at.
About 4 minutes of one core.
"""

from __future__ import annotations

import argparse
import statistics

import pnas_tf as pnas
from pnas_tf.config import DataConfig, TrainConfig
from pnas_tf.data.image_data import ImageData
from pnas_tf.space.architecture import random_architecture
from pnas_tf.training.recipe import TrainRecipe

RATES, BATCH_SIZE = (0.05, 0.2), 256


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="as of pnas train")
    parser.add_argument("--train_images", type=int, default=5120, help="both splits of a search")
    parser.add_argument("--resolution", type=int, default=32, help="pixels")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated")
    options = parser.parse_args()

    pnas.quiet()
    differences = []
    for seed in map(int, options.seeds.split(",")):
        accuracies = [accuracy_of(rate, seed, options) for rate in RATES]
        differences.append(100 * (accuracies[1] - accuracies[0]))
        told = ", ".join(f"{rate:g}: {100 * a:.1f} %" for rate, a in zip(RATES, accuracies))
        print(f"seed {seed}: {told}", flush=True)
    line = f"mean difference {statistics.mean(differences):+.1f} points"
    if len(differences) > 1:
        error = statistics.stdev(differences) / len(differences) ** 0.5
        line += f", standard error {error:.1f}"
    print(line)


def accuracy_of(rate: float, seed: int, options: argparse.Namespace) -> float:
    """A fraction of the validation split."""
    from pnas_tf.training.evaluate import evaluate

    config = DataConfig(dataset=options.dataset, train_images=options.train_images, split_seed=seed)
    data = ImageData(config)
    size = options.resolution
    space = pnas.space("tiny", classes=data.class_names, resolution=size, width=0.5)
    train = TrainConfig(
        epochs=options.epochs,
        batch_size=BATCH_SIZE,
        learning_rate=rate,
        train_on_alpha=False,
        evaluate_epochs=0,
    )
    recipe = TrainRecipe(train, seed=seed, tensorboard=False)
    model = pnas.train(random_architecture(space, seed=5), data, recipe=recipe)
    return evaluate(model, data.at(size).validation_once(batch_size=BATCH_SIZE)).accuracy


if __name__ == "__main__":
    main()
