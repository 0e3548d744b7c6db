"""What stands in a .tflite file: its ops with shapes, MACs and quantisation ranges, and what a
delegate takes of it.

Reads any file of builtin ops, ours or not. Times nothing: LiteRT's Python API has no per-op clock,
and an estimate is no time.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass

from pnas_tf.errors import number_of
from pnas_tf.tflite.arena import Arena
from pnas_tf.tflite.metadata import Metadata, read_metadata
from pnas_tf.tflite.model import TfliteModel
from pnas_tf.tflite.schema_reader import Op, Tensor

FORMAT, VERSION = "pnas_tf/inspection", 1
NO_OP_TIMES = (
    "Not shown: LiteRT's Python API times whole inferences only. On a phone, "
    "benchmark_model --enable_op_profiling=true gives them (docs/android.md)."
)
VIEWERS = (
    "Netron: pip install netron; netron {path}",
    "Model Explorer: pip install ai-edge-model-explorer; model-explorer {path}",
)


@dataclass(frozen=True)
class Inspection:
    """A file read. partitions: None when the runtime does not tell. metadata: None when the file
    has none. softmax: whether one ends the file, so that its scores are probabilities."""

    path: str
    size_bytes: int
    sha256: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    ops: list[Op]
    partitions: int | None
    metadata: Metadata | None
    softmax: bool = False
    arena: Arena | None = None
    litert_arena_bytes: int | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(op.macs for op in self.ops)

    def to_json(self) -> dict[str, object]:
        """Everything shown, as a versioned document."""
        metadata = self.metadata and {
            **asdict(self.metadata),
            "files": {name: len(data) for name, data in self.metadata.files.items()},
        }
        return {
            "format": FORMAT,
            "version": VERSION,
            **asdict(self),
            "macs": self.macs,
            "metadata": metadata,
            "op_times": NO_OP_TIMES,
            "viewers": [viewer.format(path=self.path) for viewer in VIEWERS],
        }


def inspect_model(path: str | os.PathLike) -> Inspection:
    """Reads a .tflite file of anybody.

    Raises:
        UserError: the file is absent, corrupt, truncated or no TensorFlow Lite model.
    """
    return inspection_of(TfliteModel.read(path, prepare=True))


def inspection_of(model: TfliteModel) -> Inspection:
    """What stands in a file that has been examined."""
    return Inspection(
        path=model.where,
        size_bytes=len(model.content),
        sha256=hashlib.sha256(model.content).hexdigest(),
        inputs=model.contents.inputs,
        outputs=model.contents.outputs,
        ops=model.contents.ops,
        partitions=model.contents.partitions,
        metadata=None if model.metadata is None else read_metadata(model, of_classifier=False),
        softmax=model.has_softmax,
        arena=model.contents.arena,
        litert_arena_bytes=model.contents.litert_arena_bytes,
    )


def describe(found: Inspection) -> str:
    """The inspection as text for a terminal."""
    lines = [f"{found.path}: {found.size_bytes:,} bytes, sha256 {found.sha256}"]
    lines += [f"input   {_describe_tensor(tensor)}" for tensor in found.inputs]
    lines += [
        f"output  {_describe_tensor(tensor)}"
        + ("  probabilities (softmax)" if found.softmax else "")
        for tensor in found.outputs
    ]
    lines += _describe_metadata(found.metadata)
    header = ("#", "op", "output", "type", "kernel", "stride", "MACs", "output range", "partition")
    rows = [header, *(_cells(op) for op in found.ops)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines += [
        "",
        *(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
            for row in rows
        ),
        "",
    ]
    lines.append(
        f"{number_of(len(found.ops), 'op')}, {found.macs:,} MACs, {_describe_partitions(found)}"
    )
    lines.append(_describe_arena(found))
    lines.append(f"per-op time: {NO_OP_TIMES}")
    lines += [viewer.format(path=found.path) for viewer in VIEWERS]
    # Names and labels are the file's own and the file may be a stranger's: none of them commands
    # the terminal.
    return "\n".join(
        "".join(character if character.isprintable() else "?" for character in line)
        for line in lines
    )


def _cells(op: Op) -> tuple[str, ...]:
    output = op.outputs[0] if op.outputs else Tensor("", [], "", None, 0)
    return (
        str(op.index),
        op.name,
        _size(output.shape),
        output.dtype,
        _size(op.kernel or []),
        _size(op.stride or []),
        f"{op.macs:,}" if op.macs else "",
        _range(output),
        "" if op.partition is None else str(op.partition),
    )


def _describe_tensor(tensor: Tensor) -> str:
    found = _range(tensor)
    return f"{tensor.name}  {tensor.dtype} [{', '.join(map(str, tensor.shape))}]" + (
        f"  {found}" if found else ""
    )


def _describe_metadata(metadata: Metadata | None) -> list[str]:
    if metadata is None:
        return ["metadata: none"]
    sizes = [f"{name} ({len(data):,} bytes)" for name, data in metadata.files.items()]
    return [
        f"metadata: {metadata.name!r} version {metadata.version or 'none'}, author "
        f"{metadata.author or 'none'}, "
        f"licence {metadata.licence or 'none'}, (pixel - {list(metadata.mean)}) / "
        f"{list(metadata.std)}",
        f"labels: {len(metadata.labels)} "
        f"({', '.join(metadata.labels[:5])}{', ...' if len(metadata.labels) > 5 else ''})",
        f"files: {', '.join(sizes) or 'none'}",
    ]


def _describe_partitions(found: Inspection) -> str:
    if found.partitions is None:
        return "delegate partitions: this runtime does not tell"
    inside = sum(op.partition is not None for op in found.ops)
    outside = ", ".join(f"{op.name} #{op.index}" for op in found.ops if op.partition is None)
    return (
        f"{found.partitions} delegate partition{'s' * (found.partitions != 1)} (XNNPACK) with "
        f"{inside} of them" + (f"; outside: {outside}" if outside else "")
    )


def _describe_arena(found: Inspection) -> str:
    arena = found.arena
    if arena is None:
        return "peak RAM: not known before it runs"
    op = None if arena.peak_op is None else found.ops[arena.peak_op]
    where = "" if op is None else f", most of it at #{op.index} {op.name}"
    return (
        f"peak RAM: {arena.total_bytes:,} bytes, the tensor arena of TensorFlow Lite for "
        f"Microcontrollers: {arena.working_bytes:,} of tensors{where}; "
        f"{arena.persistent_bytes:,} of structures; LiteRT's arena without a delegate: "
        f"{found.litert_arena_bytes:,} bytes"
    )


def _size(shape: list[int]) -> str:
    return "x".join(map(str, shape))


def _range(tensor: Tensor) -> str:
    if tensor.real_range is None:
        return ""
    low, high = tensor.real_range
    return f"{low:.4g} to {high:.4g}" + (
        f" ({tensor.scales} channels)" if tensor.scales > 1 else ""
    )
