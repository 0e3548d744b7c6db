"""tools/inspect.py and its library: MACs, ranges and partitions held to other sources, and the tool
run as a user runs it."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.networks.network import build_network, with_probabilities
from pnas_tf.space.architecture import random_architecture
from pnas_tf.space.complexity import layer_macs
from pnas_tf.space.mbconv import tiny
from pnas_tf.space.published import PUBLISHED, published
from pnas_tf.tflite import metadata_schema
from pnas_tf.tflite.convert import convert
from pnas_tf.tflite.inspect import describe, inspect_model
from pnas_tf.tflite.metadata import Metadata, write_metadata
from pnas_tf.tflite.model import pack, put_buffer
from pnas_tf.tflite.rewrites.rewrite import applicable, apply_rewrites
from pnas_tf.tflite.schema_reader import METADATA, parse, read_contents

ROOT = Path(__file__).resolve().parents[2]


def inspected(content, folder):
    path = folder / "model.tflite"
    path.write_bytes(content)
    return inspect_model(path)


@pytest.fixture(scope="module")
def architecture():
    return random_architecture(tiny(), seed=4)


@pytest.fixture(scope="module")
def int8(architecture):
    images = np.random.default_rng(0).uniform(-1, 1, size=(8, 32, 32, 3)).astype(np.float32)
    return convert(build_network(architecture), dtype="int8", representative=images)


def run(*arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
    )


@pytest.mark.slow
def test_macs_of_a_published_file_are_the_published_ones(tmp_path):
    found = inspected(convert(build_network(published("proxyless_gpu")), "float32"), tmp_path)
    assert found.macs == PUBLISHED["proxyless_gpu"].macs


@pytest.mark.slow
def test_says_whether_scores_are_probabilities(architecture, tmp_path):
    network = build_network(architecture)
    for model, said in ((network, False), (with_probabilities(network), True)):
        found = inspected(convert(model, "float32"), tmp_path)
        assert found.softmax == said == ("probabilities (softmax)" in describe(found))
        assert found.to_json()["softmax"] == said


@pytest.mark.slow
def test_macs_of_every_op_are_those_of_the_walk(architecture, int8, tmp_path):
    for content in (
        convert(build_network(architecture), "float32"),
        convert(build_network(architecture), dtype="float16"),
        int8,
    ):
        found = inspected(content, tmp_path)
        assert [op.macs for op in found.ops if op.macs] == [
            layer_macs(layer) for block in architecture.blocks for layer in block.layers
        ]
        for op in found.ops:
            if op.name == "DEPTHWISE_CONV_2D":
                assert op.macs == math.prod(op.outputs[0].shape) * math.prod(op.kernel)


@pytest.mark.slow
def test_a_split_kernel_has_the_macs_of_the_whole(architecture, tmp_path):
    model = build_network(architecture)
    rewrites = applicable(model)
    assert rewrites, "an architecture with a large kernel is wanted here"
    found = inspected(convert(apply_rewrites(model, rewrites), "float32"), tmp_path)
    taps = sum(math.prod(op.kernel) for op in found.ops if op.name == "DEPTHWISE_CONV_2D")
    assert taps == sum(
        layer.kernel**2
        for block in architecture.blocks
        for layer in block.layers
        if layer.kind == "depthwise"
    )
    assert found.partitions == 1 and {op.partition for op in found.ops} == {0}


def test_macs_of_other_ops_by_counting(tmp_path):
    image = keras.Input((5, 4, 3), batch_size=2)
    transposed = keras.Model(image, keras.layers.Conv2DTranspose(7, 3, strides=2)(image))
    # A transposed convolution adds every input value, times every tap, to one output value of every
    # channel.
    assert (
        inspected(convert(transposed, "float32", batch=2), tmp_path).macs
        == (2 * 5 * 4 * 3) * (3 * 3) * 7
    )
    rows = keras.Input((6, 8), batch_size=1)
    product = keras.Model(
        rows, keras.layers.Lambda(lambda x: tf.matmul(x, x, transpose_b=True))(rows)
    )
    assert inspected(convert(product, "float32"), tmp_path).macs == 6 * 6 * 8
    turned = keras.Model(
        rows, keras.layers.Lambda(lambda x: tf.matmul(x, x, transpose_a=True))(rows)
    )
    assert inspected(convert(turned, "float32"), tmp_path).macs == 8 * 8 * 6


def test_arenas_of_files_whose_sizes_or_outputs_are_unusual(int8):
    """A constant may be an output; a size of -1 in the signature stands as 1 in the shape."""
    whole = read_contents(int8)
    constant, unknown = parse(int8), parse(int8)
    graph = constant.subgraphs[0]
    weights = next(
        number
        for number, tensor in enumerate(graph.tensors)
        if constant.buffers[tensor.buffer].data is not None
    )
    graph.outputs = [*graph.outputs, weights]
    assert read_contents(pack(constant)).litert_arena_bytes == whole.litert_arena_bytes
    inner = unknown.subgraphs[0].tensors[unknown.subgraphs[0].operators[0].outputs[0]]
    inner.shapeSignature = [-1, *list(inner.shape)[1:]]
    found = read_contents(pack(unknown))
    assert whole.arena is not None and found.arena is None


def test_quantisation_ranges_agree_with_the_interpreter(int8, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=int8)
    real = {}
    for detail in interpreter.get_tensor_details():
        parameters = detail["quantization_parameters"]
        if len(parameters["scales"]) and detail["dtype"] == np.int8:
            ends = [(end - parameters["zero_points"]) * parameters["scales"] for end in (-128, 127)]
            real[detail["name"]] = (min(ends[0]), max(ends[1]))
    found = inspected(int8, tmp_path)
    seen = {
        tensor.name: tensor
        for op in found.ops
        for tensor in (*op.inputs, *op.outputs)
        if tensor.dtype == "int8"
    }
    assert len(seen) > 30 and set(seen) <= set(real)
    for name, tensor in seen.items():
        np.testing.assert_allclose(tensor.real_range, real[name], rtol=1e-6)
    np.testing.assert_allclose(found.inputs[0].real_range, (-1, 1), atol=0.02)
    assert max(tensor.scales for tensor in seen.values()) > 1  # weights have a scale per channel


def test_partitions_and_what_stays_outside(tmp_path):
    """Ops that XNNPACK does not take stand between two convolutions: two partitions, and exactly
    those outside."""
    image = keras.Input((8, 8, 4), batch_size=1)
    x = keras.layers.Conv2D(4, 3)(image)
    x = keras.layers.Lambda(lambda t: tf.cumsum(t, axis=1))(x)
    model = keras.Model(image, keras.layers.Conv2D(4, 3)(x))
    found = inspected(convert(model, "float32"), tmp_path)
    assert found.partitions == 2
    assert [op.name for op in found.ops if op.partition is None] == ["CUMSUM"]
    assert "2 delegate partitions" in describe(found) and "outside: CUMSUM" in describe(found)
    first, *_, last = (op.partition for op in found.ops)
    assert {first, last} == {0, 1}


def test_a_file_that_is_no_classifier_is_read_with_its_metadata(tmp_path):
    image = keras.Input((8, 8, 4), batch_size=1)
    parsed = parse(convert(keras.Model(image, keras.layers.Conv2D(4, 3)(image)), "float32"))
    document = {"name": "a segmenter", "description": "of pixels"}
    put_buffer(parsed, METADATA, metadata_schema.encode(document))
    found = inspected(pack(parsed), tmp_path)
    assert found.metadata.name == "a segmenter" and "a segmenter" in describe(found)


def test_the_document_and_the_text_hold_the_same(int8, tmp_path):
    content = write_metadata(
        int8,
        Metadata(
            "pictures",
            labels=tuple("abcdefghij"),
            mean=(127.5,),
            std=(127.5,),
            files={"architecture.json": b"{}"},
        ),
    )
    found = inspected(content, tmp_path)
    document = json.loads(json.dumps(found.to_json()))
    text = describe(found)
    assert document["macs"] == found.macs and f"{found.macs:,} MACs" in text
    assert document["metadata"]["labels"] == list("abcdefghij") and document["metadata"][
        "files"
    ] == {"architecture.json": 2}
    assert "'pictures'" in text and "architecture.json (2 bytes)" in text and "labels: 10" in text
    assert len(document["ops"]) == len(found.ops) and document["partitions"] == 1
    assert re.search(r"peak RAM: [\d,]+ bytes, .*most of it at #\d+ [A-Z_0-9]+;", text)
    assert "netron" in text and "model-explorer" in text and "benchmark_model" in text


def test_a_strangers_text_does_not_command_the_terminal(int8, tmp_path):
    content = write_metadata(
        int8,
        Metadata(
            "x",
            labels=("\x1b[31mred", *"bcdefghij"),
            mean=(127.5,),
            std=(127.5,),
            author="\x1b]0;title\x07\nsecond line",
        ),
    )
    text = describe(inspected(content, tmp_path))
    assert "?[31mred" in text and "?]0;title??second line" in text
    assert all(character.isprintable() or character == "\n" for character in text)


def test_the_tool_as_a_user_runs_it(int8, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(int8)
    shown = run("tools/inspect.py", path)
    assert shown.returncode == 0, shown.stderr
    assert "CONV_2D" in shown.stdout and "1 delegate partition" in shown.stdout
    document = run("tools/inspect.py", "--json", path)
    assert json.loads(document.stdout)["format"] == "pnas_tf/inspection"
    assert run("tools/inspect.py", "--help").returncode == 0
    assert run("tools/inspect.py", path, "stray").returncode == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-3000],
        lambda content: b"",
        lambda content: b"\x89PNG\r\n" + bytes(100),
    ],
    ids=["truncated", "empty", "foreign"],
)
def test_what_is_no_model_is_refused(int8, tmp_path, damage):
    (tmp_path / "broken.tflite").write_bytes(damage(int8))
    with pytest.raises(UserError, match=r"broken\.tflite"):
        inspect_model(tmp_path / "broken.tflite")
    with pytest.raises(UserError, match="no model"):
        inspect_model(tmp_path / "absent.tflite")


def test_the_tool_refuses_without_a_traceback(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(100))
    shown = run("tools/inspect.py", tmp_path / "broken.tflite")
    assert (
        shown.returncode == 2 and "what to do" in shown.stderr and "Traceback" not in shown.stderr
    )
