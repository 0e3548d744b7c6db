"""A whole path of a supernet as one differentiable function, block by block as the reference engine
computes: what tests hold the steps of a search to."""

import numpy as np
import tensorflow as tf

from pnas_tf.search import sampling
from pnas_tf.space.graph import Choice, run_graph
from pnas_tf.space.ops import Zero
from pnas_tf.supernet import tape
from pnas_tf.supernet.functional import Mode, merge_output


def block_output(block, x, *, mode=Mode.ARCHITECTURE):
    """o(x) of a BlockWeights, without the identity shortcut."""
    return tape.output(block, x, mode=mode, shortcut=False)


def mixed_output(mixed_op, x, *, active, mode=Mode.ARCHITECTURE):
    """The choice block's output with one candidate active (eq. 1 to 3)."""
    block = mixed_op.candidates[active]
    if isinstance(block.block.op, Zero):
        return tf.identity(x)
    return tape.output(block, x, mode=mode, shortcut=True)


def logits(supernet, images, *, path, mode=Mode.ARCHITECTURE):
    """Logits [batch, classes] of one path for images [batch, resolution, resolution, channels]."""
    return run_graph(
        supernet.topology,
        images,
        fixed=lambda block, x: tape.output(supernet.fixed[block.name], x, mode=mode, shortcut=True),
        choice=lambda index, x: mixed_output(
            supernet.mixed_ops[index], x, active=path[index], mode=mode
        ),
        merge=lambda _, merge, inputs: merge_output(merge, inputs),
    )


def first_choice_input(supernet, images):
    """What every path computes before its first choice block: stem and first block in a space of
    MBConvs."""
    x = images
    for node in supernet.topology:
        if isinstance(node, Choice):
            return x
        if hasattr(node, "block"):
            x = tape.output(
                supernet.fixed[node.block.name], x, mode=Mode.ARCHITECTURE, shortcut=True
            )
    raise AssertionError("no choice block")


def softmaxes(supernet):
    return tuple(sampling.softmax(alpha.numpy()) for alpha in supernet.alphas)


def expected(p, latency, alpha, considered):
    moving = tf.reduce_sum(p * latency[list(considered)].astype(p.dtype.as_numpy_dtype))
    return (
        float(np.dot(sampling.softmax(alpha.numpy()), latency)) + moving - tf.stop_gradient(moving)
    )
