"""Peak RAM and file size: the plan against exhaustive search and both runtimes, footprints against
converted networks."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.search.budgets import ram_quantity, size_quantity
from pnas_tf.search.derive import path_of
from pnas_tf.search.file_limits import UntrainedFiles
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.mbconv import MBConvSpace, Stage
from pnas_tf.space.ops import MBConv
from pnas_tf.tflite import footprint_reading
from pnas_tf.tflite.arena import Lifetime, arena_of, graph_of, held_bytes, lifetimes, planned_bytes
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.footprint import Footprint
from pnas_tf.tflite.footprint_reading import measure_footprint
from pnas_tf.tflite.litert_arena import litert_arena_bytes
from pnas_tf.tflite.schema_reader import parse

# Kernels that are split, squeeze-and-excitation, hard-swish, and blocks that are skipped.
SPACE = MBConvSpace(
    "memory",
    24,
    5,
    8,
    8,
    (Stage(16, 2, 2), Stage(24, 2, 1)),
    32,
    (MBConv(3, 1), MBConv(7, 3), MBConv(3, 4, squeeze_excite=True, activation="hswish")),
)
DATASET = SimpleNamespace(
    resolution=24,
    class_names=tuple("abcde"),
    name="letters",
    normalization=SimpleNamespace(mean=127.5, std=127.5),
    centre_fraction=1,
)
NETWORKS = 4


@pytest.fixture(scope="module")
def files():
    return UntrainedFiles(DATASET, ExportConfig(), {})


@pytest.fixture(scope="module")
def footprint(files):
    return measure_footprint(SPACE, files, ("float32",), progress=lambda _: None)


@pytest.fixture(scope="module")
def networks(files):
    """Random networks with their int8 files."""
    found = [random_architecture(SPACE, seed=100 + seed) for seed in range(NETWORKS)]
    return [(network, files(network, "int8")) for network in found]


def overlaps(plan):
    """Whether two buffers of [(offset, buffer)] share bytes at one time."""
    return any(
        one.first <= other.last
        and other.first <= one.last
        and start < begin + other.size_bytes
        and begin < start + one.size_bytes
        for (start, one), (begin, other) in itertools.combinations(plan, 2)
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_plan_is_at_least_what_is_held_and_little_above_the_best_one(seed):
    """The best plan of few buffers, by trying every order of placing them lowest first."""
    generator = np.random.default_rng(seed)
    buffers = []
    for _ in range(5):
        first = int(generator.integers(0, 5))
        size, length = int(16 * generator.integers(1, 9)), int(generator.integers(0, 3))
        buffers.append(Lifetime(size, first, first + length))

    def lowest(order):
        placed = []
        for buffer in order:
            starts = sorted({0, *(start + other.size_bytes for start, other in placed)})
            start = next(s for s in starts if not overlaps([*placed, (s, buffer)]))
            placed.append((start, buffer))
        return max(start + buffer.size_bytes for start, buffer in placed)

    ends = [lowest(order) for order in itertools.permutations(buffers)]
    held = max(held_bytes(buffers, 8))
    assert held <= min(ends) <= planned_bytes(buffers) <= max(ends)
    by_size = sorted(reversed(buffers), key=lambda buffer: -buffer.size_bytes)
    assert planned_bytes(buffers) == lowest(by_size)


@pytest.mark.slow
def test_peak_ram_is_that_of_tflite_micro(networks, tmp_path):
    """Working part to the byte, the whole within 1 % and never too small; and the file runs in an
    arena of just what is predicted, with the outputs of LiteRT's reference kernels: exactly but for
    the softmax, which is of float32 and has another exponential."""
    pytest.importorskip("tflite_micro", reason="needs pip install 'pnas_tf[tflm]'")
    from pnas_tf.devices.tflm import run_model

    for number, (_, content) in enumerate(networks):
        path = tmp_path / f"{number}.tflite"
        path.write_bytes(content)
        arena = arena_of(parse(content))
        use = run_model(path, arena_bytes=arena.total_bytes)
        assert use.working_bytes == arena.working_bytes
        assert use.used_bytes <= arena.total_bytes <= 1.01 * use.used_bytes
        assert use.max_difference <= 1e-6  # of probabilities
    with pytest.raises(UserError, match="corrupt, truncated or of another kind"):
        run_model(path, arena_bytes=use.used_bytes - 512)


def litert_arena(content, graph):
    """By the addresses of tensors under the runtime's reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    spans = []
    for tensor, size in enumerate(graph.sizes):
        if size:
            array = interpreter.tensor(tensor)()
            spans.append((array.__array_interface__["data"][0], array.nbytes))
            del array
    return max(start + size for start, size in spans) - min(start for start, _ in spans)


@pytest.mark.slow
def test_litert_arenas_are_planned_to_the_byte(networks):
    for _, content in networks:
        graph = graph_of(parse(content))
        assert litert_arena_bytes(graph) == litert_arena(content, graph)


def test_litert_computes_in_place_where_nobody_else_reads():
    """Branches that are merged, one of which goes on; a product; a gate for every pixel, which is
    smaller."""
    from tf_keras import Input, Model, layers

    images = Input((12, 12, 3))
    stem = layers.Conv2D(16, 3, padding="same")(images)
    branches = [layers.Conv2D(16, 1)(stem) for _ in range(3)]
    merged = layers.Add()([layers.Add()(branches[:2]), branches[2]])
    product = layers.Multiply()([merged, layers.Conv2D(16, 1)(merged)])
    gated = layers.Multiply()([product, layers.Conv2D(1, 1)(product)])
    both = layers.Concatenate()([layers.Add()([gated, stem]), product])
    outputs = layers.Dense(4)(layers.Flatten()(both))
    content = convert(Model(images, outputs), "float32")
    graph = graph_of(parse(content))
    assert litert_arena_bytes(graph) == litert_arena(content, graph)
    assert litert_arena_bytes(graph) < planned_bytes(lifetimes(graph, 64))


@pytest.mark.slow
def test_a_footprint_predicts_files_and_arenas(networks, footprint, files, tmp_path):
    footprint = Footprint.load(footprint.save(tmp_path / "footprint.json"))
    size, ram = size_quantity(SPACE, footprint, "int8"), ram_quantity(SPACE, footprint)
    for network, content in networks:
        path, arena = path_of(network), arena_of(parse(content))
        assert footprint.working_bytes(network) == arena.working_bytes
        assert 1000 * ram.of(path) == pytest.approx(arena.total_bytes, rel=0.01)
        assert 1000 * size.of(path) == pytest.approx(len(content), rel=0.01)
    network = networks[0][0]
    plain = size_quantity(SPACE, footprint, "float32").of(path_of(network))
    assert 1000 * plain == pytest.approx(len(files(network, "float32")), rel=0.005)


@pytest.mark.slow
def test_weights_decide_neither_size_nor_ram(networks, files, monkeypatch):
    network, content = networks[1]
    genuine = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: genuine(seed + 1))
    other = files(network, "int8")
    assert other != content and len(other) == len(content)
    assert arena_of(parse(other)) == arena_of(parse(content))


@pytest.mark.parametrize("chain, working", [(True, 90), (False, 40)])
def test_a_block_in_several_places_is_bounded_from_the_side_that_its_space_needs(
    monkeypatch, chain, working
):
    """In a tree no network may be excluded for what is held in one place alone."""
    blocks = [SimpleNamespace(name=name, key="one") for name in "abc"]
    places = {"a": 60, "b": 90, "c": 40}
    monkeypatch.setattr(footprint_reading, "graph_of", lambda _: SimpleNamespace())
    monkeypatch.setattr(footprint_reading, "plan", lambda _: SimpleNamespace(persistent_bytes=100))
    monkeypatch.setattr(footprint_reading, "shared_constants", lambda *_: {})
    monkeypatch.setattr(
        footprint_reading, "_in_arena", lambda _, ops, __: (7, places[ops], 1, 1, ())
    )
    found = {}
    network, spans = SimpleNamespace(blocks=blocks), {name: name for name in places}
    rest = footprint_reading._read_arena(found, network, None, spans, chain)
    assert found["one"][1] == working and rest == 100 - 3 * 7


def test_tflm_times_nothing():
    from pnas_tf.config import DeviceConfig
    from pnas_tf.devices.registry import runner_for

    with pytest.raises(UserError, match="times nothing"):
        runner_for(DeviceConfig("tflm"))
