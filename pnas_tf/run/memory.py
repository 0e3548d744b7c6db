"""Frees what epochs leave behind. Knows nothing of what they do.

A tf.data pipeline, with the arrays it captured, hangs in cycles of references that Python finds
only in a full collection, which it puts off ever longer in a process of TensorFlow's size: 2 MB an
epoch on digits, a list of a million file names an epoch on ImageNet.
"""

from __future__ import annotations

import gc
import time

INTERVAL_S = 30.0  # a collection takes 0.2 s


class Garbage:
    """Collects at the end of an epoch when the last time is INTERVAL_S ago."""

    def __init__(self) -> None:
        self._last_s = time.monotonic()

    def epoch_ends(self) -> None:
        """Call where nothing of the epoch is held any more."""
        if time.monotonic() - self._last_s >= INTERVAL_S:
            gc.collect()
            self._last_s = time.monotonic()
