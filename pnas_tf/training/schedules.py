"""Learning-rate schedules as closed forms of the step. Knows nothing of optimizers."""

from __future__ import annotations

import math


def cosine_with_warmup(step: int, *, steps: int, warmup_steps: int, peak: float) -> float:
    """The learning rate of weight step `step` (0 ... steps - 1).

    Linear up to `peak` over the first `warmup_steps`, peak * (step + 1) / warmup_steps, then peak /
    2 * (1 + cos(pi * t)) with t from 0 towards 1 over the rest (Loshchilov and Hutter 2017, eq. 5,
    no restarts).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    return (
        0.5
        * peak
        * (1.0 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))
    )
