"""From a Keras model to the bytes of a .tflite file, in four number formats.

The model is traced at a fixed batch and the traced function converted, which freezes its variables
to constants: that is ten times faster than the SavedModel way and leaves no variable in the graph
(one variable splits the graph between delegates). Block models of the latency table and whole
networks take this same path. Knows nothing of files, accuracy or labels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf import _tf_private
from pnas_tf.config import ExportConfig
from pnas_tf.errors import UserError
from pnas_tf.tflite.formats import DTYPES, INT8_TYPES
from pnas_tf.tflite.quietly import quietly

INPUT_NAME = "image"


def convert(
    model: keras.Model,
    dtype: str,
    *,
    representative: np.ndarray | Iterable[np.ndarray] | None = None,
    input_type: str | None = None,
    output_type: str | None = None,
    batch: int = ExportConfig.export_batch,
) -> bytes:
    """The .tflite file of a model.

    Args:
        model: with one input, [batch, height, width, channels].
        dtype: float32; float16 (weights only, computed in float32); dynamic_int8 (int8 weights,
            activations quantised while running); int8 (full-integer; needs `representative`,
            unless the model was trained quantisation-aware and carries its ranges).
        representative: float32 images [count, height, width, channels], or an iterable of images
            [height, width, channels] or of batches, normalised as the model wants them.
        input_type: of int8 only: int8 (where None), uint8 or float32.
        output_type: likewise.
        batch: images a call.

    Raises:
        UserError: an unknown dtype or type, a missing representative set or one of the wrong shape,
            several inputs, a batch below 1, or the converter fails.
    """
    _check_choices(dtype, input_type, output_type, batch)
    _check_model(model, dtype)
    samples = _samples(model, representative, batch) if dtype == "int8" else None
    with quietly():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([_traced(model, batch)])
        if dtype != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if dtype == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if dtype == "int8":
            converter.inference_input_type = tf.dtypes.as_dtype(input_type or "int8")
            converter.inference_output_type = tf.dtypes.as_dtype(output_type or "int8")
        if samples is not None:
            converter.representative_dataset = lambda: ([sample] for sample in samples)  # once
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        try:
            return converter.convert()
        except _tf_private.converter_error() as error:
            raise UserError(
                f"conversion of '{model.name}' to {dtype}",
                expected="a model of TensorFlow Lite's built-in ops",
                received=str(error)[:2000],
                fix="Replace the op that the converter names.",
            ) from error


def _samples(
    model: keras.Model, representative: np.ndarray | Iterable[np.ndarray] | None, batch: int
) -> Iterator[np.ndarray] | None:
    """The batches that calibrate int8; None of a model that carries its ranges."""
    if is_quantization_aware(model):
        return None
    if representative is None:
        raise UserError(
            "int8 export",
            expected="representative images that calibrate it",
            received="none",
            fix="Pass normalised images of the training part.",
        )
    return representative_batches(representative, (batch, *model.inputs[0].shape[1:]))


def _traced(model: keras.Model, batch: int) -> tf.types.experimental.ConcreteFunction:
    """The model's inference at a fixed batch."""
    signature = tf.TensorSpec(
        (batch, *model.inputs[0].shape[1:]), model.inputs[0].dtype, name=INPUT_NAME
    )
    return tf.function(lambda image: model(image, training=False)).get_concrete_function(signature)


def _check_model(model: keras.Model, dtype: str) -> None:
    if len(model.inputs) != 1:
        raise UserError(
            "model to export",
            expected="one input",
            received=f"{len(model.inputs)} inputs",
            fix="Export a model of one image input.",
        )
    if is_quantization_aware(model) and dtype != "int8":
        raise UserError(
            "export of a quantisation-aware model",
            expected="dtype int8",
            received=dtype,
            fix="Export int8, or the float model it was made from.",
        )


def is_quantization_aware(model: keras.Model) -> bool:
    """Whether tensorflow-model-optimization has put quantisation ranges into the model."""
    return any(type(layer).__name__.startswith("Quantize") for layer in model.layers)


def representative_batches(
    representative: np.ndarray | Iterable[np.ndarray], shape: tuple[int, ...]
) -> Iterator[np.ndarray]:
    """The calibration images as float32 batches of exactly `shape` (batch, height, width,
    channels), read as they are asked for.

    The last batch is filled up with the first images.

    Raises:
        UserError: there are none, an image's shape differs, or a value is not finite.
    """
    first: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    count = 0
    for sample in representative:
        array = np.asarray(sample, dtype=np.float32)
        found = array if array.ndim == len(shape) else array[None]
        if found.shape[1:] != shape[1:]:
            raise UserError(
                "representative images",
                expected=f"images of shape {shape[1:]}",
                received=f"shape {array.shape}",
                fix="Resize the images to the model's input, channels last.",
            )
        if not np.isfinite(found).all():
            raise UserError(
                "representative images",
                expected="finite numbers",
                received=f"NaN or infinity in image {count}",
                fix="Remove the image, or repair its normalisation.",
            )
        for image in found:
            count += 1
            waiting.append(image)
            if len(waiting) == shape[0]:
                batch = np.stack(waiting)
                first, waiting = first or list(batch), []
                yield batch
    if not count:
        raise UserError(
            "representative images",
            expected="at least one image",
            received="none",
            fix="Pass some images of the training part.",
        )
    if waiting:
        filling = itertools.cycle(first or list(waiting))
        waiting.extend(itertools.islice(filling, shape[0] - len(waiting)))
        yield np.stack(waiting)


def _check_choices(dtype: str, input_type: str | None, output_type: str | None, batch: int) -> None:
    if dtype not in DTYPES:
        raise UserError(
            "export format",
            expected=f"one of {DTYPES}",
            received=repr(dtype),
            fix="Choose one of these.",
        )
    for name, kind in (("input_type", input_type), ("output_type", output_type)):
        if kind is not None and (kind not in INT8_TYPES or (dtype != "int8" and kind != "float32")):
            expected = (
                f"one of {INT8_TYPES}"
                if dtype == "int8"
                else f"float32: {dtype} models take and give floats"
            )
            raise UserError(
                f"{name} of a {dtype} export",
                expected=expected,
                received=repr(kind),
                fix="Choose one of these.",
            )
    if batch < 1:
        raise UserError(
            "batch of the export", expected="at least 1", received=str(batch), fix="Choose e.g. 1."
        )
