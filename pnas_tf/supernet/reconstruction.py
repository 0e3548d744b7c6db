"""Candidates that hold less than a pretrained block learn, without labels, what they can of its
outputs: their projection is solved by least squares on images, block by block (He, Zhang and Sun
2017, "Channel Pruning for Accelerating Very Deep Neural Networks", section 3.1).

Knows nothing of how the channels were chosen, or of training.
"""

from __future__ import annotations

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
    fitted, x = 0, images
    for node in supernet.topology:
        if isinstance(node, Fixed) and node.block.name != "head":
            x = _output(supernet.fixed[node.block.name], x, shortcut=True)
        elif isinstance(node, Choice):
            mixed_op = supernet.mixed_ops[node.index]
            whole = _own_op(mixed_op, start)
            if whole is None:
                break
            if isinstance(whole.block.op, Zero):
                continue
            y = _output(whole, x, shortcut=False)
            for candidate in mixed_op.candidates:
                if _is_fitted(candidate, start):
                    _fit(candidate, x, y)
                    fitted += 1
            x = x + y if whole.block.shortcut else y
    return fitted


def _output(block: BlockWeights, x: tf.Tensor, *, shortcut: bool) -> tf.Tensor:
    return tape.output(block, x, mode=Mode.ARCHITECTURE, shortcut=shortcut)


def _own_op(mixed_op: MixedOp, start: Remapping) -> BlockWeights | None:
    """The candidate that computes what the source computes, with the source's op."""
    ops = start.own_ops(mixed_op.candidates[0].block)
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
