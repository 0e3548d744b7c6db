"""An input that takes pixels as they are, as bytes or as float32 from 0 to 255.

The converter gives a uint8 input the range of the calibration images, which need not reach black
and white. Where the first op is a QUANTIZE, from this input's scale to the calibrated one, changing
the input's scale is exact: that op reads it. A float32 input gets two ops in front, which normalise
it. Knows nothing of metadata.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pnas_tf.errors import UserError
from pnas_tf.tflite.model import operator_code, pack
from pnas_tf.tflite.schema_names import op_name, quantization_of
from pnas_tf.tflite.schema_reader import parse


def make_pixels(model: schema.ModelT, *, mean: Sequence[float], std: Sequence[float]) -> None:
    """Changes the scale of the model's uint8 input so that byte q stands for pixel q.

    Args:
        model: with one input; the network behind it takes (pixel - mean) / std.
        mean: of all channels, or one for each.
        std: likewise.

    Raises:
        UserError: the channels differ, or something else than a QUANTIZE reads the input.
    """
    graph = model.subgraphs[0]
    image = graph.tensors[graph.inputs[0]]
    scales, zero_points = quantization_of(image)
    scale, zero_point = (scales[0], zero_points[0]) if scales else (0.0, 0)
    black, white = (
        (pixel - mean[0]) / std[0] / scale + zero_point if scale else math.inf for pixel in (0, 255)
    )
    alike = len({*mean}) == len({*std}) == 1
    if alike and abs(black) <= 1 and abs(white - 255) <= 1:
        return
    readers = [
        op_name(model, operator)
        for operator in graph.operators
        if graph.inputs[0] in operator.inputs
    ]
    if not alike or set(readers) != {"QUANTIZE"} or not 0 <= mean[0] <= 255:
        raise UserError(
            "uint8 input of the model",
            expected="a quantisation under which every pixel stands for itself",
            received=f"scale {scale:.6g}, zero point {zero_point}; mean {list(mean)}, std "
            f"{list(std)}; read by {', '.join(readers)}",
            fix="Use one mean and std for all channels, or export with a float32 input.",
        )
    image.quantization.scale = [float(np.float32(1 / std[0]))]  # as the file will hold it
    image.quantization.zeroPoint = [round(mean[0])]


def with_pixel_input(content: bytes, *, mean: Sequence[float], std: Sequence[float]) -> bytes:
    """A file of ours of a network that takes (pixel - mean) / std in float32, as one that takes the
    pixels. Arguments as of `make_pixels`."""
    model = parse(content)
    graph = model.subgraphs[0]
    normalised = int(graph.inputs[0])
    tensors = [copy.deepcopy(graph.tensors[normalised]) for _ in range(4)]
    names = (b"pixels", b"centred", b"mean", b"scale")
    values = (None, None, np.array(mean), 1 / np.array(std))
    for tensor, name, value in zip(tensors, names, values):
        tensor.name, tensor.buffer = name, 0
        if value is not None:
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(value.astype(np.float32).tobytes(), np.uint8)
            tensor.buffer, tensor.shape = len(model.buffers) - 1, [len(value)]
            tensor.shapeSignature = None
    first = len(graph.tensors)
    pixels, centred, shift, scale = range(first, first + 4)
    graph.tensors += tensors
    subtract = _elementwise(model, "Sub", [pixels, shift], centred)
    graph.operators[:0] = [subtract, _elementwise(model, "Mul", [centred, scale], normalised)]
    graph.inputs = [pixels]
    for signature in model.signatureDefs or []:
        for given in signature.inputs:
            given.tensorIndex = pixels
    return pack(model)


def _elementwise(
    model: schema.ModelT, kind: str, inputs: list[int], output: int
) -> schema.OperatorT:
    """An op between two tensors, "Sub" or "Mul"."""
    operator = schema.OperatorT()
    number = getattr(schema.BuiltinOperator, kind.upper())
    operator.opcodeIndex = operator_code(model, number)
    operator.inputs, operator.outputs = inputs, [output]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, f"{kind}Options")
    operator.builtinOptions = getattr(schema, f"{kind}OptionsT")()
    return operator
