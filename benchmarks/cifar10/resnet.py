"""ResNet-8 of MLPerf Tiny's image classification (Banbury et al. 2021, section 4.1), of any width:
12.5 M MACs and 78,666 parameters at 16 filters.

Rebuilt from the paper's description and the reference file's own graph, which `check_against` holds
it to.
"""

from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from pnas_tf.networks.initial_weights import seeded_weights
from pnas_tf.tflite.model import TfliteModel

FILTERS = 16
STAGES = 3
SIZE = 32
# Ops that multiply and accumulate: what two graphs have in common, whatever stands between.
_COUNTED = ("CONV_2D", "FULLY_CONNECTED")


def resnet8(*, filters: int = FILTERS, classes: int = 10, seed: int = 0) -> keras.Model:
    """Images [batch, 32, 32, 3] to logits [batch, classes].

    filters: of the first stage; each of the others has twice as many and half the size.
    """
    images = keras.Input((SIZE, SIZE, 3), name="image")
    x = _convolved(images, "stem/conv", filters, activation=True)
    for stage in range(STAGES):
        name, width, stride = f"stage_{stage}", filters * 2**stage, 1 if stage == 0 else 2
        y = _convolved(x, f"{name}/first", width, stride=stride, activation=True)
        y = _convolved(y, f"{name}/second", width)
        if stride > 1:
            x = _conv(x, f"{name}/shortcut", width, kernel=1, stride=stride)
        x = keras.layers.Add(name=f"{name}/add")([x, y])
        x = keras.layers.ReLU(name=f"{name}/relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="head/pool")(x)
    logits = keras.layers.Dense(classes, name="head/classifier", dtype="float32")(x)
    model = keras.Model(images, logits, name=f"resnet8_{filters}")
    model.set_weights(seeded_weights(model, seed=seed))
    return model


def _convolved(
    x: tf.Tensor, name: str, width: int, *, stride: int = 1, activation: bool = False
) -> tf.Tensor:
    x = _conv(x, name, width, kernel=3, stride=stride)
    x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if activation else x


def _conv(x: tf.Tensor, name: str, width: int, *, kernel: int, stride: int) -> tf.Tensor:
    return keras.layers.Conv2D(
        width, kernel, stride, "same", kernel_initializer="he_normal", name=name
    )(x)


def macs_of(model: keras.Model) -> int:
    """Multiply-accumulates of one image."""
    return sum(row[-1] for row in _rows_of(model))


def check_against(reference: TfliteModel) -> None:
    """Raises ValueError where the reference file is another network than `resnet8()`: convolutions
    and classifier in another number, of other sizes or of other MACs."""
    ours = sorted(_rows_of(resnet8()))
    theirs = sorted(
        (*op.outputs[0].shape[1:], op.macs) for op in reference.contents.ops if op.name in _COUNTED
    )
    if ours != theirs:
        raise ValueError(f"{reference.where} is no ResNet-8:\n{theirs}\nin the place of\n{ours}")


def _rows_of(model: keras.Model) -> list[tuple[int, ...]]:
    """For each convolution and dense layer its output's shape, and its MACs."""
    rows = []
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            shape = layer.output_shape[1:]
            *taps, _ = layer.kernel.shape  # [height, width, in, out], or [in, out]
            places = 1
            for size in (*shape, *taps):
                places *= size
            rows.append((*shape, places))
    return rows
