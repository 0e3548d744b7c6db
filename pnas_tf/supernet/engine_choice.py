"""Which engine computes the blocks of a search: `--engine=auto|tape|compiled`.

auto is the compiled engine where that gives what the tape gives on one small block, and the tape
where it does not, e.g. because a new TensorFlow has moved what it stands on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import tensorflow as tf

from pnas_tf.run.terminal import warn
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.compiled.engine import CompiledEngine
from pnas_tf.supernet.engine import Engine, Momenta
from pnas_tf.supernet.initializers import HeInitializer
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import handles_of, variable_of
from pnas_tf.supernet.tape import TapeEngine, unsupported

ENGINES: dict[str, Callable[[], Engine]] = {"tape": TapeEngine, "compiled": CompiledEngine}
KEPT_ENGINES = 4  # a few dozen compiled functions of 0.4 MB each
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


def check_engine(name: str, numerics: Numerics) -> None:
    """Refuses, before any work, what `engine_of` would refuse.

    Raises:
        UserError: the engine is asked for by name and cannot compute so.
    """
    refusal = unsupported(numerics)
    if name == "tape" and refusal is not None:
        raise refusal


@functools.lru_cache(maxsize=KEPT_ENGINES)
def engine_of(name: str, numerics: Numerics) -> Engine:
    """The engine that `--engine=name` means for networks of these numerics.

    The last few are kept, so that the supernets of one process share what was compiled; what no
    supernet holds any more goes when others are asked for. auto checks once for each numerics, in
    float32, since half precisions differ by more than an error might; where the tape takes over, it
    says so in one line.

    Raises:
        UserError: the tape is asked for by name and cannot compute so.
    """
    check_engine(name, numerics)
    if name != "auto":
        return ENGINES[name]()
    engine = CompiledEngine()
    # Where the tape cannot stand in, there is nothing to choose.
    if unsupported(numerics) is not None:
        return engine
    fault = fault_of(engine, replace(numerics, precision="float32"))
    if not fault:
        return engine
    warn(
        "the search takes more time here than it could: the compiled engine does not work with "
        "this TensorFlow, and the tape takes its place",
        [fault],
    )
    return TapeEngine()


def fault_of(engine: Engine, numerics: Numerics) -> str:
    """What is wrong with `engine`, by both passes of both steps of one small block against the
    tape's.

    Returns:
        A line that names the first value that is wrong; empty where nothing is.
    """
    try:
        ours = _results(engine, numerics)
    except _BROKEN as error:
        lines = str(error).strip().splitlines() or [""]
        return f"{type(error).__name__}: {lines[0][:200]}"
    for (what, own), expected in zip(
        ours.items(), _results(TapeEngine(), numerics).values(), strict=True
    ):
        if own.shape != expected.shape:
            return f"{what} has shape {own.shape}, not {expected.shape}"
        if not np.allclose(own, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
            return f"{what} differs by {np.max(np.abs(own - expected)):.2g}"
    return ""


def _results(engine: Engine, numerics: Numerics) -> dict[str, np.ndarray]:
    block = BlockWeights(
        _CHECKED, numerics=numerics, initializer=HeInitializer(0, div_groups=True), name="check"
    )
    slots = tuple(
        variable_of(tf.fill(variable.shape, 0.5), numerics.replicas, trainable=False)
        for variable in block.trained
    )
    momenta = Momenta(slots, handles_of(slots, numerics.replicas))
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
    products = engine.gate_products(block, [x], [upstream])
    found["an inactive candidate's gate gradient"] = products[0].numpy()
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
