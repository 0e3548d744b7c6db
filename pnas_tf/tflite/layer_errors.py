"""Where does a quantised file depart from the float one? Layer by layer, both files run on the same
images.

The two files come from one network with the same rewrites, so their ops stand in the same order but
for the conversions between number formats. Knows .tflite files only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pnas_tf.errors import UserError
from pnas_tf.tflite.classifier import Classifier
from pnas_tf.tflite.schema_names import op_name
from pnas_tf.tflite.schema_reader import parse

# What quantisation adds or leaves out; the two files agree in all other ops.
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
DEPARTURE = 0.25  # sound int8 layers lie at 0.01 to 0.15 (measured on trained networks)


@dataclass(frozen=True)
class LayerError:
    """One op. relative_error: root mean square of (quantised - float) over that of float; it
    includes what layers before brought in."""

    number: int
    op: str
    layer: str
    relative_error: float
    float_range: tuple[float, float]
    quantised_range: tuple[float, float]


def layer_errors(
    float_model: bytes, quantised_model: bytes, images: np.ndarray
) -> list[LayerError]:
    """Every op's output in both files.

    Args:
        float_model: a file of ours.
        quantised_model: one of the same network with the same rewrites.
        images: float32 [count, height, width, channels], normalised; a few dozen suffice.

    Raises:
        UserError: the files do not hold the same ops in the same order.
    """
    ours, theirs = _outputs(float_model), _outputs(quantised_model)
    names, others = [op for op, *_ in ours], [op for op, *_ in theirs]
    if names != others:
        raise UserError(
            "per-layer comparison",
            expected=f"the ops of the float model, {names}"[:300],
            received=str(others)[:300],
            fix="Compare two exports of one network with the same rewrites.",
        )
    first = Classifier(float_model, every_tensor=True)
    second = Classifier(quantised_model, every_tensor=True)
    squares = np.zeros((len(ours), 2))
    ranges = np.tile((np.inf, -np.inf, np.inf, -np.inf), (len(ours), 1))
    for image in images:
        first.logits(image[None])
        second.logits(image[None])
        for row, ((_, _, index), (_, _, other)) in enumerate(zip(ours, theirs)):
            x, y = first.tensor(index), second.tensor(other)
            squares[row] += (
                np.square(x.astype(np.float64)).sum(),
                np.square(y.astype(np.float64) - x).sum(),
            )
            ranges[row, ::2] = np.minimum(ranges[row, ::2], (x.min(), y.min()))
            ranges[row, 1::2] = np.maximum(ranges[row, 1::2], (x.max(), y.max()))
    errors = np.sqrt(squares[:, 1] / np.maximum(squares[:, 0], 1e-30))
    return [
        LayerError(
            row,
            op,
            layer,
            float(errors[row]),
            (float(low), float(high)),
            (float(bottom), float(top)),
        )
        for row, ((op, layer, _), (low, high, bottom, top)) in enumerate(zip(ours, ranges))
    ]


def first_departure(rows: list[LayerError]) -> LayerError | None:
    """The first op whose relative error is above `DEPARTURE`; None when the files agree
    throughout."""
    return next((row for row in rows if not row.relative_error <= DEPARTURE), None)


def describe(rows: list[LayerError]) -> str:
    """A table for people, and the verdict."""
    lines = [f"{'op':20s} {'error':>8s}  {'float range':>21s}  {'quantised range':>21s}  layer"]
    for row in rows:
        ranges = "  ".join(
            f"{low:10.3g} {high:10.3g}" for low, high in (row.float_range, row.quantised_range)
        )
        lines.append(f"{row.op:20s} {row.relative_error:8.4f}  {ranges}  {row.layer}")
    departed = first_departure(rows)
    lines.append(
        f"first departure: {departed.layer} ({departed.op}, relative error "
        f"{departed.relative_error:.3f})"
        if departed
        else f"no layer departs: every relative error is at most {DEPARTURE}"
    )
    return "\n".join(lines)


def _outputs(content: bytes) -> list[tuple[str, str, int]]:
    """(op, layer name, tensor) of every op that computes something, in order."""
    model = parse(content)
    graph = model.subgraphs[0]
    rows = []
    for operator in graph.operators:
        op, tensor = op_name(model, operator), int(operator.outputs[0])
        if op not in _CONVERSIONS:
            name = graph.tensors[tensor].name.decode("utf-8", "replace")
            rows.append((op, _layer_name(name), tensor))
    return rows


def _layer_name(tensor: str) -> str:
    """The Keras layer of a tensor: of "net/a/b_relu6/Relu6;net/a/b/conv" the first part without
    network and op."""
    parts = tensor.split(";")[0].split("/")
    return "/".join(parts[1:-1]) or tensor
