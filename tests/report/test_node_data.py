"""What Model Explorer lays over a file: each op bears its block's figure."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from pnas_tf.report.manifest import read_manifest
from pnas_tf.report.node_data import block_of, node_data, write_node_data
from pnas_tf.space import complexity
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.ops import Zero
from pnas_tf.tflite.schema_reader import read_contents

FOLDER = Path(__file__).parents[2] / "tflite_models"
MODELS = read_manifest(FOLDER)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_op_that_multiplies_has_the_figure_of_its_block(name):
    """The MACs of a block's ops are the block's, so that none is taken for another's."""
    architecture = Architecture.from_json(MODELS[name]["architecture"], where=name)
    blocks = {block.name: block for block in architecture.blocks if not isinstance(block.op, Zero)}
    ops = read_contents((FOLDER / name).read_bytes()).ops
    macs = dict.fromkeys(blocks, 0)
    for op in ops:
        if op.macs:
            macs[block_of(op)] += op.macs
    assert macs == {place: complexity.macs([block]) for place, block in blocks.items()}

    latencies = {place: float(number) for number, place in enumerate(blocks)}
    (graph,) = node_data(ops, latencies).values()
    shown = {int(node): result["value"] for node, result in graph["results"].items()}
    assert shown.keys() >= {op.index for op in ops if op.macs}
    assert all(shown[op.index] == latencies[block_of(op)] for op in ops if op.index in shown)
    assert {op.name for op in ops if op.index not in shown} <= {
        "QUANTIZE",
        "DEQUANTIZE",
        "SOFTMAX",
        *("SUB", "MUL"),  # of pixels that the file itself normalises
    }


def test_a_table_is_laid_over_the_file_of_its_number_format(tmp_path, monkeypatch):
    """The run's own table is of int8 with --latency_dtype=int8."""
    for dtype in ("float32", "int8"):
        shutil.copy(FOLDER / f"cifar10_{dtype}.tflite", tmp_path / f"model_{dtype}.tflite")
    (tmp_path / "latency_table.json").touch()
    table = SimpleNamespace(identity=SimpleNamespace(dtype="int8"), breakdown=lambda _: [])
    monkeypatch.setattr("pnas_tf.report.node_data.LatencyTable.load", lambda _: table)
    architecture = Architecture.from_json(MODELS["cifar10_int8.tflite"]["architecture"], where="")
    (written,) = write_node_data(tmp_path, architecture)
    assert written.name == "model_int8_node_data.json"
    smaller = dataclasses.replace(architecture.space, resolution=24)  # than the file
    assert write_node_data(tmp_path, dataclasses.replace(architecture, space=smaller)) == []
    assert not written.exists()
