"""Latencies to lay over an exported file in Model Explorer: each op shows what its block is
predicted to take on the device.

The format is that of Model Explorer's custom node data (`ModelNodeData` of ai-edge-model-explorer
0.1, node_data_builder.py): graph -> results by node, and a node is an op by its number in the file.
A table times blocks, so that all ops of a block bear the block's figure, and sums over ops mean
nothing: their columns are hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pnas_tf.io import Json, atomic
from pnas_tf.latency.table import LatencyTable
from pnas_tf.run.layout import TABLES, model_file, node_data_file
from pnas_tf.space.architecture import Architecture
from pnas_tf.tflite.schema_reader import Op

_GRAPH = "main"  # what Model Explorer calls the first subgraph
_COLORS = ({"stop": 0, "bgColor": "#e3f2e6"}, {"stop": 1, "bgColor": "#d9534f"})


def write_node_data(run_dir: Path, architecture: Architecture) -> list[Path]:
    """Writes model_DTYPE_node_data.json for each exported file whose number format has a table,
    which is of batch 1 at the network's own image size; of a file of another shape none is left.

    Raises:
        UserError: a table is damaged, or lacks a block.
    """
    from pnas_tf.tflite.schema_reader import read_contents

    written, side = [], architecture.space.resolution
    places = [place for name in TABLES.values() if (place := run_dir / name).is_file()]
    for table in map(LatencyTable.load, places):
        dtype = table.identity.dtype
        model, place = run_dir / model_file(dtype), run_dir / node_data_file(dtype)
        contents = read_contents(model.read_bytes()) if model.is_file() else None
        if contents is None or contents.inputs[0].shape[:3] != [1, side, side]:
            place.unlink(missing_ok=True)
            continue
        latencies = {name: ms for name, _, ms in table.breakdown(architecture)}
        written.append(atomic.write_json(place, node_data(contents.ops, latencies)))
    return written


def node_data(ops: Sequence[Op], latencies_ms: Mapping[str, float]) -> dict[str, Json]:
    """The document for a file.

    Args:
        ops: of the file, in their order.
        latencies_ms: block name -> predicted ms. Ops of no block (quantise, softmax) stay without a
            figure.
    """
    results = {
        str(op.index): {"value": latencies_ms[block]}
        for op in ops
        if (block := block_of(op)) in latencies_ms
    }
    return {
        _GRAPH: {
            "name": "block latency, predicted ms",
            "results": results,
            "gradient": [dict(color) for color in _COLORS],
            "hideInAggregatedStatsTable": True,
            "hideInChildrenStatsTable": True,
        }
    }


def block_of(op: Op) -> str:
    """The block whose layer computes an op, by the layers that name its output: "stem", "first",
    "block_03", "head"; empty where none does."""
    found = re.search(r"(?:^|[/;])(stem|first|block_\d+|head)/", op.outputs[0].name)
    if found is None:  # the converter names a network's last matrix by the output
        return "head" if op.name == "FULLY_CONNECTED" else ""
    return found.group(1)
