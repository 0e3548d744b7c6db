"""Reads the original project's published latency tables (YAML, mean ms by key) as a table of ours.

Keys are made from our blocks and looked up, never parsed. Such a table has no raw values, so it says "mean" where ours say
"invocation"; its device is what its publisher says it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from pnas_tf.benchmark.measurement import Device, Measurement, ModelFacts, Settings, Visit
from pnas_tf.errors import UserError
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.geometry import Block, distinct_blocks
from pnas_tf.space.ops import Head, MBConv, Stem
from pnas_tf.space.search_space import SearchSpace

MAX_BYTES = 16 * 2**20  # the published ones are 100 kB


def load_original(path: str | os.PathLike, *, space: SearchSpace, device: str = "unknown") -> LatencyTable:
    """The latencies of the blocks of `space` from a table of the original project.

    device: what it was measured on ("Pixel 1"); the file does not say. Blocks that the file lacks are missing from the
    table. Raises UserError when the file is absent or is no such table, or has none of the space's blocks.
    """
    rows = _rows(Path(path))
    identity = Identity(Device("published", device, "unknown"), Settings("TensorFlow Lite", "unknown", "unknown", 1), "float32", ())
    entries = {}
    for key, block in distinct_blocks(space).items():
        found = [rows.get(name) for name in original_keys(block)]
        if all(row is not None for row in found):
            visit = Visit((sum(row["mean"] for row in found if row) * 1e6,), statistic="mean",
                          count=min(int(row.get("count", 1)) for row in found if row))
            shape = (1, block.in_size, block.in_size, block.in_channels)
            entries[key] = Measurement(identity.device, identity.settings, ModelFacts("", 0, "float32", shape), (visit,))
    if not entries:
        raise UserError(f"{path} has no block of space '{space.name}' at {space.resolution} px",
                        expected=f"keys such as '{original_keys(next(iter(distinct_blocks(space).values())))[0]}'",
                        received=f"{len(rows)} keys such as '{next(iter(rows), '')}'", fix="Choose the space that the table is of.")
    return LatencyTable(identity, entries, origin=f"the original project's table {Path(path).name}")


def original_keys(block: Block) -> tuple[str, ...]:
    """The original's keys whose latencies make up `block`: the head has two, feature-mix convolution and the rest."""
    middle = f"{block.in_size}x{block.in_size}x"
    sizes = f"input:{middle}{block.in_channels}-output:{block.out_size}x{block.out_size}x{block.out_channels}"
    if isinstance(block.op, Stem):
        return (f"Conv-{sizes}",)
    if isinstance(block.op, Head):
        return (f"Conv_1-input:{middle}{block.in_channels}-output:{middle}{block.op.width}",
                f"Logits-input:{middle}{block.op.width}-output:{block.out_channels}")
    if not isinstance(block.op, MBConv) or block.op.squeeze_excite or block.op.activation != "relu6":
        return ("the original has no such op",)
    return (f"expanded_conv-{sizes}-expand:{block.op.expansion}-kernel:{block.op.kernel}-stride:{block.stride}"
            f"-idskip:{int(block.shortcut)}",)


def _rows(path: Path) -> dict[str, dict[str, Any]]:
    fix = "Give one of the original project's latency tables (YAML)."
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"latency table {path} is too large", expected=f"at most {MAX_BYTES} bytes",
                            received=f"{path.stat().st_size} bytes", fix=fix)
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"no latency table at {path}", expected="a YAML file", received=error.strerror or str(error), fix=fix) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"latency table {path} is not YAML", expected="YAML of keys with count and mean", received=str(error)[:300],
                        fix=fix) from error
    if not isinstance(document, dict) or not document:
        raise UserError(f"latency table {path} is empty or no mapping", expected="keys with count and mean",
                        received=type(document).__name__, fix=fix)
    for key, row in document.items():
        mean = row.get("mean") if isinstance(row, dict) else None
        if not isinstance(key, str) or isinstance(mean, bool) or not isinstance(mean, (int, float)) or not 0 < mean < 1e6:
            raise UserError(f"entry '{key}' of latency table {path}", expected="{count: ..., mean: positive ms}",
                            received=str(mean) if isinstance(mean, (int, float, str)) else type(row).__name__, fix=fix)
    return document
