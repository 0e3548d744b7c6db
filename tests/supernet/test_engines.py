"""Both engines through the same steps: same outputs, gradients, gate gradients, updated weights,
momenta and moving statistics, for every op a block can hold.

Inputs are such that the tape engine, which computes eagerly, sees no activation near a kink.
"""

import dataclasses
import types

import kinks
import numpy as np
import pytest
import tensorflow as tf
from conforming import CONFORMING

from pnas_tf import _tf_private
from pnas_tf.config import OptimizerConfig, SearchConfig
from pnas_tf.errors import UserError
from pnas_tf.search.gate_gradient import GateSample, architecture_gradient
from pnas_tf.search.objective import RegularisedObjective
from pnas_tf.search.sampling import softmax
from pnas_tf.search.weight_step import Momentum, path_result, weight_step
from pnas_tf.space.blocks import Block
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import Conv, Head, MBConv, Zero
from pnas_tf.supernet import engine_choice
from pnas_tf.supernet.compiled.engine import CompiledEngine
from pnas_tf.supernet.engine_choice import engine_of, fault_of
from pnas_tf.supernet.initializers import HeInitializer
from pnas_tf.supernet.mixed_op import BlockWeights
from pnas_tf.supernet.numerics import Numerics
from pnas_tf.supernet.replicas import Replicas
from pnas_tf.supernet.supernet import Supernet
from pnas_tf.supernet.tape import TapeEngine

NUMERICS = Numerics(weight_decay=0.01, no_decay="none")
HALF = Numerics(weight_decay=0.01, no_decay="none", precision="float16")
GATE_MODES = ("two_path", "full", "full_recompute")
TAPE = TapeEngine()
NAMES = [name for name in engine_choice.ENGINES if name != "tape"]  # those that are held to it
OTHERS = [engine_choice.ENGINES[name]() for name in NAMES]
# Zero owns nothing that an engine computes; the steps of whole networks below have it.
BLOCKS = [block for block in CONFORMING if not isinstance(block.op, Zero)]
every_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.key)
some_blocks = pytest.mark.parametrize(
    "block",
    [
        Block("b", MBConv(5, 3), 6, 6, 4, 4, 1, True, "same"),
        Block("b", Conv(3, None), 6, 6, 4, 8, 1, False, "same"),
        Block("b", Head(8), 6, 1, 4, 5, 1, False, "same"),
    ],
    ids=lambda block: block.op.key,
)


def made(block, numerics=NUMERICS):
    weights = BlockWeights(
        block, numerics=numerics, initializer=HeInitializer(0, div_groups=True), name="b"
    )
    generator = np.random.default_rng(0)
    for variable in weights.ordered:
        variable.assign_add(0.1 * generator.standard_normal(variable.shape).astype(np.float32))
    return weights


def inputs(block, dtype=tf.float32, seed=0):
    """x, and a gradient at the block's output; logits are float32 always."""
    generator = np.random.default_rng([1, seed])
    is_head = isinstance(block.op, Head)
    size = () if is_head else (block.out_size, block.out_size)
    x = generator.standard_normal((3, block.in_size, block.in_size, block.in_channels))
    upstream = generator.standard_normal((3, *size, block.out_channels))
    return tf.constant(x, dtype), tf.constant(upstream, tf.float32 if is_head else dtype)


def same(ours, theirs, *, tolerance=2e-5, what=""):
    for left, right in zip(ours, theirs, strict=True):
        left, right = np.asarray(left, np.float64), np.asarray(right, np.float64)
        assert left.shape == right.shape, what
        scale = max(1.0, np.abs(right).max(initial=0.0))
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=tolerance * scale, err_msg=what)


def weight_steps(engine, block, numerics=NUMERICS, *, seed, nesterov=True, input_gradient=True):
    """Two steps, so that momentum counts: (outputs, gradients, variables, momenta)."""
    weights, optimizer = made(block, numerics), Momentum(OptimizerConfig(nesterov=nesterov))
    scale = [tf.constant(4.0)] if numerics.precision == "float16" else []
    x, upstream = inputs(block, numerics.dtype, seed)
    outputs, gradients = [], []
    for _ in range(2):
        y, backward = engine.weight_pass(
            weights, [x], nesterov=nesterov, input_gradient=input_gradient
        )
        dx, update = backward(
            [upstream * 4 if scale else upstream],
            momenta=optimizer.momenta(weights),
            scalars=[tf.constant(0.1), optimizer.momentum, *scale],
        )
        finite = update.run()
        assert (finite is not None) == bool(scale and weights.trained)
        assert finite is None or bool(finite)
        assert (dx is not None) == input_gradient
        outputs += y
        gradients += dx or []
    return outputs, gradients, weights.ordered, [slot.numpy() for slot in optimizer.slots.values()]


def check_weight_steps(block, numerics=NUMERICS, *, tolerance=2e-5, **options):
    # In half precision the tolerance has room for the kinks that its rounding crosses.
    seed, theirs = kinks.first_away(
        lambda seed: weight_steps(TAPE, block, numerics, seed=seed, **options),
        least=0.0 if numerics is HALF else kinks.LEAST,
    )
    names = ("outputs", "gradients", "variables", "momenta")
    for engine in OTHERS:
        ours = weight_steps(engine, block, numerics, seed=seed, **options)
        for what, left, right in zip(names, ours, theirs, strict=True):
            # A gradient that a later normalisation takes away is the rounding of large sums.
            largest = max([1.0, *(np.abs(value).max() for value in right if value is not None)])
            allowed = tolerance * (largest if what == "momenta" else 1.0)
            same(left, right, tolerance=allowed, what=f"{what} of {engine.name}")
    before = made(block, numerics).ordered
    for variable, old in zip(theirs[2], before, strict=True):
        assert not np.array_equal(variable, old), "a variable that no step moves"


@every_block
def test_weight_steps_are_the_same(block):
    check_weight_steps(block)


@some_blocks
@pytest.mark.parametrize("options", [{"nesterov": False}, {"input_gradient": False}], ids=str)
def test_weight_steps_are_the_same_with(block, options):
    check_weight_steps(block, **options)


@some_blocks
def test_weight_steps_are_the_same_in_half_precision(block):
    """float16 has 11 bits: of a sum of a hundred products the order alone makes a few 1e-3."""
    check_weight_steps(block, HALF, tolerance=0.02)


@some_blocks
@pytest.mark.parametrize("engine", [TAPE, *OTHERS], ids=lambda engine: engine.name)
def test_a_gradient_that_is_not_finite_moves_no_weight_and_no_momentum(engine, block):
    weights, optimizer = made(block, HALF), Momentum(OptimizerConfig())
    x, upstream = inputs(block, tf.float16)
    for slot in optimizer.momenta(weights).variables:
        slot.assign_add(tf.ones_like(slot))
    before = [variable.numpy() for variable in weights.trained]
    _, backward = engine.weight_pass(weights, [x], nesterov=True, input_gradient=True)
    _, update = backward(
        [upstream + np.inf],
        momenta=optimizer.momenta(weights),
        scalars=[tf.constant(0.1), optimizer.momentum, tf.constant(4.0)],
    )
    assert not bool(update.run())
    for variable, value in zip(weights.trained, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    for slot in optimizer.slots.values():
        np.testing.assert_array_equal(slot, np.ones(slot.shape))


def architecture_steps(engine, block, seed):
    """(output, gradient, gate gradient twice, both outputs without a backward pass)."""
    weights = made(block)
    before = [variable.numpy() for variable in weights.ordered]
    x, upstream = inputs(block, seed=seed)
    y, backward = engine.architecture_pass(weights, [x], input_gradient=True, gate=True)
    dx, gate = backward([upstream])
    products = engine.gate_products(weights, [x], [upstream])
    outputs = [engine.output(weights, [x], shortcut=shortcut)[0] for shortcut in (True, False)]
    for wanted in ((True, False), (False, True)):
        again, backward = engine.architecture_pass(
            weights, [x], input_gradient=wanted[0], gate=wanted[1]
        )
        found = backward([upstream])
        assert [value is not None for value in found] == list(wanted)
        same([*again, *(found[0] or found[1])], [*y, *(dx if wanted[0] else gate)])
    for variable, value in zip(weights.ordered, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg="an architecture step moves nothing")
    return [*y, *dx, *outputs], [*gate, *products]


@every_block
@pytest.mark.slow
def test_architecture_steps_are_the_same(block):
    seed, (theirs, gates) = kinks.first_away(lambda seed: architecture_steps(TAPE, block, seed))
    for engine in OTHERS:
        ours, own_gates = architecture_steps(engine, block, seed)
        same(ours, theirs, what=engine.name)
        same(own_gates, gates, tolerance=1e-4, what=engine.name)
    same(gates[:1], gates[1:])
    y, _, with_shortcut, without = theirs
    same([y], [with_shortcut])
    added = inputs(block, seed=seed)[0] if block.shortcut else 0.0
    same([with_shortcut], [without + added])


@pytest.mark.parametrize(
    "op, stride, padding",
    [(MBConv(7, 6), 1, "same"), (MBConv(5, 3), 2, "symmetric"), (MBConv(7, 2), 2, "same")],
)
@pytest.mark.slow
def test_shared_pieces_are_right_for_the_second_block_too(op, stride, padding):
    """Compiled for one block, run for one of other sizes."""
    for block in (
        Block("b", MBConv(3, 3), 6, -(-6 // stride), 4, 8, stride, False, padding),
        Block("b", op, 8, -(-8 // stride), 6, 10, stride, False, padding),
    ):
        check_weight_steps(block)
        test_architecture_steps_are_the_same(block)


SPACE = MBConvSpace(
    "micro",
    8,
    4,
    stem_width=4,
    first_width=4,
    stages=(Stage(8, 3, 2),),
    head_width=8,
    candidates=(MBConv(3, 2), MBConv(5, 3)),
)
PATH = (1, 2, 0)  # 2 is Zero, where there is a shortcut


def batch(seed):
    generator = np.random.default_rng([3, seed])
    images = tf.constant(generator.standard_normal((6, 8, 8, 3)), tf.float32)
    return images, tf.constant(generator.integers(0, 4, 6), tf.int32)


def supernet_of(engine, numerics=NUMERICS):
    return Supernet(
        SPACE,
        SearchConfig(weights_init="he_fout", alpha_scale=1.0, engine=engine),
        numerics=numerics,
        seed=2,
    )


def trained(engine, numerics=NUMERICS, *, seed=0):
    """(figures of two weight steps and one look, the supernet, the optimizer)."""
    supernet, optimizer = supernet_of(engine, numerics), Momentum(OptimizerConfig())
    assert [type(supernet.mixed_ops[1].candidates[2].block.op)] == [Zero]
    figures = []
    for _ in range(2):
        figures += weight_step(
            supernet,
            PATH,
            *batch(seed),
            optimizer=optimizer,
            learning_rate=0.05,
        )
    return [*figures, *path_result(supernet, PATH, *batch(seed))], supernet, optimizer


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.slow
def test_weight_steps_of_a_network_are_the_same(engine):
    seed, theirs = kinks.first_away(lambda seed: trained("tape", seed=seed))
    ours = trained(engine, seed=seed)
    assert [ours[1].engine.name, theirs[1].engine.name] == [engine, "tape"]
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-4)
    for left, right in (
        (ours[1].named_variables(), theirs[1].named_variables()),
        (ours[2].slots, theirs[2].slots),
    ):
        assert left.keys() == right.keys()
        for name in left:
            same([left[name]], [right[name]], tolerance=1e-4, what=name)


def gate_step(engine, gate_mode, active, seed):
    """An architecture step's result; that it moves nothing is asserted."""
    supernet = supernet_of(engine)
    before = {name: value.numpy() for name, value in supernet.named_variables().items()}
    considered = (
        tuple(
            tuple(sorted({choice, 0, 1} - {2}))[:2] if choice != 2 else (0, 2) for choice in active
        )
        if gate_mode == "two_path"
        else tuple(tuple(range(len(op.candidates))) for op in supernet.mixed_ops)
    )
    everything = tuple(softmax(alpha.numpy()) for alpha in supernet.alphas)
    probabilities = tuple(
        softmax(alpha.numpy()[list(indices)])
        for alpha, indices in zip(supernet.alphas, considered, strict=True)
    )
    found = architecture_gradient(
        supernet,
        GateSample(considered, probabilities, active, everything, gate_mode),
        *batch(seed),
        objective=RegularisedObjective((), "none", 0.2, 0.3, 0.1, "sum"),
    )
    for key, value in supernet.named_variables().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    return found


@pytest.mark.parametrize("gate_mode", GATE_MODES)
@pytest.mark.parametrize("active", [PATH, (0, 1, 2)], ids=str)
@pytest.mark.parametrize("engine", NAMES)
def test_architecture_steps_of_a_network_are_the_same(engine, gate_mode, active):
    seed, theirs = kinks.first_away(lambda seed: gate_step("tape", gate_mode, active, seed))
    ours = gate_step(engine, gate_mode, active, seed)
    np.testing.assert_allclose(ours.cross_entropy, theirs.cross_entropy, rtol=1e-5)
    assert ours.accuracy == theirs.accuracy
    same(ours.gate, theirs.gate, tolerance=1e-4)
    same(ours.alpha, theirs.alpha, tolerance=1e-4)
    assert max(np.abs(gradient).max() for gradient in theirs.alpha) > 1e-3


def test_every_engine_of_the_option_is_held_to_the_tape():
    [option] = [one for one in dataclasses.fields(SearchConfig) if one.name == "engine"]
    assert set(option.metadata["choices"]) == {"auto", "tape", *NAMES}
    assert [engine.name for engine in OTHERS] == NAMES


def test_auto_is_the_compiled_engine_where_it_is_right(caplog):
    assert engine_of("auto", NUMERICS).name == "compiled"
    assert caplog.text == ""


def test_auto_searches_by_the_tape_where_private_names_have_moved(monkeypatch, caplog):
    """Every private function of TensorFlow is gone; nothing compiled before may hide that."""
    assert engine_of("auto", NUMERICS).name == "compiled"

    def gone(*_, **__):
        raise ImportError("no module named tensorflow.python.eager")

    for name, value in vars(_tf_private).items():
        if isinstance(value, types.FunctionType):
            monkeypatch.setattr(_tf_private, name, gone)
    fresh = Numerics(weight_decay=0.0123, no_decay="none")
    figures, supernet, _ = trained("auto", fresh)
    assert supernet.engine.name == "tape" and np.isfinite(figures).all()
    (said,) = caplog.records
    assert "the tape takes its place" in said.getMessage()
    assert said.details[0].startswith("ImportError: no module")
    with pytest.raises(ImportError):
        trained("compiled", fresh)


@pytest.mark.parametrize(
    "name, result",
    [
        ("output", "an output"),
        ("gate_products", "an inactive candidate's gate gradient"),
        ("architecture_pass", "an architecture step's output"),
        ("weight_pass", "a weight step's output"),
    ],
)
def test_the_self_check_sees_a_wrong_value(name, result):
    class Wrong(CompiledEngine):
        pass

    def doubled(self, *arguments, **options):
        found = getattr(CompiledEngine, name)(self, *arguments, **options)
        if isinstance(found, tuple):
            return [2 * value for value in found[0]], found[1]
        return [2 * value for value in found]

    setattr(Wrong, name, doubled)
    assert fault_of(CompiledEngine(), NUMERICS) == ""
    assert fault_of(Wrong(), NUMERICS).startswith(f"{result} differs by")


def test_the_self_check_sees_a_wrong_update(monkeypatch):
    class Wrong(CompiledEngine):
        def weight_pass(self, block, x, *, nesterov, input_gradient):
            return super().weight_pass(
                block, x, nesterov=not nesterov, input_gradient=input_gradient
            )

    assert "after a weight step differs" in fault_of(Wrong(), NUMERICS)


@pytest.mark.parametrize(
    "numerics, received",
    [
        (Numerics(replicas=Replicas(("CPU:0", "CPU:1"), 2)), "2 replicas"),
        (Numerics(jit_compile=True), "both"),
    ],
)
def test_the_tape_refuses_what_it_cannot_do(numerics, received, monkeypatch):
    with pytest.raises(UserError, match="--engine=tape") as error:
        engine_of("tape", numerics)
    assert error.value.received == received and "--engine=compiled" in error.value.fix
    monkeypatch.setattr(engine_choice, "fault_of", lambda *_: pytest.fail("nothing to choose"))
    assert engine_of("auto", numerics).name == "compiled"
