"""Two fixed models: the reference model, measured beside the runs of every session, whose time
tells how the device drifts, and one that takes no longer than a call of the runtime.

Written with the public TFLite schema, without TensorFlow, so that its bytes and so its hash are the
same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pnas_tf.io import atomic

CALL_SHAPE = (1, 1, 1, 8)  # input of the model of one call
REFERENCE_SHAPE = (1, 112, 112, 16)
# (channels in the middle, out, stride) of the reference model's inverted bottlenecks: 92 million
# MACs, 2.6 MB of weights. Like a whole network it streams activations and weights through every
# cache, so it feels what networks feel when the device is shared.
BOTTLENECKS = ((96, 24, 2), (144, 40, 2), (240, 80, 2), (480, 192, 2), (1152, 192, 1))


def reference_model(folder: Path) -> Path:
    """Path of the reference model in `folder`; written when it is not there."""
    return _written(Path(folder) / "sentinel_2.tflite", reference_bytes)


def call_model(folder: Path) -> Path:
    """Path of the model of one call in `folder`; written when it is not there. What it takes, every
    model of one block takes too."""
    return _written(Path(folder) / "call_1.tflite", call_bytes)


def call_bytes() -> bytes:
    """The .tflite file: a convolution of one pixel, 64 MACs, float32 [1, 1, 1, 8] to the same."""
    graph = _Graph(CALL_SHAPE)
    return graph.packed("call", output=graph.convolution(0, 1, CALL_SHAPE[-1]))


def reference_bytes() -> bytes:
    """The .tflite file: float32 [1, 112, 112, 16] to [1, 7, 7, 192]."""
    graph, x = _Graph(REFERENCE_SHAPE), 0
    for middle, outputs, stride in BOTTLENECKS:
        x = graph.convolution(x, 1, middle)
        x = graph.convolution(x, 3, middle, stride=stride, depthwise=True)
        x = graph.convolution(x, 1, outputs)
    return graph.packed("sentinel", output=x)


def _written(path: Path, content: Callable[[], bytes]) -> Path:
    return path if path.exists() else atomic.write_bytes(path, content())


class _Graph:
    """A subgraph under construction, its input tensor 0, with constants of a fixed pseudo-random
    pattern."""

    def __init__(self, input_shape: tuple[int, ...]):
        self.buffers = [schema.BufferT()]
        self.subgraph = schema.SubGraphT()
        self.subgraph.tensors, self.subgraph.operators = [], []
        self.subgraph.inputs = [self.tensor(list(input_shape))]

    def tensor(self, shape: list[int], *, values: np.ndarray | None = None) -> int:
        """A new float32 tensor, constant when `values` are given. Returns its index."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type = shape, schema.TensorType.FLOAT32
        tensor.name, tensor.buffer = f"t{len(self.subgraph.tensors)}", 0
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = values.astype("<f4").view("u1")
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.subgraph.tensors.append(tensor)
        return len(self.subgraph.tensors) - 1

    def convolution(
        self, x: int, kernel: int, outputs: int, *, stride: int = 1, depthwise: bool = False
    ) -> int:
        """Adds a convolution of tensor `x` with bias and ReLU6, SAME. Returns the output's
        index."""
        _, size, _, inputs = self.subgraph.tensors[x].shape
        shape = [1, kernel, kernel, outputs] if depthwise else [outputs, kernel, kernel, inputs]
        fan_in = kernel * kernel * (1 if depthwise else inputs)
        # A Weyl sequence: spread over (-1, 1), the same bytes on every platform and numpy.
        pattern = np.arange(int(np.prod(shape))) * 0.6180339887498949 % 1 * 2 - 1
        w = self.tensor(shape, values=pattern * (3 / fan_in) ** 0.5)
        b = self.tensor([outputs], values=np.full(outputs, 0.1))
        y = self.tensor([1, size // stride, size // stride, outputs])
        operator = schema.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = int(depthwise), [x, w, b], [y]
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.padding, options.strideW, options.strideH = schema.Padding.SAME, stride, stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
        if depthwise:
            options.depthMultiplier = 1
        operator.builtinOptions = options
        kinds = schema.BuiltinOptions
        operator.builtinOptionsType = (
            kinds.DepthwiseConv2DOptions if depthwise else kinds.Conv2DOptions
        )
        self.subgraph.operators.append(operator)
        return y

    def packed(self, description: str, *, output: int) -> bytes:
        """The .tflite file."""
        self.subgraph.outputs = [output]
        model = schema.ModelT()
        model.version, model.description = 3, description
        model.operatorCodes, model.subgraphs = _codes(), [self.subgraph]
        model.buffers = self.buffers
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())


def _codes() -> list[schema.OperatorCodeT]:
    """The two operator codes, in the order `convolution` refers to them."""
    found = []
    for kind in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        found.append(code)
    return found
