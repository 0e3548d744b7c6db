"""Weights of an MBConv block for one of other sizes: the same function where it is larger, the part
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

from pnas_tf.networks.pretrained import PretrainedBlock
from pnas_tf.space.blocks import Block

Arrays = Mapping[str, np.ndarray]  # name of a variable in its block ("expand/kernel") -> values

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
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


def activation_deviation(beta: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """The standard deviation of relu6(z), z normal with mean beta and deviation abs(gamma) as batch
    normalisation leaves it, [channels]."""
    points = np.linspace(-4.0, 4.0, 161)
    weights = np.exp(-(points**2) / 2.0)
    weights /= weights.sum()
    values = np.clip(beta[:, None] + np.abs(gamma)[:, None] * points, 0.0, 6.0)
    mean = values @ weights
    return np.sqrt(np.maximum((values - mean[:, None]) ** 2 @ weights, 0.0))


def middle_importance(arrays: Arrays) -> np.ndarray:
    """How much each channel between depthwise convolution and projection matters, [middle]: the
    deviation of its activation, times the norm of the weights that read it."""
    scale = normalised_scale(arrays, "project_bn")
    read = np.linalg.norm(arrays["project/kernel"][0, 0] * scale, axis=1)
    deviation = activation_deviation(arrays["depthwise_bn/beta"], arrays["depthwise_bn/gamma"])
    return read * deviation


def remapped_mbconv(
    source: PretrainedBlock, target: Block, inputs: Channels, outputs: Channels
) -> dict[str, np.ndarray]:
    """Arrays of the MBConv `target` from those of another one.

    Where nothing becomes smaller, activations agree and inference statistics are taken, both
    compute one function of the channels that are not silent.

    Args:
        source: an MBConv with its weights.
        target: another kernel, expansion, gate or width.
        inputs: of the target.
        outputs: of the target.

    Returns:
        Every array but the kernel of an added `squeeze`; none where one of both has no expansion
        convolution and the other has one: no weights of one are weights of the other.
    """
    arrays, layers = source.arrays, {layer.name: layer for layer in target.layers}
    if ("expand" in layers) != ("expand/kernel" in arrays):
        return {}
    found: dict[str, np.ndarray] = {}
    middle = inputs
    if "expand" in layers:
        middle = Channels.ranked(middle_importance(arrays), layers["expand"].out_channels)
        found |= remapped_conv(arrays, "expand", inputs, middle)
    kernel = resized_kernel(arrays["depthwise/kernel"], layers["depthwise"].kernel)
    found["depthwise/kernel"] = kernel[:, :, middle.source]
    found |= _normalisation(arrays, "depthwise_bn", middle)
    found |= remapped_conv(arrays, "project", middle, outputs)
    if "squeeze" in layers:
        found |= _gate(arrays, middle, layers["squeeze"].out_channels)
        if "squeeze/kernel" not in arrays:
            found["project/kernel"] = found["project/kernel"] * np.float32(6.0 / (_OPEN_GATE + 3.0))
    return found


def remapped_conv(
    arrays: Arrays, name: str, inputs: Channels, outputs: Channels
) -> dict[str, np.ndarray]:
    """Kernel and batch normalisation of the convolution `name`, with other channels."""
    kernel = outputs.written(inputs.read(arrays[f"{name}/kernel"]))
    return {f"{name}/kernel": kernel, **_normalisation(arrays, f"{name}_bn", outputs)}


def _normalisation(arrays: Arrays, name: str, channels: Channels) -> dict[str, np.ndarray]:
    return {f"{name}/{part}": channels.written(arrays[f"{name}/{part}"]) for part in _NORM}


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
