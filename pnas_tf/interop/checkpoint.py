"""Loads the upstream project's PyTorch checkpoints into our Keras networks (optional extra
`torch`).

Nothing in a checkpoint is executed: `torch.load(weights_only=True)` reads both the zip and the
legacy form, in a child process first (`io.isolated`). Keys are made from our layer names
("block_03/expand" is "blocks.4.mobile_inverted_conv.inverted_bottleneck"), never guessed by shape.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import tf_keras as keras

from pnas_tf.errors import UserError
from pnas_tf.io import atomic, isolated

if TYPE_CHECKING:
    import torch

MAX_BYTES = 2 * 2**30
_MADE_BY = (
    "Give a state_dict of this architecture, as the upstream project's training program saves it."
)
_ITS_NETWORK = "Build the network from the net.config that belongs to the checkpoint."
_MODULES = {"expand": "inverted_bottleneck", "depthwise": "depth_conv", "project": "point_linear"}
_COUNTER = "num_batches_tracked"  # PyTorch's own; without effect on inference


def load_upstream_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Sets every weight of `model` (of `build_network`, or a part of one) from a checkpoint.

    A model without head takes a checkpoint with one.

    Args:
        model: its weights are set.
        path: a state_dict, or an object holding one under "state_dict", with or without
            DataParallel's "module." prefix.

    Raises:
        UserError: a missing or unexpected key or a wrong shape; the model is untouched.
    """
    assign(model, read_state_dict(path), where=str(path))


def read_state_dict(path: str | os.PathLike, *, fix: str = _MADE_BY) -> dict[str, np.ndarray]:
    """The tensors of a checkpoint by their PyTorch names, without the "module." prefix.

    Args:
        path: of the checkpoint.
        fix: what the user can do about a damaged one.

    Raises:
        UserError: torch is not installed, or the file is absent, too large, damaged or holds
            anything but tensors.
    """
    path = Path(path)
    torch = _torch()
    stored = atomic.read_bytes(path, what="checkpoint", made_by=fix, limit=MAX_BYTES)
    _check_archive(stored, path, fix=fix)
    expected = "a PyTorch state_dict of tensors alone"
    isolated.inspect("pytorch", stored, where=f"checkpoint {path}", expected=expected, fix=fix)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files in older forms
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise UserError(
            f"checkpoint {path} is no state_dict",
            expected="names with their tensors",
            received=type(content).__name__,
            fix=fix,
        )
    return {
        key.removeprefix("module."): _array(torch, value, f"{key} of checkpoint {path}", fix=fix)
        for key, value in content.items()
        if not key.endswith(_COUNTER)
    }


def assign(
    model: keras.Model,
    tensors: Mapping[str, np.ndarray],
    *,
    where: str,
    keys_of: Callable[[keras.layers.Layer], list[str]] | None = None,
    fix: str = _ITS_NETWORK,
) -> None:
    """Sets every weight of `model` from tensors by their PyTorch names.

    Args:
        model: of `build_network`, or a part of one.
        tensors: of `read_state_dict`.
        where: the file's name in errors.
        keys_of: the names of a layer's weights, in the order of `layer.weights`; None: those that
            the upstream project gives them.
        fix: what the user can do where they do not suit.

    Raises:
        UserError: a missing or unexpected key or a wrong shape; the model is untouched.
    """
    wanted: dict[str, tuple[keras.layers.Layer, int]] = {}
    values: dict[keras.layers.Layer, list[np.ndarray]] = {}
    for layer in model.layers:
        if layer.weights:
            keys = (keys_of or _keys)(layer)
            wanted |= {key: (layer, index) for index, key in enumerate(keys)}
    missing = sorted(set(wanted) - set(tensors))
    unexpected = sorted(
        key for key in set(tensors) - set(wanted) if not _belongs_to_absent_head(model, key)
    )
    if missing or unexpected:
        raise UserError(
            f"checkpoint {where} is not of network '{model.name}'",
            expected=_some("the keys", missing) or "no other keys",
            received=_some("unexpected", unexpected) or "a checkpoint without them",
            fix=fix,
        )
    for key, (layer, index) in wanted.items():
        array, shape = _to_keras(layer, tensors[key]), tuple(layer.weights[index].shape)
        if array.shape != shape:
            raise UserError(
                f"shape of {key} in checkpoint {where}",
                expected=f"what becomes {shape} of {layer.name}",
                received=str(tensors[key].shape),
                fix=fix,
            )
        values.setdefault(layer, []).append(array)
    for layer, arrays in values.items():
        layer.set_weights(arrays)


def _keys(layer: keras.layers.Layer) -> list[str]:
    """The PyTorch names of a layer's weights, in the order of `layer.weights`."""
    block, _, name = layer.name.partition("/")
    normalisation = isinstance(layer, keras.layers.BatchNormalization)
    module = _module(block, name.removesuffix("_bn"), layer)
    if normalisation:
        return [f"{module}.bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")]
    if block == "head" and name == "classifier":
        return [f"{module}.linear.weight", f"{module}.linear.bias"]
    return [f"{module}.conv.weight"]


def _module(block: str, name: str, layer: keras.layers.Layer) -> str:
    fixed = {
        ("stem", "conv"): "first_conv",
        ("head", "mix"): "feature_mix_layer",
        ("head", "classifier"): "classifier",
    }
    if (block, name) in fixed:
        return fixed[block, name]
    number = (
        0
        if block == "first"
        else int(block[6:]) + 1
        if block.startswith("block_") and block[6:].isdecimal()
        else None
    )
    if number is not None and name in ("squeeze", "excite"):
        raise UserError(
            f"layer '{layer.name}' has no counterpart in the upstream project",
            expected="a network without squeeze-and-excitation, as its checkpoints are of",
            received="one with it",
            fix="Take weights of pnas_tf's own: a run folder, or its .keras or .h5 file.",
        )
    if number is None or name not in _MODULES:
        raise UserError(
            f"layer '{layer.name}' has no counterpart in the upstream project",
            expected="a network of build_network",
            received=f"a layer of type {type(layer).__name__}",
            fix="Load the checkpoint before adding layers of your own.",
        )
    return f"blocks.{number}.mobile_inverted_conv.{_MODULES[name]}"


def _belongs_to_absent_head(model: keras.Model, key: str) -> bool:
    present = {layer.name for layer in model.layers}
    return (key.startswith("classifier.") and "head/classifier" not in present) or (
        key.startswith("feature_mix_layer.") and "head/mix" not in present
    )


def _to_keras(layer: keras.layers.Layer, array: np.ndarray) -> np.ndarray:
    """[out, in, k, k] to [k, k, in, out]; depthwise [channels, 1, k, k] to [k, k, channels, 1];
    dense [out, in] to [in, out]."""
    if array.ndim == 4:
        return (
            array.transpose(2, 3, 0, 1)
            if isinstance(layer, keras.layers.DepthwiseConv2D)
            else array.transpose(2, 3, 1, 0)
        )
    return array.T if array.ndim == 2 else array


def _check_archive(stored: bytes, path: Path, *, fix: str) -> None:
    """Refuses a zip that unpacks to more than it is: PyTorch stores its records, and reads
    compressed ones too."""
    if not stored.startswith(b"PK"):
        return  # the older form is no archive
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            packed = [
                entry.filename
                for entry in archive.infolist()
                if entry.compress_type != zipfile.ZIP_STORED
            ]
    except atomic.BAD_ZIP as error:
        raise UserError(
            f"checkpoint {path} cannot be read",
            expected="a PyTorch state_dict",
            received=f"a broken zip: {error}"[:200],
            fix=fix,
        ) from error
    if packed:
        raise UserError(
            f"checkpoint {path} cannot be read",
            expected="stored records, as PyTorch writes them",
            received=f"'{packed[0]}' is compressed"[:200],
            fix=fix,
        )


def _array(torch: ModuleType, value: torch.Tensor, what: str, *, fix: str) -> np.ndarray:
    plain = (
        type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.device.type == "cpu"
        and value.layout == torch.strided
    )
    if not plain or not value.is_floating_point() or value.is_quantized:
        kind = (
            f"a {value.layout} tensor of {value.dtype}"
            if isinstance(value, torch.Tensor)
            else type(value).__name__
        )
        raise UserError(what, expected="a dense floating-point tensor", received=kind, fix=fix)
    size_bytes = value.untyped_storage().nbytes()
    if value.numel() * value.element_size() > size_bytes:  # one number can pose as a terabyte
        raise UserError(
            what,
            expected="a number for each place",
            received=f"{size_bytes} bytes for {list(value.shape)}",
            fix=fix,
        )
    array = value.detach().to(torch.float32).numpy()
    if not np.isfinite(array).all():
        raise UserError(what, expected="finite numbers", received="NaN or infinity", fix=fix)
    return array


def _some(what: str, keys: list[str]) -> str:
    return (
        f"{what} {', '.join(keys[:5])}{f' and {len(keys) - 5} more' if len(keys) > 5 else ''}"
        if keys
        else ""
    )


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            "torch is not installed",
            expected="the extra that reads PyTorch checkpoints",
            received=str(error)[:200],
            fix="pip install 'pnas_tf[torch]'",
        ) from error
    return torch
