"""What stands in a .tflite file: its ops with shapes, MACs and quantisation ranges, and what a
delegate takes of it.

Reads any file of builtin ops, ours or not. Times nothing: LiteRT's Python API has no per-op clock,
and an estimate is no time.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import asdict, dataclass
from typing import Any

from pnas_tf.tflite import flatbuffer
from pnas_tf.tflite.metadata import ENTRY, Metadata, read_metadata

FORMAT, VERSION = "pnas_tf/inspection", 1
DELEGATE = "DELEGATE"  # the runtime's name of the op that stands for a partition
NO_OP_TIMES = (
    "Not shown: LiteRT's Python API times whole inferences only. On a phone, "
    "benchmark_model --enable_op_profiling=true gives them (docs/android.md)."
)
VIEWERS = (
    "Netron: pip install netron; netron {path}",
    "Model Explorer: pip install ai-edge-model-explorer; model-explorer {path}",
)

_DTYPE_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int16": (-32768, 32767)}
_PADDINGS = {0: "same", 1: "valid"}


@dataclass(frozen=True)
class Tensor:
    """real_range: what the number type can hold, (low, high) in real units; None when not
    quantised, over all channels when per channel."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    real_range: tuple[float, float] | None
    scales: int


@dataclass(frozen=True)
class OpRow:
    """One op. kernel: (height, width). macs: for one run of the file at its batch; 0 for ops that
    multiply nothing.

    partition: number of the delegate partition that computes it; None when the interpreter does.
    """

    index: int
    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    padding: str | None
    macs: int
    partition: int | None


@dataclass(frozen=True)
class Inspection:
    """A file read. partitions: None when the runtime does not tell. metadata: None when the file
    has none. softmax: whether one ends the file, so that its scores are probabilities."""

    path: str
    size_bytes: int
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    ops: tuple[OpRow, ...]
    partitions: int | None
    metadata: Metadata | None
    softmax: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one run."""
        return sum(op.macs for op in self.ops)

    def to_json(self) -> dict[str, Any]:
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


def inspect_model(path: str | os.PathLike, *, threads: int = 1) -> Inspection:
    """Reads a .tflite file. Raises UserError when it is absent, corrupt, truncated or no TensorFlow
    Lite model."""
    content = flatbuffer.read_bytes(path)
    partition_of, partitions = _partitions(content, threads, str(path))
    model = flatbuffer.parse(content, where=str(path))
    graph = model.subgraphs[0]
    tensors = [_tensor(tensor) for tensor in graph.tensors]
    ops = tuple(
        _row(index, flatbuffer.op_name(model, operator), operator, tensors, partition_of.get(index))
        for index, operator in enumerate(graph.operators)
    )
    metadata = (
        None
        if flatbuffer.buffer_entry(model, ENTRY) is None
        else read_metadata(content, where=str(path))
    )
    return Inspection(
        path=str(path),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        inputs=tuple(tensors[index] for index in graph.inputs),
        outputs=tuple(tensors[index] for index in graph.outputs),
        ops=ops,
        partitions=partitions,
        metadata=metadata,
        softmax=flatbuffer.softmax_at_end(model) is not None,
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
    lines.append(f"{len(found.ops)} ops, {found.macs:,} MACs, {_describe_partitions(found)}")
    lines.append(f"per-op time: {NO_OP_TIMES}")
    lines += [viewer.format(path=found.path) for viewer in VIEWERS]
    # Names and labels are the file's own and the file may be a stranger's: none of them commands
    # the terminal.
    return "\n".join(
        "".join(character if character.isprintable() else "?" for character in line)
        for line in lines
    )


def _tensor(tensor: Any) -> Tensor:
    dtype = flatbuffer.type_name(tensor)
    scales, zero_points, _ = flatbuffer.quantization_of(tensor)
    limits = _DTYPE_RANGES.get(dtype)
    real_range = None
    if scales and limits:
        ends = [
            (limit - point) * scale for scale, point in zip(scales, zero_points) for limit in limits
        ]
        real_range = (min(ends), max(ends))
    return Tensor(
        (tensor.name or b"").decode("utf-8", "replace"),
        tuple(flatbuffer.shape_of(tensor)),
        dtype,
        real_range,
        len(scales),
    )


def _row(
    index: int, name: str, operator: Any, tensors: list[Tensor], partition: int | None
) -> OpRow:
    inputs = tuple(tensors[i] for i in operator.inputs if i >= 0)  # -1: an optional input left out
    outputs = tuple(tensors[i] for i in operator.outputs)
    options = operator.builtinOptions
    stride = (int(options.strideH), int(options.strideW)) if hasattr(options, "strideH") else None
    padding = _PADDINGS.get(options.padding) if hasattr(options, "padding") else None
    kernel = None
    if name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"):
        kernel = (inputs[1].shape[1], inputs[1].shape[2])
    elif hasattr(options, "filterHeight"):
        kernel = (int(options.filterHeight), int(options.filterWidth))
    return OpRow(
        index,
        name,
        inputs,
        outputs,
        kernel,
        stride,
        padding,
        _macs(name, inputs, outputs),
        partition,
    )


def _macs(name: str, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> int:
    """Multiply-accumulates by the shapes of the weights: [out, height, width, in], depthwise [1,
    height, width, out], dense [out, in]."""
    if name == "CONV_2D":
        return math.prod(outputs[0].shape) * math.prod(inputs[1].shape[1:])
    if name == "DEPTHWISE_CONV_2D":
        return math.prod(outputs[0].shape) * math.prod(inputs[1].shape[1:3])
    if name == "FULLY_CONNECTED":
        return math.prod(outputs[0].shape) * inputs[1].shape[-1]
    if (
        name == "TRANSPOSE_CONV"
        # inputs: output shape, weights, images; every input value meets every tap of every output
        # channel
    ):
        return math.prod(inputs[2].shape) * math.prod(inputs[1].shape[:3])
    if name == "BATCH_MATMUL":
        return math.prod(outputs[0].shape) * inputs[0].shape[-1]
    return 0


def _partitions(content: bytes, threads: int, where: str) -> tuple[dict[int, int], int | None]:
    """Op index -> partition, and how many partitions the runtime's default CPU delegate (XNNPACK)
    makes of the file."""
    nodes = flatbuffer.verify(content, where=where, prepare=True, threads=threads)
    if nodes is None:
        return {}, None
    delegates = [node for node in nodes if node["op_name"] == DELEGATE]
    makers = {
        int(output): node
        for node in nodes
        if node["op_name"] != DELEGATE
        for output in node["outputs"]
    }
    partition_of: dict[int, int] = {}
    for number, delegate in enumerate(delegates):
        # An op is inside when the partition's outputs need it and its result is not given to the
        # partition from outside.
        given = {int(index) for index in delegate["inputs"]}
        wanted = [int(index) for index in delegate["outputs"]]
        while wanted:
            node = makers.get(wanted.pop())
            if node is not None and node["index"] not in partition_of:
                partition_of[node["index"]] = number
                wanted += [int(index) for index in node["inputs"] if int(index) not in given]
    return partition_of, len(delegates)


def _cells(op: OpRow) -> tuple[str, ...]:
    output = op.outputs[0] if op.outputs else Tensor("", (), "", None, 0)
    return (
        str(op.index),
        op.name,
        _size(output.shape),
        output.dtype,
        _size(op.kernel or ()),
        _size(op.stride or ()),
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


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _range(tensor: Tensor) -> str:
    if tensor.real_range is None:
        return ""
    low, high = tensor.real_range
    return f"{low:.4g} to {high:.4g}" + (
        f" ({tensor.scales} channels)" if tensor.scales > 1 else ""
    )
