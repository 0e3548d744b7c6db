"""Architecture steps by gate gradients (section 3.2): `two_path`, `full` and `full_recompute`.

A mixed op gives m = sum_j g_j o_j(x), where only the active path's binary gate g_j is 1 (eq. 1, 2).
With weights as constants, for every considered candidate i and j of a block:

    gate       dL/dg_j     = <dL/dm, o_j(x)>                              `_Step.choice_back`
    slope      s_j         = dF/dCE * dL/dg_j + dF/dp_j                   `_combine`
    alpha      dF/dalpha_i = sum_j s_j q_j (delta_ij - q_i)   (eq. 4)     `_combine`
               two_path: q = softmax over the two sampled alphas (section 3.2.1), else over all

F(CE, p) is the objective; its latency term (eq. 5) is told of p, all candidates' probabilities,
whichever are considered. What unsampled alphas lose by a step of two_path, `sampling.rescale` gives
back. Weights, moving statistics and momenta are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from pnas_tf.search import sampling
from pnas_tf.search.weight_step import batch_loss, batch_shares
from pnas_tf.space.architecture import ChoiceIndices
from pnas_tf.space.graph import nodes_after_choices
from pnas_tf.space.ops import Zero
from pnas_tf.supernet.engine import ArchitectureBackward, Values
from pnas_tf.supernet.functional import inner_product
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.supernet import Supernet


class Objective(Protocol):
    """What an architecture step minimises: a function of the cross-entropy and the path
    probabilities."""

    def partials(
        self, cross_entropy: float, probabilities: Sequence[np.ndarray]
    ) -> tuple[float, float, list[np.ndarray]]:
        """(value, d value / d cross-entropy, for each choice block d value / d p [candidates])."""


@dataclass(frozen=True)
class GateSample:
    """What one architecture step looks at.

    Attributes:
        considered: for each choice block the candidates that get a gradient.
        probabilities: q of them, summing to one for each block.
        active: the candidate that runs, as an index of the supernet.
        all_probabilities: p = softmax(alpha) of each block, of whose expected latency the objective
            is told.
        mode: "two_path", "full" or "full_recompute", as of `--algorithm`.
    """

    considered: tuple[tuple[int, ...], ...]
    probabilities: tuple[np.ndarray, ...]
    active: ChoiceIndices
    all_probabilities: tuple[np.ndarray, ...]
    mode: str


@dataclass(frozen=True)
class ArchitectureGradient:
    """The result of one architecture step before any update. alpha: for each block d objective / d
    alpha [candidates]."""

    objective: float
    cross_entropy: float
    accuracy: float
    alpha: list[np.ndarray]
    gate: list[np.ndarray]


def sample_gates(
    alphas: Sequence[np.ndarray], gate_mode: str, generator: np.random.Generator
) -> GateSample:
    """Draws the considered candidates and the active path.

    two_path: a pair without replacement from softmax(alpha), then softmax over the two. full,
    full_recompute: all.
    """
    considered, probabilities, active, all_probabilities = [], [], [], []
    for alpha in alphas:
        p = sampling.softmax(alpha)
        all_probabilities.append(p)
        indices = (
            tuple(dict.fromkeys(sampling.sample_pair(p, generator)))
            if gate_mode == "two_path"
            else tuple(range(len(p)))
        )
        q = sampling.softmax(np.asarray(alpha)[list(indices)])
        considered.append(indices)
        probabilities.append(q)
        active.append(indices[int(generator.choice(len(q), p=q))])
    return GateSample(
        tuple(considered),
        tuple(probabilities),
        tuple(active),
        tuple(all_probabilities),
        gate_mode,
    )


def architecture_gradient(
    supernet: Supernet,
    sample: GateSample,
    images: tf.Tensor,
    labels: tf.Tensor,
    *,
    objective: Objective,
    loss_scale: float = 1.0,
) -> ArchitectureGradient:
    """The gradient of the objective for alpha on one global batch of the search's validation
    split.

    images: [batch, resolution, resolution, channels]; labels: integers [batch]. No label smoothing
    (published). `full` holds the outputs of all candidates until the backward pass; the others keep
    only block inputs and compute the outputs of inactive candidates when the backward pass reaches
    their block. loss_scale: of a network in float16.
    """
    step = _Step(supernet, sample, keep_outputs=sample.mode == "full")
    replicas = supernet.numerics.replicas
    shares, own_labels = batch_shares(supernet, images, labels)
    logits, channels = supernet.forward(shares, fixed=step.fixed, choice=step.choice)
    result = batch_loss(replicas, logits, own_labels, smoothing=0.0, scale=loss_scale)
    supernet.backward(
        result.upstream,
        channels,
        fixed=step.fixed_back,
        choice=step.choice_back,
        wanted=step.wanted,
    )
    own = [
        sum(float(part) for part in parts) / loss_scale
        for products in step.gate
        for parts in products
    ]
    sizes = [len(considered) for considered in sample.considered]
    gate = np.split(replicas.total_of(own), np.cumsum(sizes)[:-1])
    return _combine(supernet, sample, objective, result.loss, result.accuracy, gate)


class _Step:
    """The passes of one architecture step through the network: gate collects dL/dg of every
    considered candidate.

    keep_outputs: compute the outputs of inactive candidates in the forward pass and hold them until
    the backward pass; else compute them when the gradient that they are multiplied with is there,
    one at a time.
    """

    def __init__(self, supernet: Supernet, sample: GateSample, *, keep_outputs: bool):
        self.supernet, self.sample, self.keep_outputs = supernet, sample, keep_outputs
        self.wanted = nodes_after_choices(
            supernet.topology
        )  # nothing before the first choice block needs a gradient
        self.gate: list[list[Values]] = [
            [] for _ in supernet.mixed_ops
        ]  # for each candidate the parts of the local replicas
        self._behind: dict[str, ArchitectureBackward] = {}
        self._inputs: dict[int, Values] = {}
        self._held: dict[tuple[int, int], Values] = {}

    def fixed(self, block: BlockWeights, x: Values) -> Values:
        if self.supernet.source_of(block) not in self.wanted:
            return self.supernet.engine.output(block, x, shortcut=True)
        return self._run(block, x, gate=False)

    def fixed_back(self, block: BlockWeights, upstream: Values) -> Values | None:
        return self._behind.pop(block.name)(upstream)[0]

    def choice(self, index: int, x: Values) -> Values:
        self._inputs[index] = x
        if self.keep_outputs:
            for j, candidate in self._others(index):
                self._held[index, j] = self.supernet.engine.output(candidate, x, shortcut=False)
        active = self._active(index)
        if isinstance(active.block.op, Zero):
            return x
        return self._run(active, x, gate=True)

    def choice_back(self, index: int, upstream: Values) -> Values | None:
        """dL/dg_j = <dL/dm, o_j(x)> for every considered j; returns dL/dx. upstream: dL/dm, by the
        active path alone."""
        x, active = self._inputs.pop(index), self._active(index)
        gradient: Values | None = upstream
        products: dict[int, Values] = {}
        if not isinstance(active.block.op, Zero):
            gradient, own = self._behind.pop(active.name)(upstream)
            if own is not None:
                products[self.sample.active[index]] = own
        for j, candidate in self._others(index):
            if (index, j) in self._held:
                products[j] = self.supernet.numerics.replicas.each(
                    _inner_product, upstream, self._held.pop((index, j))
                )
            else:
                products[j] = self.supernet.engine.gate_products(candidate, x, upstream)
        # Zero's output is zero, and so is its gate gradient.
        self.gate[index] = [products.get(j, [0.0]) for j in self.sample.considered[index]]
        return gradient

    def _active(self, index: int) -> BlockWeights:
        return self.supernet.mixed_ops[index].candidates[self.sample.active[index]]

    def _others(self, index: int) -> list[tuple[int, BlockWeights]]:
        """The considered candidates that do not run and have an output: (index, candidate)."""
        candidates = self.supernet.mixed_ops[index].candidates
        return [
            (j, candidates[j])
            for j in self.sample.considered[index]
            if j != self.sample.active[index] and not isinstance(candidates[j].block.op, Zero)
        ]

    def _run(self, block: BlockWeights, x: Values, *, gate: bool) -> Values:
        """The block's output; keeps its backward pass."""
        y, self._behind[block.name] = self.supernet.engine.architecture_pass(
            block, x, gate=gate, input_gradient=self.supernet.source_of(block) in self.wanted
        )
        return y


def _combine(
    supernet: Supernet,
    sample: GateSample,
    objective: Objective,
    loss: float,
    accuracy: float,
    gate: list[np.ndarray],
) -> ArchitectureGradient:
    """Adds the latency gradient to the cross-entropy's and passes both through the softmax of the
    considered candidates.

    The regulariser is told of all candidates: of two, the expected latency is far off the whole's
    from step to step, and a term that turns at the target would then turn by chance, and hold the
    median of what was drawn there instead of the mean.
    """
    value, by_cross_entropy, by_probability = objective.partials(loss, sample.all_probabilities)
    alpha_gradients = []
    for mixed_op, considered, q, by_gate, by_p in zip(
        supernet.mixed_ops, sample.considered, sample.probabilities, gate, by_probability
    ):
        index = list(considered)
        # s_j = dF/dCE * dL/dg_j + dF/dp_j
        slope = by_cross_entropy * by_gate + np.asarray(by_p)[index]
        gradient = np.zeros(len(mixed_op.candidates))
        # dF/dalpha_i = sum_j s_j q_j (delta_ij - q_i) = q_i (s_i - <q, s>)   (eq. 4)
        gradient[index] = q * (slope - np.dot(q, slope))
        alpha_gradients.append(gradient)
    return ArchitectureGradient(value, loss, accuracy, alpha_gradients, gate)


_inner_product = tf.function(inner_product, reduce_retracing=True)
