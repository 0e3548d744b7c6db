"""Candidates that hold less than a pretrained block learn, without labels, what they can of its
outputs: their projection is solved by least squares on images, block by block (He, Zhang and Sun
2017, "Channel Pruning for Accelerating Very Deep Neural Networks", section 3.1). What they still
lose tells candidates apart before any of them is trained (Li et al. 2020, "Block-wisely Supervised
Neural Architecture Search with Knowledge Distillation"; Molchanov et al. 2022, "LANA: Latency Aware
Network Acceleration").

Knows nothing of how the channels were chosen, or of training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pnas_tf.networks.remapped_space import APPROXIMATED, KEPT, Remapping
from pnas_tf.space.graph import Choice, Fixed
from pnas_tf.space.ops import Zero
from pnas_tf.supernet import tape
from pnas_tf.supernet.functional import Mode, middle_output
from pnas_tf.supernet.mixed_op import BlockWeights, MixedOp
from pnas_tf.supernet.supernet import Supernet

MAX_ROWS = 6_000  # positions in the images that an output is fitted at
_RIDGE = 1e-3  # of the mean square of a middle channel


def reconstruct(supernet: Supernet, start: Remapping, images: tf.Tensor) -> int:
    """Fits the projection of every candidate that `start` approximates to what the source's own op
    gives for the same input. Ends at the first block that does not have that op.

    Args:
        supernet: of a space of stages, with the weights of `start`.
        start: what its candidates started from.
        images: float32 [batch, resolution, resolution, channels] as in the search, not augmented.

    Returns:
        How many candidates were fitted.
    """
    fitted = 0
    for place in _places(supernet, start, images):
        for candidate in place.mixed_op.candidates:
            if _is_fitted(candidate, start):
                _fit(candidate, place.x, place.y)
                fitted += 1
    return fitted


def losses(supernet: Supernet, start: Remapping, images: tf.Tensor) -> dict[int, np.ndarray]:
    """What each candidate loses of the source's own op, for the same input: the mean square of the
    difference in parts of the variance of what the block passes on.

    Returns:
        Index of a choice block -> [candidates]; 0 is the own op's. Blocks from the first one on
        that does not have that op are not there. Arguments as of `reconstruct`, after it.
    """
    found = {}
    for place in _places(supernet, start, images):
        passed = place.passed.numpy()
        spread = float(np.mean((passed - passed.mean(axis=(0, 1, 2))) ** 2)) or 1.0
        found[place.index] = np.array(
            [_squares(candidate, place) / spread for candidate in place.mixed_op.candidates]
        )
    return found


@dataclass(frozen=True)
class _Place:
    """A choice block in the source. x: its input. y: what its own op makes of that. passed: with
    the shortcut."""

    index: int
    mixed_op: MixedOp
    x: tf.Tensor
    y: tf.Tensor
    passed: tf.Tensor


def _places(supernet: Supernet, start: Remapping, images: tf.Tensor) -> Iterator[_Place]:
    """Where the source has a block, one after the other, as long as the supernet has its op."""
    x = images
    for node in supernet.topology:
        if isinstance(node, Fixed) and node.block.name != "head":
            x = _output(supernet.fixed[node.block.name], x, shortcut=True)
        elif isinstance(node, Choice):
            mixed_op = supernet.mixed_ops[node.index]
            whole = _own_op(mixed_op, start)
            if whole is None:
                return
            if isinstance(whole.block.op, Zero):
                continue
            y = _output(whole, x, shortcut=False)
            passed = x + y if whole.block.shortcut else y
            yield _Place(node.index, mixed_op, x, y, passed)
            x = passed


def _squares(candidate: BlockWeights, place: _Place) -> float:
    """Mean square of what a candidate's output differs by."""
    if isinstance(candidate.block.op, Zero):
        return float(tf.reduce_mean(place.y**2))
    return float(tf.reduce_mean((_output(candidate, place.x, shortcut=False) - place.y) ** 2))


def _output(block: BlockWeights, x: tf.Tensor, *, shortcut: bool) -> tf.Tensor:
    return tape.output(block, x, mode=Mode.ARCHITECTURE, shortcut=shortcut)


def _own_op(mixed_op: MixedOp, start: Remapping) -> BlockWeights | None:
    """The candidate that computes what the source computes, with the source's op; none where the
    source has several, and computes what each of them does."""
    ops = start.own_ops(mixed_op.candidates[0].block)
    if len(ops) > 1:
        return None
    for candidate in mixed_op.candidates:
        zero = isinstance(candidate.block.op, Zero)
        if candidate.block.op in ops and (
            zero or start.origin_of(candidate.block).function == KEPT
        ):
            return candidate
    return None


def _is_fitted(candidate: BlockWeights, start: Remapping) -> bool:
    layers = candidate.block.layers
    gated = any(layer.name == "squeeze" for layer in layers)
    linear = [layer.name for layer in layers if layer.kernel == 1 and layer.activation is None]
    # More taps read neighbours and a gate all positions, where least squares know one.
    if linear != ["project"] or gated:
        return False
    return start.origin_of(candidate.block).function == APPROXIMATED


def _fit(candidate: BlockWeights, x: tf.Tensor, y: tf.Tensor) -> None:
    """Sets projection and batch normalisation so that the candidate's output for x is nearest
    y."""
    middle = middle_output(candidate.block, x, candidate.ordered, numerics=candidate.numerics)
    read, wanted = _rows(middle), _rows(y)
    mean = read.mean(axis=0)
    centred = (read - mean).astype(np.float64)
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += _RIDGE * max(np.trace(gram) / len(gram), 1e-12)
    kernel = np.linalg.solve(gram, centred.T @ (wanted - wanted.mean(axis=0)))
    variance = (centred @ kernel).var(axis=0)
    epsilon = candidate.numerics.normalisation.epsilon
    values = (
        kernel[None, None],
        np.sqrt(variance + epsilon),
        wanted.mean(axis=0),
        mean @ kernel,
        variance,
    )
    for variable, value in zip(candidate.by_layer["project"], values, strict=True):
        variable.assign(value.astype(np.float32))


def _rows(values: tf.Tensor) -> np.ndarray:
    """[positions, channels], at most MAX_ROWS of them at equal distances."""
    rows = values.numpy().reshape(-1, values.shape[-1])
    return rows[:: -(-len(rows) // MAX_ROWS)]
