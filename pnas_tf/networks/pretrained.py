"""Weights that a network or a supernet was trained to, by block: what others start from.

Names and layouts are those of our variables, whatever file they came from. Knows nothing of files
(`interop.pretrained` opens them), of supernets or of what is made of the weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras as keras

from pnas_tf.space.architecture import Architecture
from pnas_tf.space.base import SearchSpace
from pnas_tf.space.blocks import Block

# Of batch normalisation, in the order of the weights of a Keras layer.
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class PretrainedBlock:
    """A block with its weights.

    Attributes:
        block: what they belong to.
        arrays: float32 by the names of our variables inside the block: "expand/kernel",
            "expand_bn/gamma", "expand_bn/moving_mean", "classifier/bias". Kernels are [height,
            width, in, out], depthwise ones [height, width, in, 1], dense ones [in, out]. Empty for
            Zero.
    """

    block: Block
    arrays: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class InputNormalisation:
    """A network sees (pixel - mean) / std, pixels in 0..255. Each has one number a channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, mean: float, std: float, channels: int = 3) -> InputNormalisation:
        """The same for every channel."""
        return cls((mean,) * channels, (std,) * channels)


@dataclass(frozen=True)
class PretrainedWeights:
    """What was learnt on another dataset.

    Attributes:
        space: whose blocks they are.
        fixed: the fixed blocks by name: stem, first, head in a space of MBConvs.
        choices: for each choice block the candidates whose weights are known: one of a network,
            all of a supernet.
        input: the normalisation that it was trained with.
        bn_epsilon: of batch normalisation, which the statistics belong to.
        class_names: of the classifier's outputs; None where they are not known.
        source: for the user, where they come from.
    """

    space: SearchSpace
    fixed: Mapping[str, PretrainedBlock]
    choices: tuple[tuple[PretrainedBlock, ...], ...]
    input: InputNormalisation
    bn_epsilon: float
    class_names: tuple[str, ...] | None
    source: str

    @property
    def digest(self) -> str:
        """64 hex digits that stand for all that a network could take over."""
        found = hashlib.sha256(repr((self.input, self.bn_epsilon, self.class_names)).encode())
        found.update(json.dumps(self.space.to_json(), sort_keys=True).encode())
        for each in (*self.fixed.values(), *(one for block in self.choices for one in block)):
            found.update(repr(each.block).encode())
            for name, array in sorted(each.arrays.items()):
                found.update(f"{name} {array.dtype} {array.shape}".encode())
                found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    @property
    def is_supernet(self) -> bool:
        """Whether some block has several ops."""
        return any(len(block) > 1 for block in self.choices)

    def adapted(self, normalisation: InputNormalisation, *, bn_epsilon: float) -> PretrainedWeights:
        """The same function of the pixels, for another normalisation of the input and another
        epsilon.

        (pixel - mean) / std is a x + b of the other normalisation's x, a = std' / std and
        b = (mean' - mean) / std. Kernels of the stem take a; what b gives, W * b, is a constant of
        each output channel away from the border, which the moving mean of its batch normalisation
        takes. At a padded border it is not: what is padded is pixel mean' instead of mean there.
        gamma / sqrt(variance + epsilon) stays as it was.
        """
        stem = dict(self.fixed["stem"].arrays)
        kernel: np.ndarray = stem["conv/kernel"].astype(np.float64)
        a = np.divide(normalisation.std, self.input.std)
        b = np.subtract(normalisation.mean, self.input.mean) / self.input.std
        stem["conv/kernel"] = (kernel * a[:, None]).astype(np.float32)
        constant = np.einsum("hwio,i->o", kernel, b)
        stem["conv_bn/moving_mean"] = (stem["conv_bn/moving_mean"] - constant).astype(np.float32)
        fixed = {**self.fixed, "stem": dataclasses.replace(self.fixed["stem"], arrays=stem)}

        def with_epsilon(each: PretrainedBlock) -> PretrainedBlock:
            arrays = _with_epsilon(each.arrays, self.bn_epsilon, bn_epsilon)
            return dataclasses.replace(each, arrays=arrays)

        return dataclasses.replace(
            self,
            fixed={name: with_epsilon(each) for name, each in fixed.items()},
            choices=tuple(tuple(map(with_epsilon, block)) for block in self.choices),
            input=normalisation,
            bn_epsilon=bn_epsilon,
        )


def _with_epsilon(
    arrays: Mapping[str, np.ndarray], before: float, after: float
) -> dict[str, np.ndarray]:
    changed = dict(arrays)
    for name, variance in arrays.items():
        layer, _, kind = name.rpartition("/")
        if kind == "moving_variance" and before != after:
            ratio = np.sqrt((variance + after) / (variance + before))
            changed[f"{layer}/gamma"] = (arrays[f"{layer}/gamma"] * ratio).astype(np.float32)
    return changed


def block_arrays(model: keras.Model, block: Block) -> dict[str, np.ndarray]:
    """The weights of one block of a network of `build_network`, named as in `PretrainedBlock`."""
    return {name: variable.numpy() for name, variable in _variables(model, block).items()}


def set_block_arrays(model: keras.Model, block: Block, arrays: Mapping[str, np.ndarray]) -> None:
    """The inverse of `block_arrays`; what `arrays` lack stays as it is."""
    variables = _variables(model, block)
    for name, array in arrays.items():
        variables[name].assign(array)


def _variables(model: keras.Model, block: Block) -> dict[str, tf.Variable]:
    found: dict[str, tf.Variable] = {}
    for layer in block.layers:
        name = f"{block.name}/{layer.name}"
        kinds = ("kernel", "bias") if layer.bias else ("kernel",)
        for kind, variable in zip(kinds, model.get_layer(name).weights, strict=True):
            found[f"{layer.name}/{kind}"] = variable
        if layer.norm:
            weights = model.get_layer(f"{name}_bn").weights
            found |= {
                f"{layer.name}_bn/{kind}": variable
                for kind, variable in zip(NORM, weights, strict=True)
            }
    return found


def weights_of_network(
    model: keras.Model,
    architecture: Architecture,
    *,
    input: InputNormalisation,
    bn_epsilon: float,
    class_names: tuple[str, ...] | None,
    source: str,
) -> PretrainedWeights:
    """Those of a network of `build_network`. Arguments: of `PretrainedWeights`."""
    space = architecture.space
    fixed = space.fixed_names
    found = [PretrainedBlock(block, block_arrays(model, block)) for block in architecture.blocks]
    return PretrainedWeights(
        space,
        {each.block.name: each for each in found if each.block.name in fixed},
        tuple((each,) for each in found if each.block.name not in fixed),
        input,
        bn_epsilon,
        class_names,
        source,
    )
