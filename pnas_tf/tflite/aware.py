"""A network as quantisation-aware training sees it: where its ranges stand, what they start from,
and the plain network that it leaves.

TFMOT's 8-bit scheme takes no product and no shift. Ranges stand where the int8 file rounds: behind
the product of a hard-swish, which becomes one HARD_SWISH, and behind the clipped sum and the gate
of squeeze and excitation, whose ranges are known beforehand. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras as keras

from pnas_tf.config import ExportConfig
from pnas_tf.io.serialization import Json
from pnas_tf.networks.network import copied

_keras = tfmot.quantization.keras
# Layers of a hard sigmoid (`networks.layers`) by the end of their names, and the largest value of
# what they give; 0: it is not rounded there.
_GATES = {
    "hswish_gate_shift": 0.0,
    "hswish_gate_clip": 0.0,
    "hswish_gate_scale": 0.0,
    "hsigmoid_shift": 0.0,
    "hsigmoid_clip": 6.0,
    "hsigmoid_scale": 1.0,
}


@keras.utils.register_keras_serializable("pnas_tf")
class OutputRange(tfmot.quantization.keras.QuantizeConfig):
    """How the output of a layer without weights is rounded: between 0 and `most`, by a moving range
    where that is None, not at all where it is 0."""

    def __init__(self, most: float | None) -> None:
        self.most = most

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list[object]:
        """At most one."""
        if self.most is None:
            how = {"per_axis": False, "symmetric": False, "narrow_range": False}
            return [_keras.quantizers.MovingAverageQuantizer(num_bits=8, **how)]
        if self.most == 0:
            return []
        return [_keras.quantizers.FixedQuantizer(8, 0.0, self.most, narrow_range=False)]

    def get_weights_and_quantizers(self, layer: keras.layers.Layer) -> list[object]:
        """None."""
        return []

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list[object]:
        """None."""
        return []

    def set_quantize_weights(self, layer: keras.layers.Layer, quantize_weights: object) -> None:
        """Nothing to set."""
        return

    def set_quantize_activations(
        self, layer: keras.layers.Layer, quantize_activations: object
    ) -> None:
        """Nothing to set."""
        return

    def get_config(self) -> dict[str, Json]:
        """For Keras."""
        return {"most": self.most}


def aware_network(
    model: keras.Model, config: ExportConfig, batches: Iterable[np.ndarray]
) -> keras.Model:
    """A copy of a plain network with ranges: a wrapper quant_NAME around each layer NAME.

    Args:
        model: what is copied.
        config: prune and cluster say what training is to keep.
        batches: of images as the network sees them, by which the ranges start.
    """
    # A wrapper takes the layer itself, which then stands in two graphs.
    marked = keras.models.clone_model(copied(model), clone_function=_annotated)
    aware = _keras.quantize_apply(marked, _scheme(config))
    _start_ranges(aware, copied(model), batches)
    return aware


def _annotated(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.InputLayer):
        return layer
    for end, most in _GATES.items():
        if layer.name.endswith(end):
            return _keras.quantize_annotate_layer(layer, OutputRange(most))
    if isinstance(layer, (keras.layers.Multiply, keras.layers.Rescaling)):
        return _keras.quantize_annotate_layer(layer, OutputRange(None))
    return _keras.quantize_annotate_layer(layer)


def _scheme(config: ExportConfig) -> object:
    combine = tfmot.experimental.combine
    if config.cluster:
        return combine.Default8BitClusterPreserveQuantizeScheme(
            preserve_sparsity=bool(config.prune)
        )
    if config.prune:
        return combine.Default8BitPrunePreserveQuantizeScheme()
    return _keras.default_8bit.Default8BitQuantizeScheme()


def _start_ranges(aware: keras.Model, model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Sets the ranges of activations to the mean ends of what `model` shows.

    TFMOT's start at -6 and 6 and move by a thousandth a step: a short training ends with them.
    """
    places = {}
    for wrapper in aware.layers:
        ends = _ends(wrapper)
        if len(ends) == 2:
            places[wrapper.name] = ends
    layers = [model.get_layer(name.removeprefix("quant_")) for name in places]
    outputs = keras.Model(model.inputs, [layer.output for layer in layers])
    seen = [
        [(value.min(), value.max()) for value in outputs.predict_on_batch(images)]
        for images in batches
    ]
    for (low, high), (smallest, largest) in zip(
        places.values(), np.mean(seen, axis=0), strict=True
    ):
        low.assign(min(smallest, 0.0))
        high.assign(max(largest, 0.0))


def _ends(wrapper: keras.layers.Layer) -> list[tf.Variable]:
    """The two ends of the range of what a wrapper gives; none where it gives what it got."""
    names = [f"{what}_{end}:0" for what in ("output", "post_activation") for end in ("min", "max")]
    found = {_last(variable.name): variable for variable in wrapper.weights}
    return [found[name] for name in names if name in found]


def plain_network(aware: keras.Model, like: keras.Model) -> keras.Model:
    """The weights of a quantisation-aware network in a copy of the plain network `like` that it was
    made from."""
    twin = keras.models.clone_model(like)
    wrappers = {found.name.removeprefix("quant_"): found for found in aware.layers}
    for layer in twin.layers:
        if layer.weights:
            # A wrapper holds the layer's variables beside the ranges.
            variables = wrappers[layer.name].weights
            values = {_last(variable.name): variable.numpy() for variable in variables}
            layer.set_weights([values[_last(variable.name)] for variable in layer.weights])
    return twin


def restore_clusters(aware: keras.Model, clustered: Iterable[keras.layers.Layer]) -> None:
    """TFMOT 0.8.1 loses the clusters of some layers in quantisation-aware training. There each
    weight becomes the mean of those that shared a value before; zeros stay zeros.

    clustered: the layers as they were before.
    """
    for layer in clustered:
        # A wrapped layer's attribute `kernel` is the quantised tensor; the variable stands among
        # its weights.
        kernel = next(
            variable
            for variable in aware.get_layer(f"quant_{layer.name}").weights
            if _last(variable.name) == "kernel:0"
        )
        values, member = np.unique(layer.kernel.numpy().ravel(), return_inverse=True)
        trained = kernel.numpy().ravel()
        if len(np.unique(trained)) > len(values):
            means = np.bincount(member, weights=trained) / np.bincount(member)
            means[values == 0] = 0
            kernel.assign(means[member].reshape(kernel.shape))


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]
