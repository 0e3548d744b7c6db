"""Options that depend on the number of images, chosen where they are not given, and the batches
that the images must suffice for. Arithmetic alone; opens no dataset.

A few dozen photographs get smaller batches and more epochs: about the steps that a dataset of 1,100
images gets by the usual values. Learning rates that are not given follow the batch where it is
smaller than usual: k times the images a step, k times the rate (the linear scaling rule, Goyal et
al. 2017, section 2.1). A training from random weights by SGD has a warm-up of the rate, without
which the rule does not hold upwards (section 2.2), and follows it there too, as far as it was
measured (docs/training.md). With more images than usual all other rates stay.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pnas_tf.config import (
    ADAMW_RATE,
    BATCH_SIZE,
    DERIVE_LEARNING_RATE,
    DERIVE_TRAIN_EPOCHS,
    FINE_TUNING,
    FINETUNE_EPOCHS,
    FINETUNE_LEARNING_RATE,
    FROM_SCRATCH,
    FROM_SUPERNET,
    SEARCH_FROM_PRETRAINED,
    SEARCH_FROM_SCRATCH,
    DeriveConfig,
    ExportConfig,
    SearchConfig,
    SearchTuning,
    TrainConfig,
    Tuning,
)
from pnas_tf.data.split import SplitSizes
from pnas_tf.errors import UserError
from pnas_tf.run.step import Demand

PRETRAINED = "pretrained"  # of --weights_init and --init
RECONSTRUCTION = "reconstruction"  # of --alpha_init
INHERIT, SCRATCH = "inherit", "scratch"  # of --init
LEAST_BATCH_SIZE = 8  # fewer images make poor batch statistics
LEAST_STEPS = 8  # in an epoch, where that leaves LEAST_BATCH_SIZE images
MOST_FOLLOWED = 256  # images a step up to which the rate of such a training was measured to grow
USUAL_STEPS = 17  # in an epoch; with fewer there are more epochs


@dataclass(frozen=True)
class SearchSizes:
    """batch_size: of a weight step. architecture_batch_size: of an architecture step."""

    batch_size: int
    architecture_batch_size: int
    warmup_epochs: int
    search_epochs: int

    @property
    def batches(self) -> tuple[int, int]:
        """Images of a weight step and of an architecture step."""
        return self.batch_size, self.architecture_batch_size


def batch_size(given: int | None, images: int, *, replicas: int = 1) -> int:
    """`given`, else the usual batch, smaller where an epoch would have few steps: a power of two,
    less what replicas could not share equally. images: of the split it is taken from."""
    if given is not None:
        return given
    size = min(BATCH_SIZE, max(LEAST_BATCH_SIZE, images // LEAST_STEPS), images)
    return _rounded(size, replicas)


def learning_rate(
    given: float | None, usual: float, *, batch_size: int | None, most: int = BATCH_SIZE
) -> float:
    """`given`, else the usual rate, which is for `BATCH_SIZE` images a step, scaled to `batch_size`
    (None: that many) up to `most`."""
    if given is not None:
        return given
    return usual * min(batch_size or BATCH_SIZE, most) / BATCH_SIZE


def epochs(given: int | None, usual: int, *, steps: int) -> int:
    """`given`, else the usual number, more where an epoch has few steps."""
    return math.ceil(parts_of_epochs(given, usual, steps=steps))


def parts_of_epochs(given: float | None, usual: float, *, steps: int) -> float:
    """As `epochs`, of a training that may end within one."""
    if given is not None:
        return given
    return max(usual, round(usual * USUAL_STEPS / max(1, steps), 2))


def search_sizes(config: SearchConfig, sizes: SplitSizes, *, replicas: int = 1) -> SearchSizes:
    """Of a search of `sizes.train` and `sizes.validation` images."""
    size = batch_size(config.search_batch_size, sizes.train, replicas=replicas)
    steps = sizes.train // size
    usual = usual_search(config)
    judged = getattr(config, architecture_flag(config))
    if judged is None:
        all_of_them = max(replicas, sizes.validation - sizes.validation % replicas)
        judged = min(size, all_of_them)
    return SearchSizes(
        size,
        judged,
        epochs(config.warmup_epochs, usual.warmup_epochs, steps=steps),
        epochs(config.search_epochs, usual.search_epochs, steps=steps),
    )


def usual_search(config: SearchConfig) -> SearchTuning:
    """What is usual where `config` starts the supernet from, with its images a step."""
    is_known = config.weights_init == PRETRAINED
    usual = SEARCH_FROM_PRETRAINED if is_known else SEARCH_FROM_SCRATCH
    size = config.search_batch_size
    return usual._replace(
        warmup_learning_rate=learning_rate(None, usual.warmup_learning_rate, batch_size=size),
        search_learning_rate=learning_rate(None, usual.search_learning_rate, batch_size=size),
    )


def search_tuning_of(config: SearchConfig) -> SearchTuning:
    """The values of `config`, or the usual ones of its kind of start where it has none."""
    given = {name: getattr(config, name) for name in SearchTuning._fields}
    found = usual_search(config)._replace(
        **{name: value for name, value in given.items() if value is not None}
    )
    if config.arch_start_epoch is None:  # of one epoch too some steps are alpha's
        found = found._replace(
            arch_start_epoch=min(found.arch_start_epoch, found.search_epochs - 1)
        )
    return found


def demands_of(config: SearchConfig, sizes: SearchSizes) -> tuple[Demand, Demand]:
    """The batches of weight steps and of architecture steps."""
    return (
        Demand("train", "search_batch_size", sizes.batch_size),
        Demand("validation", architecture_flag(config), sizes.architecture_batch_size),
    )


def architecture_flag(config: SearchConfig) -> str:
    """The option that sets the images of an architecture step."""
    return "rl_images" if config.algorithm == "reinforce" else "arch_batch_size"


def fitted_options(config: object, sizes: SplitSizes, *, replicas: int = 1) -> object:
    """A config of search, derivation or training with values in place of None."""
    match config:
        case SearchConfig():
            return fitted_search(config, sizes, replicas=replicas)
        case DeriveConfig():
            return fitted_derivation(config, sizes)
        case TrainConfig():
            return fitted_training(config, sizes.of(fit_split(config)), replicas=replicas)
    raise TypeError(f"no option of {type(config).__name__} depends on the number of images")


def fit_split(config: TrainConfig) -> str:
    """What the derived network may learn from: "combined", or "train"."""
    return "combined" if config.train_on_alpha else "train"


def fitted_search(config: SearchConfig, sizes: SplitSizes, *, replicas: int = 1) -> SearchConfig:
    """The config with `search_sizes` and the rates of its batch in it."""
    fitted = search_sizes(config, sizes, replicas=replicas)
    rates = search_tuning_of(dataclasses.replace(config, search_batch_size=fitted.batch_size))
    judged = fitted.architecture_batch_size
    by_images = architecture_flag(config) == "rl_images"
    return dataclasses.replace(
        config,
        search_batch_size=fitted.batch_size,
        warmup_epochs=fitted.warmup_epochs,
        search_epochs=fitted.search_epochs,
        warmup_learning_rate=rates.warmup_learning_rate,
        search_learning_rate=rates.search_learning_rate,
        rl_images=judged if by_images else config.rl_images,
        arch_batch_size=config.arch_batch_size if by_images else judged,
    )


def fitted_derivation(config: DeriveConfig, sizes: SplitSizes) -> DeriveConfig:
    """The config with batch, epochs and rate for `sizes.train` images."""
    size = batch_size(config.derive_batch_size, sizes.train)
    rate = learning_rate(config.derive_learning_rate, DERIVE_LEARNING_RATE, batch_size=size)
    return dataclasses.replace(
        config,
        derive_batch_size=size,
        derive_train_epochs=derive_epochs(config, steps=sizes.train // max(1, size)),
        derive_learning_rate=rate,
    )


def derive_epochs(config: DeriveConfig, *, steps: int) -> float:
    """Epochs that the best networks of a derivation are trained on for. steps: of an epoch."""
    return parts_of_epochs(config.derive_train_epochs, DERIVE_TRAIN_EPOCHS, steps=steps)


def finetune_epochs(config: ExportConfig, *, steps: int) -> int:
    """Epochs of each step of compression. steps: of an epoch."""
    return epochs(config.finetune_epochs, FINETUNE_EPOCHS, steps=steps)


def fitted_export(config: ExportConfig, train: TrainConfig, sizes: SplitSizes) -> ExportConfig:
    """The config with epochs and rate of compression in it, where it asks for that. train: with its
    batch size."""
    if config.quantize != "qat" and not (config.prune or config.cluster):
        return config
    images = sizes.of(fit_split(train))
    size = batch_size(train.batch_size, images)
    rate = learning_rate(config.finetune_learning_rate, FINETUNE_LEARNING_RATE, batch_size=size)
    return dataclasses.replace(
        config,
        finetune_epochs=finetune_epochs(config, steps=images // size),
        finetune_learning_rate=rate,
    )


def fitted_training(config: TrainConfig, images: int, *, replicas: int = 1) -> TrainConfig:
    """The config with `training_sizes` and the rate of its batch in it."""
    size, many = training_sizes(config, images, replicas=replicas)
    fitted = dataclasses.replace(config, batch_size=size, epochs=many)
    rate = learning_rate(
        config.learning_rate, usual_training(fitted).learning_rate, batch_size=None
    )
    return dataclasses.replace(fitted, learning_rate=rate)


def training_sizes(config: TrainConfig, images: int, *, replicas: int = 1) -> tuple[int, int]:
    """(batch size, epochs) of a training on `images`."""
    size = batch_size(config.batch_size, images, replicas=replicas)
    return size, epochs(config.epochs, usual_training(config).epochs, steps=images // size)


def usual_training(config: TrainConfig) -> Tuning:
    """The values that a training takes where it is given none, by where it starts, its optimizer
    and its images a step."""
    usual = {PRETRAINED: FINE_TUNING, INHERIT: FROM_SUPERNET}.get(config.init or "", FROM_SCRATCH)
    warms_up = usual is FROM_SCRATCH and config.learning_rate_warmup_epochs > 0
    follows = warms_up and config.train_optimizer == "sgd"
    most = MOST_FOLLOWED if follows else BATCH_SIZE
    rate = learning_rate(None, usual.learning_rate, batch_size=config.batch_size, most=most)
    if config.train_optimizer == "adamw":
        rate *= ADAMW_RATE
    return usual._replace(learning_rate=rate)


class Counted(Protocol):
    """A dataset, as far as its images are counted."""

    def steps_per_epoch(self, split: str, *, batch_size: int) -> int: ...


def images_of(dataset: Counted) -> SplitSizes:
    """Images of the splits of a search; the test split is not looked at."""
    train, validation = (
        dataset.steps_per_epoch(split, batch_size=1) for split in ("train", "validation")
    )
    return SplitSizes(train, validation, test=0)


def check_demands(demands: Iterable[Demand], sizes: SplitSizes, *, dataset: str) -> None:
    """Raises UserError on the first batch that is larger than its split."""
    for demand in demands:
        there = sizes.of(demand.split)
        if demand.images is None or demand.images <= there:
            continue
        raise UserError(
            f"{sizes.words(demand.split)} of dataset '{dataset}' is smaller than one batch",
            expected=f"at least --{demand.flag}={demand.images} images",
            received=f"{there} ({sizes.train} train, {sizes.validation} validation)",
            fix=f"Set --{demand.flag}={batch_size(None, there)}, or give more images.",
        )


def _rounded(size: int, replicas: int) -> int:
    """A power of two, less what replicas could not share equally; at least an image for each."""
    power = 2 ** int(math.log2(max(1, size)))
    return max(replicas, power - power % replicas)
