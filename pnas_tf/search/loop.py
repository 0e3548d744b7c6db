"""The search: warm-up phase, then weight steps and architecture steps in turn (section 3.2;
schedule of section 4.2).

Every random draw and every batch follows from (seed, step), so a search that was stopped anywhere
and continued from a checkpoint is, to the bit, the one that would have run through. Knows nothing
of where data and latencies come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import tensorflow as tf

from pnas_tf.config import OptimizerConfig, SearchConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.run import layout
from pnas_tf.run.checkpoints import Checkpoint, Checkpoints
from pnas_tf.run.memory import Garbage
from pnas_tf.run.progress import Progress
from pnas_tf.run.signals import Stopped, StopRequest
from pnas_tf.search import sampling
from pnas_tf.search.alpha_adam import AlphaAdam
from pnas_tf.search.gate_gradient import architecture_gradient, sample_gates
from pnas_tf.search.reinforce import absolute_reward, policy_gradient, power_reward
from pnas_tf.search.target_terms import Guidance
from pnas_tf.search.weight_step import Momentum, path_result, weight_step
from pnas_tf.supernet.supernet import Path, Supernet
from pnas_tf.training.distribution import check_batch
from pnas_tf.training.loss_scale import LossScale

HISTORY: dict[str, Any] = {"format": "pnas_tf/search_history", "version": 1}


@dataclass
class _Sums:
    """Running means of the current epoch; part of the checkpoint, so that a continued epoch logs
    the same figures."""

    weight: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])  # steps, loss, accuracy
    alpha: list[float] = field(
        default_factory=lambda: [0.0, 0.0, 0.0, 0.0]
    )  # steps, loss, accuracy, objective

    def add_weight(self, loss: float, accuracy: float) -> None:
        self.weight = [total + part for total, part in zip(self.weight, (1.0, loss, accuracy))]

    def add_alpha(self, loss: float, accuracy: float, objective: float) -> None:
        self.alpha = [
            total + part for total, part in zip(self.alpha, (1.0, loss, accuracy, objective))
        ]

    @staticmethod
    def means(sums: list[float]) -> list[float | None]:
        return [total / sums[0] if sums[0] else None for total in sums[1:]]


class Search:
    """A search of `supernet` on `dataset`, kept in `folder`.

    folder: holds checkpoints/, history.json and TensorBoard events. optimizer: how the
    weights are trained. writes: False in all but one of the processes that search
    together; they only read `folder`. Call `run`; then `probabilities`. `run` takes its steps by
    `train_weights` and `train_alpha`.
    """

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        guidance: Guidance,
        *,
        config: SearchConfig,
        optimizer: OptimizerConfig,
        folder: FilePath,
        seed: int,
        writes: bool = True,
    ):
        self.supernet, self.dataset, self.guidance, self.config, self.optimizer = (
            supernet,
            dataset,
            guidance,
            config,
            optimizer,
        )
        self.folder, self.seed, self.writes = folder, seed, writes
        self.replicas = supernet.arithmetic.replicas
        self.checkpoints = Checkpoints(folder / layout.CHECKPOINTS, keep=config.keep_checkpoints)
        self.momentum = Momentum(momentum=optimizer.momentum, nesterov=optimizer.nesterov)
        self.adam = AlphaAdam(
            [alpha.shape[0] for alpha in supernet.alphas],
            learning_rate=config.arch_learning_rate,
            beta_1=config.arch_beta_1,
            beta_2=config.arch_beta_2,
            epsilon=config.arch_epsilon,
            weight_decay=config.arch_weight_decay,
        )
        # The float64 original of every alpha; the supernet's float32 variables are copies of it.
        self.alphas = [alpha.numpy().astype(np.float64) for alpha in supernet.alphas]
        self.step = self.arch_step = 0
        self.baseline: float | None = None
        self.sums = _Sums()
        self.history: list[dict[str, Any]] = []
        self.steps_per_epoch = dataset.batches("weights", batch_size=config.search_batch_size)
        self.alpha_batch_flag, self.alpha_batch_size = _alpha_batch(config)
        self.alpha_batches = dataset.batches("alpha", batch_size=self.alpha_batch_size)
        for part, batches, flag, size in (
            ("weights", self.steps_per_epoch, "search_batch_size", config.search_batch_size),
            ("alpha", self.alpha_batches, self.alpha_batch_flag, self.alpha_batch_size),
        ):
            check_batch(size, self.replicas, flag=flag)
            if not batches:
                raise UserError(
                    f"the {part} part of dataset '{dataset.name}' is smaller than one batch",
                    expected=f"at least --{flag}={size} images",
                    received="fewer",
                    fix=f"Lower --{flag} or give more images.",
                )

    @property
    def epochs(self) -> int:
        """Epochs of both phases."""
        return self.config.warmup_epochs + self.config.search_epochs

    @property
    def probabilities(self) -> list[np.ndarray]:
        """softmax(alpha) of each choice block, float64 [candidates]."""
        return [sampling.softmax(alpha) for alpha in self.alphas]

    def run(self) -> None:
        """Runs or continues the search to its end. Raises Stopped on SIGTERM or Ctrl-C, after a
        checkpoint."""
        atomic.sweep(self.folder)
        self.restore()
        self._require_same_step()
        stop = StopRequest()
        writer = (
            tf.summary.create_file_writer(str(self.folder / layout.EVENTS))
            if self.writes
            else tf.summary.create_noop_writer()
        )
        total, garbage = self.epochs * self.steps_per_epoch, Garbage()
        with stop, writer.as_default(), Progress("search", total, done=self.step) as progress:
            while self.step < total:
                self._epoch(stop, progress)
                garbage.epoch_ends()
        writer.close()

    def _epoch(self, stop: StopRequest, progress: Progress) -> None:
        epoch, start = divmod(self.step, self.steps_per_epoch)
        batches = self.dataset.weights(
            batch_size=self.config.search_batch_size, seed=self.seed, epoch=epoch, start_batch=start
        )
        arch_batches = self._arch_batches()
        for images, labels in batches:
            self.train_weights(images, labels)
            for _ in range(self._architecture_steps_due(epoch)):
                self.train_alpha(*next(arch_batches))
            ends = self.step % self.steps_per_epoch == 0
            asked = bool(
                self.replicas.total_of([float(stop.asked)])[0]
            )  # processes that search together stop together
            progress.update(figures=self._live(epoch) if progress.is_due else None)
            if ends:
                self._finish_epoch(epoch)
            if (
                ends
                or asked
                or self.step % self.config.checkpoint_steps == 0
                or self.checkpoints.is_due
            ):
                self.save()
            if asked:
                self.replicas.linger()
                raise Stopped
        last = self.history[-1]
        progress.print(
            f"{last['phase']} {epoch + 1}/{self.epochs}: "
            + ", ".join(
                f"{name} {last[name]:.4g}"
                for name in (
                    "loss",
                    "accuracy",
                    "alpha_accuracy",
                    "validation_accuracy",
                    "entropy",
                    "expected",
                )
                if last[name] is not None
            )
        )

    def train_weights(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        """One weight step on one sampled path."""
        path = sampling.sample_path(
            self.probabilities, sampling.generator_at(self.seed, "path", self.step)
        )
        loss, accuracy = weight_step(
            self.supernet,
            path,
            images,
            labels,
            optimizer=self.momentum,
            learning_rate=self._learning_rate(),
            label_smoothing=self.optimizer.label_smoothing,
        )
        self._require_finite(loss, "weight step")
        self.sums.add_weight(loss, accuracy)
        self.step += 1

    def train_alpha(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        """One architecture step by the search's algorithm."""
        generator = sampling.generator_at(self.seed, "gates", self.arch_step)
        if self.config.algorithm == "reinforce":
            self._reinforce(images, labels, generator)
        else:
            sample = sample_gates(self.alphas, self.config.algorithm, generator)
            scale = (
                self.momentum.loss_scale
                if self.supernet.arithmetic.precision == "float16"
                else None
            )
            result = architecture_gradient(
                self.supernet,
                sample,
                images,
                labels,
                objective=self.guidance.objective,
                gate_mode=self.config.algorithm,
                loss_scale=scale.value if scale else 1.0,
            )
            self._require_finite(result.objective, "architecture step")
            if scale and not all(np.isfinite(products).all() for products in result.gate):
                scale.update(False)  # alpha stays as it is, as weights do
                self.arch_step += 1
                return
            for block, considered in enumerate(sample.considered):
                before = self.alphas[block]
                after = self.adam.updated(block, before, result.alpha[block], considered)
                self.alphas[block] = (
                    sampling.rescale(before, after, considered)
                    if self.config.algorithm == "two_path"
                    else after
                )
            self.sums.add_alpha(result.cross_entropy, result.accuracy, result.objective)
        for variable, alpha in zip(self.supernet.alphas, self.alphas):
            self._require_finite(float(np.sum(alpha)), "architecture step")
            variable.assign(alpha.astype(np.float32))
        self.arch_step += 1

    def _reinforce(
        self, images: tf.Tensor, labels: tf.Tensor, generator: np.random.Generator
    ) -> None:
        accuracies: list[float] = []

        def reward_of(path: Path) -> float:
            accuracies.append(path_result(self.supernet, path, images, labels)[1])
            ratios, combination = self.guidance.latency_ratios(path), self.config.combination
            if self.config.rl_reward == "absolute":
                return absolute_reward(
                    accuracies[-1],
                    ratios,
                    weight=self.config.regulariser_lambda,
                    combination=combination,
                )
            return power_reward(
                accuracies[-1], ratios, exponent=self.config.rl_exponent, combination=combination
            )

        result = policy_gradient(
            self.alphas,
            reward_of,
            networks=self.config.rl_networks,
            baseline=self.baseline,
            decay=self.config.rl_baseline_decay,
            generator=generator,
        )
        self.baseline = result.baseline
        for block, gradient in enumerate(result.alpha):
            self.alphas[block] = self.adam.updated(
                block, self.alphas[block], gradient, range(len(gradient))
            )
        self.sums.add_alpha(math.nan, float(np.mean(accuracies)), -float(np.mean(result.rewards)))

    def _phase(self, epoch: int) -> str:
        return "warmup" if epoch < self.config.warmup_epochs else "joint"

    def _architecture_steps_due(self, epoch: int) -> int:
        """How many architecture steps follow the weight step that was just counted."""
        if epoch - self.config.warmup_epochs < self.config.arch_start_epoch:
            return 0
        spread = self.config.rl_steps_per_epoch
        if self.config.algorithm == "reinforce" and spread is not None:
            before = (self.step - 1) % self.steps_per_epoch
            return (
                before + 1
            ) * spread // self.steps_per_epoch - before * spread // self.steps_per_epoch
        return self.config.arch_steps if self.step % self.config.arch_interval == 0 else 0

    def _learning_rate(self) -> float:
        """Cosine to zero within each phase, by step (section 4.2)."""
        warmup_steps = self.config.warmup_epochs * self.steps_per_epoch
        in_warmup = self.step < warmup_steps
        initial = (
            self.config.warmup_learning_rate if in_warmup else self.config.search_learning_rate
        )
        done = self.step if in_warmup else self.step - warmup_steps
        total = warmup_steps if in_warmup else self.config.search_epochs * self.steps_per_epoch
        return 0.5 * initial * (1.0 + math.cos(math.pi * done / total))

    def _arch_batches(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """The batches of the alpha part from `arch_step` on, epoch after epoch."""
        epoch, start = divmod(self.arch_step, self.alpha_batches)
        while True:
            yield from self.dataset.alpha(
                batch_size=self.alpha_batch_size, seed=self.seed, epoch=epoch, start_batch=start
            )
            epoch, start = epoch + 1, 0

    def _live(self, epoch: int) -> dict[str, str]:
        loss, accuracy = _Sums.means(self.sums.weight)
        probabilities = self.probabilities
        return {
            self._phase(epoch): f"{epoch + 1}/{self.epochs}",
            "loss": f"{loss or 0:.3f}",
            "accuracy": f"{accuracy or 0:.3f}",
            "entropy": f"{sampling.entropy(probabilities):.3f}",
            "expected": f"{self.guidance.expected(probabilities):.4g}",
        }

    def _finish_epoch(self, epoch: int) -> None:
        probabilities = self.probabilities
        loss, accuracy = _Sums.means(self.sums.weight)
        alpha_loss, alpha_accuracy, objective = _Sums.means(self.sums.alpha)
        figures = {
            "loss": loss,
            "accuracy": accuracy,
            "alpha_loss": None if alpha_loss is None or math.isnan(alpha_loss) else alpha_loss,
            "alpha_accuracy": alpha_accuracy,
            "validation_accuracy": self._validation(epoch),
            "objective": objective,
            "entropy": sampling.entropy(probabilities),
            "expected": self.guidance.expected(probabilities),
        }
        for name, value in figures.items():
            if value is not None:
                tf.summary.scalar(f"search/{name}", value, step=epoch)
        self.history.append(
            {
                "epoch": epoch,
                "phase": self._phase(epoch),
                **figures,
                "probabilities": [p.tolist() for p in probabilities],
            }
        )
        self.sums = _Sums()

    def _validation(self, epoch: int) -> float | None:
        """Top-1 of the most probable network on the alpha part, batch statistics; None in epochs in
        which it is not asked for."""
        if not self.config.validate_epochs or (epoch + 1) % self.config.validate_epochs:
            return None
        path = tuple(int(np.argmax(alpha)) for alpha in self.alphas)
        batches = self.dataset.alpha(batch_size=self.alpha_batch_size, seed=0, epoch=0)
        return float(
            np.mean(
                [path_result(self.supernet, path, images, labels)[1] for images, labels in batches]
            )
        )

    def _require_finite(self, loss: float, what: str) -> None:
        if math.isfinite(loss):
            return
        good = self.checkpoints.latest()
        raise UserError(
            f"the loss of {what} {self.step} is not a finite number",
            expected="finite losses, weights and alpha",
            received=str(loss),
            fix=f"Last good checkpoint: {'step ' + str(good.state['step']) if good else 'none'} "
            f"in {self.checkpoints.folder}. "
            "Likely causes: a learning rate too high (--warmup_learning_rate, "
            "--search_learning_rate, "
            "--arch_learning_rate), images that are not finite, or a target far outside what the "
            "space can do.",
        )

    def save(self) -> None:
        """Writes a checkpoint of everything, and history.json."""
        if not self.writes:
            return
        arrays = {
            f"variable/{name}": variable.numpy()
            for name, variable in self.supernet.named_variables().items()
        }
        arrays |= {f"momentum/{name}": slot.numpy() for name, slot in self.momentum.slots.items()}
        arrays |= {f"adam/{name}": values for name, values in self.adam.state().items()}
        arrays |= {f"alpha/{block}": alpha for block, alpha in enumerate(self.alphas)}
        # Weights that the last step threw away would give the next one no finite loss: such a
        # checkpoint is not good.
        self._require_finite(
            math.fsum(0.0 if np.isfinite(array).all() else math.nan for array in arrays.values()),
            "the steps before",
        )
        state = {
            "step": self.step,
            "arch_step": self.arch_step,
            "baseline": self.baseline,
            "history": self.history,
            "weight_sums": self.sums.weight,
            "alpha_sums": [None if math.isnan(total) else total for total in self.sums.alpha],
        }
        if self.supernet.arithmetic.precision == "float16":
            state["loss_scale"] = [
                self.momentum.loss_scale.value,
                self.momentum.loss_scale.good_steps,
            ]
        self.checkpoints.save(self.step, arrays, state)
        self._write_history()

    def restore(self) -> bool:
        """Continues from the newest good checkpoint; returns whether there was one."""
        checkpoint = self.checkpoints.latest()
        if checkpoint is None:
            return False
        where = f"the newest checkpoint in {self.checkpoints.folder}"
        restore_variables(self.supernet, checkpoint, where=where)
        by_name = self.supernet.named_variables()
        for key in checkpoint.arrays:
            name = key.removeprefix("momentum/")
            if key != name and name in by_name:
                slot = self.momentum.slot(name, by_name[name], self.replicas)
                slot.assign(checkpoint.array(key, shape=tuple(slot.shape), where=where))
        self.adam.restore(
            {
                name: checkpoint.array(f"adam/{name}", shape=values.shape, where=where)
                for name, values in self.adam.state().items()
            }
        )
        self.alphas = [
            checkpoint.array(f"alpha/{block}", shape=alpha.shape, where=where).copy()
            for block, alpha in enumerate(self.alphas)
        ]
        self.step, self.arch_step, self.baseline, history, weight_sums, alpha_sums = (
            checkpoint.value(name, hint, where=where)
            for name, hint in (
                ("step", int),
                ("arch_step", int),
                ("baseline", float | None),
                ("history", tuple[dict[str, Any], ...]),
                ("weight_sums", tuple[float, ...]),
                ("alpha_sums", tuple[float | None, ...]),
            )
        )
        self.history = list(history)
        self.sums = _Sums(
            list(weight_sums), [math.nan if total is None else total for total in alpha_sums]
        )
        if self.supernet.arithmetic.precision == "float16":
            self.momentum.loss_scale = LossScale(
                *checkpoint.value("loss_scale", tuple[float, int], where=where)
            )
        if self.writes:
            self._write_history()
        return True

    def _require_same_step(self) -> None:
        mean = (
            float(self.replicas.total_of([self.step])[0])
            * self.replicas.local
            / self.replicas.total
        )
        if mean != self.step:
            raise UserError(
                "the workers do not continue from one step",
                expected="one run folder for all",
                received=f"step {self.step} here, {mean:.1f} on the average",
                fix="Give all workers the same --run_dir on a disk that they share.",
            )

    def _write_history(self) -> None:
        blocks = [
            [op.key for op in choice.candidates] for choice in self.supernet.space.choice_blocks
        ]
        atomic.write_json(
            self.folder / layout.HISTORY, {**HISTORY, "candidates": blocks, "epochs": self.history}
        )


def _alpha_batch(config: SearchConfig) -> tuple[str, int]:
    """(name, value) of the option that sets the images of an architecture step."""
    name = "rl_images" if config.algorithm == "reinforce" else "arch_batch_size"
    value = getattr(config, name)
    return ("search_batch_size", config.search_batch_size) if value is None else (name, value)


def restore_variables(supernet: Supernet, checkpoint: Checkpoint, *, where: str) -> None:
    """Sets weights, moving statistics and alpha of `supernet`. Raises UserError naming an array
    that `where` lacks."""
    for name, variable in supernet.named_variables().items():
        variable.assign(
            checkpoint.array(f"variable/{name}", shape=tuple(variable.shape), where=where)
        )
