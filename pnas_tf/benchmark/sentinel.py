"""The sentinel: one small fixed model, measured in every round of every session, whose time tells how the device drifts.

Written with the public TFLite schema, without TensorFlow, so that its bytes and so its hash are the same everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnas_tf import files

SIZE, NARROW, WIDE, REPEATS = 28, 32, 192, 3  # 1x1 up, 3x3 depthwise, 1x1 down, three times: 33 million MACs


def sentinel_model(folder: Path) -> Path:
    """Path of the sentinel in `folder`; written when it is not there."""
    path = Path(folder) / "sentinel_1.tflite"
    if not path.exists():
        files.write_bytes(path, sentinel_bytes())
    return path


def sentinel_bytes() -> bytes:
    """The .tflite file: float32 [1, 28, 28, 32] to the same shape, through inverted bottlenecks."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema)
    x = graph.tensor([1, SIZE, SIZE, NARROW])
    graph.subgraph.inputs = [x]
    for _ in range(REPEATS):
        x = graph.convolution(x, 1, NARROW, WIDE)
        x = graph.convolution(x, 3, WIDE, WIDE, depthwise=True)
        x = graph.convolution(x, 1, WIDE, NARROW)
    graph.subgraph.outputs = [x]
    model = schema.ModelT()
    model.version, model.description = 3, "sentinel"
    model.operatorCodes, model.subgraphs, model.buffers = graph.codes(), [graph.subgraph], graph.buffers
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Graph:
    """A subgraph under construction, with constants of a fixed pseudo-random pattern."""

    def __init__(self, schema: Any):
        self.schema = schema
        self.buffers = [schema.BufferT()]
        self.subgraph = schema.SubGraphT()
        self.subgraph.tensors, self.subgraph.operators = [], []

    def tensor(self, shape: list[int], *, values: Any = None) -> int:
        """A new float32 tensor, constant when `values` are given. Returns its index."""
        tensor = self.schema.TensorT()
        tensor.shape, tensor.type, tensor.name, tensor.buffer = shape, self.schema.TensorType.FLOAT32, f"t{len(self.subgraph.tensors)}", 0
        if values is not None:
            buffer = self.schema.BufferT()
            buffer.data = list(values.astype("<f4").tobytes())
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def convolution(self, x: int, kernel: int, inputs: int, outputs: int, *, depthwise: bool = False) -> int:
        """Adds a convolution with bias and ReLU6, SAME, stride 1. Returns the output's index."""
        import numpy as np

        shape = [1, kernel, kernel, outputs] if depthwise else [outputs, kernel, kernel, inputs]
        count = int(np.prod(shape))
        fan_in = kernel * kernel * (1 if depthwise else inputs)
        # A Weyl sequence: spread over (-1, 1), the same bytes on every platform and numpy.
        weights = (np.arange(count) * 0.6180339887498949 % 1 * 2 - 1) * (3 / fan_in) ** 0.5
        w, b = self.tensor(shape, values=weights), self.tensor([outputs], values=np.full(outputs, 0.1))
        y = self.tensor([1, SIZE, SIZE, outputs])
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = int(depthwise), [x, w, b], [y]
        options = self.schema.DepthwiseConv2DOptionsT() if depthwise else self.schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = self.schema.Padding.SAME, 1, 1
        options.fusedActivationFunction = self.schema.ActivationFunctionType.RELU6
        if depthwise:
            options.depthMultiplier = 1
        operator.builtinOptions = options
        kinds = self.schema.BuiltinOptions
        operator.builtinOptionsType = kinds.DepthwiseConv2DOptions if depthwise else kinds.Conv2DOptions
        self.subgraph.operators.append(operator)
        return y

    def codes(self) -> list[Any]:
        """The two operator codes, in the order `convolution` refers to them."""
        found = []
        for kind in (self.schema.BuiltinOperator.CONV_2D, self.schema.BuiltinOperator.DEPTHWISE_CONV_2D):
            code = self.schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = 1
            found.append(code)
        return found
