"""Which engine computes the blocks of a search: `--engine=auto|tape|compiled`.

auto is the compiled engine where that gives what the tape gives on one small block, and the tape
where it does not, e.g. because a new TensorFlow has moved what it stands on.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import tensorflow as tf

from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.compiled.engine import CompiledEngine
from pnas_tf.supernet.engine import Engine, Momenta
from pnas_tf.supernet.functional import Arithmetic
from pnas_tf.supernet.initializers import Initial
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.replicas import handles_of, variable_of
from pnas_tf.supernet.tape import TapeEngine, unsupported

_CHECKED = Block("block", MBConv(3, 2), 4, 4, 4, 4, 1, True, "same")
_TOLERANCE = 1e-4  # of values of order 1, in float32
# What a function that has moved, changed its arguments or refuses a graph raises.
_BROKEN = (
    ImportError,
    AttributeError,
    TypeError,
    ValueError,
    KeyError,
    RuntimeError,
    tf.errors.OpError,
)


def check_engine(name: str, arithmetic: Arithmetic) -> None:
    """Raises UserError where the engine is asked for by name and cannot compute so."""
    refusal = unsupported(arithmetic)
    if name == "tape" and refusal is not None:
        raise refusal


def engine_of(name: str, arithmetic: Arithmetic) -> Engine:
    """The engine that `--engine=name` means for networks of this arithmetic.

    Raises:
        UserError: the tape is asked for by name and cannot compute so.
    """
    check_engine(name, arithmetic)
    if name == "tape":
        return TapeEngine()
    # Where the tape cannot stand in, there is nothing to choose.
    if name == "compiled" or unsupported(arithmetic) is not None:
        return CompiledEngine()
    return _checked(arithmetic)


@functools.cache
def _checked(arithmetic: Arithmetic) -> Engine:
    """The compiled engine, or the tape with one line said. Once a process for each arithmetic; in
    float32, since half precisions differ by more than an error might."""
    fault = fault_of(CompiledEngine(), replace(arithmetic, precision="float32"))
    if not fault:
        return CompiledEngine()
    print(f"the compiled engine does not work here, and the tape takes its place: {fault}")
    return TapeEngine()


def fault_of(engine: Engine, arithmetic: Arithmetic) -> str:
    """What is wrong with `engine`, by both passes of both steps of one small block against the
    tape's; empty where nothing is."""
    try:
        ours = _results(engine, arithmetic)
    except _BROKEN as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0][:200]}"
    for (what, own), expected in zip(
        ours.items(), _results(TapeEngine(), arithmetic).values(), strict=True
    ):
        if own.shape != expected.shape:
            return f"{what} has shape {own.shape}, not {expected.shape}"
        if not np.allclose(own, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return f"{what} differs by {np.max(np.abs(own - expected)):.2g}"
    return ""


def _results(engine: Engine, arithmetic: Arithmetic) -> dict[str, np.ndarray]:
    block = BlockWeights(_CHECKED, arithmetic=arithmetic, initial=Initial(0), name="check")
    slots = tuple(
        variable_of(tf.fill(variable.shape, 0.5), arithmetic.replicas, trainable=False)
        for variable in block.trained
    )
    momenta = Momenta(slots, handles_of(slots, arithmetic.replicas))
    generator = np.random.default_rng(0)
    shape = (2, _CHECKED.in_size, _CHECKED.in_size, _CHECKED.in_channels)
    x, upstream = (tf.constant(generator.standard_normal(shape), tf.float32) for _ in range(2))
    found: dict[str, np.ndarray] = {}

    y, architecture_backward = engine.architecture_pass(block, [x], input_gradient=True, gate=True)
    gradient, gate = architecture_backward([upstream])
    assert gradient is not None and gate is not None
    found["an architecture step's output"] = y[0].numpy()
    found["an architecture step's gradient"] = gradient[0].numpy()
    found["a gate gradient"] = gate[0].numpy()
    found["an inactive candidate's gate gradient"] = engine.gate_products(block, [x], [upstream])[
        0
    ].numpy()
    found["an output"] = engine.output(block, [x], shortcut=True)[0].numpy()

    y, weight_backward = engine.weight_pass(block, [x], nesterov=True, input_gradient=True)
    gradient, update = weight_backward(
        [upstream], momenta=momenta, scalars=[tf.constant(0.1), tf.constant(0.9)]
    )
    update.run()
    assert gradient is not None
    found["a weight step's output"] = y[0].numpy()
    found["a weight step's gradient"] = gradient[0].numpy()
    for name, variable in block.named.items():
        found[f"{name} after a weight step"] = variable.numpy()
    for slot, name in zip(slots, (n for n, v in block.named.items() if v.trainable), strict=True):
        found[f"the momentum of {name}"] = slot.numpy()
    return found
