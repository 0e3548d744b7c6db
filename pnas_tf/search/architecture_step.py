"""Architecture steps: alpha, and what one step of the search's algorithm does to it (section 3.2,
second half of the loop; section 3.3.2 for REINFORCE).

Weights, moving statistics and momenta are not touched. Knows nothing of epochs, data or files.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from pnas_tf.run.checkpoints import Checkpoint
from pnas_tf.run.figures import RunningMeans, require_finite
from pnas_tf.search import sampling
from pnas_tf.search.alpha_adam import AlphaAdam
from pnas_tf.search.gate_gradient import architecture_gradient, sample_gates
from pnas_tf.search.objective import SearchTargets
from pnas_tf.search.recipe import SearchRecipe
from pnas_tf.search.reinforce import policy_gradient, reward
from pnas_tf.search.weight_step import path_result
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.training.loss_scale import LossScale

_FIGURES = 3  # cross-entropy, top-1, objective


class ArchitectureSteps:
    """alpha of `supernet`, and its steps by `recipe.config.algorithm`.

    Attributes:
        alphas: for each choice block float64 [candidates]; the supernet's float32 variables are
            copies of it.
        step: how many were taken.
        means: cross-entropy (NaN with REINFORCE), top-1 and objective of the epoch's steps.
    """

    def __init__(self, supernet: Supernet, targets: SearchTargets, recipe: SearchRecipe):
        self.supernet, self.targets = supernet, targets
        self.config, self.seed = recipe.config, recipe.seed
        self.alphas = [alpha.numpy().astype(np.float64) for alpha in supernet.alphas]
        self.step = 0
        self.new_epoch()
        self._adam = AlphaAdam([len(alpha) for alpha in self.alphas], self.config)
        self._baseline: float | None = None

    def new_epoch(self) -> None:
        """Begins new means."""
        self.means = RunningMeans.of(_FIGURES)

    @property
    def probabilities(self) -> list[np.ndarray]:
        """softmax(alpha) of each choice block, float64 [candidates]."""
        return [sampling.softmax(alpha) for alpha in self.alphas]

    def take(
        self, images: tf.Tensor, labels: tf.Tensor, *, loss_scale: LossScale | None = None
    ) -> None:
        """One step on a batch of the search's validation split.

        Args:
            images: [batch, resolution, resolution, channels].
            labels: integers [batch].
            loss_scale: of a supernet in float16.

        Raises:
            NotFinite: the objective or alpha is.
        """
        generator = sampling.generator_at(self.seed, "gates", self.step)
        if self.config.algorithm == "reinforce":
            self._by_reward(images, labels, generator)
        else:
            self._by_gates(images, labels, generator, loss_scale)
        for variable, alpha in zip(self.supernet.alphas, self.alphas):
            require_finite(float(np.sum(alpha)), "architecture step")
            variable.assign(alpha.astype(np.float32))
        self.step += 1

    def _by_gates(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        generator: np.random.Generator,
        scale: LossScale | None,
    ) -> None:
        sample = sample_gates(self.alphas, self.config.algorithm, generator)
        result = architecture_gradient(
            self.supernet,
            sample,
            images,
            labels,
            objective=self.targets.objective,
            loss_scale=scale.value if scale else 1.0,
        )
        require_finite(result.objective, "architecture step")
        if scale and not all(np.isfinite(products).all() for products in result.gate):
            scale.update(False)  # alpha stays as it is, as weights do
            return
        for block, considered in enumerate(sample.considered):
            before = self.alphas[block]
            after = self._adam.updated(block, before, result.alpha[block], considered)
            if self.config.algorithm == "two_path":
                after = sampling.rescale(before, after, considered)
            self.alphas[block] = after
        self.means.add(result.cross_entropy, result.accuracy, result.objective)

    def _by_reward(
        self, images: tf.Tensor, labels: tf.Tensor, generator: np.random.Generator
    ) -> None:
        accuracies: list[float] = []

        def reward_of(path: ChoiceIndices) -> float:
            accuracies.append(path_result(self.supernet, path, images, labels)[1])
            return reward(accuracies[-1], self.targets.latency_ratios(path), self.config)

        result = policy_gradient(
            self.alphas,
            reward_of,
            networks=self.config.rl_networks,
            baseline=self._baseline,
            decay=self.config.rl_baseline_decay,
            generator=generator,
        )
        self._baseline = result.baseline
        for block, gradient in enumerate(result.alpha):
            before = self.alphas[block]
            self.alphas[block] = self._adam.updated(block, before, gradient, range(len(gradient)))
        self.means.add(math.nan, float(np.mean(accuracies)), -float(np.mean(result.rewards)))

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        """(arrays, JSON values) that `restore` continues from."""
        arrays = {f"adam/{name}": values for name, values in self._adam.state().items()}
        arrays |= {f"alpha/{block}": alpha for block, alpha in enumerate(self.alphas)}
        sums = [None if math.isnan(total) else total for total in self.means.sums]
        return arrays, {"arch_step": self.step, "baseline": self._baseline, "alpha_sums": sums}

    def restore(self, checkpoint: Checkpoint, where: str) -> None:
        """The inverse of `state`. Raises UserError naming what `where` lacks."""
        self._adam.restore(
            {
                name: checkpoint.array(f"adam/{name}", shape=values.shape, where=where)
                for name, values in self._adam.state().items()
            }
        )
        self.alphas = [
            checkpoint.array(f"alpha/{block}", shape=alpha.shape, where=where).copy()
            for block, alpha in enumerate(self.alphas)
        ]
        self.step = checkpoint.value("arch_step", int, where=where)
        if checkpoint.state.get("baseline") is not None:
            self._baseline = checkpoint.value("baseline", float, where=where)
        sums = checkpoint.value("alpha_sums", tuple[float | None, ...], where=where)
        self.means = RunningMeans([math.nan if total is None else total for total in sums])
