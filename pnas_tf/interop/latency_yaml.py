"""Reads the original project's published latency tables (YAML, mean ms by key) as a table of ours.

Keys are made from our blocks and looked up, never parsed. Such a table has no raw values, so it
says "mean" where ours say "invocation"; its device is what its publisher says it is.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from pnas_tf.devices.record import Device, Measurement, ModelFacts, ModelRun, Settings
from pnas_tf.errors import UserError
from pnas_tf.io import atomic
from pnas_tf.latency.table import Identity, LatencyTable
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block
from pnas_tf.space.ops import Head, MBConv, Stem

MAX_BYTES = 16 * 2**20  # the published ones are 100 kB
_FIX = "Give one of the original project's latency tables (YAML)."


def load_original(
    path: str | os.PathLike, *, space: SearchSpace, device: str = "unknown"
) -> LatencyTable:
    """The latencies of the blocks of `space` from a table of the original project.

    device: what it was measured on ("Pixel 1"); the file does not say. Blocks that the file lacks
    are missing from the table. Raises UserError when the file is absent or is no such table, or has
    none of the space's blocks.
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
        found = [rows.get(name) for name in original_keys(block)]
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
            f"'{original_keys(next(iter(space.distinct_blocks().values())))[0]}'",
            received=f"{len(rows)} keys such as '{next(iter(rows), '')}'",
            fix="Choose the space that the table is of.",
        )
    return LatencyTable(identity, entries, origin=f"the original project's table {Path(path).name}")


def original_keys(block: Block) -> tuple[str, ...]:
    """The original's keys whose latencies make up `block`: the head has two, feature-mix
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
        return ("the original has no such op",)
    return (
        f"expanded_conv-{sizes}-expand:{block.op.expansion}-kernel:{block.op.kernel}-stride:{block.stride}"
        f"-idskip:{int(block.shortcut)}",
    )


def _rows(path: Path) -> dict[str, dict[str, float]]:
    """Key -> fields, by the parser's events: no aliases, no tags, no objects, two levels of
    mappings and nothing else."""
    text = atomic.read_text(path, what="latency table", made_by=_FIX, limit=MAX_BYTES)
    rows: dict[str, dict[str, float]] = {}
    try:
        events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for expected in (yaml.StreamStartEvent, yaml.DocumentStartEvent, yaml.MappingStartEvent):
            _expect(next(events, None), expected, path)
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = _scalar(event, path)
            _expect(next(events), yaml.MappingStartEvent, path, key)
            rows[key] = {}
            while not isinstance(event := next(events), yaml.MappingEndEvent):
                name = _scalar(event, path, key)
                rows[key][name] = _number(_scalar(next(events), path, key), path, key)
        _expect(next(events), yaml.DocumentEndEvent, path)
        _expect(next(events), yaml.StreamEndEvent, path)
    except (yaml.YAMLError, StopIteration, ValueError) as error:
        if isinstance(error, UserError):
            raise
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1} column {place.column + 1}: " if place is not None else ""
        raise UserError(
            f"latency table {path} is not YAML",
            expected="YAML of keys with count and mean",
            fix=_FIX,
            received=(where + str(getattr(error, "problem", None) or error))[:300],
        ) from error
    if not rows:
        raise UserError(
            f"latency table {path} is empty",
            expected="keys with count and mean",
            received="none",
            fix=_FIX,
        )
    for key, row in rows.items():
        if not 0 < row.get("mean", 0.0) < 1e6 or not 0 <= row.get("count", 1.0) < 1e9:
            raise UserError(
                f"entry '{key}' of latency table {path}",
                expected="{count: ..., mean: positive ms}",
                received=str(row)[:200],
                fix=_FIX,
            )
    return rows


def _expect(event: Any, kind: type, path: Path, key: str = "") -> None:
    if not isinstance(event, kind) or getattr(event, "anchor", None) or getattr(event, "tag", None):
        entry = f"entry '{key}' of " if key else ""
        line = f"line {event.start_mark.line + 1}: " if event is not None else ""
        raise UserError(
            f"{entry}latency table {path}",
            expected="plain keys with {count: ..., mean: ...}, no anchors, aliases or tags",
            received=f"{line}{str(event)[:200]}",
            fix=_FIX,
        )


def _scalar(event: Any, path: Path, key: str = "") -> str:
    _expect(event, yaml.ScalarEvent, path, key)
    return event.value


def _number(text: str, path: Path, key: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise UserError(
            f"entry '{key}' of latency table {path}",
            expected="numbers",
            received=repr(text)[:200],
            fix=_FIX,
        ) from error
