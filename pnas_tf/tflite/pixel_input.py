"""A uint8 input whose every byte is a pixel, as clients such as MediaPipe hand it over.

The converter gives the input the range of the calibration images, which need not reach black and
white. Where the first op is a QUANTIZE, from this input's scale to the calibrated one, changing the
input's scale is exact: that op reads it. Knows nothing of metadata.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.tflite.schema_names import op_name, quantization_of

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema


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
