"""What the tape engine cannot compute. Knows nothing of TensorFlow, so that options are refused
before it is loaded."""

from __future__ import annotations

from pnas_tf.errors import UserError


def beyond_tape(*, replicas: int, jit_compile: bool) -> UserError | None:
    """Why `--engine=tape` cannot compute so; None where it can."""
    if replicas > 1:
        return UserError(
            "--engine=tape",
            expected="one device",
            received=f"{replicas} replicas",
            fix="Use --engine=compiled, or --strategy=none.",
        )
    if jit_compile:
        return UserError(
            "--engine=tape with --jit_compile",
            expected="one of them",
            received="both",
            fix="Use --engine=compiled, or leave --jit_compile out.",
        )
    return None
