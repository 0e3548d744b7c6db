"""What the steps and epochs of training one plain network are (recipe of section 4.2).

Every batch, every random draw and every rate follows from (seed, step), so training that was
stopped anywhere and started again is, to the bit, the one that would have run through.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import fit_split, images_of, training_sizes
from pnas_tf.errors import UserError
from pnas_tf.run.checkpoints import Checkpoint
from pnas_tf.run.figures import RunningMeans, require_finite
from pnas_tf.run.loop import Row
from pnas_tf.training.distribution import Distribution
from pnas_tf.training.evaluate import Evaluator, reestimate_batch_norm
from pnas_tf.training.fine_tuning import block_rates, head_rates
from pnas_tf.training.loss_scale import LossScale
from pnas_tf.training.mixing import Mixing
from pnas_tf.training.recipe import TrainRecipe, tuning_of
from pnas_tf.training.schedules import cosine_with_warmup
from pnas_tf.training.step import Moved, TrainStep
from pnas_tf.training.weight_average import WeightAverage, restored

HISTORY = {"format": "pnas_tf/train_history", "version": 1}


class Training:
    """The work of a `StepLoop`; see `run.loop.Work`."""

    name = "train"
    header = HISTORY

    def __init__(
        self,
        model: keras.Model,
        dataset: Dataset,
        recipe: TrainRecipe,
        *,
        identity: str,
        distribution: Distribution,
    ):
        self.model, self.dataset, self.config, self.seed = (
            model,
            dataset,
            recipe.config,
            recipe.seed,
        )
        self.identity, self.distribution = identity, distribution
        self.tuning = tuning_of(recipe.config)
        step = functools.partial(
            TrainStep,
            model,
            recipe.optimizer,
            train=recipe.config,
            seed=recipe.seed,
            distribution=distribution,
        )
        rates = block_rates(model, self.config.layer_rate_decay)
        statistics = self.tuning.train_batch_norm != "frozen"
        images = images_of(dataset).of(fit_split(self.config))
        self.batch_size, self.epochs = training_sizes(self.config, images)
        self.steps_per_epoch = dataset.fit_steps(self.config)
        self.head_steps = self.tuning.head_epochs * self.steps_per_epoch
        self.train_step = step(moved=Moved(rates, statistics, since=self.head_steps))
        # Alone it learns nothing of statistics, and the network's are those that it will see.
        self.head_step = step(moved=Moved(head_rates(model), statistics=False))
        self.mixing = Mixing(self.config, classes=model.output_shape[-1], seed=recipe.seed)
        self.teacher, decay = recipe.teacher, self.config.ema_decay
        self.average = WeightAverage(model, decay, distribution) if decay else None
        self.evaluator = Evaluator(model, distribution)
        self.means = RunningMeans.of(2)  # loss, accuracy

    @property
    def causes(self) -> str:
        return (
            f"--learning_rate={self.tuning.learning_rate} too high, too short a "
            "--learning_rate_warmup_epochs, inherited weights that are not finite, or images that "
            "are not"
        )

    def phase(self, epoch: int) -> str:
        return "head" if epoch < self.tuning.head_epochs else "train"

    def batches(self, epoch: int, start: int) -> Iterable[tuple[tf.Tensor, tf.Tensor]]:
        return self.dataset.fit_batches(self.config, seed=self.seed, epoch=epoch, start_batch=start)

    def take_step(self, step: int, images: tf.Tensor, labels: tf.Tensor) -> None:
        rate = self._learning_rate(step)
        take = self.head_step if step < self.head_steps else self.train_step
        images, labels = self.mixing(images, labels, step=step)
        taught = None if self.teacher is None else self.teacher.logits(images)
        loss, accuracy = take(images, labels, learning_rate=rate, step=step, teacher_logits=taught)
        require_finite(loss, "training step")
        if self.average is not None:
            self.average.update(step)
        self.means.add(loss, accuracy)

    def figures(self) -> dict[str, str]:
        loss, accuracy = self.means.means
        return {"train accuracy": f"{100 * (accuracy or 0.0):.0f} %", "loss": f"{loss or 0.0:.3f}"}

    def end_epoch(self, epoch: int) -> Row:
        loss, accuracy = self.means.means
        self.means = RunningMeans.of(2)
        rate = self._learning_rate((epoch + 1) * self.steps_per_epoch - 1)
        row: Row = {"epoch": epoch, "loss": loss, "accuracy": accuracy, "learning_rate": rate}
        every = self.config.evaluate_epochs
        if epoch + 1 == self.epochs or (every and (epoch + 1) % every == 0):
            row |= self._evaluation()
        return row

    def _evaluation(self) -> Row:
        """Loss and top-1 on the split that is held out."""
        self._agree_on_statistics()
        if self.config.train_on_alpha:
            split, batches = "test", self.dataset.test_batches
        else:
            split, batches = "alpha", self.dataset.validation_once
        with restored(self.model):  # the head learns by the moving statistics
            self.end()
            result = self.evaluator(batches(batch_size=self.batch_size))
        return {f"{split}_loss": result.loss, f"{split}_accuracy": result.accuracy}

    def end(self) -> None:
        """The network becomes what evaluations are of."""
        if self.average is not None:
            self.average.assign()
        if self.tuning.train_batch_norm == "reestimated":
            images = self.dataset.train_unaugmented(batch_size=self.batch_size)
            reestimate_batch_norm(self.model, images)

    def _learning_rate(self, step: int) -> float:
        """The classifier alone learns at a constant rate; then the whole network's begins."""
        if step < self.head_steps:
            return self.tuning.learning_rate
        return cosine_with_warmup(
            step - self.head_steps,
            steps=self.epochs * self.steps_per_epoch - self.head_steps,
            peak=self.tuning.learning_rate,
            warmup_steps=round(self.config.learning_rate_warmup_epochs * self.steps_per_epoch),
        )

    def _agree_on_statistics(self) -> None:
        """Gives every replica the mean of all replicas' moving statistics; each has moved its own
        by its share of the batches."""
        if self.distribution.strategy is not None:
            averages = [] if self.average is None else self.average.variables
            for variable in (*self.model.non_trainable_variables, *averages):
                variable.assign(variable.numpy())

    def _variables(self) -> dict[str, tf.Variable]:
        """Weights and momenta by the names that checkpoints have."""
        named = {
            f"variable/{number}/{variable.name}": variable
            for number, variable in enumerate(self.model.weights)
        }
        slots = {f"momentum/{number}": slot for number, slot in enumerate(self.train_step.slots)}
        if self.head_steps:
            slots |= {f"head/{number}": slot for number, slot in enumerate(self.head_step.slots)}
        if self.average is not None:
            averages = enumerate(self.average.variables)
            slots |= {f"average/{number}": average for number, average in averages}
        return {**named, **slots}

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        self._agree_on_statistics()
        arrays = {name: variable.numpy() for name, variable in self._variables().items()}
        state: dict[str, object] = {"sums": self.means.sums, "identity": self.identity}
        if (scale := self.train_step.loss_scale) is not None:
            state["loss_scale"] = [scale.value, scale.good_steps]
        return arrays, state

    def restore(self, checkpoint: Checkpoint, where: str) -> None:
        if checkpoint.state.get("identity") != self.identity:
            raise UserError(
                f"the training of {where} was started with other settings",
                expected="the same architecture, dataset, training options, seed and initial "
                "weights",
                received="others",
                fix="Choose another --run_dir, or delete the folder to train anew.",
            )
        for name, variable in self._variables().items():
            variable.assign(checkpoint.array(name, shape=tuple(variable.shape), where=where))
        self.means = RunningMeans(checkpoint.value("sums", tuple[float, ...], where=where))
        if self.train_step.loss_scale is not None:
            self.train_step.loss_scale = LossScale(
                *checkpoint.value("loss_scale", tuple[float, int], where=where)
            )
