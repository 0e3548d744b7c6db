"""Reads the upstream project's latency tables (YAML, mean ms by key) as a table of ours.

Keys are made from our blocks and looked up, never parsed. Such a table has no raw values, so it
says "mean" where ours say "invocation"; its device is what its publisher says it is.
"""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Head, MBConv, Stem

MAX_BYTES = 16 * 2**20  # the published ones are 100 kB
_FIX = "Give one of the upstream project's latency tables (YAML)."


def load_upstream_table(
    path: str | os.PathLike, *, space: SearchSpace, device: str
) -> LatencyTable:
    """The latencies of the blocks of `space` from a table of the upstream project.

    Args:
        path: of the file.
        space: its blocks; those that the file lacks are missing from the table.
        device: what it was measured on ("Pixel 1"); the file does not say.

    Raises:
        UserError: the file is absent or is no such table, or has none of the space's blocks.
    """
    rows = _rows(Path(path))
    identity = Identity(
        Device("published", device, "unknown"),
        Settings("TensorFlow Lite", "unknown", "unknown", 1),
        "float32",
        (),
    )
    entries = {}
    for key, block in space.distinct_blocks().items():
        found = [rows.get(name) for name in upstream_keys(block)]
        if all(row is not None for row in found):
            run = ModelRun(
                (sum(row["mean"] for row in found if row) * 1e6,),
                statistic="mean",
                count=min(int(row.get("count", 1)) for row in found if row),
            )
            shape = (1, block.in_size, block.in_size, block.in_channels)
            entries[key] = Measurement(
                identity.device, identity.settings, ModelFacts("", 0, "float32", shape), (run,)
            )
    if not entries:
        raise UserError(
            f"{path} has no block of space '{space.name}' at {space.resolution} px",
            expected="keys such as "
            f"'{upstream_keys(next(iter(space.distinct_blocks().values())))[0]}'",
            received=f"{len(rows)} keys such as '{next(iter(rows), '')}'",
            fix="Choose the space that the table is of.",
        )
    return LatencyTable(identity, entries, origin=f"the upstream project's table {Path(path).name}")


def upstream_keys(block: Block) -> tuple[str, ...]:
    """The upstream project's keys whose latencies make up `block`: the head has two, feature-mix
    convolution and the rest."""
    middle = f"{block.in_size}x{block.in_size}x"
    out = f"{block.out_size}x{block.out_size}x{block.out_channels}"
    sizes = f"input:{middle}{block.in_channels}-output:{out}"
    if isinstance(block.op, Stem):
        return (f"Conv-{sizes}",)
    if isinstance(block.op, Head):
        return (
            f"Conv_1-input:{middle}{block.in_channels}-output:{middle}{block.op.width}",
            f"Logits-input:{middle}{block.op.width}-output:{block.out_channels}",
        )
    if (
        not isinstance(block.op, MBConv)
        or block.op.squeeze_excite
        or block.op.activation != "relu6"
    ):
        return ("upstream has no such op",)
    return (
        f"expanded_conv-{sizes}-expand:{block.op.expansion}-kernel:{block.op.kernel}-stride:{block.stride}"
        f"-idskip:{int(block.shortcut)}",
    )


def _rows(path: Path) -> dict[str, dict[str, float]]:
    """Key -> fields, of a file of plain keys and numbers."""
    text = atomic.read_text(path, what="latency table", made_by=_FIX, limit=MAX_BYTES)
    try:
        document = _plain_document(text)
    # Dates and long digits raise ValueError.
    except (yaml.YAMLError, ValueError) as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1} column {place.column + 1}: " if place is not None else ""
        raise UserError(
            f"latency table {path} is not YAML",
            expected="YAML of keys with count and mean",
            received=(where + str(getattr(error, "problem", None) or error))[:300],
            fix=_FIX,
        ) from error
    if not isinstance(document, dict) or not document:
        raise UserError(
            f"latency table {path}",
            expected="keys with {count: ..., mean: ...}",
            received=repr(document)[:200],
            fix=_FIX,
        )
    return {key: _row(key, row, path) for key, row in document.items()}


def _plain_document(text: str) -> object:
    """What YAML text holds: no aliases, which multiply, and no tags, two levels deep."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        named = getattr(event, "anchor", None) or getattr(event, "tag", None)
        if depth > 2 or named:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise ValueError(f"line {line}: an anchor, an alias, a tag, or more than two levels")
    return yaml.load(text, Loader=loader)


def _row(key: object, row: object, path: Path) -> dict[str, float]:
    """The fields of an entry, all of them numbers."""
    found = row if isinstance(row, dict) and isinstance(key, str) else {}
    plain = all(
        isinstance(name, str) and type(value) in (int, float) for name, value in found.items()
    )
    if not plain or not 0 < found.get("mean", 0) < 1e6 or not 0 <= found.get("count", 1) < 1e9:
        raise UserError(
            f"entry '{key}' of latency table {path}",
            expected="{count: ..., mean: positive ms}",
            received=str(row)[:200],
            fix=_FIX,
        )
    return found
