"""Two fixed models: the sentinel, measured in every round of every session, whose time tells how
the device drifts, and one that takes no longer than a call of the runtime.

Written with the public TFLite schema, without TensorFlow, so that its bytes and so its hash are the
same everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pnas_tf.io import atomic

# (size, channels in, in the middle, out, stride) of its inverted bottlenecks: 92 million MACs, 2.6
# MB of weights. Like a whole network it streams activations and weights through every cache, so it
# feels what networks feel when the device is shared.
CALL_SHAPE = (1, 1, 1, 8)  # input of the model of one call
BOTTLENECKS = (
    (112, 16, 96, 24, 2),
    (56, 24, 144, 40, 2),
    (28, 40, 240, 80, 2),
    (14, 80, 480, 192, 2),
    (7, 192, 1152, 192, 1),
)


def sentinel_model(folder: Path) -> Path:
    """Path of the sentinel in `folder`; written when it is not there."""
    path = Path(folder) / "sentinel_2.tflite"
    if not path.exists():
        atomic.write_bytes(path, sentinel_bytes())
    return path


def call_model(folder: Path) -> Path:
    """Path of the model of one call in `folder`; written when it is not there. What it takes, every
    model of one block takes too."""
    path = Path(folder) / "call_1.tflite"
    if not path.exists():
        atomic.write_bytes(path, call_bytes())
    return path


def call_bytes() -> bytes:
    """The .tflite file: a convolution of one pixel, 64 MACs, float32 [1, 1, 1, 8] to the same."""
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema)
    x = graph.tensor(list(CALL_SHAPE))
    graph.subgraph.inputs = [x]
    graph.subgraph.outputs = [graph.convolution(x, 1, CALL_SHAPE[-1], CALL_SHAPE[-1], out_size=1)]
    return graph.packed("call")


def sentinel_bytes() -> bytes:
    """The .tflite file: float32 [1, 112, 112, 16] to [1, 7, 7, 192]."""
    from ai_edge_litert import schema_py_generated as schema

    graph = _Graph(schema)
    x = graph.tensor([1, BOTTLENECKS[0][0], BOTTLENECKS[0][0], BOTTLENECKS[0][1]])
    graph.subgraph.inputs = [x]
    for size, inputs, middle, outputs, stride in BOTTLENECKS:
        x = graph.convolution(x, 1, inputs, middle, out_size=size)
        x = graph.convolution(
            x, 3, middle, middle, out_size=size // stride, stride=stride, depthwise=True
        )
        x = graph.convolution(x, 1, middle, outputs, out_size=size // stride)
    graph.subgraph.outputs = [x]
    return graph.packed("sentinel")


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
        tensor.shape, tensor.type, tensor.name, tensor.buffer = (
            shape,
            self.schema.TensorType.FLOAT32,
            f"t{len(self.subgraph.tensors)}",
            0,
        )
        if values is not None:
            buffer = self.schema.BufferT()
            buffer.data = values.astype("<f4").view("u1")
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def convolution(
        self,
        x: int,
        kernel: int,
        inputs: int,
        outputs: int,
        *,
        out_size: int,
        stride: int = 1,
        depthwise: bool = False,
    ) -> int:
        """Adds a convolution with bias and ReLU6, SAME. Returns the output's index."""
        import numpy as np

        shape = [1, kernel, kernel, outputs] if depthwise else [outputs, kernel, kernel, inputs]
        count = int(np.prod(shape))
        fan_in = kernel * kernel * (1 if depthwise else inputs)
        # A Weyl sequence: spread over (-1, 1), the same bytes on every platform and numpy.
        weights = (np.arange(count) * 0.6180339887498949 % 1 * 2 - 1) * (3 / fan_in) ** 0.5
        w, b = (
            self.tensor(shape, values=weights),
            self.tensor([outputs], values=np.full(outputs, 0.1)),
        )
        y = self.tensor([1, out_size, out_size, outputs])
        operator = self.schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = int(depthwise), [x, w, b], [y]
        options = (
            self.schema.DepthwiseConv2DOptionsT() if depthwise else self.schema.Conv2DOptionsT()
        )
        options.padding, options.strideW, options.strideH = self.schema.Padding.SAME, stride, stride
        options.fusedActivationFunction = self.schema.ActivationFunctionType.RELU6
        if depthwise:
            options.depthMultiplier = 1
        operator.builtinOptions = options
        kinds = self.schema.BuiltinOptions
        operator.builtinOptionsType = (
            kinds.DepthwiseConv2DOptions if depthwise else kinds.Conv2DOptions
        )
        self.subgraph.operators.append(operator)
        return y

    def packed(self, description: str) -> bytes:
        """The .tflite file."""
        import flatbuffers

        model = self.schema.ModelT()
        model.version, model.description = 3, description
        model.operatorCodes, model.subgraphs, model.buffers = (
            self.codes(),
            [self.subgraph],
            self.buffers,
        )
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def codes(self) -> list[Any]:
        """The two operator codes, in the order `convolution` refers to them."""
        found = []
        for kind in (
            self.schema.BuiltinOperator.CONV_2D,
            self.schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        ):
            code = self.schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = kind
            code.version = 1
            found.append(code)
        return found
