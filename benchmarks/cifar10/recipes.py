"""What each option of the training recipe is worth on CIFAR-10, by validation images alone.

  python -m benchmarks.cifar10.recipes --data=cifar10 --output=runs/recipes --page=docs/cifar10.md

trains ResNet-8 of MLPerf Tiny once for each option and seed, on the train split; takes about a
minute an epoch on 2 cores. The same command goes on where it was stopped, and several may run side
by side with other --only or --seeds. `--teacher` adds distillation from that network.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.cifar10.networks import MADE_WITH, settings_of, stored_result, train_model
from benchmarks.cifar10.page import write_between
from benchmarks.cifar10.resnet import SIZE, resnet8
from pnas_tf.config import DataConfig, TrainConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.image_data import ImageData
from pnas_tf.io import atomic
from pnas_tf.io.serialization import record_of
from pnas_tf.run import layout
from pnas_tf.training.recipe import TrainRecipe

PLAIN = "plain"
AVERAGE: dict[str, object] = {"ema_decay": 0.999}
RECIPES: dict[str, dict[str, object]] = {
    PLAIN: {},
    "ema": AVERAGE,
    "adamw": {"train_optimizer": "adamw"},
    "randaugment": {"randaugment_layers": 2, "randaugment_magnitude": 5.0},
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "stochastic_depth": {"stochastic_depth": 0.1},
    "ema_randaugment": {**AVERAGE, "randaugment_layers": 1, "randaugment_magnitude": 5.0},
    "ema_cutmix": {**AVERAGE, "cutmix": 1.0},
}
DONE = "done.json"
MARK = "<!-- recipe: python -m benchmarks.cifar10.recipes -->"
END = "<!-- end of recipe -->"


def main() -> int:
    """Trains what is not there yet; writes the table of everything in --output."""
    arguments = _arguments()
    output = Path(arguments.output)
    data = ImageData(
        DataConfig(dataset=f"folder:{arguments.data}", train_images=arguments.train_images)
    )
    recipes = dict(RECIPES)
    if arguments.teacher:
        recipes["teacher"] = {"teacher": arguments.teacher}
    configs = {
        name: _config(name, options, epochs=arguments.epochs) for name, options in recipes.items()
    }
    dataset = data.at(SIZE)
    accuracies(configs, dataset, output)  # refuses what was made otherwise before any work
    for seed in arguments.seeds:
        for name in arguments.only or recipes:
            _train(name, configs[name], seed, dataset, output)
    found = accuracies(configs, dataset, output)
    lines = table({name: values for name, values in found.items() if values}, recipes)
    print("\n".join(lines))
    if arguments.page:
        write_table(lines, Path(arguments.page), epochs=arguments.epochs)
    return 0


def _config(name: str, options: Mapping[str, object], *, epochs: int) -> TrainConfig:
    given = {"epochs": epochs, "train_on_alpha": False, "evaluate_epochs": 0, **options}
    return record_of(TrainConfig, given, where=name, fix="Correct the recipe.")


def _train(name: str, config: TrainConfig, seed: int, dataset: Dataset, output: Path) -> None:
    folder = output / f"{name}-{seed}"
    if (folder / DONE).is_file():
        return
    print(f"== {name}, seed {seed}", flush=True)
    train_model(resnet8(seed=seed), dataset, TrainRecipe(config, seed=seed), folder)
    atomic.write_json(folder / DONE, {MADE_WITH: settings_of(config, dataset)})


def accuracies(
    configs: Mapping[str, TrainConfig], dataset: Dataset, output: Path
) -> dict[str, list[float]]:
    """Of the finished trainings of each recipe. Raises UserError where one was made with other
    settings."""
    found = {}
    for name, config in configs.items():
        paths = sorted(output.glob(f"{name}-[0-9]*/{DONE}"))
        for path in paths:
            stored_result(path, settings_of(config, dataset))
        found[name] = [_accuracy(path.parent) for path in paths]
    return found


def _accuracy(folder: Path) -> float:
    """Top-1 on the validation split after the last epoch."""
    history = json.loads((folder / layout.HISTORY).read_text())
    return float(history["epochs"][-1]["alpha_accuracy"])


def table(
    found: Mapping[str, Sequence[float]], recipes: Mapping[str, Mapping[str, object]]
) -> list[str]:
    """One line a recipe: top-1 of each, fractions, as means with their standard errors."""
    lines = ["| recipe | options | seeds | validation top-1 | to plain, points |"]
    lines.append("|---|---|---|---|---|")
    plain = statistics.mean(found[PLAIN]) if PLAIN in found else None
    for name, values in found.items():
        options = " ".join(f"`--{option}={value}`" for option, value in recipes[name].items())
        mean = statistics.mean(values)
        shown = f"{100 * mean:.2f} %"
        if len(values) > 1:
            shown += f" ± {100 * statistics.stdev(values) / len(values) ** 0.5:.2f}"
        gap = "" if plain is None or name == PLAIN else f"{100 * (mean - plain):+.2f}"
        lines.append(f"| {name} | {options} | {len(values)} | {shown} | {gap} |")
    return lines


def write_table(lines: Sequence[str], path: Path, *, epochs: int) -> None:
    """Renews the table of the page, between its marks; at its end where it has none."""
    words = (
        "## What each option of the recipe is worth\n\nResNet-8, "
        f"{epochs} epochs of the train split, top-1 on the validation images, which alone decide. "
        "Made by `python -m benchmarks.cifar10.recipes`.\n"
    )
    write_between(path, MARK, END, [words, *lines])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder with train/ and test/")
    add("--output", default="runs/recipes", help="folder of all that is made")
    add("--page", default="", help="page whose table is renewed, docs/cifar10.md")
    add(
        "--seeds",
        type=lambda text: [int(seed) for seed in text.split(",")],
        default=[0, 1, 2],
        help="comma-separated",
    )
    add(
        "--only",
        type=lambda text: text.split(","),
        default=[],
        help=f"some of {','.join(RECIPES)},teacher; default: all",
    )
    add("--teacher", default="", help="as of pnas train")
    add("--epochs", type=int, default=15, help="of every training")
    add("--train_images", type=int, default=None, help="use so many of the training images")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
