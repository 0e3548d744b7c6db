"""Weights of a block for one of other sizes: the same function where it is larger, the part
that matters most where it is smaller.

A larger kernel holds the smaller one in its centre, with zeros around it; a smaller one is the
centre (Fang et al. 2020, "Fast Neural Network Adaptation", section 3.1, kernel level; Cai et al.
2020, "Once-for-All", section 3.3, elastic kernel size). Fewer channels are the most important ones
(Once-for-All, section 3.3, elastic width); more are copies of these that nobody reads yet, so that
the function stays and every weight can move (Chen et al. 2016, "Net2Net", section 2.3). NumPy
alone; knows nothing of spaces, of where weights come from or of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pnas_tf.networks.pretrained import NORM, PretrainedBlock
from pnas_tf.space.blocks import Block, Layer

Arrays = Mapping[str, np.ndarray]  # name of a variable in its block ("expand/kernel") -> values

_GATE = ("squeeze", "excite")
_OPEN_GATE = 2.5  # an added gate starts at relu6(2.5 + 3) / 6, where it has a gradient


@dataclass(frozen=True)
class Channels:
    """The channels of a value, as channels of the value that stands for it in the source.

    Attributes:
        source: int [channels]: which channel of the source each one is.
        silent: bool [channels]: a copy of a channel that is there already; what reads it starts at
            0.
    """

    source: np.ndarray
    silent: np.ndarray

    @classmethod
    def ranked(cls, importance: np.ndarray, count: int) -> Channels:
        """`count` of the channels of which this is the importance [channels]: the largest in their
        own order, and, where more are wanted, silent copies of the largest."""
        ranking = np.argsort(-importance, kind="stable")
        kept = np.sort(ranking[:count])
        copies: np.ndarray = np.resize(ranking, max(0, count - len(ranking)))
        silent = np.arange(count) >= len(kept)
        return cls(np.concatenate([kept, copies]).astype(np.int64), silent)

    @classmethod
    def all_of(cls, count: int) -> Channels:
        """Every one of `count` channels as it is."""
        return cls(np.arange(count), np.zeros(count, bool))

    def read(self, kernel: np.ndarray) -> np.ndarray:
        """The weights [..., these channels, out] by which a layer reads them. kernel: [..., source
        channels, out]."""
        return np.where(self.silent[:, None], np.float32(0), kernel[..., self.source, :])

    def written(self, values: np.ndarray) -> np.ndarray:
        """What gives these channels. values: [..., source channels]."""
        return values[..., self.source]


def resized_kernel(kernel: np.ndarray, size: int) -> np.ndarray:
    """A kernel [k, k, ...] as one of size x size, both odd: its centre, or zeros around it."""
    margin = (kernel.shape[0] - size) // 2
    if margin >= 0:
        return kernel[margin : margin + size, margin : margin + size]
    pads = [(-margin, -margin)] * 2 + [(0, 0)] * (kernel.ndim - 2)
    return np.pad(kernel, pads)


def activation_deviation(arrays: Arrays, layer: Layer) -> np.ndarray:
    """The standard deviation of what `layer` gives, [channels]: of its activation of z, normal with
    mean beta and deviation abs(gamma) as batch normalisation leaves it."""
    beta, gamma = (arrays[f"{layer.name}_bn/{part}"] for part in ("beta", "gamma"))
    if layer.activation is None:
        return np.abs(gamma)
    points = np.linspace(-4.0, 4.0, 161)
    weights = np.exp(-(points**2) / 2.0)
    weights /= weights.sum()
    values = _activated(beta[:, None] + np.abs(gamma)[:, None] * points, layer.activation)
    mean = values @ weights
    return np.sqrt(np.maximum((values - mean[:, None]) ** 2 @ weights, 0.0))


def _activated(z: np.ndarray, activation: str) -> np.ndarray:
    if activation == "hswish":
        return z * np.clip(z + 3.0, 0.0, 6.0) / 6.0
    return np.clip(z, 0.0, 6.0 if activation == "relu6" else np.inf)


def form_of(block: Block) -> tuple[tuple[str, str], ...]:
    """What two blocks must have in common for the weights of one to become the other's: their
    layers but a gate's, whatever the sizes. An MBConv and a UIB without its first depthwise
    convolution have one form, so have a fused MBConv and a feed-forward UIB."""
    return tuple((layer.name, layer.kind) for layer in block.layers if layer.name not in _GATE)


def middle_importance(known: PretrainedBlock) -> np.ndarray:
    """How much each channel that the projection reads matters, [middle]: the deviation of its
    activation, times the norm of the weights that read it."""
    arrays, layers = known.arrays, known.block.layers
    scale = normalised_scale(arrays, "project_bn")
    read = np.sqrt(((arrays["project/kernel"] * scale) ** 2).sum(axis=(0, 1, 3)))
    last = [layer for layer in layers[:-1] if layer.name not in _GATE][-1]  # before the projection
    return read * activation_deviation(arrays, last)


def remapped_block(
    source: PretrainedBlock, target: Block, inputs: Channels, outputs: Channels
) -> dict[str, np.ndarray]:
    """Arrays of the block `target` from those of another one of its form.

    Where nothing becomes smaller, activations agree and inference statistics are taken, both
    compute one function of the channels that are not silent.

    Args:
        source: with its weights.
        target: with other kernels, expansion, gate or width.
        inputs: of the target.
        outputs: of the target.

    Returns:
        Every array but the kernel of an added `squeeze`.
    """
    arrays, layers, x = source.arrays, target.layers, inputs
    found: dict[str, np.ndarray] = {}
    scale = np.float32(1.0)
    for layer in layers:
        if layer.name == "squeeze":
            found |= _gate(arrays, x, layer.out_channels)
            scale = np.float32(1.0 if "squeeze/kernel" in arrays else 6.0 / (_OPEN_GATE + 3.0))
        elif layer.kind == "depthwise":
            kernel = resized_kernel(arrays[f"{layer.name}/kernel"], layer.kernel)
            found[f"{layer.name}/kernel"] = kernel[:, :, x.source]
            found |= _normalisation(arrays, f"{layer.name}_bn", x)
        elif layer.name not in _GATE:
            y = outputs
            if layer is not layers[-1]:
                y = Channels.ranked(middle_importance(source), layer.out_channels)
            found |= remapped_conv(arrays, layer, x, y)
            x = y
    last = f"{layers[-1].name}/kernel"
    found[last] = found[last] * scale  # makes up for a gate that is added half open
    return found


def remapped_conv(
    arrays: Arrays, layer: Layer, inputs: Channels, outputs: Channels
) -> dict[str, np.ndarray]:
    """Kernel and batch normalisation of the convolution `layer`, from one of its name."""
    kernel = resized_kernel(arrays[f"{layer.name}/kernel"], layer.kernel)
    kernel = outputs.written(inputs.read(kernel))
    return {
        f"{layer.name}/kernel": kernel,
        **_normalisation(arrays, f"{layer.name}_bn", outputs),
    }


def _normalisation(arrays: Arrays, name: str, channels: Channels) -> dict[str, np.ndarray]:
    return {f"{name}/{part}": channels.written(arrays[f"{name}/{part}"]) for part in NORM}


def normalised_scale(arrays: Arrays, name: str) -> np.ndarray:
    """By what batch normalisation multiplies, [channels]; its epsilon does not matter to ranks."""
    return np.abs(arrays[f"{name}/gamma"]) / np.sqrt(arrays[f"{name}/moving_variance"] + 1e-3)


def _gate(arrays: Arrays, middle: Channels, squeezed: int) -> dict[str, np.ndarray]:
    """Squeeze and excitation; where the source has none, a gate that stands open."""
    if "squeeze/kernel" not in arrays:
        channels = len(middle.source)
        return {
            "squeeze/bias": np.zeros(squeezed, np.float32),
            "excite/kernel": np.zeros((1, 1, squeezed, channels), np.float32),
            "excite/bias": np.full(channels, _OPEN_GATE, np.float32),
        }
    excite = arrays["excite/kernel"]
    inner = Channels.ranked(np.abs(excite[0, 0]).sum(axis=1), squeezed)
    return {
        "squeeze/kernel": inner.written(middle.read(arrays["squeeze/kernel"])),
        "squeeze/bias": inner.written(arrays["squeeze/bias"]),
        "excite/kernel": middle.written(inner.read(excite)),
        "excite/bias": middle.written(arrays["excite/bias"]),
    }
