"""An image classifier's .tflite file in the LiteRT interpreter: float images in, float scores out.

Knows nothing of Keras.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pnas_tf.errors import UserError
from pnas_tf.tflite.quietly import quietly

TensorDetails = Mapping[str, object]  # what the interpreter says of a tensor


class Classifier:
    """Quantised inputs and outputs are converted with the file's own scales.

    Args:
        content: the model. Of files of others `TfliteModel.read(path, run=True).content`: the
            runtime may crash on what nobody has looked at.
        what: the file's name in errors.
        every_tensor: whether intermediate tensors can be read (`tensor`), which takes the reference
            memory plan and no delegate.

    Raises:
        UserError: the interpreter does not prepare it, or it has not one input of four dimensions
            and one output.
    """

    def __init__(
        self,
        content: bytes,
        *,
        what: str = ".tflite model",
        every_tensor: bool = False,
    ):
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        kept = {
            "experimental_preserve_all_tensors": True,
            "experimental_op_resolver_type": plain,
        }
        try:
            with quietly():  # it tells of its delegate
                self._interpreter = Interpreter(
                    model_content=content, num_threads=1, **(kept if every_tensor else {})
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"{what} does not run",
                expected="a model that the LiteRT interpreter prepares",
                received=str(error)[:500],
                fix="Export it again: pnas export --run_dir=...",
            ) from error
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0]["shape"]) != 4:
            raise UserError(
                f"{what} is no image classifier",
                expected="one input [batch, height, width, channels] and one output [batch, "
                "classes]",
                received=f"inputs {[list(d['shape']) for d in inputs]}, outputs "
                f"{[list(d['shape']) for d in outputs]}",
                fix="Give a model that pnas export made.",
            )
        self.input, self.output = inputs[0], outputs[0]
        details = self._interpreter.get_tensor_details() if every_tensor else ()
        self._details = {detail["index"]: detail for detail in details}
        self.batch, *self.image_shape = (int(size) for size in self.input["shape"])

    def logits(self, images: np.ndarray) -> np.ndarray:
        """What the model says of images.

        Args:
            images: float32 [count, height, width, channels], normalised.

        Returns:
            float32 logits [count, classes], or probabilities where the file ends in a softmax.

        Raises:
            UserError: images of another shape.
        """
        images = np.asarray(images, np.float32)
        if images.ndim != 4 or list(images.shape[1:]) != self.image_shape:
            raise UserError(
                "images for the model",
                expected=f"shape [count, {', '.join(map(str, self.image_shape))}]",
                received=f"shape {list(images.shape)}",
                fix="Resize the images to the model's input, channels last.",
            )
        rows = [np.zeros((0, *self.output["shape"][1:]), np.float32)]
        for start in range(0, len(images), self.batch):
            part = images[start : start + self.batch]
            missing = self.batch - len(part)
            filled = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            self._interpreter.set_tensor(self.input["index"], quantized(filled, self.input))
            self._interpreter.invoke()
            scores = self._interpreter.get_tensor(self.output["index"])
            rows.append(real(scores, self.output)[: len(part)])
        return np.concatenate(rows)

    def tensor(self, index: int) -> np.ndarray:
        """The real values of any tensor in the last run; for models made with `every_tensor`."""
        return real(self._interpreter.get_tensor(index), self._details[index])


def quantized(values: np.ndarray, detail: TensorDetails) -> np.ndarray:
    """Real values in the type of an interpreter's tensor: q = round(x / scale) + zero_point,
    clipped."""
    kind = np.dtype(detail["dtype"])
    if not np.issubdtype(kind, np.integer):
        return values.astype(kind)
    scale, zero_point = _quantization(detail)
    limits = np.iinfo(kind)
    steps = values / scale if scale else values  # plain integers have no scale
    return np.clip(np.round(steps) + zero_point, limits.min, limits.max).astype(kind)


def real(values: np.ndarray, detail: TensorDetails) -> np.ndarray:
    """The inverse: x = (q - zero_point) * scale, as float32."""
    scale, zero_point = _quantization(detail)
    if not np.issubdtype(values.dtype, np.integer) or not scale:
        return values.astype(np.float32)
    return ((values.astype(np.float32) - zero_point) * scale).astype(np.float32)


def _quantization(detail: TensorDetails) -> tuple[float, int]:
    found = detail["quantization"]
    assert isinstance(found, tuple)
    return found
