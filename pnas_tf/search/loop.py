"""The search: warm-up phase, then weight steps and architecture steps in turn (section 3.2;
schedule of section 4.2). one_shot is a warm-up phase alone (Guo et al. 2020, section 3).

Every random draw and every batch follows from (seed, step), so a search that was stopped anywhere
and continued from a checkpoint is, to the bit, the one that would have run through. Knows nothing
of where data and latencies come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from pnas_tf._tf_private import deterministic_ops
from pnas_tf.config import SearchConfig
from pnas_tf.data.dataset import Dataset
from pnas_tf.data.fitted_options import (
    check_demands,
    demands_of,
    fitted_search,
    images_of,
    search_sizes,
)
from pnas_tf.errors import UserError
from pnas_tf.io.serialization import to_json
from pnas_tf.run.checkpoints import Checkpoint
from pnas_tf.run.figures import RunningMeans, require_finite
from pnas_tf.run.loop import Row, StepLoop
from pnas_tf.run.terminal import DETAILS, warn
from pnas_tf.search import sampling
from pnas_tf.search.architecture_step import ArchitectureSteps
from pnas_tf.search.judgement import AT_THE_END, BEFORE_ALPHA, Judgement, judgements_in, told
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.path_validation import judge, validate_paths
from pnas_tf.search.recipe import ONE_SHOT, SearchRecipe
from pnas_tf.search.schedule import schedule_of
from pnas_tf.search.weight_step import Momentum, weight_step
from pnas_tf.supernet.replicas import Replicas
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.supernet.variables import checkpoint_entry
from pnas_tf.training.distribution import check_shares
from pnas_tf.training.loss_scale import LossScale

HISTORY_FORMAT, HISTORY_VERSION = "pnas_tf/search_history", 1
_FIGURES = 2  # loss, top-1
_JUDGING_PATHS = 4


class Search:
    """A search of `supernet` on `dataset`, kept in `folder`.

    Call `run`; then `probabilities`. It is the work of a `StepLoop` (`run.loop.Work`), which takes
    its steps by `train_weights` and `train_alpha`.

    Args:
        supernet: what is searched, with its initial weights and alpha.
        dataset: the train split of the search trains the weights, its validation split alpha.
        targets: what the search shall reach.
        recipe: how; its device is not looked at.
        folder: holds checkpoints/, history.json and TensorBoard events/.
        identity: of all that decides the result; a search in `folder` of another is refused.

    Raises:
        UserError: a split is smaller than a batch, a batch has no equal part for every replica, or
            alpha would never be trained.
    """

    name = "search"
    causes = (
        "a learning rate too high (--warmup_learning_rate, --search_learning_rate, "
        "--arch_learning_rate), images that are not finite, or a target far outside what the space "
        "can do"
    )

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        targets: SearchTargets,
        recipe: SearchRecipe,
        *,
        folder: Path,
        identity: str = "",
    ):
        images, replicas = images_of(dataset), supernet.numerics.replicas
        config = fitted_search(recipe.config, images, replicas=replicas.total)
        self.supernet, self.dataset, self.targets = supernet, dataset, targets
        self.config, self.seed, self.identity = config, recipe.seed, identity
        self.momentum = Momentum(recipe.optimizer)
        self.architecture = ArchitectureSteps(supernet, targets, recipe)
        self.means = RunningMeans.of(_FIGURES)  # of the epoch's weight steps
        self.judgements: tuple[Judgement, ...] = ()
        self.sizes = search_sizes(config, images, replicas=replicas.total)
        check_batches(recipe.config, dataset, replicas)
        self.steps_per_epoch, self.alpha_batches = (
            dataset.steps_per_epoch(split, batch_size=size)
            for split, size in zip(("train", "validation"), self.sizes.batches)
        )
        self.schedule = schedule_of(config, images)
        self.epochs = self.schedule.epochs
        is_one_shot = config.algorithm == ONE_SHOT
        self._sampling = config.sampling if is_one_shot else sampling.BY_ALPHA
        self._for_alpha = self._batches_for_alpha()
        self.loop = StepLoop(
            self,
            folder,
            peers=replicas,
            keep=config.keep_checkpoints,
            checkpoint_steps=config.checkpoint_steps,
            tensorboard=recipe.tensorboard,
        )

    @property
    def probabilities(self) -> list[np.ndarray]:
        """softmax(alpha) of each choice block, float64 [candidates]."""
        return self.architecture.probabilities

    @deterministic_ops()
    def run(self) -> None:
        """Runs or continues the search to its end; raises as `StepLoop.run` does."""
        self.loop.run()

    # The work of the loop.

    @property
    def header(self) -> Mapping[str, object]:
        choices = self.supernet.space.choice_blocks
        return {
            "format": HISTORY_FORMAT,
            "version": HISTORY_VERSION,
            "candidates": [[op.key for op in choice.candidates] for choice in choices],
            "judgements": [to_json(each) for each in self.judgements],
        }

    def phase(self, epoch: int) -> str:
        return self.schedule.phase(epoch)

    def batches(self, epoch: int, start: int) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        self._for_alpha = self._batches_for_alpha()
        size = self.sizes.batch_size
        return self.dataset.train_batches(
            batch_size=size, seed=self.seed, epoch=epoch, start_batch=start
        )

    def take_step(self, step: int, images: tf.Tensor, labels: tf.Tensor) -> None:
        self.train_weights(step, images, labels)
        for _ in range(self.schedule.architecture_steps_after(step)):
            if self.architecture.step == 0:
                self._judge(BEFORE_ALPHA, weight_steps=step + 1)
            self.train_alpha(*next(self._for_alpha))

    def train_weights(self, step: int, images: tf.Tensor, labels: tf.Tensor) -> None:
        """Weight step number `step`, on one sampled path. Raises NotFinite."""
        loss, accuracy = weight_step(
            self.supernet,
            sampling.weight_path(self.probabilities, self._sampling, seed=self.seed, step=step),
            images,
            labels,
            optimizer=self.momentum,
            learning_rate=self.schedule.learning_rate(step),
        )
        require_finite(loss, "weight step")
        self.means.add(loss, accuracy)

    def train_alpha(self, images: tf.Tensor, labels: tf.Tensor) -> None:
        """One architecture step. Raises NotFinite."""
        self.architecture.take(images, labels, loss_scale=self._loss_scale)

    def _batches_for_alpha(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """The validation split's batches from the next architecture step on, epoch after
        epoch."""
        epoch, start = divmod(self.architecture.step, self.alpha_batches)
        while True:
            yield from self.dataset.validation_batches(
                batch_size=self.sizes.architecture_batch_size,
                seed=self.seed,
                epoch=epoch,
                start_batch=start,
            )
            epoch, start = epoch + 1, 0

    def figures(self) -> dict[str, str]:
        accuracy = self.means.means[1] or 0.0
        expected = self.targets.expected(self.probabilities)
        quantity = self.targets.targets[0].quantity
        return {
            "train accuracy": f"{100 * accuracy:.0f} %",
            f"expected {quantity.name}": f"{expected:.3g} {quantity.unit}",
        }

    def end_epoch(self, epoch: int) -> Row:
        probabilities = self.probabilities
        loss, accuracy = self.means.means
        alpha_loss, alpha_accuracy, objective = self.architecture.means.means
        self.means = RunningMeans.of(_FIGURES)
        self.architecture.new_epoch()
        if epoch + 1 == self.epochs:
            steps = self.epochs * self.steps_per_epoch
            self._judge(AT_THE_END, weight_steps=steps)
        return {
            "epoch": epoch,
            "phase": self.phase(epoch),
            "loss": loss,
            "accuracy": accuracy,
            "alpha_loss": None if alpha_loss is None or math.isnan(alpha_loss) else alpha_loss,
            "alpha_accuracy": alpha_accuracy,
            "validation_accuracy": self._validation(epoch),
            "objective": objective,
            "entropy": sampling.entropy(probabilities),
            "expected": self.targets.expected(probabilities),
            "probabilities": [p.tolist() for p in probabilities],
        }

    def _validation(self, epoch: int) -> float | None:
        """Top-1 of the most probable network on the validation split, batch statistics; None in
        epochs in which it is not asked for."""
        if not self.config.validate_epochs or (epoch + 1) % self.config.validate_epochs:
            return None
        path = tuple(int(np.argmax(alpha)) for alpha in self.architecture.alphas)
        size = self.sizes.architecture_batch_size
        found = validate_paths(self.supernet, [path], self.dataset, batch_size=size)
        return float(found.accuracies[0])

    def _judge(self, when: str, *, weight_steps: int) -> None:
        """Judges the supernet as it is, and tells the user."""
        generator = sampling.generator_at(self.seed, "judge", weight_steps)
        judged = judge(
            self.supernet,
            self.dataset,
            [sampling.sample_path(self.probabilities, generator) for _ in range(_JUDGING_PATHS)],
            batch_size=self.sizes.architecture_batch_size,
            when=when,
            weight_steps=weight_steps,
        )
        self.judgements += (judged,)
        if self.judgements[-1].has_learnt is False:
            meaning, *details = told(self.judgements)
            warn(meaning, details)
        else:
            DETAILS(told(self.judgements)[0])

    @property
    def _loss_scale(self) -> LossScale | None:
        """Of a supernet in float16."""
        half = self.supernet.numerics.precision == "float16"
        return self.momentum.loss_scale if half else None

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        named = self.supernet.named_variables()
        arrays = {checkpoint_entry(name): each.numpy() for name, each in named.items()}
        validation_arrays, alpha_state = self.architecture.state()
        judgements = [to_json(each) for each in self.judgements]
        state = {"weight_sums": self.means.sums, "judgements": judgements, **alpha_state}
        state["identity"] = self.identity
        if (scale := self._loss_scale) is not None:
            state["loss_scale"] = [scale.value, scale.good_steps]
        return {**arrays, **self.momentum.arrays(), **validation_arrays}, state

    def restore(self, checkpoint: Checkpoint, where: str) -> None:
        if checkpoint.state.get("identity", self.identity) != self.identity:
            raise UserError(
                f"the search of {where} was started with other settings",
                expected="the same space, dataset, options, seed, targets, tables and initial "
                "weights",
                received="others",
                fix="Choose another folder (--run_dir), or delete this one to search anew.",
            )
        restore_variables(self.supernet, checkpoint, where=where)
        self.momentum.restore(checkpoint, self.supernet, where=where)
        self.architecture.restore(checkpoint, where)
        fix = "Delete that checkpoint; the one before it is used."
        self.judgements = judgements_in(checkpoint.state, where=where, fix=fix)
        self.means = RunningMeans(checkpoint.value("weight_sums", tuple[float, ...], where=where))
        if self._loss_scale is not None:
            self.momentum.loss_scale = LossScale(
                *checkpoint.value("loss_scale", tuple[float, int], where=where)
            )


def check_batches(config: SearchConfig, dataset: Dataset, replicas: Replicas) -> None:
    """Raises UserError where a split is smaller than a batch of the search, or a batch has no equal
    part for every replica."""
    images = images_of(dataset)
    demands = demands_of(config, search_sizes(config, images, replicas=replicas.total))
    check_shares(demands, replicas)
    check_demands(demands, images, dataset=dataset.name)


def restore_variables(supernet: Supernet, checkpoint: Checkpoint, *, where: str) -> None:
    """Sets weights, moving statistics and alpha of `supernet`. Raises UserError naming an array
    that `where` lacks."""
    for name, variable in supernet.named_variables().items():
        variable.assign(
            checkpoint.array(checkpoint_entry(name), shape=tuple(variable.shape), where=where)
        )
