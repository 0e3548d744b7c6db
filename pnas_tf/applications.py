"""The networks in the manner of `keras.applications`: as classifiers, or as backbones of someone
else's model.

Cai et al. 2019, tables 2 and 4; EfficientNet-Lite with ImageNet's weights; and any
architecture.json of a search. Images are preprocessed by the caller, with `preprocess_input`;
outputs are logits. Knows nothing of search, training or export.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.config import OptimizerConfig
from pnas_tf.errors import UserError
from pnas_tf.interop.imagenet import LITE_INPUT, imagenet_classes, load_imagenet_weights
from pnas_tf.interop.imagenet import decode_predictions as decode_predictions  # is offered here
from pnas_tf.interop.pretrained import OFFICIAL_INPUT, epsilon_of
from pnas_tf.interop.pretrained_files import IMAGENET
from pnas_tf.networks.layers import Normalisation
from pnas_tf.networks.network import build_network
from pnas_tf.networks.weight_files import classes_in, load_keras_weights
from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.mbconv import MBConvSpace
from pnas_tf.space.ops import Zero
from pnas_tf.space.published import PUBLISHED, published

Shape = tuple[int | None, int | None, int]
POOLINGS = (None, "avg", "max")

# What the original project's checkpoints were trained with: ImageNet statistics, on pixels from 0
# to 255.
OFFICIAL_MEAN, OFFICIAL_STD = OFFICIAL_INPUT.mean, OFFICIAL_INPUT.std
# What EfficientNet-Lite was trained with.
EFFICIENTNET_LITE_MEAN, EFFICIENTNET_LITE_STD = LITE_INPUT.mean, LITE_INPUT.std

_PYTORCH_SUFFIXES = (".pth", ".pt", ".tar")


def from_architecture(
    architecture: Architecture | str | os.PathLike,
    input_shape: Shape | None = None,
    *,
    weights: str | os.PathLike | None = None,
    include_top: bool = True,
    pooling: str | None = None,
    classes: int | None = None,
    dropout: float = 0.0,
    bn_epsilon: float | None = None,
) -> keras.Model:
    """The Keras model of an architecture. The arguments are those of `keras.applications`.

    Args:
        architecture: an architecture, or the path of an architecture.json.
        input_shape: (height, width, channels), sizes may be None; default: the architecture's
            resolution.
        weights: None for random ones, a file of this project (.h5, .weights.h5), a checkpoint of
            the original one (.pth, needs PyTorch; preprocess with OFFICIAL_MEAN and OFFICIAL_STD),
            or "imagenet", of EfficientNet-Lite (EFFICIENTNET_LITE_MEAN, EFFICIENTNET_LITE_STD).
        include_top: with the classifier.
        pooling: without it: None, "avg" or "max".
        classes: None for the architecture's own.
        dropout: rate before the classifier.
        bn_epsilon: of batch normalisation, with which `weights` were trained; None: that of the run
            folder that `architecture` is a file of, else the usual one.

    Returns:
        images -> logits [batch, classes]; without top the feature-mix convolution's output [batch,
        height / stride, width / stride, channels], stride 32 in the published networks and 8 in
        `tiny`, or [batch, channels] where it is pooled.

    Raises:
        UserError: a wrong shape, pooling or dropout; weights that are absent, damaged or of another
            network or class count.
    """
    if not isinstance(architecture, Architecture):
        bn_epsilon = bn_epsilon or epsilon_of(Path(architecture).parent)
        architecture = Architecture.load(architecture)
    _check_options(include_top, pooling, dropout)
    shape = _input_shape(architecture, input_shape)
    in_file = _classes_in(weights)
    architecture = _of_classes(architecture, weights, in_file, classes, include_top)
    norm = Normalisation(epsilon=bn_epsilon or OptimizerConfig.bn_epsilon)
    full = build_network(architecture, dropout=dropout, normalisation=norm, input_shape=shape)
    model = full if include_top else _without_top(full, architecture.space, pooling)
    if weights == IMAGENET:
        load_imagenet_weights(full, architecture.space.name)
    elif weights is not None:
        _load(full if in_file is not None else model, Path(weights))
    return model


class _PublishedNetwork:
    """A published network as a callable, in the manner of `keras.applications`."""

    def __init__(self, name: str, published_as: str) -> None:
        size = PUBLISHED[published_as]
        self.__name__, self._published_as = name, published_as
        self.__doc__ = (
            f"{name}: {size.parameters / 1e6:.1f} M parameters, {size.macs / 1e6:.0f} M MACs at "
            f"{size.resolution} px, published ImageNet top-1 {size.top1_percent:.1f} %. Arguments: "
            "see `from_architecture`; dropout None is the published rate."
        )

    def __call__(
        self,
        input_shape: Shape | None = None,
        *,
        weights: str | os.PathLike | None = None,
        include_top: bool = True,
        pooling: str | None = None,
        classes: int = 1000,
        dropout: float | None = None,
    ) -> keras.Model:
        """The Keras model. Arguments, returns and errors: `from_architecture`."""
        return from_architecture(
            published(self._published_as),
            input_shape,
            weights=weights,
            include_top=include_top,
            pooling=pooling,
            classes=classes,
            dropout=PUBLISHED[self._published_as].dropout if dropout is None else dropout,
        )


ProxylessMobile = _PublishedNetwork("ProxylessMobile", "proxyless_mobile")
ProxylessCPU = _PublishedNetwork("ProxylessCPU", "proxyless_cpu")
ProxylessGPU = _PublishedNetwork("ProxylessGPU", "proxyless_gpu")
ProxylessMobile14 = _PublishedNetwork("ProxylessMobile14", "proxyless_mobile_14")
MobileNetV4ConvSmall = _PublishedNetwork("MobileNetV4ConvSmall", "mobilenet_v4_conv_small")
MobileNetV4ConvMedium = _PublishedNetwork("MobileNetV4ConvMedium", "mobilenet_v4_conv_medium")
EfficientNetLite0 = _PublishedNetwork("EfficientNetLite0", "efficientnet_lite0")
EfficientNetLite1 = _PublishedNetwork("EfficientNetLite1", "efficientnet_lite1")
EfficientNetLite2 = _PublishedNetwork("EfficientNetLite2", "efficientnet_lite2")


def endpoints(model: keras.Model, architecture: Architecture | None = None) -> dict[str, tf.Tensor]:
    """Where to tap a backbone: "first" (what the stages read, of the fixed block behind the stem or
    the stem itself), "stage_0", ... (the end of each stage) and "mix" (the feature-mix
    convolution).

    Args:
        model: of this module, also after saving and loading.
        architecture: the one it was made from; not needed for the published ones.

    Returns:
        Keras tensors [batch, height, width, channels] of the model's graph, so that
        `keras.Model(model.input, list(endpoints(model).values()))` gives them all.

    Raises:
        UserError: the model is not of the architecture.
    """
    architecture = _with_stages(model, architecture)
    before = len(architecture.blocks) - 1 - len(architecture.ops)
    first, *choices = architecture.blocks[before - 1 : -1]
    last_of_stage: dict[int, Block] = {}
    last = first
    for choice, block in zip(architecture.space.choice_blocks, choices, strict=True):
        if not isinstance(block.op, Zero):  # else it passes on what the block before it gave
            last = block
        last_of_stage[choice.stage] = last
    layers = {
        "first": _output_layer(first),
        **{f"stage_{stage}": _output_layer(block) for stage, block in last_of_stage.items()},
        "mix": _mix_output(architecture.space),
    }
    try:
        return {name: model.get_layer(layer).output for name, layer in layers.items()}
    except ValueError as error:
        raise UserError(
            f"endpoints of model '{model.name}'",
            expected=f"the layers of '{architecture.space.name}'",
            received=str(error)[:200],
            fix="Pass the architecture that the model was made from.",
        ) from error


def _with_stages(model: keras.Model, architecture: Architecture | None) -> Architecture:
    """The architecture of a model. Raises UserError where it is not known, or has no stages."""
    if architecture is None:
        if model.name not in PUBLISHED:
            raise UserError(
                f"endpoints of model '{model.name}'",
                expected=f"its architecture, or a model of {sorted(PUBLISHED)}",
                received="no architecture",
                fix="Pass the architecture that the model was made from.",
            )
        architecture = published(model.name)
    if not isinstance(architecture.space, MBConvSpace):
        raise UserError(
            f"endpoints of model '{model.name}'",
            expected="a network of stages",
            received=f"one of space '{architecture.space.name}', which has none",
            fix="Take layers of its own: model.get_layer(NAME).output.",
        )
    return architecture


def preprocess_input(
    images: np.ndarray | tf.Tensor,
    *,
    mean: float | Sequence[float] = 127.5,
    std: float | Sequence[float] = 127.5,
) -> np.ndarray | tf.Tensor:
    """Pixels as the network wants them: (pixel - mean) / std, float32.

    Args:
        images: [..., height, width, channels], pixels 0 to 255.
        mean: of every channel, or one for each. The default gives -1 to 1, what this project trains
            with; OFFICIAL_MEAN is of the original project's checkpoints.
        std: the same; OFFICIAL_STD.

    Returns:
        NumPy for NumPy, a tensor for a tensor.
    """
    centre, scale = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if isinstance(images, np.ndarray):
        return (images.astype(np.float32) - centre) / scale
    return (tf.cast(images, tf.float32) - centre) / scale


def _check_options(include_top: bool, pooling: str | None, dropout: float) -> None:
    if pooling not in POOLINGS or (include_top and pooling):
        raise UserError(
            "pooling",
            expected=f"one of {POOLINGS}; with include_top only None",
            received=repr(pooling),
            fix="Pass include_top=False for features, or leave pooling out.",
        )
    if not 0 <= dropout < 1:
        raise UserError(
            "dropout",
            expected="a number from 0 to below 1",
            received=repr(dropout),
            fix="Choose e.g. 0.2, or 0 for none.",
        )


def _input_shape(architecture: Architecture, shape: Shape | None) -> Shape:
    space = architecture.space
    if shape is None:
        return (space.resolution, space.resolution, space.channels)
    sizes = all(size is None or (isinstance(size, int) and size > 0) for size in shape[:2])
    if len(shape) != 3 or not sizes or shape[2] != space.channels:
        raise UserError(
            "input_shape",
            expected=f"(height, width, {space.channels}), height and width positive or None",
            received=repr(shape),
            fix="Pass a channels-last shape without the batch.",
        )
    return shape


def _output_layer(block: Block) -> str:
    return f"{block.name}/add" if block.shortcut else _end_of(block, block.layers[-1])


def _mix_output(space: SearchSpace) -> str:
    head = space.fixed_blocks()[-1]
    return _end_of(head, head.layers[0])


def _end_of(block: Block, layer: Layer) -> str:
    """The Keras layer that ends one of ours: its activation, else its normalisation."""
    return f"{block.name}/{layer.name}_{layer.activation or 'bn'}"


def _without_top(model: keras.Model, space: SearchSpace, pooling: str | None) -> keras.Model:
    """Of the same layers, so that what loads into one is in both."""
    features = model.get_layer(_mix_output(space)).output
    if pooling == "avg":
        features = keras.layers.GlobalAveragePooling2D(name="head/pool")(features)
    elif pooling == "max":
        features = keras.layers.GlobalMaxPooling2D(name="head/max_pool")(features)
    return keras.Model(model.input, features, name=model.name)


def _classes_in(weights: str | os.PathLike | None) -> int | None:
    """The classes of the classifier in a file of ours; None where there is none. A checkpoint is
    read by what is asked for."""
    if weights in (None, IMAGENET) or Path(weights).suffix in _PYTORCH_SUFFIXES:
        return None
    return classes_in(weights)


def _of_classes(
    architecture: Architecture,
    weights: str | os.PathLike | None,
    in_file: int | None,
    classes: int | None,
    include_top: bool,
) -> Architecture:
    """The architecture with the class count of the network that is built: that of the weights,
    which may be another than `classes` where the classifier is left out."""
    space = architecture.space
    wanted = space.classes if classes is None else classes
    if weights == IMAGENET:
        built = imagenet_classes(space.name, wanted, include_top=include_top)
    elif weights is None or Path(weights).suffix in _PYTORCH_SUFFIXES:
        built = wanted
    elif include_top and in_file != wanted:
        raise UserError(
            f"weights {weights}",
            expected=f"a classifier of {wanted} classes",
            received="none" if in_file is None else f"one of {in_file}",
            fix="Pass include_top=False."
            if in_file is None
            else "Pass their class count, or include_top=False and a classifier of your own.",
        )
    else:
        built = wanted if in_file is None else in_file
    return replace(architecture, space=replace(space, classes=built))


def _load(model: keras.Model, path: Path) -> None:
    if path.suffix in _PYTORCH_SUFFIXES:
        from pnas_tf.interop.checkpoint import load_upstream_weights

        load_upstream_weights(model, path)
        return
    load_keras_weights(model, path)
