"""Every option of every program, with its default, once.

tools/ makes one absl flag of each field (same name); library functions take these values as arguments. A default of the
original program (Cai et al.'s code) is the default of `--preset=published`; see docs/options.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


def option(default: Any, help: str, *, choices: tuple[str, ...] | None = None, fixed: bool = True) -> Any:
    """A config field with the text that `--help` prints.

    fixed: a run folder keeps the value it was made with; others may change from call to call.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "fixed": fixed})


@dataclass(frozen=True)
class RunConfig:
    """Where a run lives and what makes it repeatable."""

    run_dir: str = option("runs/run", "Folder that holds everything one run makes; a started one is continued.")
    seed: int = option(0, "Seed of initial weights, data order, augmentation and sampling.")


@dataclass(frozen=True)
class DataConfig:
    """The images and their three disjoint parts: weights, alpha, test."""

    dataset: str = option("digits", "digits, any tensorflow_datasets name, or folder:PATH with one folder a class.")
    data_dir: str = option("", "TFDS data folder; empty is TFDS's own default.")
    alpha_fraction: float = option(0.2, "Part of the training images that trains alpha, class-balanced; see alpha_size.")
    alpha_size: int | None = option(None, "Number of images that train alpha, instead of alpha_fraction (published: 50000).")
    test_fraction: float = option(0.2, "Part held out for testing where the dataset has no test split of its own.")
    augmentation: str = option("auto", "Training augmentation.", choices=("auto", "none", "shift", "flip", "imagenet"))
    split_seed: int = option(0, "Seed of the three-way split; part of a run's identity.")


@dataclass(frozen=True)
class SpaceConfig:
    """The search space."""

    space: str = option("auto", "proxyless, tiny, or auto: by the dataset's image size.")
    resolution: int | None = option(None, "Input size in pixels; default: the space's own.")
    width: float = option(1.0, "Width multiplier.")


@dataclass(frozen=True)
class TrainConfig:
    """Training of one plain network (the derived one)."""

    epochs: int = option(30, "Epochs of training (published: 300).")
    batch_size: int = option(64, "Images a step (published: 256).")
    learning_rate: float = option(0.05, "Initial learning rate; cosine to zero over all steps.")
    learning_rate_warmup_epochs: float = option(1.0, "Epochs of linear warm-up of the learning rate (published: 0).")
    momentum: float = option(0.9, "SGD momentum.")
    nesterov: bool = option(True, "Nesterov momentum.")
    weight_decay: float = option(4e-5, "L2 on kernels, not on batch normalisation or biases.")
    label_smoothing: float = option(0.1, "Label smoothing of the training loss.")
    dropout: float = option(0.0, "Dropout before the classifier.")
    init: str = option("scratch", "Initial weights: scratch, or inherit from the supernet.", choices=("scratch", "inherit"))
    bn_momentum: float = option(0.9, "Batch-normalisation momentum (PyTorch's 0.1).")
    bn_epsilon: float = option(1e-3, "Batch-normalisation epsilon.")


@dataclass(frozen=True)
class LatencyConfig:
    """What is measured, where and how long."""

    device: str = option("host", "host, android:SERIAL, or ssh:USER@HOST.")
    threads: int = option(1, "Threads of the interpreter.")
    latency_dtype: str = option("float32", "Models that the table and the target speak of.", choices=("float32", "int8"))
    target_latency_ms: str = option("auto", "Target in ms, or auto: the middle of what the space can do on this device.")
    min_invocations: int = option(24, "Timed invocations a model, at least.")
    warmup_invocations: int = option(5, "Untimed invocations before each visit.")


@dataclass(frozen=True)
class ExportConfig:
    """The .tflite files."""

    representative_images: int = option(200, "Images of the weights split that calibrate full-integer int8.")
    max_logit_difference: float = option(1e-4, "A float export whose logits differ by more is refused.")
    max_accuracy_drop: float = option(0.02, "An int8 export that loses more test accuracy (a fraction) is refused.")


# Defaults taken together by --preset: {preset: {config class: {field: value}}}.
PRESETS: dict[str, dict[type, dict[str, Any]]] = {
    "published": {
        TrainConfig: {"epochs": 300, "batch_size": 256, "learning_rate": 0.05, "learning_rate_warmup_epochs": 0.0},
    },
    "quick": {},
}
