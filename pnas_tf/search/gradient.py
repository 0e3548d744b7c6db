"""Architecture steps by gate gradients (section 3.2): `two_path`, `full` and `full_recompute`.

With weights as constants, dL/dg_j = <dL/dm, o_j(x)> for every considered candidate j, and
dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i)   (eq. 4). The latency term reaches alpha through p.
Weights, moving statistics and momenta are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow as tf

from pnas_tf.nn.functional import Mode
from pnas_tf.nn.mixed_op import MixedOp
from pnas_tf.nn.supernet import Path, Supernet
from pnas_tf.search import gates
from pnas_tf.search.weight_step import cross_entropy, top1
from pnas_tf.space.ops import Zero

GATE_MODES = ("two_path", "full", "full_recompute")


class Objective(Protocol):
    """What an architecture step minimises: a function of the cross-entropy and the path probabilities."""

    def partials(self, cross_entropy: float, probabilities: Sequence[np.ndarray]) -> tuple[float, float, list[np.ndarray]]:
        """(value, d value / d cross-entropy, for each choice block d value / d p [candidates])."""


@dataclass(frozen=True)
class GateSample:
    """What one architecture step looks at.

    considered: for each choice block the candidates that get a gradient. probabilities: their probabilities, summing to
    one for each block. active: the candidate that runs, as an index of the supernet.
    """

    considered: tuple[tuple[int, ...], ...]
    probabilities: tuple[np.ndarray, ...]
    active: Path


@dataclass(frozen=True)
class ArchitectureGradient:
    """The result of one architecture step before any update. alpha: for each block d objective / d alpha [candidates]."""

    objective: float
    cross_entropy: float
    accuracy: float
    alpha: list[np.ndarray]
    gate: list[np.ndarray]


def sample_gates(alphas: Sequence[np.ndarray], gate_mode: str, generator: np.random.Generator) -> GateSample:
    """Draws the considered candidates and the active path.

    two_path: a pair without replacement from softmax(alpha), then softmax over the two. full, full_recompute: all.
    """
    considered, probabilities, active = [], [], []
    for alpha in alphas:
        p = gates.softmax(alpha)
        indices = tuple(dict.fromkeys(gates.sample_pair(p, generator))) if gate_mode == "two_path" else tuple(range(len(p)))
        q = gates.softmax(np.asarray(alpha)[list(indices)])
        considered.append(indices)
        probabilities.append(q)
        active.append(indices[int(generator.choice(len(q), p=q))])
    return GateSample(tuple(considered), tuple(probabilities), tuple(active))


def architecture_gradient(supernet: Supernet, sample: GateSample, images: tf.Tensor, labels: tf.Tensor, *, objective: Objective,
                          gate_mode: str) -> ArchitectureGradient:
    """The gradient of the objective for alpha on one batch of the alpha split.

    images: [batch, resolution, resolution, channels]; labels: integers [batch]. No label smoothing (published).
    `full_recompute` keeps only block inputs and computes the other outputs after the backward pass, one at a time.
    """
    inputs: list[tf.Tensor] = []
    outputs: list[tf.Tensor] = []
    held: list[dict[int, tf.Tensor]] = []

    def choice(index: int, x: tf.Tensor) -> tf.Tensor:
        mixed_op, considered, active = supernet.mixed_ops[index], sample.considered[index], sample.active[index]
        inputs.append(x)
        with tape.stop_recording():
            others = () if gate_mode == "full_recompute" else considered
            held.append({j: _output(mixed_op, j, x) for j in others if j != active and not _is_zero(mixed_op, j)})
        if _is_zero(mixed_op, active):
            x = tf.identity(x)  # the gradient at this block's output alone, not at all that reads its input
        else:
            held[-1][active] = _output(mixed_op, active, x)
            x = x + held[-1][active] if mixed_op.shortcut else held[-1][active]
        # The gradient at the block's output is all that the gates need; nothing before the first block gets one.
        tape.watch(x)
        outputs.append(x)
        return x

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        logits = supernet.run(images, mode=Mode.ARCHITECTURE, choice=choice)
        loss = cross_entropy(logits, labels, tf.constant(0.0))
    gate = []
    for mixed_op, considered, x, upstream, kept in zip(supernet.mixed_ops, sample.considered, inputs, tape.gradient(loss, outputs), held):
        # dL/dg_j = <dL/dm, o_j(x)>; Zero's output is zero, and so is its gate gradient.
        products = [None if _is_zero(mixed_op, j) else _inner_product(upstream, kept[j] if j in kept else _output(mixed_op, j, x))
                    for j in considered]
        gate.append(np.array([0.0 if product is None else float(product) for product in products]))
    return _combine(supernet, sample, objective, float(loss), float(top1(logits, labels)), gate)


def _output(mixed_op: MixedOp, index: int, x: tf.Tensor) -> tf.Tensor:
    return mixed_op.candidates[index].call(x, mode=Mode.ARCHITECTURE)


def _is_zero(mixed_op: MixedOp, index: int) -> bool:
    return isinstance(mixed_op.blocks[index].op, Zero)


def _combine(supernet: Supernet, sample: GateSample, objective: Objective, loss: float, accuracy: float,
             gate: list[np.ndarray]) -> ArchitectureGradient:
    """Adds the latency gradient to the cross-entropy's and passes both through the softmax of the considered candidates."""
    probabilities = [np.zeros(len(mixed_op.candidates)) for mixed_op in supernet.mixed_ops]
    for full, considered, q in zip(probabilities, sample.considered, sample.probabilities):
        full[list(considered)] = q
    value, by_cross_entropy, by_probability = objective.partials(loss, probabilities)
    alpha_gradients = []
    for full, considered, q, by_gate, by_p in zip(probabilities, sample.considered, sample.probabilities, gate, by_probability):
        slope = by_cross_entropy * by_gate + np.asarray(by_p)[list(considered)]
        gradient = np.zeros(len(full))
        gradient[list(considered)] = q * (slope - np.dot(q, slope))  # sum_j slope_j q_j (delta_ij - q_i)   (eq. 4)
        alpha_gradients.append(gradient)
    return ArchitectureGradient(value, loss, accuracy, alpha_gradients, gate)


@tf.function(reduce_retracing=True)
def _inner_product(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(left * right)
