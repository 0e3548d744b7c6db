"""Training of one plain network: epochs, schedule, checkpoints, progress (recipe of section 4.2).

Every batch, every random draw and every rate follows from (seed, step), so training that was
stopped anywhere and started again is, to the bit, the one that would have run through. Knows
nothing of where the architecture came from.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import DistributionConfig, OptimizerConfig, TrainConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.run import layout
from pnas_tf.run.checkpoints import Checkpoints
from pnas_tf.run.memory import Garbage
from pnas_tf.run.progress import Progress
from pnas_tf.run.signals import Stopped, StopRequest
from pnas_tf.space.architecture import Architecture
from pnas_tf.training.distribution import PRECISIONS, Distribution, check_batch
from pnas_tf.training.evaluate import Evaluator
from pnas_tf.training.loss_scale import LossScale
from pnas_tf.training.schedules import cosine_with_warmup
from pnas_tf.training.step import TrainStep, keras_precision

HISTORY: dict[str, Any] = {"format": "pnas_tf/train_history", "version": 1}
KEEP_CHECKPOINTS = 2


@dataclass(frozen=True)
class Trained:
    """model: trained, giving logits. history: one row an epoch with epoch, loss, accuracy (of
    training batches, augmented) and learning_rate at its end; in the epochs in which they were
    measured test_loss and test_accuracy, or, where the alpha split is held out
    (train_on_alpha=False), alpha_loss and alpha_accuracy."""

    model: keras.Model
    history: list[dict[str, Any]]


def train_network(
    architecture: Architecture,
    dataset: Dataset,
    config: TrainConfig,
    folder: str | os.PathLike,
    *,
    optimizer: OptimizerConfig = OptimizerConfig(),
    seed: int,
    initial_weights: Sequence[np.ndarray] | None = None,
    distribution: Distribution = Distribution(),
    options: DistributionConfig = DistributionConfig(),
) -> Trained:
    """Trains the network of `architecture`, or continues from the checkpoints in `folder`.

    folder: holds checkpoints/, history.json and TensorBoard events/. optimizer: momentum, decay,
    smoothing and batch normalisation. initial_weights: as of
    `Model.get_weights` of this network; None draws them from `seed`. Raises Stopped on SIGTERM or
    Ctrl-C, after a checkpoint; UserError when the loss is no longer finite, or when `folder` holds
    a training with other settings. distribution: as started from `options`; the trained model is a
    plain one in float32 whatever they say.
    """
    plain = build_network(architecture, normalisation=Normalisation.of(optimizer))
    plain.set_weights(
        initial_weights if initial_weights is not None else seeded_weights(plain, seed=seed)
    )
    identity = _identity(
        architecture, dataset, config, optimizer, options, seed, plain.get_weights()
    )
    check_batch(config.batch_size, distribution.replicas, flag="batch_size")
    with distribution.scope():
        model = _trained_form(plain, architecture, optimizer, distribution, options)
        training = _Training(
            model,
            dataset,
            config,
            optimizer,
            Path(folder),
            seed,
            identity,
            distribution,
            options.jit_compile,
        )
        training.run()
        if model is not plain:
            plain.set_weights(model.get_weights())
    return Trained(plain, training.history)


def _trained_form(
    plain: keras.Model,
    architecture: Architecture,
    optimizer: OptimizerConfig,
    distribution: Distribution,
    options: DistributionConfig,
) -> keras.Model:
    """The network that is trained in the place of `plain`, with its weights: on all replicas and in
    the precision of `options`."""
    if distribution.strategy is None and options.mixed_precision == "none":
        return plain
    with keras_precision(PRECISIONS[options.mixed_precision]):
        model = build_network(
            architecture,
            normalisation=Normalisation.of(optimizer, synchronized=options.sync_batch_norm),
        )
    model.set_weights(plain.get_weights())
    return model


def seeded_weights(model: keras.Model, *, seed: int) -> list[np.ndarray]:
    """Initial weights drawn by the layers' own initialisers from `seed` alone, in the order of
    `Model.get_weights`."""
    weights = []
    for number, variable in enumerate(model.weights):
        layer = model.get_layer(variable.name.rsplit("/", 1)[0])
        initializer = None
        if "kernel" in variable.name.rsplit("/", 1)[-1]:
            initializer = getattr(layer, "depthwise_initializer", None) or layer.kernel_initializer
        if initializer is None:
            weights.append(variable.numpy())  # ones and zeros of batch normalisation and biases
        else:
            words = np.random.SeedSequence([seed, number]).generate_state(1)
            own = type(initializer).from_config(
                {**initializer.get_config(), "seed": int(words[0]) & 0x7FFFFFFF}
            )
            weights.append(own(variable.shape, dtype=variable.dtype).numpy())
    return weights


@dataclass
class _Training:
    model: keras.Model
    dataset: Dataset
    config: TrainConfig
    optimizer: OptimizerConfig
    folder: Path
    seed: int
    identity: str
    distribution: Distribution = Distribution()
    jit_compile: bool = False
    step: int = 0
    sums: list[float] = field(
        default_factory=lambda: [0.0, 0.0, 0.0]
    )  # steps, loss, accuracy of the current epoch
    history: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        config = self.config
        self.train_step = TrainStep(
            self.model,
            self.optimizer,
            dropout=config.dropout,
            seed=self.seed,
            distribution=self.distribution,
            jit_compile=self.jit_compile,
        )
        self.evaluator = Evaluator(self.model, self.distribution)
        self.steps_per_epoch = self.dataset.fit_batches(config)
        self.checkpoints = Checkpoints(
            self.folder / layout.CHECKPOINTS,
            keep=KEEP_CHECKPOINTS,
            passing=lambda step: step % self.steps_per_epoch != 0,
        )
        if config.epochs < 1 or not self.steps_per_epoch:
            raise UserError(
                "training has no steps",
                expected="at least one epoch of at least one batch",
                received=f"--epochs={config.epochs}, --batch_size={config.batch_size}, "
                f"--train_on_alpha={config.train_on_alpha}",
                fix="Raise --epochs or lower --batch_size.",
            )

    def run(self) -> None:
        atomic.sweep(self.folder)
        self.restore()
        total, garbage = self.config.epochs * self.steps_per_epoch, Garbage()
        if self.step == total:
            return
        is_chief = self.distribution.is_chief
        writer = (
            tf.summary.create_file_writer(str(self.folder / layout.EVENTS))
            if is_chief
            else tf.summary.create_noop_writer()
        )
        with (
            StopRequest() as stop,
            writer.as_default(),
            Progress("train", total, done=self.step) as progress,
        ):
            while self.step < total:
                self._epoch(stop, progress)
                garbage.epoch_ends()
        writer.close()

    def _epoch(self, stop: StopRequest, progress: Progress) -> None:
        epoch, start = divmod(self.step, self.steps_per_epoch)
        batches = self.dataset.fit(self.config, seed=self.seed, epoch=epoch, start_batch=start)
        for images, labels in batches:
            loss, accuracy = self.train_step(
                images, labels, learning_rate=self._learning_rate(self.step), step=self.step
            )
            self._require_finite(loss)
            self.sums = [total + part for total, part in zip(self.sums, (1.0, loss, accuracy))]
            self.step += 1
            progress.update(
                figures={
                    "epoch": f"{epoch + 1}/{self.config.epochs}",
                    "loss": f"{self.sums[1] / self.sums[0]:.3f}",
                    "accuracy": f"{self.sums[2] / self.sums[0]:.3f}",
                }
            )
            ends = self.step % self.steps_per_epoch == 0
            if ends:
                self._finish_epoch(epoch, progress)
            # Processes that train together stop and read their variables together.
            asked, due = self.distribution.replicas.total_of(
                [stop.asked, self.checkpoints.is_due and self.distribution.is_chief]
            )
            if ends or asked or due:
                self.save()
            if asked and self.step < self.config.epochs * self.steps_per_epoch:
                self.distribution.replicas.linger()
                raise Stopped(
                    f"stopped at step {self.step}; a checkpoint is in {self.checkpoints.folder}"
                )

    def _finish_epoch(self, epoch: int, progress: Progress) -> None:
        steps, loss, accuracy = self.sums
        row = {
            "epoch": epoch,
            "loss": loss / steps,
            "accuracy": accuracy / steps,
            "learning_rate": self._learning_rate(self.step - 1),
        }
        if epoch + 1 == self.config.epochs or (
            self.config.evaluate_epochs and (epoch + 1) % self.config.evaluate_epochs == 0
        ):
            size = self.config.batch_size
            self._agree_on_statistics()
            split, batches = (
                ("test", self.dataset.test)
                if self.config.train_on_alpha
                else ("alpha", self.dataset.alpha_once)
            )
            result = self.evaluator(batches(batch_size=size))
            row |= {f"{split}_loss": result.loss, f"{split}_accuracy": result.accuracy}
        for name, value in row.items():
            if name != "epoch":
                tf.summary.scalar(f"train/{name}", value, step=epoch)
        self.history.append(row)
        self.sums = [0.0, 0.0, 0.0]
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items() if name != "epoch")
        progress.print(f"train {epoch + 1}/{self.config.epochs}: {figures}")

    def _learning_rate(self, step: int) -> float:
        return cosine_with_warmup(
            step,
            steps=self.config.epochs * self.steps_per_epoch,
            peak=self.config.learning_rate,
            warmup_steps=round(self.config.learning_rate_warmup_epochs * self.steps_per_epoch),
        )

    def _require_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        good = self.checkpoints.latest()
        raise UserError(
            f"the training loss of step {self.step} is not a finite number",
            expected="a finite loss",
            received=str(loss),
            fix=f"Last good checkpoint: {f'step {good.step}' if good else 'none'} in "
            f"{self.checkpoints.folder}. Likely causes: "
            f"--learning_rate={self.config.learning_rate} too high, too short a "
            "--learning_rate_warmup_epochs, "
            "inherited weights that are not finite, or images that are not.",
        )

    def _agree_on_statistics(self) -> None:
        """Gives every replica the mean of all replicas' moving statistics; each has moved its own
        by its share of the batches."""
        if self.distribution.strategy is not None:
            for variable in self.model.non_trainable_variables:
                variable.assign(variable.numpy())

    def save(self) -> None:
        self._agree_on_statistics()
        arrays = {
            f"variable/{number}/{variable.name}": variable.numpy()
            for number, variable in enumerate(self.model.weights)
        }
        arrays |= {
            f"momentum/{number}": slot.numpy() for number, slot in enumerate(self.train_step.slots)
        }
        state = {
            "step": self.step,
            "sums": self.sums,
            "history": self.history,
            "identity": self.identity,
        }
        if (scale := self.train_step.loss_scale) is not None:
            state["loss_scale"] = [scale.value, scale.good_steps]
        if self.distribution.is_chief:
            self.checkpoints.save(self.step, arrays, state)
            self._write_history()

    def restore(self) -> None:
        checkpoint = self.checkpoints.latest()
        if checkpoint is None:
            return
        if checkpoint.state.get("identity") != self.identity:
            raise UserError(
                f"training in {self.folder} was started with other settings",
                expected="the same architecture, dataset, training options, seed and initial "
                "weights",
                received="others",
                fix="Choose another --run_dir, or delete the folder to train anew.",
            )
        where = f"the newest checkpoint in {self.checkpoints.folder}"
        for number, variable in enumerate(self.model.weights):
            variable.assign(
                checkpoint.array(
                    f"variable/{number}/{variable.name}", shape=tuple(variable.shape), where=where
                )
            )
        for number, slot in enumerate(self.train_step.slots):
            slot.assign(
                checkpoint.array(f"momentum/{number}", shape=tuple(slot.shape), where=where)
            )
        self.step, sums, history = (
            checkpoint.value(name, hint, where=where)
            for name, hint in (
                ("step", int),
                ("sums", tuple[float, ...]),
                ("history", tuple[dict[str, Any], ...]),
            )
        )
        self.sums, self.history = list(sums), list(history)
        if self.train_step.loss_scale is not None:
            self.train_step.loss_scale = LossScale(
                *checkpoint.value("loss_scale", tuple[float, int], where=where)
            )
        if self.distribution.is_chief:
            self._write_history()

    def _write_history(self) -> None:
        atomic.write_json(self.folder / layout.HISTORY, {**HISTORY, "epochs": self.history})


def _identity(
    architecture: Architecture,
    dataset: Dataset,
    config: TrainConfig,
    optimizer: OptimizerConfig,
    options: DistributionConfig,
    seed: int,
    weights: Sequence[np.ndarray],
) -> str:
    settings = {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name != "evaluate_epochs"
    }
    document = {
        "architecture": architecture.to_json(),
        "dataset": dataset.fingerprint,
        "config": settings,
        "optimizer": dataclasses.asdict(optimizer),
        "seed": seed,
        "arithmetic": [options.sync_batch_norm, options.mixed_precision],
    }
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode())
    for weight in weights:
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()
