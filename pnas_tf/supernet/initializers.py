"""The values that the supernet's variables start from: the original's, aligned over the candidates
of a block, or learnt before.

A supernet draws another path in every step. With independent initial weights each path is another
random function, and what a later block learns from one is noise to the others, for thousands of
steps. Aligned candidates of a block compute one function at the start, and grow apart from it as
they learn. Knows nothing of training.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import replace

import numpy as np

from pnas_tf.config import SearchConfig
from pnas_tf.networks.remapped_space import Remapping
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block, Layer
from pnas_tf.space.ops import MBConv
from pnas_tf.supernet.variables import VariableSpec


class HeInitializer:
    """He's normal for every convolution, deviation sqrt(2 / fan), and gamma 1 (He et al. 2015); a
    classifier uniform within 1 / sqrt(inputs), so that the first answers are hardly told apart.

    A kernel depends on the seed and on its place alone, not on what else was made before.
    """

    def __init__(self, seed: int, *, fan: str = "out", div_groups: bool) -> None:
        """
        Args:
            seed: of all kernels.
            fan: "out" or "in" (the original's `he_fout` and `he_fin`): kernel size squared times
                output or input channels.
            div_groups: a depthwise kernel's fan is that of one channel, its taps alone.
        """
        self.seed, self.fan, self.div_groups = seed, fan, div_groups

    def value(self, block: Block, spec: VariableSpec) -> np.ndarray:
        """float32: what the variable `spec` of `block` starts from."""
        if spec.kind == "kernel":
            return self.kernel(block, spec.layer)
        if spec.name.endswith("_bn/gamma"):
            return self.gamma(block, spec.layer)
        ones = spec.name.endswith("_bn/moving_variance")
        return np.full(spec.shape, 1.0 if ones else 0.0, np.float32)

    def kernel(self, block: Block, layer: Layer) -> np.ndarray:
        """float32, in TensorFlow's layout of a dense, depthwise or ordinary convolution kernel."""
        return self.drawn(layer, f"{block.name}/{block.op.key}/{layer.name}")

    def gamma(self, block: Block, layer: Layer) -> np.ndarray:
        """float32 [out_channels]: the scale of the batch normalisation behind `layer`."""
        return np.ones(layer.out_channels, np.float32)

    def drawn(self, layer: Layer, place: str) -> np.ndarray:
        """The random kernel of `layer` at `place`."""
        generator = np.random.default_rng([self.seed, zlib.crc32(place.encode())])
        if layer.kind == "dense":
            within = np.float32(layer.in_channels**-0.5)
            return (2 * generator.random(layer.kernel_shape, np.float32) - 1) * within
        deviation = np.float32(np.sqrt(2.0 / self._fan_of(layer)))
        return generator.standard_normal(layer.kernel_shape, np.float32) * deviation

    def _fan_of(self, layer: Layer) -> int:
        if layer.kind == "depthwise" and self.div_groups:
            return layer.kernel**2
        channels = layer.out_channels if self.fan == "out" else layer.in_channels
        return layer.kernel**2 * channels


class AlignedInitializer(HeInitializer):
    """All MBConvs of a choice block start as one function, that of the smallest kernel and the
    smallest expansion.

    Taps beyond the smallest kernel and projections from channels beyond the smallest expansion
    start at 0, the rest is common; both zeros have gradients from the first step. gamma behind the
    projection starts at `shortcut_gamma` where a shortcut exists: at 0 such blocks start as the
    identity (Goyal et al. 2017, section 5.1), as Zero does, but have only one path in seven to
    leave it, so that alpha sees no difference between Zero and the others; at 1 Zero is a stranger
    among them.
    """

    def __init__(
        self, space: SearchSpace, seed: int, *, div_groups: bool, shortcut_gamma: float
    ) -> None:
        """
        Args:
            space: whose candidates are aligned.
            seed: of all kernels.
            div_groups: as of `HeInitializer`.
            shortcut_gamma: see above.
        """
        super().__init__(seed, div_groups=div_groups)
        self.shortcut_gamma = shortcut_gamma
        self._choices = {choice.name for choice in space.choice_blocks}
        candidates = [op for choice in space.choice_blocks for op in choice.candidates]
        ops = [op for op in candidates if isinstance(op, MBConv)]
        # Without MBConvs nothing is aligned and every kernel is drawn alone.
        self.kernel_size = min((op.kernel for op in ops), default=0)
        expanding = [op for op in ops if op.expansion > 1]
        self.expansion = min((op.expansion for op in expanding or ops), default=0)

    def kernel(self, block: Block, layer: Layer) -> np.ndarray:
        """As of `HeInitializer`."""
        drawn = super().kernel(block, layer)
        if not self._aligned(block) or layer.name not in ("expand", "depthwise", "project"):
            return drawn
        common = self.expansion * block.in_channels
        least = _with_common_size(layer, common, self.kernel_size)
        shared = self.drawn(least, f"{block.name}/{layer.name}")
        if layer.name == "expand":
            drawn[..., :common] = shared
        elif layer.name == "depthwise":
            # in the middle, but where the kernels are centred on different pixels
            margin = (layer.kernel - least.kernel) // 2 + block.centre(least) - block.centre(layer)
            inner = slice(margin, margin + least.kernel)
            drawn[:, :, :common] = 0.0
            drawn[inner, inner, :common] = shared
        else:
            drawn[:, :, :common] = shared
            drawn[:, :, common:] = 0.0
        return drawn

    def gamma(self, block: Block, layer: Layer) -> np.ndarray:
        """As of `HeInitializer`."""
        ends_residual = block.shortcut and layer.name == "project" and block.name in self._choices
        scale = self.shortcut_gamma if ends_residual else 1.0
        return super().gamma(block, layer) * np.float32(scale)

    def _aligned(self, block: Block) -> bool:
        return (
            block.name in self._choices
            and isinstance(block.op, MBConv)
            and block.op.expansion >= self.expansion
        )


class PretrainedInitializer(AlignedInitializer):
    """Weights that were learnt before, as far as they are known; the rest is drawn.

    A new classifier starts at 0: what is known would otherwise be changed first by what random
    weights ask for.
    """

    def __init__(
        self,
        start: Remapping,
        seed: int,
        *,
        div_groups: bool,
        shortcut_gamma: float,
    ) -> None:
        """
        Args:
            start: what is known of each block.
            seed: of what is drawn.
            div_groups: as of `HeInitializer`.
            shortcut_gamma: as of `AlignedInitializer`.
        """
        super().__init__(start.space, seed, div_groups=div_groups, shortcut_gamma=shortcut_gamma)
        self._arrays_of = functools.lru_cache(maxsize=1)(start.arrays_of)

    def value(self, block: Block, spec: VariableSpec) -> np.ndarray:
        """As of `HeInitializer`."""
        known = self._arrays_of(block).get(spec.name)
        return super().value(block, spec) if known is None else known

    def kernel(self, block: Block, layer: Layer) -> np.ndarray:
        """As of `HeInitializer`."""
        if layer.kind == "dense":
            return np.zeros(layer.kernel_shape, np.float32)
        return super().kernel(block, layer)


def initializer_of(
    space: SearchSpace, config: SearchConfig, *, seed: int, start: Remapping | None = None
) -> HeInitializer:
    """What `start` knows, else what `config.weights_init` names: "aligned" (default), "he_fout"
    (published) or "he_fin"."""
    if start is not None:
        return PretrainedInitializer(
            start, seed, div_groups=config.init_div_groups, shortcut_gamma=config.shortcut_gamma
        )
    if config.weights_init in (None, "aligned", "pretrained"):
        return AlignedInitializer(
            space, seed, div_groups=config.init_div_groups, shortcut_gamma=config.shortcut_gamma
        )
    fan = config.weights_init.removeprefix("he_f")
    return HeInitializer(seed, fan=fan, div_groups=config.init_div_groups)


def initial_alphas(space: SearchSpace, config: SearchConfig, *, seed: int) -> list[np.ndarray]:
    """float64 [candidates] for each choice block: normal or uniform, `config.alpha_scale` wide
    (published: normal, 1e-3), so that the first paths are uniform."""
    generator = np.random.default_rng([seed, 1])
    sizes = [len(choice.candidates) for choice in space.choice_blocks]
    if config.alpha_init == "uniform":
        return [config.alpha_scale * generator.uniform(-1.0, 1.0, size) for size in sizes]
    return [config.alpha_scale * generator.standard_normal(size) for size in sizes]


def _with_common_size(layer: Layer, channels: int, kernel: int) -> Layer:
    if layer.name == "expand":
        return replace(layer, out_channels=channels)
    if layer.name == "depthwise":
        return replace(layer, in_channels=channels, out_channels=channels, kernel=kernel)
    return replace(layer, in_channels=channels)
