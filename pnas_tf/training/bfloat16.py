"""Whether TensorFlow computes in bfloat16 on this computer's processor, tried before any work."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

from pnas_tf.errors import UserError
from pnas_tf.io.json_child import WITHOUT_FOLDER, WITHOUT_GPU

_TIMEOUT_S = 120
# The convolutions of an MBConv block, forward and backward.
_TRIAL = """
import tensorflow as tf
x = tf.ones([1, 8, 8, 4], tf.bfloat16)
dense, deep = (tf.ones([3, 3, 4, many], tf.bfloat16) for many in (4, 1))
with tf.GradientTape() as tape:
    tape.watch([x, dense, deep])
    y = tf.nn.conv2d(x, dense, 1, "SAME")
    y = tf.nn.depthwise_conv2d(y, deep, [1, 1, 1, 1], "SAME")
[gradient.numpy() for gradient in tape.gradient(y, [x, dense, deep])]
"""


def check_bfloat16() -> None:
    """Tries the convolutions in a process of its own, since some processors end it: about 5 s.

    Raises:
        UserError: they do not work here.
    """
    reason = _fault()
    if reason:
        raise UserError(
            "--mixed_precision=bfloat16",
            expected="a processor on which TensorFlow convolves in bfloat16 (x86-64: AVX-512)",
            received=reason,
            fix="Leave it out, or train on a GPU.",
        )


@functools.cache
def _fault() -> str:
    """ "" where they work."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", WITHOUT_FOLDER + _TRIAL],
            env={**os.environ, **WITHOUT_GPU},
            capture_output=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return f"a trial that did not end within {_TIMEOUT_S} s"
    if ended.returncode == 0:
        return ""
    lines = ended.stderr.decode("utf-8", "replace").strip().splitlines() or [""]
    return f"a trial that ended with status {ended.returncode}: {lines[-1][:300]}"
