"""Reads published latency tables (YAML or JSON, mean ms by key) as a table of ours: the upstream
project's, and those of its successor Once-for-all (Cai et al. 2020).

Keys are made from our blocks and looked up; the classifier's alone are read, since its price is
scaled by its MACs where the file has another number of classes. Such a table has no raw values, so
it says "mean" where ours say "invocation"; its device is what its publisher says it is.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
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
MAX_WORD = 300  # signs of a key or a number; the published ones have at most 110
_FIX = "Give one of the upstream project's or Once-for-all's latency tables (YAML)."
_ABSENT = "upstream has no such op"
_LOGITS = re.compile(r"Logits-input:(\d{1,5})x\1x(\d{1,6})-output:(\d{1,7})")
Rows = Mapping[str, Mapping[str, float]]


def load_upstream_table(
    path: str | os.PathLike, *, space: SearchSpace, device: str
) -> LatencyTable:
    """The latencies of the blocks of `space` from a published table.

    Args:
        path: of the file.
        space: its blocks; those that the file lacks are among the table's failures.
        device: what it was measured on ("Pixel 1"); the file does not say.

    Raises:
        UserError: the file is absent or is no such table, or has none of the space's blocks.
    """
    rows, name = _rows(Path(path)), Path(path).name
    identity = Identity(
        Device("published", device, "unknown"),
        Settings("TensorFlow Lite", "unknown", "unknown", 1),
        "float32",
        (),
    )
    entries, failures, origin = {}, {}, f"the published table {name}"
    for key, block in space.distinct_blocks().items():
        price = _price(block, rows)
        if isinstance(price, str):
            failures[key] = f"{name} has no '{price}'"
            continue
        shape = (1, block.in_size, block.in_size, block.in_channels)
        facts = ModelFacts("", 0, "float32", shape)
        statistic = "scaled" if price.scaled else "mean"
        run = ModelRun((price.mean_ms * 1e6,), statistic=statistic, count=price.count)
        origin += f"; {price.scaled}" * bool(price.scaled)
        entries[key] = Measurement(identity.device, identity.settings, facts, (run,))
    if not entries:
        first = next(iter(space.distinct_blocks().values()))
        raise UserError(
            f"{path} has no block of space '{space.name}' at {space.resolution} px",
            expected="keys such as " + " or ".join(f"'{keys[0]}'" for keys in keys_of(first)),
            received=f"{len(rows)} keys such as '{next(iter(rows), '')}'",
            fix="Choose the space, --resolution and --width that the table is of.",
        )
    return LatencyTable(identity, entries, origin=origin, failures=failures)


@dataclass(frozen=True)
class _Price:
    """Of a block. scaled: what was reckoned from another row, in words; "" for none."""

    mean_ms: float
    count: int
    scaled: str = ""


def _price(block: Block, rows: Rows) -> _Price | str:
    """What the rows of a block add up to, by the first form of keys of which all are there; else
    the first key that is not."""
    absent = ""
    for keys in keys_of(block):
        found = [_row_or_scaled(key, rows) for key in keys]
        prices = [price for price in found if price is not None]
        if len(prices) == len(found):
            return _Price(
                sum(price.mean_ms for price in prices),
                min(price.count for price in prices),
                "".join(price.scaled for price in prices),
            )
        lacking = [key for key, price in zip(keys, found) if price is None and key != _ABSENT]
        absent = absent or next(iter(lacking), "")
    return absent or _ABSENT


def _row_or_scaled(key: str, rows: Rows) -> _Price | None:
    """The row of this key; of a classifier that the file lacks, the one of the same image size that
    is next in MACs, times the ratio of MACs. None where there is neither."""
    if key in rows:
        return _Price(rows[key]["mean"], int(rows[key].get("count", 1)))
    wanted = _LOGITS.fullmatch(key)
    if wanted is None:
        return None
    macs = _macs(wanted)
    others = [match for match in map(_LOGITS.fullmatch, rows) if match and match[1] == wanted[1]]
    if not others:
        return None
    nearest = min(others, key=lambda match: abs(math.log(_macs(match) / macs)))
    row = rows[nearest[0]]
    scaled = f"'{key}' scaled by MACs from '{nearest[0]}'"
    return _Price(row["mean"] * macs / _macs(nearest), int(row.get("count", 1)), scaled)


def _macs(logits: re.Match[str]) -> int:
    """Of the classifier that a key names: features times classes. At least 1."""
    return max(1, int(logits[2])) * max(1, int(logits[3]))


def keys_of(block: Block) -> tuple[tuple[str, ...], ...]:
    """The rows that make up a block, in each form of table that is read."""
    return upstream_keys(block), once_for_all_keys(block)


def upstream_keys(block: Block) -> tuple[str, ...]:
    """The upstream project's keys whose latencies make up `block`: the head has two, feature-mix
    convolution and the rest."""
    sizes = _sizes(block)
    if isinstance(block.op, Stem):
        return (f"Conv-{sizes}",)
    if isinstance(block.op, Head):
        if block.op.hidden:
            return (_ABSENT,)
        side, width = block.in_size, block.op.width
        rest = f"Logits-input:{side}x{side}x{width}-output:{block.out_channels}"
        return _mix(block, width), rest
    op = block.op
    if not isinstance(op, MBConv) or op.squeeze_excite or op.activation != "relu6":
        return (_ABSENT,)
    return (f"expanded_conv-{sizes}-expand:{op.expansion}{_kernel(block, op)}",)


def once_for_all_keys(block: Block) -> tuple[str, ...]:
    """Once-for-all's keys: `expand` is the number of channels, squeeze-and-excitation and h-swish
    have a mark, pooling a row, and the hidden convolution behind the pooling another (`Conv_2`),
    which few of our heads have."""
    if isinstance(block.op, Head):
        side, width = block.in_size, block.op.width
        pool = f"AvgPool2D-input:{side}x{side}x{width}-output:1x1x{width}"
        last = block.op.hidden or width
        hidden = (f"Conv_2-input:1x1x{width}-output:1x1x{last}",) if block.op.hidden else ()
        logits = f"Logits-input:1x1x{last}-output:{block.out_channels}"
        return _mix(block, width), pool, *hidden, logits
    op = block.op
    if not isinstance(op, MBConv):
        return upstream_keys(block)
    middle = block.in_channels * op.expansion
    marks = f"-se:{int(op.squeeze_excite)}-hs:{int(op.activation == 'hswish')}"
    return (f"expanded_conv-{_sizes(block)}-expand:{middle}{_kernel(block, op)}{marks}",)


def _sizes(block: Block) -> str:
    before = f"{block.in_size}x{block.in_size}x{block.in_channels}"
    return f"input:{before}-output:{block.out_size}x{block.out_size}x{block.out_channels}"


def _mix(block: Block, width: int) -> str:
    place = f"{block.in_size}x{block.in_size}x"
    return f"Conv_1-input:{place}{block.in_channels}-output:{place}{width}"


def _kernel(block: Block, op: MBConv) -> str:
    return f"-kernel:{op.kernel}-stride:{block.stride}-idskip:{int(block.shortcut)}"


def _rows(path: Path) -> dict[str, dict[str, float]]:
    """Key -> fields, of a file of plain keys and numbers."""
    text = atomic.read_text(path, what="latency table", made_by=_FIX, limit=MAX_BYTES)
    try:
        document = _plain_document(text)
    # Dates and long digits raise ValueError, many parts of base 60 OverflowError.
    except (yaml.YAMLError, ValueError, OverflowError) as error:
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
    """What YAML text holds: no aliases, which multiply, no tags, no key twice, two levels deep."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth, keys, is_key = 0, set(), True
    for event in yaml.parse(text, Loader=loader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MAX_WORD:
                raise ValueError(f"line {line}: a word of {len(event.value)} signs")
            if depth == 1 and is_key and event.value in keys:
                raise ValueError(f"line {line}: '{event.value}' a second time")
            if depth == 1 and is_key:
                keys.add(event.value)
        if depth == 1 and isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent):
            is_key = not is_key
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        named = getattr(event, "anchor", None) or getattr(event, "tag", None)
        if depth > 2 or named:
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
