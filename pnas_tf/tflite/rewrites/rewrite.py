"""Rewrites of the Keras model before conversion that make the .tflite faster and leave its function
as it is.

split_depthwise: a depthwise convolution of more than 25 taps, for which XNNPACK has no kernel,
becomes an equal sum of smaller ones over cropped and padded inputs, with batch normalisation folded
in (7x7 = 3x7 + 1x7 + 3x7; `tiling`). What a rewrite gains is a property of the device, so
`choice.faster` chooses by measured latencies, shape by shape. The result is a flat
Functional model of plain layers again. The converter itself folds batch normalisation, ReLU6, and
zeros before a convolution where SAME padding is the same; a test counts the ops. Knows nothing of
TensorFlow Lite.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.tflite.rewrites.choice import check_names, split_name, wanted_among
from pnas_tf.tflite.rewrites.tiling import MAX_TAPS, Rectangle, tile


def apply_rewrites(model: keras.Model, rewrites: Iterable[str]) -> keras.Model:
    """`model` with the named rewrites applied, weights copied; the same object when nothing
    changes.

    The logits stay the same but for the order of additions (1e-5 in float32).

    Args:
        model: a flat graph of layers used once each.
        rewrites: names in `choice.REWRITES`, for every layer they fit, or with a shape as
            `applicable` gives them, for that shape only: "split_depthwise[k7 s1 56x56x144]".

    Raises:
        UserError: an unknown name, or the model is no such graph.
    """
    wanted = check_names(rewrites)
    if not wanted:
        return model
    changes = {
        name: change
        for name, (rewrite, change) in _changes(model).items()
        if wanted_among((rewrite,), wanted)
    }
    return _rebuild(model, changes) if changes else model


def applicable(model: keras.Model) -> tuple[str, ...]:
    """The names of all rewrites that would change `model`, each with its shape: "split_depthwise[k7
    s1 56x56x144]"."""
    return tuple(sorted({rewrite for rewrite, _ in _changes(model).values()}))


# The new input of a layer -> its new output, in symbolic tensors.
Change = Callable[[tf.Tensor], tf.Tensor]
Changes = dict[str, tuple[str, Change]]  # layer name -> (rewrite, what stands in its place)


def _changes(model: keras.Model) -> Changes:
    """For every layer that some rewrite changes."""
    changes: Changes = {}
    for layer, changes_at in itertools.product(model.layers, _AT_LAYERS.values()):
        changes |= changes_at(layer)
    return changes


def _split_at(layer: keras.layers.Layer) -> Changes:
    """What `split_depthwise` changes where it begins at `layer`."""
    if (
        type(layer) is not keras.layers.DepthwiseConv2D
        or np.prod(layer.kernel_size) <= MAX_TAPS
        or layer.data_format != "channels_last"
        or tuple(layer.dilation_rate) != (1, 1)
        or None in layer.input.shape[1:]
    ):
        return {}
    before, after = _only_neighbour(layer, "input"), _only_neighbour(layer, "output")
    is_padded = type(before) is keras.layers.ZeroPadding2D and layer.padding == "valid"
    pad = before if is_padded else None
    norm = after if type(after) is keras.layers.BatchNormalization and _linear(layer) else None
    rewrite = _name_of(layer, pad)
    absorbed = {other.name: (rewrite, _nothing) for other in (pad, norm) if other is not None}
    return {layer.name: (rewrite, _split(layer, pad, norm)), **absorbed}


# By short name, as in `choice.REWRITES`: the changes that begin at a layer.
_AT_LAYERS: dict[str, Callable[[keras.layers.Layer], Changes]] = {"split_depthwise": _split_at}


def _only_neighbour(layer: keras.layers.Layer, side: str) -> keras.layers.Layer | None:
    """The layer before or after, when each is the other's only one."""
    nodes = layer.inbound_nodes if side == "input" else layer.outbound_nodes
    if (
        len(nodes) != 1
        or len(layer.outbound_nodes if side == "output" else layer.inbound_nodes) != 1
    ):
        return None
    found = nodes[0].inbound_layers if side == "input" else nodes[0].outbound_layer
    if isinstance(found, list):
        return None
    back = found.outbound_nodes if side == "input" else found.inbound_nodes
    return found if len(back) == 1 else None


def _linear(layer: keras.layers.DepthwiseConv2D) -> bool:
    return layer.activation is keras.activations.linear


def _name_of(layer: keras.layers.DepthwiseConv2D, pad: keras.layers.ZeroPadding2D | None) -> str:
    rows, columns, channels = (pad or layer).input.shape[1:]
    return split_name(
        kernel=layer.kernel_size,
        stride=layer.strides[0],
        rows=rows,
        columns=columns,
        channels=channels,
        padding="" if layer.padding == "same" else "padded" if pad is not None else "valid",
    )


def _nothing(x: tf.Tensor) -> tf.Tensor:
    return x


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: zeros before and after, the odd one after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _zeros(
    layer: keras.layers.DepthwiseConv2D,
    pad: keras.layers.ZeroPadding2D | None,
    axis: int,
    size: int,
) -> tuple[int, int]:
    """Zeros that the layer sees before and after its input along an axis."""
    if pad is not None:
        return tuple(pad.padding[axis])
    if layer.padding == "same":
        return _same_padding(size, layer.kernel_size[axis], layer.strides[axis])
    return 0, 0


def _split(
    layer: keras.layers.DepthwiseConv2D,
    pad: keras.layers.ZeroPadding2D | None,
    norm: keras.layers.BatchNormalization | None,
) -> Change:
    """The layer, and the batch normalisation behind it, as a sum over the pieces of its kernel."""
    kernel, bias = _folded(layer, norm)
    source = layer if pad is None else pad
    sizes, outputs = source.input.shape[1:3], layer.output.shape[1:3]
    zeros = [_zeros(layer, pad, axis, sizes[axis]) for axis in (0, 1)]

    def change(x: tf.Tensor) -> tf.Tensor:
        pieces = []
        for number, piece in enumerate(tile(*layer.kernel_size)):
            spans = ((piece.top, piece.bottom), (piece.left, piece.right))
            moves = [
                _window(
                    span,
                    before=zeros[axis][0],
                    size=sizes[axis],
                    outputs=outputs[axis],
                    stride=layer.strides[axis],
                )
                for axis, span in enumerate(spans)
            ]
            pieces.append(
                _piece(
                    x,
                    piece,
                    moves,
                    layer=layer,
                    kernel=kernel,
                    bias=bias if number == 0 else np.zeros_like(bias),
                )
            )
        total = pieces[0]
        for number, part in enumerate(pieces[1:], 1):
            total = keras.layers.Add(name=f"{layer.name}_sum_{number}")([total, part])
        return (
            total
            if _linear(layer)
            else keras.layers.Activation(layer.activation, name=f"{layer.name}_activation")(total)
        )

    return change


Move = tuple[tuple[int, int], tuple[int, int]]  # crop and pad along one axis, (before, after) each


def _window(span: tuple[int, int], *, before: int, size: int, outputs: int, stride: int) -> Move:
    """(crop, pad), each (before, after), that bring the input to just what the taps `span` of the
    kernel see along one axis."""
    start = span[0] - before
    end = start + (outputs - 1) * stride + span[1] - span[0]
    return (max(start, 0), max(size - end, 0)), (max(-start, 0), max(end - size, 0))


def _piece(
    x: tf.Tensor,
    piece: Rectangle,
    moves: list[Move],
    *,
    layer: keras.layers.DepthwiseConv2D,
    kernel: np.ndarray,
    bias: np.ndarray,
) -> tf.Tensor:
    name = f"{layer.name}_taps_{piece.top}_{piece.left}"
    crops, pads = zip(*moves)
    if any(sum(crop) >= size for crop, size in zip(crops, x.shape[1:3])):
        # A map smaller than the kernel: these taps see zeros only, but for a window of the right
        # size to stay, pad first.
        x = keras.layers.ZeroPadding2D(pads, name=f"{name}_pad")(x)
        x, pads = keras.layers.Cropping2D(crops, name=f"{name}_crop")(x), ((0, 0), (0, 0))
    elif np.any(crops):
        x = keras.layers.Cropping2D(crops, name=f"{name}_crop")(x)
    padding = "valid"
    if np.any(pads):
        taps = (piece.bottom - piece.top, piece.right - piece.left)
        if all(
            pads[axis] == _same_padding(x.shape[1 + axis], taps[axis], layer.strides[axis])
            for axis in (0, 1)
        ):
            padding = "same"
        else:
            x = keras.layers.ZeroPadding2D(pads, name=f"{name}_pad")(x)
    part = keras.layers.DepthwiseConv2D(
        (piece.bottom - piece.top, piece.right - piece.left),
        layer.strides,
        padding,
        depth_multiplier=layer.depth_multiplier,
        name=name,
    )
    y = part(x)
    part.set_weights([kernel[piece.top : piece.bottom, piece.left : piece.right], bias])
    return y


def _folded(
    layer: keras.layers.DepthwiseConv2D, norm: keras.layers.BatchNormalization | None
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel [height, width, channels, multiplier] and bias [channels * multiplier] of the layer
    with the batch normalisation `norm` (or None) behind it folded in: y = gamma (x - mean) /
    sqrt(variance + epsilon) + beta."""
    kernel = layer.depthwise_kernel.numpy().astype(np.float64)
    bias = (
        layer.bias.numpy().astype(np.float64)
        if layer.use_bias
        else np.zeros(np.prod(kernel.shape[2:]))
    )
    if norm is not None:
        scale = 1 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
        scale = scale * norm.gamma.numpy() if norm.scale else scale
        bias = (bias - norm.moving_mean.numpy()) * scale + (norm.beta.numpy() if norm.center else 0)
        kernel = kernel * scale.reshape(kernel.shape[2:])
    return kernel.astype(np.float32), bias.astype(np.float32)


def _rebuild(model: keras.Model, changes: Mapping[str, Change]) -> keras.Model:
    """The same graph from clones of its layers, with `changes` in place of the layers they name."""
    made: dict[int, tf.Tensor] = {}  # id of an old symbolic tensor -> the new one
    for tensor, layer_name in zip(model.inputs, model.input_names):
        made[id(tensor)] = keras.Input(
            batch_shape=tensor.shape, dtype=tensor.dtype, name=layer_name
        )
    inputs = list(made.values())
    for layer in model.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        if len(layer.inbound_nodes) != 1 or isinstance(layer, keras.Model):
            raise UserError(
                f"model '{model.name}' cannot be rewritten",
                expected="a flat graph of layers used once each",
                received=f"layer '{layer.name}', a {type(layer).__name__} called "
                f"{len(layer.inbound_nodes)} times",
                fix="Build it with pnas_tf.networks.network.build_network, or export without "
                "rewrites.",
            )
        node = layer.inbound_nodes[0]
        args, kwargs = tf.nest.map_structure(
            lambda value: made.get(id(value), value), (node.call_args, node.call_kwargs)
        )
        if layer.name in changes:
            result = changes[layer.name](*args)
        else:
            twin = type(layer).from_config(layer.get_config())
            result = twin(*args, **kwargs)
            twin.set_weights(layer.get_weights())
        for old, new in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(result), strict=True):
            made[id(old)] = new
    outputs = tf.nest.map_structure(lambda tensor: made[id(tensor)], model.outputs)
    return keras.Model(inputs, outputs, name=model.name)
